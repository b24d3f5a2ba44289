"""Invariant: whatever bytes come, they are the tensor that they say, or a refusal.

And what is packed here is unpacked the same there: by this module, and by Triton's client.
"""

import math
import struct

import numpy as np
import orjson
import pytest
import tritonclient.utils as triton
from hypothesis import given
from hypothesis import strategies as st

from sentiment.api.tensors import (
    Tensor,
    flat_data,
    packed_texts,
    render_tensors,
    split_body,
    text_count,
    unpacked_texts,
)
from sentiment.errors import BadHeader, InvalidInput, InvalidUnicode, RequestError

TEXTS = st.lists(st.text(), max_size=20)


def packed(*elements):
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


@given(TEXTS)
def test_texts_come_back_as_they_were_packed(texts):
    assert unpacked_texts(packed_texts(texts), len(texts)) == texts


@given(TEXTS)
def test_triton_packs_and_unpacks_texts_as_this_does(texts):
    array = np.array(texts, dtype=np.object_)
    theirs = triton.serialize_byte_tensor(array)
    ours = packed_texts(texts)
    assert ours == (theirs.item() if texts else b"")
    unpacked = triton.deserialize_bytes_tensor(ours)
    assert [element.decode() for element in unpacked] == texts


@given(st.binary(max_size=60), st.integers(0, 12))
def test_any_bytes_are_so_many_texts_or_refused(binary, count):
    try:
        texts = unpacked_texts(binary, count)
    except RequestError:
        return
    assert len(texts) == count
    assert packed_texts(texts) == binary


@given(st.lists(st.binary(max_size=4), max_size=8), st.integers(0, 8))
def test_well_packed_bytes_are_refused_for_their_count_or_their_encoding_only(elements, count):
    try:
        texts = unpacked_texts(packed(*elements), count)
    except InvalidUnicode:
        assert count == len(elements)
        assert any(element.decode(errors="ignore").encode() != element for element in elements)
    except InvalidInput:
        assert count != len(elements)
    else:
        assert [text.encode() for text in texts] == elements


@pytest.mark.parametrize(
    ("binary", "count", "detail"),
    [
        (b"", 1, "the binary data ends inside element 0 of 1"),
        (b"\1\0\0", 1, "the binary data ends inside element 0 of 1"),
        (b"\2\0\0\0a", 1, "the binary data ends inside element 0 of 1"),
        (b"\xff\xff\xff\xffa", 1, "the binary data ends inside element 0 of 1"),
        (packed(b"a", b"b")[:-1], 2, "the binary data ends inside element 1 of 2"),
        (b"\0\0\0\1a", 1, "the binary data ends inside element 0 of 1"),  # big endian
        (packed(b"a") + b"bc", 1, "2 bytes of binary data behind the last of 1 elements"),
        (packed(b"a"), 0, "5 bytes of binary data behind the last of 0 elements"),
    ],
)
def test_lengths_that_do_not_add_up_are_told_where(binary, count, detail):
    with pytest.raises(InvalidInput) as caught:
        unpacked_texts(binary, count)
    (error,) = caught.value.errors
    assert (error.pointer, error.detail) == ("/inputs/0", detail)


def test_every_element_that_is_not_utf_8_is_named_with_the_first_wrong_byte():
    elements = [b"fine", b"ab\xff", "é".encode("latin-1"), b"\xed\xa0\x80"]
    with pytest.raises(InvalidUnicode) as caught:
        unpacked_texts(packed(*elements), 4)
    assert [(error.pointer, error.detail) for error in caught.value.errors] == [
        ("/inputs/0/data/1", "byte 2 is not UTF-8"),
        ("/inputs/0/data/2", "byte 0 is not UTF-8"),
        ("/inputs/0/data/3", "byte 0 is not UTF-8"),
    ]


@pytest.mark.parametrize(
    ("shape", "count"),
    [([0], 0), ([3], 3), ([3, 1], 3), ([1, 3], 3), ([1, 1], 1), ([0, 1], 0), ([2**63], 2**63)],
)
def test_a_row_or_a_column_of_texts_is_a_shape(shape, count):
    assert text_count(shape) == count


@pytest.mark.parametrize("shape", [[], [2, 2], [1, 2, 1], [2**62, 2**62], [0, 2]])
def test_any_other_shape_is_told_which_are_taken(shape):
    with pytest.raises(InvalidInput) as caught:
        text_count(shape)
    (error,) = caught.value.errors
    assert error.pointer == "/inputs/0/shape"
    assert error.detail == "expected [n], [n, 1] or [1, n]"


@pytest.mark.parametrize(
    ("data", "shape", "pointer"),
    [
        (["a", "b"], [2], "/inputs/0/data/{}"),
        (["a", "b"], [2, 1], "/inputs/0/data/{}"),
        (["a", "b"], [1, 2], "/inputs/0/data/{}"),
        ([["a"], ["b"]], [2, 1], "/inputs/0/data/{}/0"),
        ([["a", "b"]], [1, 2], "/inputs/0/data/0/{}"),
    ],
)
def test_elements_stand_in_one_array_or_in_rows(data, shape, pointer):
    assert flat_data(data, shape) == (["a", "b"], pointer)


@pytest.mark.parametrize(
    ("data", "shape", "pointer"),
    [
        (["a"], [2], "/inputs/0/data"),
        (["a", "b", "c"], [2, 1], "/inputs/0/data"),
        ([], [1, 2], "/inputs/0/data"),
        ([["a"]], [2, 1], "/inputs/0/data"),
        ([["a"], ["b"], ["c"]], [2, 1], "/inputs/0/data"),
        ([["a"], ["b", "c"]], [2, 1], "/inputs/0/data/1"),
        ([["a"], "b"], [2, 1], "/inputs/0/data/1"),
        ([["a"]], [1, 2], "/inputs/0/data/0"),
    ],
)
def test_data_that_does_not_fill_its_shape_is_refused_where(data, shape, pointer):
    with pytest.raises(InvalidInput) as caught:
        flat_data(data, shape)
    (error,) = caught.value.errors
    assert error.pointer == pointer


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        (None, (b"{}data", b"")),
        ("2", (b"{}", b"data")),
        ("6", (b"{}data", b"")),
        ("0", (b"", b"{}data")),
        ("000002", (b"{}", b"data")),
    ],
)
def test_the_header_says_where_the_json_ends(header, parts):
    assert split_body(b"{}data", header) == parts


@pytest.mark.parametrize("header", ["7", "-1", "", "2.0", "0x2", "٢", " 2", "9" * 13, "9" * 5000])
def test_a_header_that_cannot_be_is_refused(header):
    with pytest.raises(BadHeader):
        split_body(b"{}data", header)


@st.composite
def tensors(draw):
    """An output of either type, with as many elements as its shape says."""
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=2)))
    size = math.prod(shape)
    floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
    elements = draw(
        st.lists(st.text(), min_size=size, max_size=size)
        | st.lists(floats, min_size=size, max_size=size).map(
            lambda numbers: np.array(numbers, np.float32)
        )
    )
    name = draw(st.text(max_size=5))
    return Tensor(name=name, shape=shape, elements=elements, binary=draw(st.booleans()))


@given(st.lists(tensors(), max_size=4))
def test_an_answer_is_read_as_it_was_written(sent):
    body, length = render_tensors({"id": "1"}, sent)
    assert (length is None) == (not any(tensor.binary for tensor in sent))
    document, binary = orjson.loads(body[:length]), body[length:] if length else b""
    assert document.pop("id") == "1"
    for tensor, output in zip(sent, document.pop("outputs"), strict=True):
        assert (output["name"], output["shape"]) == (tensor.name, list(tensor.shape))
        if tensor.binary:
            size = output["parameters"]["binary_data_size"]
            part, binary = binary[:size], binary[size:]
            if output["datatype"] == "BYTES":
                got = unpacked_texts(part, math.prod(tensor.shape))
            else:
                got = np.frombuffer(part, "<f4").tolist()
        else:
            got = output["data"]
        # A number in JSON has as many digits as tell it from its neighbours of 32 bits.
        if output["datatype"] == "FP32":
            assert np.array(got, np.float32).tolist() == tensor.elements.tolist()
        else:
            assert got == tensor.elements
    assert (document, binary) == ({}, b"")
