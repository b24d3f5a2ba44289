import asyncio

import numpy as np
import pytest

from sentiment.batching.queue import Entry, EntryQueue


def entry(*lengths):
    return Entry([np.ones(length, dtype=np.int64) for length in lengths], admitted_at=0)


def shape(slices):
    return [(piece.entry, piece.start, piece.stop) for piece in slices]


@pytest.fixture
async def queue():
    return EntryQueue()


async def test_entries_leave_in_the_order_in_which_they_came(queue):
    first, second = entry(3), entry(4)
    queue.put(first)
    queue.put(second)
    assert shape(await queue.take(100, pads=False)) == [(first, 0, 1), (second, 0, 1)]


async def test_a_large_entry_is_cut_across_batches_without_losing_its_place(queue):
    large, small = entry(10, 10, 10), entry(1)
    queue.put(large)
    queue.put(small)
    assert shape(await queue.take(20, pads=False)) == [(large, 0, 2)]
    assert shape(await queue.take(20, pads=False)) == [(large, 2, 3), (small, 0, 1)]


async def test_take_waits_for_an_entry_and_then_takes_it_at_once(queue):
    taking = asyncio.create_task(queue.take(100, pads=False))
    await asyncio.sleep(0)
    assert not taking.done()
    waiting = entry(5)
    queue.put(waiting)
    assert shape(await taking) == [(waiting, 0, 1)]


async def test_an_entry_whose_caller_has_gone_is_never_taken(queue):
    gone, waiting = entry(5, 5), entry(6)
    queue.put(gone)
    queue.put(waiting)
    gone.future.cancel()
    assert shape(await queue.take(100, pads=False)) == [(waiting, 0, 1)]
    assert (queue.texts, queue.tokens) == (0, 0)


async def test_a_take_that_finds_only_abandoned_entries_goes_on_waiting(queue):
    taking = asyncio.create_task(queue.take(100, pads=False))
    await asyncio.sleep(0)
    gone = entry(5)
    gone.future.cancel()
    queue.put(gone)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not taking.done()
    waiting = entry(6)
    queue.put(waiting)
    assert shape(await taking) == [(waiting, 0, 1)]


async def test_what_waits_is_counted_in_texts_and_tokens(queue):
    queue.put(entry(10, 20))
    queue.put(entry(5))
    assert (queue.texts, queue.tokens) == (3, 35)
    await queue.take(10, pads=False)
    assert (queue.texts, queue.tokens) == (2, 25)
    await queue.take(100, pads=False)
    assert (queue.texts, queue.tokens) == (0, 0)


async def test_a_closed_queue_gives_what_waits_and_then_nothing(queue):
    last = entry(5)
    queue.put(last)
    queue.close()
    assert shape(await queue.take(100, pads=False)) == [(last, 0, 1)]
    assert await queue.take(100, pads=False) == []


async def test_closing_wakes_a_take_that_waits(queue):
    taking = asyncio.create_task(queue.take(100, pads=False))
    await asyncio.sleep(0)
    queue.close()
    assert await taking == []


async def test_draining_returns_and_forgets_everything_that_waits(queue):
    waiting = [entry(5), entry(6)]
    for each in waiting:
        queue.put(each)
    assert queue.drain() == waiting
    assert (queue.texts, queue.tokens) == (0, 0)


async def test_an_entry_resolves_once_its_last_text_is_answered():
    waiting = entry(1, 1, 1)
    waiting.answer(np.zeros((2, 3), np.float32))
    assert not waiting.future.done()
    waiting.answer(np.ones((1, 3), np.float32))
    assert (await waiting.future).tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 1]]


async def test_an_answer_to_a_caller_who_has_gone_is_dropped_in_silence():
    gone = entry(1)
    gone.future.cancel()
    gone.answer(np.zeros((1, 3), np.float32))
    gone.fail(RuntimeError())
    assert gone.future.cancelled()
