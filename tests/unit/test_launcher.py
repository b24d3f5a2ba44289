import gc
from types import SimpleNamespace

from sentiment.api.lifecycle import Lifecycle
from sentiment.api.protocol import Edge
from sentiment.launcher import Server
from sentiment.listeners import Listeners
from sentiment.metrics import Metrics
from sentiment.settings import Settings


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
