"""What is kept of the calls of one request."""

import asyncio

import numpy as np

from sentiment.calls import MAX_KEPT, Call, follow_calls, note_call


def computed(tokens=2):
    return Call(texts=1, computing_at=1.0, lengths=np.array([float(tokens)]))


def test_calls_of_any_task_of_a_request_are_noted_and_those_of_others_are_not():
    async def request(calls):
        followed = follow_calls()
        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(call())
        return followed

    async def call():
        await asyncio.sleep(0)
        note_call(computed())

    async def main():
        return await asyncio.gather(
            *(asyncio.create_task(request(calls)) for calls in (1, 3)), call()
        )

    one, three, _ = asyncio.run(main())
    assert (one.count, len(one.computed), one.tokens) == (1, 1, 2)
    assert (three.count, len(three.computed), three.tokens) == (3, 3, 6)


def test_a_stream_without_end_keeps_the_first_calls_and_counts_all():
    async def stream():
        followed = follow_calls()
        for _ in range(10 * MAX_KEPT):
            note_call(computed(tokens=3))
        return followed

    calls = asyncio.run(stream())
    assert len(calls.computed) == MAX_KEPT
    assert calls.count == 10 * MAX_KEPT
    assert calls.tokens == 30 * MAX_KEPT


def test_a_call_that_the_cache_answers_takes_no_place():
    async def request():
        followed = follow_calls()
        note_call(Call(texts=2, cached_texts=2))
        return followed

    calls = asyncio.run(request())
    assert (calls.count, calls.computed, calls.cached_texts) == (1, [], 2)
