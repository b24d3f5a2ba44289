"""Tensors as the Open Inference Protocol sends them: in JSON, or in bytes behind it.

Pure: bytes and numbers in, bytes and numbers out. It knows neither models nor HTTP.

A body with binary data is a JSON document, and right behind it the elements of every tensor that
is not in the JSON, in the order in which the JSON names them. Numbers are little endian. An
element of type BYTES is its length in four bytes, unsigned, and then so many bytes.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from sentiment.errors import BadHeader, InvalidInput, InvalidUnicode, ItemError

LENGTH_HEADER = "Inference-Header-Content-Length"
"""How many bytes of a body are JSON; without it all of them."""

LENGTH = struct.Struct("<I")

MAX_DIGITS = 12
"""Of a length in a header: more than any body has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One output of the model, ready to be sent."""

    name: str
    shape: tuple[int, ...]
    elements: Sequence[str] | npt.NDArray[np.float32]
    """BYTES as text or FP32, row by row: as many as the shape says."""

    binary: bool
    """Sent behind the JSON, not in it."""

    @property
    def datatype(self) -> str:
        """What the protocol calls the type of the elements."""
        return "FP32" if isinstance(self.elements, np.ndarray) else "BYTES"

    def packed(self) -> bytes:
        """Return the elements as binary data."""
        if isinstance(self.elements, np.ndarray):
            return self.elements.astype("<f4", copy=False).tobytes()
        return packed_texts(self.elements)


def wrong(detail: str, pointer: str, *, code: str = "value") -> InvalidInput:
    """Return the refusal of one part of a request."""
    return InvalidInput("members that are wrong: 1", [ItemError(code, detail, pointer=pointer)])


def split_body(body: bytes, json_bytes: str | None) -> tuple[bytes, bytes]:
    """Return the JSON of a body, and the binary data behind it.

    Args:
        body: all of it.
        json_bytes: value of the header `LENGTH_HEADER`, if there is one.

    Raises:
        BadHeader: it is no number, or the body is shorter.
    """
    if json_bytes is None:
        return body, b""
    if not (json_bytes.isascii() and json_bytes.isdigit() and len(json_bytes) <= MAX_DIGITS):
        raise BadHeader(f"{LENGTH_HEADER} must be one whole number of bytes")
    length = int(json_bytes)
    if length > len(body):
        raise BadHeader(f"{LENGTH_HEADER} says more than the {len(body)} bytes of the body")
    return body[:length], body[length:]


def text_count(shape: Sequence[int]) -> int:
    """Return how many texts a tensor of `shape` holds.

    Raises:
        InvalidInput: it is not a single row or column of them.
    """
    match shape:
        case [count] | [1, count] | [count, 1]:
            return count
    raise wrong("expected [n], [n, 1] or [1, n]", "/inputs/0/shape")


def flat_data(data: Sequence[Any], shape: Sequence[int]) -> tuple[list[Any], str]:
    """Return the elements of a tensor in JSON, and a pointer to them with `{}` for the index.

    Args:
        data: the elements in one array, or in an array for each row.
        shape: as `text_count` takes it.

    Raises:
        InvalidInput: there are more or fewer of them than the shape says.
    """
    pointer = "/inputs/0/data"
    if not (len(shape) == 2 and data and isinstance(data[0], list)):  # the first decides the form
        _check_length(data, text_count(shape), pointer)
        return list(data), f"{pointer}/{{}}"
    rows, columns = shape
    _check_length(data, rows, pointer)
    for index, row in enumerate(data):
        if not isinstance(row, list):
            raise wrong("expected an array, as the others are", f"{pointer}/{index}", code="type")
        _check_length(row, columns, f"{pointer}/{index}")
    template = f"{pointer}/0/{{}}" if rows == 1 else f"{pointer}/{{}}/0"
    return [element for row in data for element in row], template


def _check_length(elements: Sequence[Any], expected: int, pointer: str) -> None:
    if len(elements) != expected:
        raise wrong(f"{len(elements)} elements; the shape says {expected}", pointer)


def packed_texts(texts: Sequence[str]) -> bytes:
    """Return `texts` as the binary data of a BYTES tensor."""
    encoded = [text.encode() for text in texts]
    return b"".join(part for each in encoded for part in (LENGTH.pack(len(each)), each))


def unpacked_texts(packed: bytes, count: int) -> list[str]:
    """Return the texts of the first input, a BYTES tensor of `count` elements in binary.

    Raises:
        InvalidInput: the lengths do not add up.
        InvalidUnicode: texts are not UTF-8; which, as if they stood in the JSON.
    """
    texts: list[str] = []
    not_utf8: list[ItemError] = []
    end = 0
    for index in range(count):
        start = end + LENGTH.size
        end = start + (LENGTH.unpack_from(packed, end)[0] if start <= len(packed) else 0)
        if end > len(packed):
            raise wrong(f"the binary data ends inside element {index} of {count}", "/inputs/0")
        try:
            texts.append(packed[start:end].decode())
        except UnicodeDecodeError as error:
            detail = f"byte {error.start} is not UTF-8"
            pointer = f"/inputs/0/data/{index}"
            not_utf8.append(ItemError("invalid-unicode", detail, pointer=pointer))
    if end != len(packed):
        detail = f"{len(packed) - end} bytes of binary data behind the last of {count} elements"
        raise wrong(detail, "/inputs/0")
    if not_utf8:
        raise InvalidUnicode(f"not UTF-8: {len(not_utf8)} of {count} texts", not_utf8)
    return texts


def render_tensors(head: Mapping[str, Any], tensors: Sequence[Tensor]) -> tuple[bytes, int | None]:
    """Return the body of an answer, and how many bytes of it are JSON if not all of them.

    Args:
        head: members beside `outputs`.
        tensors: the outputs, in order.
    """
    outputs, packed = [], []
    for tensor in tensors:
        output = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if tensor.binary:
            packed.append(tensor.packed())
            outputs.append({**output, "parameters": {"binary_data_size": len(packed[-1])}})
        else:
            outputs.append({**output, "data": tensor.elements})
    document = orjson.dumps({**head, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([document, *packed]), len(document) if packed else None
