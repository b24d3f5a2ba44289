"""Long work takes turns on the event loop, can be ended, and has a bounded waiting line."""

import asyncio

import pytest

from sentiment.api.turns import MAX_BODIES, Turns
from sentiment.errors import Overloaded
from tests.doubles import until


def endless(steps):
    while True:
        steps.append(None)
        yield


def counting(count):
    for _ in range(count):
        yield
    return count


async def test_work_gives_back_what_it_returns():
    assert await Turns(max_body_bytes=1).run(counting(100_000)) == 100_000


async def test_short_work_is_done_while_long_work_goes_on():
    turns = Turns(max_body_bytes=1)
    steps = []
    long = asyncio.create_task(turns.run(endless(steps)))
    await until(lambda: steps)
    assert await turns.run(counting(10)) == 10
    assert not long.done()
    long.cancel()


async def test_cancelled_work_stops_where_it_is():
    steps = []
    work = asyncio.create_task(Turns(max_body_bytes=1).run(endless(steps)))
    await until(lambda: steps)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    done = len(steps)
    await asyncio.sleep(0)
    assert len(steps) == done


async def test_a_deadline_ends_work_that_never_waits():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Turns(max_body_bytes=1).run(endless([]))


def test_more_than_a_few_large_bodies_are_refused_until_one_is_done():
    turns = Turns(max_body_bytes=10)
    with turns.admitted(10 * (MAX_BODIES - 1)):
        with turns.admitted(10), pytest.raises(Overloaded), turns.admitted(1):
            pass
        with turns.admitted(10):
            pass
