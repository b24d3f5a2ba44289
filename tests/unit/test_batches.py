import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.engines.batches import PackedBatch, PaddedBatch

ENCODINGS = st.lists(
    st.lists(st.integers(1, 30_000), min_size=1, max_size=20).map(
        lambda ids: np.array(ids, dtype=np.int64)
    ),
    min_size=1,
    max_size=12,
)


@given(ENCODINGS)
def test_padding_keeps_every_token_in_its_place(encodings):
    batch = PaddedBatch.collate(encodings)
    for ids, row, mask in zip(encodings, batch.ids, batch.mask, strict=True):
        assert row[: len(ids)].tolist() == ids.tolist()
        assert mask.tolist() == [1] * len(ids) + [0] * (len(mask) - len(ids))


@given(ENCODINGS)
def test_padding_takes_the_id_that_a_model_pads_with(encodings):
    batch = PaddedBatch.collate(encodings)
    filled = batch.filled(99_999)
    assert (filled[batch.mask == 0] == 99_999).all()
    assert (filled[batch.mask == 1] == batch.ids[batch.mask == 1]).all()


@given(ENCODINGS)
def test_packing_keeps_every_token_and_says_where_texts_begin(encodings):
    batch = PackedBatch.collate(encodings)
    for ids, start, length in zip(encodings, batch.row_starts, batch.lengths, strict=True):
        assert batch.ids[start : start + length].tolist() == ids.tolist()
        assert batch.positions[start : start + length].tolist() == list(range(len(ids)))


@given(ENCODINGS)
def test_every_token_stands_once_in_the_rows_and_its_text_stands_together(encodings):
    batch = PackedBatch.collate(encodings)
    rows = batch.attention_rows
    for text, (start, length) in enumerate(zip(batch.row_starts, batch.lengths, strict=True)):
        slots = rows.slots[start : start + length]
        assert slots.tolist() == list(range(slots[0], slots[0] + length))
        assert len(set(slots // rows.segments.shape[1])) == 1
        assert rows.sources[slots].tolist() == list(range(start, start + length))
        assert (rows.segments.reshape(-1)[slots] == text).all()
    assert (rows.segments >= 0).sum() == batch.tokens


def test_short_texts_share_a_row_beside_a_long_one():
    batch = PackedBatch.collate([np.arange(512), *[np.arange(30)] * 17])
    assert batch.attention_rows.segments.shape == (2, 512)


@given(ENCODINGS)
def test_rows_are_rounded_up_so_that_few_shapes_occur(encodings):
    rows, width = PackedBatch.collate(encodings).attention_rows.segments.shape
    assert width % 8 == 0
    assert rows == 1 or rows % 2 == 0


@given(ENCODINGS)
def test_only_padding_separates_computed_tokens_from_tokens(encodings):
    lengths = [len(ids) for ids in encodings]
    padded, packed = PaddedBatch.collate(encodings), PackedBatch.collate(encodings)
    assert padded.tokens == packed.tokens == packed.computed_tokens == sum(lengths)
    assert padded.computed_tokens == max(lengths) * len(lengths)


@pytest.mark.parametrize("layout", [PaddedBatch, PackedBatch])
def test_arrays_are_64_bit_integers_as_embeddings_want_them(layout):
    batch = layout.collate([np.array([1, 2]), np.array([3])])
    assert batch.ids.dtype == np.int64
