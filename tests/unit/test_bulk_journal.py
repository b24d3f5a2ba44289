"""The journal: what is finished is kept, what a crash has torn is not believed."""

import numpy as np
import pytest

from sentiment.bulk.journal import CHECKSUM, COUNTS, Journal
from sentiment.bulk.scoring import Scores
from sentiment.errors import StorageError
from tests.limits import file_size_limit

LABELS = 3
HEAD_BYTES = COUNTS.size + CHECKSUM.size


def scores(texts, seed=0):
    random = np.random.default_rng(seed)
    return Scores(
        random.random((texts, LABELS), dtype=np.float32), random.random(texts) < 0.5, texts // 2
    )


def kept(path):
    with Journal.open(path, labels=LABELS) as journal:
        return [(rows, found) for rows, found in journal.read()]


def written(path, *sizes):
    with Journal.open(path, labels=LABELS) as journal:
        for seed, size in enumerate(sizes):
            journal.append(rows=size + 1, scores=scores(size, seed))
    return path.read_bytes()


def test_what_is_appended_is_read_again_bit_for_bit(tmp_path):
    path = tmp_path / "scores.journal"
    written(path, 5, 0, 7)
    found = kept(path)
    assert [rows for rows, _ in found] == [6, 1, 8]
    for seed, (size, (_, each)) in enumerate(zip((5, 0, 7), found, strict=True)):
        expected = scores(size, seed)
        np.testing.assert_array_equal(each.probabilities, expected.probabilities)
        np.testing.assert_array_equal(each.truncated, expected.truncated)
        assert each.computed == expected.computed


def test_an_opened_journal_knows_what_it_holds(tmp_path):
    path = tmp_path / "scores.journal"
    written(path, 5, 7)
    with Journal.open(path, labels=LABELS) as journal:
        assert (journal.rows, journal.texts, journal.computed) == (14, 12, 5)


@pytest.mark.parametrize("cut", [1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, -1])
def test_a_torn_end_is_cut_off_and_what_comes_next_follows_the_last_whole_window(tmp_path, cut):
    path = tmp_path / "scores.journal"
    first = len(written(path, 5))
    path.unlink()
    whole = written(path, 5, 7)
    path.write_bytes(whole[: first + cut if cut > 0 else cut])
    with Journal.open(path, labels=LABELS) as journal:
        assert journal.rows == 6
        assert path.stat().st_size == first
        journal.append(rows=8, scores=scores(7, 1))
    assert path.read_bytes() == whole


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "scores.journal"
    whole = written(path, 5)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        assert kept(path) == [], f"byte {place}"


def test_a_full_disk_is_said_and_what_was_kept_stays(tmp_path):
    path = tmp_path / "scores.journal"
    whole = written(path, 5)
    with (
        Journal.open(path, labels=LABELS) as journal,
        file_size_limit(len(whole) + 20),
        pytest.raises(StorageError, match=r"scores\.journal: cannot be written: "),
    ):
        journal.append(rows=100, scores=scores(100))
    assert len(kept(path)) == 1
    assert path.read_bytes() == whole
