"""Arrow columns as the text of CSV cells and of JSON values, a column at a time."""

import base64
from typing import Any, TypeAlias

import orjson
import pyarrow as pa
from pyarrow import compute

Texts: TypeAlias = pa.Array
"""Strings, as many as rows."""


def plain_texts(column: pa.Array) -> Texts:
    """Return values as text, nulls as nulls: dates in ISO 8601, nested values as JSON.

    Bytes are the text that they are in UTF-8, or else base64.
    """
    found = column.type
    if pa.types.is_dictionary(found):
        return plain_texts(column.dictionary_decode())
    if pa.types.is_nested(found):
        missing = column.is_null()
        return compute.if_else(missing, None, json_texts(column))
    if _is_binary(found):
        return pa.array([_decoded(value) for value in column.to_pylist()], pa.string())
    texts = column.cast(pa.string())
    if pa.types.is_timestamp(found):
        texts = compute.replace_substring(texts, " ", "T", max_replacements=1)
        return compute.replace_substring_regex(texts, r"([+-]\d\d)(\d\d)$", r"\1:\2")
    return texts


def csv_cells(column: pa.Array, *, delimiter: str) -> Texts:
    """Return the cells of CSV: quoted where they must be, empty where null, `""` where empty."""
    texts = plain_texts(column)
    special = compute.match_substring_regex(texts, f'[{delimiter}"\\r\\n]')
    special = compute.or_(special, compute.equal(texts, ""))
    if compute.any(special).as_py():
        doubled = compute.replace_substring(texts, '"', '""')
        quoted = compute.binary_join_element_wise('"', doubled, '"', "")
        texts = compute.if_else(special, quoted, texts)
    return compute.fill_null(texts, "")


def json_texts(column: pa.Array) -> Texts:
    """Return values as JSON; what JSON has no number for is null."""
    found = column.type
    if pa.types.is_null(found):
        return pa.array(["null"] * len(column), pa.string())
    if pa.types.is_boolean(found) or pa.types.is_integer(found):
        texts = column.cast(pa.string())
    elif pa.types.is_floating(found):
        finite = compute.fill_null(compute.is_finite(column), False)
        texts = compute.if_else(finite, column.cast(pa.string()), None)
    elif pa.types.is_struct(found):
        children = zip(found, column.flatten(), strict=True)
        members = [(field.name, json_texts(child)) for field, child in children]
        texts = compute.if_else(column.is_valid(), joined_members(members), None)
    elif pa.types.is_list(found) or pa.types.is_large_list(found):
        lengths = compute.fill_null(compute.list_value_length(column), 0).to_pylist()
        offsets = [0]
        for length in lengths:
            offsets.append(offsets[-1] + length)
        lists = pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), json_texts(column.flatten())
        )
        inside = compute.binary_join_element_wise("[", compute.binary_join(lists, ","), "]", "")
        texts = compute.if_else(column.is_valid(), inside, None)
    elif pa.types.is_nested(found):
        texts = pa.array([_dumped(value) for value in column.to_pylist()], pa.string())
    else:
        texts = _quoted(plain_texts(column))
    return compute.fill_null(texts, "null")


def joined_members(members: list[tuple[str, Texts]]) -> Texts:
    """Return JSON objects, `{...}`, of names and their JSON values."""
    if not members:
        raise ValueError("an object without members has no rows")
    parts: list[Any] = ["{"]
    for index, (name, texts) in enumerate(members):
        parts += [("," if index else "") + _dumped(name) + ":", texts]
    return compute.binary_join_element_wise(*parts, "}", "")


def contents(texts: Texts) -> bytes:
    """Return all texts one after the other."""
    return b"".join(texts.cast(pa.binary()).to_pylist())


def _quoted(texts: Texts) -> Texts:
    """Return texts as JSON strings, which few need more for than quotes around them."""
    special = compute.match_substring_regex(texts, r'["\\\x00-\x1f]')
    quoted = compute.binary_join_element_wise('"', texts, '"', "")
    if not compute.any(special).as_py():
        return quoted
    escaped = pa.array([_dumped(text) for text in texts.filter(special).to_pylist()], pa.string())
    return compute.replace_with_mask(quoted, compute.fill_null(special, False), escaped)


def _is_binary(found: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(found)
        or pa.types.is_large_binary(found)
        or pa.types.is_fixed_size_binary(found)
        or pa.types.is_binary_view(found)
    )


def _dumped(value: Any) -> str:
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: Any) -> str:
    return _decoded(value) or "" if isinstance(value, bytes) else str(value)


def _decoded(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()
