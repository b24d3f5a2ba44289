"""Whether a client is still there, and what it asks for: between hang-ups, drains and deadlines."""

import asyncio

import pytest
from starlette.requests import Request

from sentiment.api.clients import WhileConnected, timeout_s
from sentiment.errors import BadHeader, ClientClosed
from tests.doubles import until


class Client:
    """The other end of a request whose body has been read."""

    def __init__(self):
        self.messages = asyncio.Queue()
        self.request = Request({"type": "http", "headers": []}, receive=self.messages.get)
        self.outcome = []

    def hang_up(self):
        self.messages.put_nowait({"type": "http.disconnect"})

    async def serve(self, work):
        try:
            async with WhileConnected(self.request):
                self.outcome.append(await work)
        except BaseException as error:
            self.outcome.append(type(error))
            raise

    def start(self, work):
        return asyncio.create_task(self.serve(work))


def watchers():
    return [task for task in asyncio.all_tasks() if task.get_name() == "hang-up watcher"]


async def test_who_stays_is_answered_and_no_longer_watched():
    client = Client()
    await client.serve(asyncio.sleep(0, "answer"))
    assert client.outcome == ["answer"]
    await asyncio.sleep(0)
    assert watchers() == []


async def test_who_hangs_up_ends_the_work():
    client = Client()
    work = asyncio.get_running_loop().create_future()
    serving = client.start(work)
    await until(watchers)
    client.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    client.hang_up()
    with pytest.raises(ClientClosed):
        await serving
    assert work.cancelled()
    assert watchers() == []


async def test_a_cancellation_from_elsewhere_goes_on():
    client = Client()
    serving = client.start(asyncio.get_running_loop().create_future())
    await until(watchers)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert client.outcome == [asyncio.CancelledError]
    await asyncio.sleep(0)
    assert watchers() == []


@pytest.mark.parametrize("first", ["hang-up", "drain"])
async def test_a_drain_goes_on_though_the_client_hangs_up_at_the_same_time(first):
    client = Client()
    serving = client.start(asyncio.get_running_loop().create_future())
    await until(watchers)
    if first == "drain":
        serving.cancel()
    client.hang_up()
    if first == "hang-up":
        await asyncio.sleep(0)
        serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert serving.cancelling() == 1  # the drain's, which whoever is outside may ask for


async def test_a_hang_up_at_the_deadline_is_told_as_either_and_leaves_nothing_behind():
    client = Client()

    async def work():
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    serving = client.start(work())
    await until(watchers)
    asyncio.get_running_loop().call_later(0.01, client.hang_up)
    with pytest.raises((ClientClosed, TimeoutError)):
        await serving
    assert serving.cancelling() == 0
    await asyncio.sleep(0)
    assert watchers() == []


async def test_an_error_of_the_work_is_told_as_it_is():
    client = Client()

    async def work():
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await client.serve(work())


def asking(*values):
    headers = [(b"x-timeout-ms", value.encode("latin-1")) for value in values]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), (["1"], 0.001), (["1500"], 1.5), (["9" * 5000], 999_999_999.999)],
)
def test_a_deadline_is_read_in_milliseconds(values, expected):
    assert timeout_s(asking(*values)) == expected


@pytest.mark.parametrize(
    "values", [["0"], [""], ["-1"], ["+1"], ["1.5"], [" 1"], ["\xb2"], ["1", "1"], ["1", "2"]]
)
def test_an_impossible_deadline_is_refused(values):
    with pytest.raises(BadHeader):
        timeout_s(asking(*values))
