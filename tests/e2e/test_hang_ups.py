"""Clients who hang up, politely or not, at every stage: they cost nothing and harm nobody."""

import json
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import GATED, running_server
from tests.e2e.test_lifecycle import wait_until
from tests.e2e.wire import connect, exchange, metric, post, posting, take, waiting

CLIENTS = 400


@pytest.fixture(scope="module")
def quiet_server():
    """A gated server whose log must be free of errors in the end."""
    with running_server(*GATED, SENTIMENT_CACHE_TEXTS="0", SENTIMENT_THREADS="2") as server:
        yield server
        server.stop()
    assert [line for line in server.log if line["level"] != "INFO"] == []
    assert not any("exception" in line for line in server.log)


@pytest.fixture
def server(quiet_server):
    """The server, which afterwards has nothing left of what the test did."""
    yield quiet_server
    for gauge in ("queue_texts", "queue_tokens", "backlog_seconds"):
        assert metric(quiet_server.address, f"sentiment_{gauge}") == 0
    before = count(quiet_server)
    assert post(quiet_server.address, b'["golden"]').status == 200
    assert count(quiet_server) == before + 1


def finish(connection):
    connection.close()


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def count(server):
    """Return how many texts the engine was given."""
    return int(server.ask("count"))


def closed(server):
    return metric(server.address, "sentiment_requests_total", status="499")


def begin(server, name):
    connection = connect(server.address)
    connection.sendall(posting(json.dumps([name]).encode()))
    return connection


@contextmanager
def occupied(server):
    """Hold the engine at a batch of one text for the time of the block."""
    with ThreadPoolExecutor(1) as client:
        server.tell("hold", until="held")
        body = posting(b'["occupies the engine"]', "Connection: close")
        occupying = client.submit(exchange, server.address, body)
        server.hear("entered")
        yield
        server.tell("release", until="released")
        assert occupying.result()[0].status == 200


@pytest.mark.parametrize("hang_up", [finish, reset])
def test_who_hangs_up_in_the_queue_never_reaches_the_engine(server, hang_up):
    gone, ran = closed(server), count(server)
    with occupied(server):
        before = waiting(server.address)
        connections = [begin(server, f"{hang_up.__name__} {i}") for i in range(CLIENTS)]
        wait_until(lambda: waiting(server.address) == before + CLIENTS)
        for connection in connections:
            hang_up(connection)
        wait_until(lambda: closed(server) == gone + CLIENTS)
        assert metric(server.address, "sentiment_queue_texts") == 0
    assert count(server) == ran + 1


@pytest.mark.parametrize("hang_up", [finish, reset])
def test_who_hangs_up_while_being_tokenised_never_reaches_the_engine(server, hang_up):
    gone, ran = closed(server), count(server)

    def expected():
        return metric(server.address, "sentiment_queue_tokens")

    server.tell("hold tokenizer", until="held")
    text = "too long for the event loop " * 20
    connections = [begin(server, f"{text} 0")]
    wait_until(expected)
    each = expected()
    connections += [begin(server, f"{text} {i % 10}") for i in range(1, 20)]
    wait_until(lambda: expected() == pytest.approx(20 * each))
    for connection in connections:
        hang_up(connection)
    wait_until(lambda: closed(server) == gone + 20)
    assert expected() == 0
    server.tell("release tokenizer", until="released")
    assert post(server.address, b'["another"]').status == 200
    assert count(server) == ran + 1


@pytest.mark.parametrize("hang_up", [finish, reset])
def test_who_hangs_up_during_the_batch_harms_nobody_who_shares_it(server, hang_up):
    gone = closed(server)
    server.tell("hold", until="held")
    leaving = begin(server, "runs")
    server.hear("entered")
    coalesced = metric(server.address, "sentiment_coalesced_total")
    sharing = begin(server, "runs")
    wait_until(lambda: metric(server.address, "sentiment_coalesced_total") == coalesced + 1)
    before = waiting(server.address)
    neighbours = [begin(server, f"neighbour {i}") for i in range(40)]
    wait_until(lambda: waiting(server.address) == before + 40)
    hang_up(leaving)
    for connection in neighbours[::2]:
        hang_up(connection)
    wait_until(lambda: closed(server) == gone + 21)
    server.tell("release", until="released")
    for connection in (sharing, *neighbours[1::2]):
        assert take(connection).status == 200
        connection.close()
    assert metric(server.address, "sentiment_rejected_total", reason="client-closed") == gone + 21
