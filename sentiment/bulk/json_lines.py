"""JSON Lines: an object a line. Lines that are written as JSON Lines again stay as they are.

For Parquet every member has one type in all rows: integers among floats become floats, any other
mixture is an error. For CSV, which has no types, a member that is no text is its JSON; for JSON
Lines too, where these columns only serve to be looked at: the line itself is the column
`VERBATIM`, and what is written is that line and the members that are new.

A pass of its own finds the members, so that the columns are known before the first row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from sentiment.bulk.chunks import (
    BLOCK_BYTES,
    MAX_ROW_BYTES,
    Chunk,
    check_encoding,
    missing_column,
    not_utf8,
    row_too_long,
)
from sentiment.bulk.files import ByteStream, InputFile, Progress
from sentiment.errors import DataError

VERBATIM = "\x00line"
"""Name of the column of lines, which no member has."""

IN_LINE = {b"sentiment.bulk": b"in the line"}
"""Marks a column that `VERBATIM` holds already."""

JSON_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "float",
    dict: "object",
    list: "array",
}

Member = Any
Object = dict[str, Member]


@dataclass(frozen=True, slots=True)
class _Lines:
    """Some lines of a file, blank ones left out."""

    numbers: list[int]
    contents: list[bytes]
    objects: list[Object | None]
    """`None` where a line is none."""
    faults: dict[int, str]

    def values(self, name: str) -> list[Member]:
        """Return a member of each line, `None` where it is not there."""
        return [None if row is None else row.get(name) for row in self.objects]


class JsonLinesReader:
    """The rows of JSON Lines files."""

    def __init__(
        self,
        files: Sequence[InputFile],
        *,
        text_column: str,
        for_format: str,
        schema: pa.Schema | None = None,
    ) -> None:
        """Find the members of all rows.

        Args:
            files: at least one.
            text_column: must be there, in one row at least.
            for_format: what the rows will be written as.
            schema: what another reader found in all files of which these are some, instead.

        Raises:
            DataError: a file cannot be read, no row has `text_column`, or, for Parquet, a member
                has types that do not go together.
        """
        self._files = files
        self._text_column = text_column
        self._progress = Progress(files)
        self.total_bytes = self._progress.total_bytes
        self.schema = self._find_schema(for_format) if schema is None else schema

    @property
    def bytes_read(self) -> int:
        return self._progress.bytes_read

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        wanted = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in wanted])
        for file, lines in self._lines():
            self._check_texts(lines)
            arrays = [self._column(file, lines, field) for field in schema]
            yield Chunk(
                file=file.name,
                numbers=np.array(lines.numbers, np.int64),
                columns=pa.RecordBatch.from_arrays(arrays, schema=schema),
                faults=lines.faults,
            )

    def _lines(self) -> Iterator[tuple[InputFile, _Lines]]:
        self._progress.restart()
        for file in self._files:
            with file.open() as stream:
                for lines in _parsed(file, stream):
                    self._progress.reached(stream.stored_bytes_read)
                    yield file, lines
            self._progress.next_file(file)

    def _find_schema(self, for_format: str) -> pa.Schema:
        types = self._find_types(typed=for_format == "parquet")
        if not types:  # no row of any member, so none of which the text is missing
            types = {self._text_column: pa.string()}
        place = self._files[0].name
        if self._text_column not in types:
            raise missing_column(f"{place}:1", self._text_column, list(types))
        if VERBATIM in types:
            raise DataError(f"{place}: no member can be named {VERBATIM!r}")
        fields = [pa.field(name, found) for name, found in types.items()]
        if for_format == "jsonl":
            fields = [
                pa.field(VERBATIM, pa.binary()),
                *(field.with_metadata(IN_LINE) for field in fields),
            ]
        return pa.schema(fields)

    def _find_types(self, *, typed: bool) -> dict[str, pa.DataType]:
        """Return the type of each member, in the order in which they first occur."""
        types: dict[str, pa.DataType] = {}
        for file, lines in self._lines():
            rows = [row for row in lines.objects if row is not None]
            for row in rows:
                if not row.keys() <= types.keys():
                    types |= {name: pa.null() for name in row if name not in types}
            for name in types if typed else ():
                if name != self._text_column:
                    types[name] = _promoted(file, lines, name, types[name])
        if not typed:
            return dict.fromkeys(types, pa.string())
        text = {self._text_column: pa.string()} if self._text_column in types else {}
        # Parquet knows no object without members.
        bare = {name: pa.string() for name, found in types.items() if _has_bare_struct(found)}
        return types | bare | text

    def _check_texts(self, lines: _Lines) -> None:
        """Note the rows whose text is missing or none, and take that text out of them."""
        name = self._text_column
        for index, row in enumerate(lines.objects):
            if row is None:
                continue
            text = row.get(name)
            if name not in row:
                lines.faults[index] = f"no member {name!r}"
            elif text is not None and not isinstance(text, str):
                found = JSON_TYPES[type(text)]
                lines.faults[index] = f"expected a string in {name!r}, found: {found}"
                row[name] = None

    def _column(self, file: InputFile, lines: _Lines, field: pa.Field) -> pa.Array:
        if field.name == VERBATIM:
            pairs = zip(lines.contents, lines.objects, strict=True)
            return pa.array([line if row is not None else None for line, row in pairs], pa.binary())
        values = lines.values(field.name)
        if field.type == pa.string():
            values = [_text(value) for value in values]
        try:
            return pa.array(values, field.type)
        except (pa.ArrowException, OverflowError) as error:
            raise DataError(
                f"{file.name}:{lines.numbers[0]}-{lines.numbers[-1]}: {field.name!r} cannot be "
                f"written as {field.type}"
            ) from error


def _parsed(file: InputFile, stream: ByteStream) -> Iterator[_Lines]:
    """Cut a file into lines, some at a time."""
    pending, number, offset, final = b"", 1, 0, False
    while not final:
        read = stream.read(BLOCK_BYTES)
        final = len(read) < BLOCK_BYTES
        content = pending + read
        if offset == 0:
            check_encoding(content, file.name)
        whole = len(content) if final else content.rfind(b"\n") + 1
        pending = content[whole:]
        if len(pending) > MAX_ROW_BYTES:
            raise row_too_long(f"{file.name}:{number}")
        lines = _Lines([], [], [], {})
        for line in content[:whole].split(b"\n")[: None if final else -1]:
            given = line.removeprefix(b"\xef\xbb\xbf") if offset == 0 else line
            stripped = given.strip()
            if stripped:
                row = _object(line, stripped, offset)
                if isinstance(row, str):
                    lines.faults[len(lines.objects)] = row
                lines.numbers.append(number)
                lines.contents.append(stripped)
                lines.objects.append(None if isinstance(row, str) else row)
            number, offset = number + 1, offset + len(line) + 1
        if lines.objects:
            yield lines


def _object(line: bytes, stripped: bytes, offset: int) -> Object | str:
    """Return the object in a line, or what is wrong with it."""
    try:
        found = orjson.loads(stripped)
    except orjson.JSONDecodeError as error:
        if stripped.startswith(b"["):
            return _no_object("array")  # over several lines
        return not_utf8(line, offset) or f"not JSON: {error.msg}, at column {error.colno}"
    if isinstance(found, dict):
        return found
    return _no_object("null" if found is None else JSON_TYPES[type(found)])


def _no_object(found: str) -> str:
    return f'expected an object a line, such as {{"text": ...}}, found: {found}'


def _promoted(file: InputFile, lines: _Lines, name: str, known: pa.DataType) -> pa.DataType:
    """Return a type for the values of a member that are known and those of some more lines."""
    values = lines.values(name)
    try:
        return _unified(known, values)
    except (pa.ArrowException, OverflowError):
        pass
    for number, value in zip(lines.numbers, values, strict=True):  # find the one
        try:
            known = _unified(known, [value])
        except OverflowError as error:
            raise DataError(
                f"{file.name}:{number}: the integer in {name!r} has more than 64 bits"
            ) from error
        except pa.ArrowException as error:
            raise DataError(
                f"{file.name}:{number}: {name!r} is {_type(value)} here and {known} before; "
                "Parquet has one type in a column"
            ) from error
    raise DataError(
        f"{file.name}:{lines.numbers[0]}-{lines.numbers[-1]}: {name!r} has integers among floats "
        "that no float can hold"
    )


def _unified(known: pa.DataType, values: Sequence[Member]) -> pa.DataType:
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) > 1 and kinds != {int, float}:
        raise pa.ArrowTypeError("mixed")  # some of which Arrow would let pass
    schemas = [pa.schema([("", known)]), pa.schema([("", pa.array(values).type)])]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def _type(value: Member) -> str:
    try:
        return str(pa.array([value]).type)
    except pa.ArrowException:
        return f"{JSON_TYPES[type(value)]} of mixed types"


def _has_bare_struct(found: pa.DataType) -> bool:
    if pa.types.is_struct(found):
        return not found.num_fields or any(_has_bare_struct(field.type) for field in found)
    return pa.types.is_list(found) and _has_bare_struct(found.value_type)


def _text(value: Member) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
