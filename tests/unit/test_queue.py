import time

import numpy as np
import pytest

from sentiment.batching.policy import QUANTUM_TOKENS
from sentiment.batching.queue import Entry, EntryQueue
from sentiment.errors import DeadlineExceeded, InferenceFailed
from tests.doubles import expected_logits

NEVER = float("inf")


class Waiting:
    """A queue and what a test does with it; texts are told apart by their first token."""

    def __init__(self, *, pads=False):
        self.queue = EntryQueue(pads=pads)
        self.next_id = 0

    def entry(self, *lengths, deadline_at=NEVER):
        encodings = []
        for length in lengths:
            self.next_id += 1
            encodings.append(np.array([self.next_id] * length))
        return self.equal(encodings, deadline_at=deadline_at)

    def equal(self, encodings, *, deadline_at=NEVER):
        entry = Entry(tokens=0, deadline_at=deadline_at)
        entry.encodings = encodings
        self.queue.reserve(entry)
        self.queue.put(entry)
        return entry

    def take(self, budget, *, now=0.0):
        return self.queue.take(budget, now=now)

    def answer(self, rows):
        self.queue.answer(rows, logits_of(rows))


def logits_of(rows):
    return np.stack([expected_logits(entry.encodings[row]) for entry, row in rows])


def got(entry):
    return entry.future.result().tolist()


def wanted(entry):
    return [expected_logits(ids).tolist() for ids in entry.encodings]


@pytest.fixture
async def waiting():
    return Waiting()


async def test_entries_leave_in_the_order_in_which_they_came(waiting):
    first, second = waiting.entry(3), waiting.entry(4)
    assert waiting.take(100) == [[(first, 0), (second, 0)]]


async def test_inside_an_entry_first_come_is_first_served(waiting):
    large = waiting.entry(10, 10, 10, 10)
    assert waiting.take(20) == [[(large, 0), (large, 1)]]
    assert waiting.take(20) == [[(large, 2), (large, 3)]]
    assert waiting.take(20) == []


async def test_a_small_entry_does_not_wait_behind_a_large_one(waiting):
    large = waiting.entry(*[32] * 100)
    small = waiting.entry(30)
    (batch,) = waiting.take(1024)
    assert (small, 0) in batch
    assert batch.index((small, 0)) == QUANTUM_TOKENS // 32
    assert len(batch) == 32  # the rest of the batch is the large one's
    assert {entry for entry, _ in batch} == {large, small}


async def test_requests_of_a_few_texts_are_served_whole_in_their_order(waiting):
    entries = [waiting.entry(*[30] * 8) for _ in range(10)]
    order = [entry for _ in range(3) for entry, _ in waiting.take(1000)[0]]
    assert order == [entry for entry in entries for _ in range(8)]


async def test_entries_of_equal_size_get_equal_shares_of_tokens(waiting):
    entries = [waiting.entry(*[lengths] * (12_800 // lengths)) for lengths in (8, 32, 128)]
    tokens = dict.fromkeys(entries, 0)
    for _ in range(9):
        (batch,) = waiting.take(1024)
        for entry, row in batch:
            tokens[entry] += len(entry.encodings[row])
    shares = sorted(tokens.values())
    assert shares[-1] - shares[0] <= 2 * QUANTUM_TOKENS


async def test_an_entry_with_long_texts_is_not_starved_by_short_ones(waiting):
    waiting.entry(*[10] * 1000)
    long = waiting.entry(500, 500)
    taken = [row for _ in range(4) for row in waiting.take(1000)[0]]
    assert (long, 0) in taken


async def test_a_text_longer_than_the_budget_runs_alone(waiting):
    long, short = waiting.entry(500), waiting.entry(5)
    assert waiting.take(100) == [[(long, 0)]]
    assert waiting.take(100) == [[(short, 0)]]


async def test_what_waits_is_counted_in_texts_and_tokens(waiting):
    queue = waiting.queue
    entry = waiting.entry(10, 20)
    waiting.entry(5)
    assert (queue.texts, queue.backlog.tokens) == (3, 35)
    (rows,) = waiting.take(12)
    assert (queue.texts, queue.backlog.tokens) == (2, 25)
    waiting.answer(rows)
    queue.remove(entry)
    assert (queue.texts, queue.backlog.tokens) == (1, 5)


async def test_an_entry_counts_while_it_is_being_tokenised(waiting):
    entry = Entry(tokens=100, deadline_at=NEVER)
    waiting.queue.reserve(entry)
    assert waiting.queue.backlog.tokens == 100
    entry.encodings = [np.ones(7, int)]
    waiting.queue.put(entry)
    assert waiting.queue.backlog.tokens == 7


async def test_an_entry_is_answered_when_the_last_of_its_texts_is(waiting):
    entry = waiting.entry(10, 10, 10)
    (first,) = waiting.take(20)
    waiting.answer(first)
    assert not entry.future.done()
    (second,) = waiting.take(20)
    waiting.answer(second)
    assert got(entry) == wanted(entry)


async def test_an_entry_whose_caller_has_gone_is_never_taken(waiting):
    gone, staying = waiting.entry(5, 5), waiting.entry(6)
    waiting.queue.remove(gone)
    assert waiting.queue.texts == 1
    assert waiting.take(100) == [[(staying, 0)]]


async def test_a_cancelled_future_counts_as_gone_before_anybody_says_so(waiting):
    gone, staying = waiting.entry(5), waiting.entry(6)
    gone.future.cancel()
    assert waiting.take(100) == [[(staying, 0)]]
    assert waiting.queue.backlog.tokens == 0


async def test_what_has_expired_is_not_taken_but_told(waiting):
    expired, staying = waiting.entry(5, deadline_at=10), waiting.entry(6, deadline_at=11)
    assert waiting.take(100, now=10) == [[(staying, 0)]]
    assert isinstance(expired.future.exception(), DeadlineExceeded)
    assert waiting.queue.texts == 0


async def test_equal_texts_in_flight_are_computed_once(waiting):
    first = waiting.entry(5, 6)
    second = waiting.equal(first.encodings[::-1])
    twice = waiting.equal([first.encodings[0]] * 3)
    assert waiting.queue.texts == 2
    assert waiting.queue.backlog.tokens == 11
    (rows,) = waiting.take(100)
    assert rows == [(first, 0), (first, 1)]
    late = waiting.equal(first.encodings[:1])  # it runs already
    assert waiting.take(100) == []
    waiting.answer(rows)
    for entry in (first, second, twice, late):
        assert got(entry) == wanted(entry)


async def test_an_equal_text_is_computed_again_once_the_first_is_answered(waiting):
    first = waiting.entry(5)
    waiting.answer(waiting.take(100)[0])
    again = waiting.equal(first.encodings)
    assert waiting.take(100) == [[(again, 0)]]


async def test_who_shared_a_text_inherits_it_when_the_first_caller_leaves(waiting):
    first = waiting.entry(5, 6)
    heir, third = waiting.equal(first.encodings[:1]), waiting.equal(first.encodings[:1])
    waiting.queue.remove(first)
    assert (waiting.queue.texts, waiting.queue.backlog.tokens) == (1, 5)
    (rows,) = waiting.take(100)
    assert rows == [(heir, 0)]
    waiting.answer(rows)
    assert got(heir) == wanted(heir)
    assert got(third) == wanted(third)


async def test_the_smaller_entry_waits_for_what_a_larger_one_wants_too(waiting):
    large = waiting.entry(*[32] * 100)
    small = waiting.equal(large.encodings[-2:])
    assert waiting.queue.texts == 100
    assert (large.waiting_tokens, small.waiting_tokens) == (98 * 32, 64)
    (rows,) = waiting.take(1024)
    assert {(small, 0), (small, 1)} < set(rows)
    waiting.answer(rows)
    assert got(small) == wanted(small)
    while batches := waiting.take(1024):
        waiting.answer(batches[0])
    assert got(large) == wanted(large)
    assert waiting.queue.backlog.tokens == 0


async def test_what_a_smaller_entry_had_taken_over_comes_back_when_it_leaves(waiting):
    large = waiting.entry(*[32] * 10)
    small = waiting.equal(large.encodings[-2:])
    waiting.queue.remove(small)
    assert (waiting.queue.texts, large.waiting_tokens) == (10, 320)
    assert waiting.take(1024) == [[(large, row) for row in range(10)]]


async def test_what_a_batch_has_taken_is_not_taken_over(waiting):
    large = waiting.entry(*[32] * 100)
    (rows,) = waiting.take(64)
    small = waiting.equal(large.encodings[:3])
    assert list(small.turns) == [2]
    waiting.answer(rows)
    assert not small.future.done()
    waiting.answer(waiting.take(1024)[0])
    assert got(small) == wanted(small)


async def test_a_text_twice_in_a_request_leaves_with_it(waiting):
    entry = waiting.entry(5)
    twice = waiting.equal([np.full(3, 99)] * 2)
    waiting.queue.remove(twice)
    assert waiting.take(100) == [[(entry, 0)]]
    assert waiting.queue.texts == 0
    assert waiting.queue._claims.keys() == set(entry.keys)


async def test_who_shared_a_running_text_is_answered_though_the_first_caller_left(waiting):
    first = waiting.entry(5)
    second = waiting.equal(first.encodings)
    (rows,) = waiting.take(100)
    waiting.queue.remove(first)
    waiting.answer(rows)
    assert got(second) == wanted(second)


async def test_a_text_that_fails_fails_everybody_who_waits_for_it_and_nobody_else(waiting):
    first = waiting.entry(5, 6, 4)
    second = waiting.equal([first.encodings[0], np.full(9, 99), np.full(9, 98)])
    other = waiting.entry(7)
    (rows,) = waiting.take(5)
    assert rows == [(first, 0)]
    waiting.queue.fail(rows[0], InferenceFailed("poison"))
    for entry in (first, second):
        assert isinstance(entry.future.exception(), InferenceFailed)
    assert waiting.take(100) == [[(other, 0)]]  # the rest of the failed entry is not run


async def test_of_what_was_taken_nothing_runs_for_a_request_that_has_failed(waiting):
    failing, other = waiting.entry(5, 6), waiting.entry(7)
    (rows,) = waiting.take(100)
    waiting.queue.fail(rows[0], InferenceFailed("poison"))
    assert waiting.queue.wanted(rows[1:], now=0) == [(other, 0)]
    assert isinstance(failing.future.exception(), InferenceFailed)


async def test_an_answer_may_meet_a_caller_who_left_just_now(waiting):
    leaving, staying = waiting.entry(5), waiting.entry(6)
    (rows,) = waiting.take(100)
    leaving.future.cancel()
    waiting.answer(rows)
    assert got(staying) == wanted(staying)


async def test_if_one_answer_cannot_be_delivered_everybody_can_still_be_told(waiting):
    first, other = waiting.entry(5, 6), waiting.entry(7)
    waiting.answer(waiting.take(5)[0])
    (rows,) = waiting.take(100)
    assert len(rows) == 2
    with pytest.raises(ValueError, match=r"shape mismatch|broadcast"):
        waiting.queue.answer(rows, logits_of(rows)[:, :2])
    assert set(waiting.queue.remove_all()) == {first, other}


async def test_of_what_was_taken_only_what_somebody_still_wants_is_run(waiting):
    leaving, staying = waiting.entry(5), waiting.entry(6)
    expiring = waiting.entry(7, deadline_at=3)
    (rows,) = waiting.take(100)
    waiting.queue.remove(leaving)
    assert waiting.queue.wanted(rows, now=5) == [(staying, 0)]
    assert isinstance(expiring.future.exception(), DeadlineExceeded)
    assert waiting.queue._claims.keys() == set(staying.keys)


async def test_when_everything_is_given_up_everybody_is_named_once(waiting):
    running, queued = waiting.entry(5), waiting.entry(6, 6)
    shared = waiting.equal(running.encodings)
    waiting.take(5)
    assert set(waiting.queue.remove_all()) == {running, queued, shared}
    assert (waiting.queue.texts, waiting.queue.backlog.tokens) == (0, 0)
    assert waiting.take(100) == []
    fresh = waiting.entry(8)
    assert waiting.take(100) == [[(fresh, 0)]]


async def test_for_an_engine_that_pads_a_window_is_sorted_and_cut():
    waiting = Waiting(pads=True)
    mixed = waiting.entry(*[10, 100] * 10)
    batches = waiting.take(500)
    assert [len(batch) for batch in batches] == [10, 5, 5]
    assert batches[0][0] == (mixed, 0)
    for batch in batches:
        assert len({len(entry.encodings[row]) for entry, row in batch}) == 1


async def test_a_window_ends_so_that_a_newcomer_does_not_wait_for_everything():
    waiting = Waiting(pads=True)
    waiting.entry(*[100] * 100)
    assert sum(map(len, waiting.take(500))) == 20


async def test_a_text_that_fills_many_requests_is_forgotten_in_time_with_them(waiting):
    # The work must grow with the texts, not with their square: that would be ten seconds.
    began_at = time.monotonic()
    distinct = waiting.entry(*[1] * 4096)
    copies = [waiting.equal([distinct.encodings[-1]] * 4096) for _ in range(6)]
    for entry in copies:
        waiting.queue.remove(entry)
    waiting.queue.remove(distinct)
    assert waiting.queue._claims == {}
    assert time.monotonic() - began_at < 3
