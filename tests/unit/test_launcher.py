import gc
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from sentiment.api.lifecycle import Lifecycle
from sentiment.api.protocol import Edge
from sentiment.launcher import Server
from sentiment.listeners import Listeners, bind
from sentiment.metrics import Metrics
from sentiment.settings import Settings
from tests.e2e.wire import answers, connect, head, read


async def answer_nothing(scope, receive, send):
    """An application of which every answer is empty."""
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
        return
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body"})


def clients(listeners, count, connections):
    """Return connections that the kernel has completed, each with a request."""
    found = [
        connections.enter_context(connect(listener.getsockname()))
        for listener in listeners.api
        for _ in range(count)
    ]
    for client in found:
        client.sendall(head("GET", "/"))
    return found


@pytest.fixture
def listeners():
    listeners = Listeners(api=[*bind("127.0.0.1", 0), *bind("127.0.0.2", 0)])
    yield listeners
    listeners.close()


@pytest.mark.parametrize("stays_open", [False, True])
async def test_what_waits_at_a_port_when_it_closes_is_answered_unless_others_accept(
    listeners, stays_open
):
    with ExitStack() as connections:
        of_others = [connections.enter_context(each.dup()) for each in listeners.api]
        waiting = []

        def clients_come_at_last():
            waiting.extend(clients(listeners, 100, connections))
            return stays_open

        edge = Edge(Settings(model="compact"), Metrics(), Lifecycle())
        server = Server(answer_nothing, edge, listeners, port_stays_open=clients_come_at_last)
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup()
        await server.shutdown()
        gc.unfreeze()
        if stays_open:
            for _ in range(100):
                for each in of_others:
                    each.setblocking(False)
                    each.accept()[0].close()
        else:
            answered = [answers(read(client)) for client in waiting]
            assert [(each.status, each.closes) for (each,) in answered] == [(200, True)] * 200


async def test_the_garbage_collector_leaves_alone_what_was_there_before_the_port_opened():
    # Walking a model and its libraries would hold up the event loop for 50 ms and more.
    async def started():
        pass

    edge = Edge(Settings(model="compact"), Metrics(), Lifecycle())
    server = Server(lambda *_: None, edge, Listeners(api=[]))
    server.lifespan = SimpleNamespace(startup=started, should_exit=False, state={})
    try:
        await server.startup([])
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
