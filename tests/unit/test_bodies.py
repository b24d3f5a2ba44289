"""How much of all bodies together is held: the limit that a single request does not show."""

import asyncio

import pytest
from starlette.requests import Request

from sentiment.api.bodies import MAX_BODIES, Bodies
from sentiment.errors import BodyTooLarge, Overloaded


class Client:
    """Sends a body in the pieces that it is given."""

    def __init__(self):
        self.messages = asyncio.Queue()
        headers = [(b"content-type", b"application/json")]
        self.request = Request({"type": "http", "headers": headers}, self.messages.get)

    def send(self, piece, *, more=True):
        self.messages.put_nowait({"type": "http.request", "body": piece, "more_body": more})


async def test_many_clients_who_send_slowly_do_not_fill_the_memory():
    bodies = Bodies(max_body_bytes=100)
    slow = [Client() for _ in range(MAX_BODIES)]
    reading = [asyncio.create_task(bodies.read_json(client.request)) for client in slow]
    for client in slow:
        client.send(b"x" * 100)
    for _ in range(3):
        await asyncio.sleep(0)
    late = Client()
    late.send(b"y", more=False)
    with pytest.raises(Overloaded):
        await bodies.read_json(late.request)
    slow[0].send(b"", more=False)
    assert await reading[0] == b"x" * 100
    again = Client()
    again.send(b"y", more=False)
    assert await bodies.read_json(again.request) == b"y"
    for task in reading[1:]:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    assert bodies._free_bytes == MAX_BODIES * 100


async def test_a_body_that_is_refused_gives_its_bytes_back():
    bodies = Bodies(max_body_bytes=100)
    client = Client()
    client.send(b"x" * 60)
    client.send(b"x" * 60)
    with pytest.raises(BodyTooLarge):
        await bodies.read_json(client.request)
    assert bodies._free_bytes == MAX_BODIES * 100
