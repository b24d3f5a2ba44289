"""Which day and which ticker a row belongs to, by what its columns hold."""

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from sentiment.errors import DataError, first_line

NAME_CHARACTERS = 100
"""Of a ticker that are kept: tickers that differ only behind them are one."""

DAY_CHARACTERS = len("2026-11-21T")

EPOCH = date(1970, 1, 1).toordinal()


def check_columns(
    schema: pa.Schema, *, date_column: str | None = None, ticker_column: str | None = None
) -> None:
    """Find out, before anything is scored, whether rows can be grouped by these columns.

    Raises:
        DataError: one is not there, or holds neither dates nor tickers.
    """
    for option, column, keys in (
        ("--date-column", date_column, days_of),
        ("--ticker-column", ticker_column, tickers_of),
    ):
        if column is None:
            continue
        if len(schema.get_all_field_indices(column)) != 1:
            there = ", ".join(map(repr, schema.names))
            shown = there if len(there) <= 300 else f"{there[:297]}..."
            raise DataError(f"expected one column named {column!r} ({option}); there are {shown}")
        kind = schema.field(column).type
        try:
            # One row, because of none a time zone that is not known is not looked up.
            keys(plain(pa.nulls(1, kind)))
        except DataError as error:
            raise DataError(f"column {column!r} ({option}): {error}") from error


def days_of(values: pa.Array) -> pa.Array:
    """Return the day of each value as ISO text, null where there is none that can be read.

    A timestamp is of the day that it is in its own time zone, text of the day that it names.

    Raises:
        DataError: the column holds something else.
    """
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.string())
    if pa.types.is_string(kind):
        return _days_of_text(values)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        try:
            values = pc.local_timestamp(values)
        except pa.ArrowInvalid as error:
            raise DataError(first_line(error)) from error
    elif not pa.types.is_temporal(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        raise DataError(f"expected dates, timestamps or text in ISO 8601, it is of type {kind}")
    keys = values.cast(pa.date32(), safe=False).dictionary_encode()
    numbers = keys.dictionary.cast(pa.int32()).to_pylist()
    return pa.array([_day_of_number(number) for number in numbers], pa.string()).take(keys.indices)


def _day_of_number(number: int) -> str | None:
    """Return the day so many after 1970-01-01; none outside of the calendar's years 1 to 9999."""
    try:
        return date.fromordinal(EPOCH + number).isoformat()
    except (ValueError, OverflowError):
        return None


def _days_of_text(values: pa.Array) -> pa.Array:
    # Of a million rows there are but some hundred different days to read.
    keys = pc.utf8_slice_codeunits(values, 0, DAY_CHARACTERS).dictionary_encode()
    days = [_day_of_text(text) for text in keys.dictionary.to_pylist()]
    return pa.array(days, pa.string()).take(keys.indices)


def _day_of_text(text: str) -> str | None:
    try:
        return date.fromisoformat(text.replace("T", " ").split(" ")[0]).isoformat()
    except ValueError:
        return None


def tickers_of(values: pa.Array) -> pa.Array:
    """Return each value as text, trimmed and cut; null where nothing is left.

    Raises:
        DataError: the column holds something else than text or integers.
    """
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.string())
    if not pa.types.is_string(kind) and not pa.types.is_integer(kind):
        raise DataError(f"expected text or integers, it is of type {kind}")
    names = pc.utf8_slice_codeunits(
        pc.utf8_trim_whitespace(values.cast(pa.string())), 0, NAME_CHARACTERS
    )
    return pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names)


def plain(values: pa.Array) -> pa.Array:
    """Return text of any representation as plain text, and anything else as it is.

    Of a string view Arrow knows hardly any function.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.dictionary_decode()
        kind = values.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.string())
    return values
