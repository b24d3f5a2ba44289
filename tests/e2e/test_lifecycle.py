"""The process from its start to its end: signals, drains, ports. Nothing accepted is lost."""

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from sentiment.listeners import bind
from tests.conftest import REPOSITORY
from tests.e2e.conftest import GATED, environment, running_server, starting_server
from tests.e2e.wire import (
    answers,
    chunked,
    connect,
    exchange,
    get,
    head,
    metric,
    post,
    posting,
    read,
    take,
)

KILLED = (-signal.SIGTERM, -signal.SIGKILL, -signal.SIGINT)


def serve_once(*command, **settings):
    """Run a server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def no_tracebacks(server):
    assert not any("exception" in line for line in server.log), server.log


def wait_until(condition):
    """Ask until `condition` holds; each ask is a request, so this does not spin."""
    ends_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends_at, "it never came"


@pytest.mark.parametrize("seed", range(3))
def test_sigterm_answers_everything_that_was_accepted(seed):
    source = random.Random(seed)
    with (
        running_server(*GATED, SENTIMENT_METRICS_PORT="0", SENTIMENT_DRAIN_S="20") as server,
        ThreadPoolExecutor(80) as clients,
        ExitStack() as connections,
    ):
        idle = [connections.enter_context(connect(server.address)) for _ in range(5)]
        for connection in idle[1:]:  # the first never says a word
            connection.sendall(head("GET", "/info"))
            assert take(connection).status == 200
        halves = [connections.enter_context(connect(server.address)) for _ in range(2)]
        halves[0].sendall(posting(b'["half"]')[: -source.randint(1, 8)])
        halves[1].sendall(head("GET", "/")[: -source.randint(1, 30)])
        server.tell("hold", until="held")
        texts = [json.dumps([f"{i}" + " x" * source.randint(1, 200)]).encode() for i in range(70)]
        waiting = [clients.submit(exchange, server.address, posting(texts[0]))]
        server.hear("entered")
        waiting += [clients.submit(exchange, server.address, posting(text)) for text in texts[1:]]
        wait_until(lambda: accepted_texts(server) == len(texts))
        server.signal(signal.SIGTERM)
        wait_until(lambda: get(server.operations, "/readyz").code == "draining")
        assert metric(server.operations, "sentiment_ready") == 0
        wait_until(lambda: not listens(server.address))
        server.signal(signal.SIGTERM)  # once more changes nothing
        assert get(server.operations, "/livez").status == 200
        assert accepted_texts(server) == len(texts)
        server.process.stdin.write("release\n")
        server.process.stdin.flush()
        for answered in waiting:
            (answer,) = answered.result()
            assert answer.status == 200
            assert answer.closes
        for connection in idle:
            assert read(connection) == b""
        for connection in halves:
            (answer,) = answers(read(connection))
            assert (answer.status, answer.code) == (503, "draining")
            assert answer.closes
        assert server.wait() == -signal.SIGTERM
    no_tracebacks(server)


def accepted_texts(server):
    """How many texts wait, stand ready or run, beside the four of the warm-up."""
    given, waiting = (
        metric(server.operations, f"sentiment_{name}")
        for name in ("batch_texts_sum", "queue_texts")
    )
    return given + waiting - 4


def listens(address):
    try:
        socket.create_connection(address, timeout=30).close()
    except ConnectionError:  # refused, or reset with the listener that had it
        return False
    return True


def test_connections_that_wait_to_be_accepted_when_the_end_comes_are_answered():
    with running_server(*GATED) as server, ExitStack() as connections:
        assert post(server.address).status == 200
        server.signal(signal.SIGSTOP)  # the kernel goes on completing connections
        waiting = [connections.enter_context(connect(server.address)) for _ in range(50)]
        for connection in waiting:
            connection.sendall(posting(b'["a"]'))
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        for connection in waiting:
            (answer,) = answers(read(connection))
            assert (answer.status, answer.closes) == (200, True)
        assert server.wait() == -signal.SIGTERM
    no_tracebacks(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_unanswered_when_the_drain_is_over_gets_503(number):
    with (
        running_server(*GATED, SENTIMENT_DRAIN_S="0.3") as server,
        ThreadPoolExecutor(2) as clients,
    ):
        server.tell("hold", until="held")
        waiting = clients.submit(exchange, server.address, posting(b'["a"]'))
        server.hear("entered")
        server.signal(number)
        (answer,) = waiting.result()
        assert (answer.status, answer.code) == (503, "draining")
        assert answer.headers["retry-after"] == "1"
        assert answer.closes
        # The batch still stands at the gate, where it gives up after half a minute.
        server.process.wait(timeout=15)
        assert server.wait() in (0, -number)


def test_a_request_that_has_begun_to_come_may_end_during_the_drain():
    request = posting(b'["a"]')
    with running_server(*GATED) as server:
        early, late = connect(server.address), connect(server.address)
        with early, late:
            early.sendall(request[:-1])
            late.sendall(request[:20])
            assert post(server.address).status == 200  # so both were read
            server.signal(signal.SIGTERM)
            wait_until(lambda: not listens(server.address))
            for connection, rest in ((early, request[-1:]), (late, request[20:])):
                connection.sendall(rest)
                (answer,) = answers(read(connection))
                assert answer.status == 200
                assert answer.closes
        assert server.wait() == -signal.SIGTERM
    no_tracebacks(server)


def test_a_drain_may_wait_for_a_load_balancer_that_polls():
    with running_server(*GATED, SENTIMENT_DRAIN_DELAY_S="2") as server:
        with connect(server.address) as kept_alive:
            kept_alive.sendall(head("GET", "/readyz"))
            assert take(kept_alive).status == 200
            server.signal(signal.SIGTERM)
            wait_until(lambda: get(server.address, "/readyz").code == "draining")
            server.wait_for_line("draining")
            answer = post(server.address)  # a new connection, and work
            assert answer.status == 200
            kept_alive.sendall(head("GET", "/readyz"))
            (answer,) = answers(read(kept_alive))
            assert (answer.status, answer.code) == (503, "draining")
            assert answer.closes
        assert get(server.address, "/livez").status == 200
        assert server.wait() == -signal.SIGTERM


def test_a_second_interrupt_ends_at_once():
    with (
        running_server(*GATED) as server,
        ThreadPoolExecutor(1) as clients,
        connect(server.address) as connection,
    ):
        server.tell("hold", until="held")
        connection.sendall(posting(b'["a"]'))
        server.hear("entered")
        server.signal(signal.SIGINT)
        server.wait_for_line("draining")
        server.signal(signal.SIGINT)
        assert clients.submit(read, connection).result() == b""
        assert server.wait() == -signal.SIGINT


def test_one_interrupt_answers_what_was_accepted():
    with (
        running_server(*GATED) as server,
        connect(server.address) as connection,
    ):
        server.tell("hold", until="held")
        connection.sendall(posting(b'["a"]'))
        server.hear("entered")
        server.signal(signal.SIGINT)
        server.wait_for_line("draining")
        server.tell("release", until="released")
        assert answers(read(connection))[0].status == 200
        assert server.wait() in (0, -signal.SIGINT)
    no_tracebacks(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("line", ["Started server process", "Waiting for application startup"])
def test_a_signal_while_the_model_loads_ends_the_process_at_once(line, number):
    with starting_server() as server:
        server.wait_for_line(line)
        began_at = time.monotonic()
        server.signal(number)
        assert server.wait() == -number
        assert time.monotonic() - began_at < 5
    no_tracebacks(server)
    assert not any(line["message"] == "ready" for line in server.log)


def test_after_a_kill_under_load_the_same_port_serves_again():
    stop = threading.Event()
    wrong = []

    def load(address):
        while not stop.is_set():
            try:
                (answer,) = exchange(address, posting(b'["a"]', "Connection: close"))
            except (ConnectionError, ValueError, AssertionError):
                continue  # cut, refused or reset: said, not wrong
            if answer.status != 200 or len(json.loads(answer.body)) != 1:
                wrong.append(answer)

    with ThreadPoolExecutor(8) as clients, running_server(*GATED) as server:
        for _ in range(8):
            clients.submit(load, server.address)
        wait_until(lambda: metric(server.address, "sentiment_texts_total") > 50)
        server.signal(signal.SIGKILL)
        server.wait()
        port = str(server.address[1])
        try:
            with running_server(*GATED, port) as again:
                assert again.address == server.address
                wait_until(lambda: metric(again.address, "sentiment_texts_total") > 50)
                stop.set()
                assert again.stop() == -signal.SIGTERM
        finally:
            stop.set()
    assert wrong == []


def test_probes_and_metrics_move_to_their_own_port():
    with running_server(
        *GATED, SENTIMENT_METRICS_PORT="0", SENTIMENT_API_KEYS="secret-key"
    ) as server:
        for path in ("/livez", "/readyz", "/metrics"):
            assert get(server.address, path, "Authorization: Bearer secret-key").status == 404
            assert get(server.operations, path).status == 200
        for path in ("/", "/info", "/docs", "/docs/docs.js", "/openapi.json", "/debug", "/admin"):
            assert get(server.operations, path).code == "not-found"
        (answer,) = exchange(server.operations, posting(b'["a"]', "Connection: close"))
        assert answer.status == 404
        document = json.loads(get(server.address, "/openapi.json").body)
        assert not {"/livez", "/readyz", "/metrics"} & document["paths"].keys()
        (answer,) = exchange(server.operations, b"GET / HTTP/1.1\r\n\r\n")  # hardened as well
        assert answer.code == "malformed-http"
        assert answer.headers["date"]
        assert server.stop() == -signal.SIGTERM
    assert "secret-key" not in json.dumps(server.log)


PUBLIC = {
    "/": 200, "/docs": 200, "/docs/docs.js": 200, "/openapi.json": 200, "/livez": 200,
    "/readyz": 200, "/info": 200, "/metrics": 200, "/analyze_sentiment": 405,
}  # fmt: skip
PRIVATE = (
    "/debug", "/admin", "/config", "/healthz", "/health", "/status", "/env", "/shutdown", "/models",
    "/redoc", "/swagger", "/favicon.ico", "/.env", "/.git/config", "/docs/../sentiment/cli.py",
    "/docs/%2e%2e/app.py", "/docs/docs.html", "//", "/static/docs.html", "/v1/models",
)  # fmt: skip


def test_the_main_port_serves_what_is_documented_and_nothing_else(server):
    assert {path: get(server.address, path).status for path in PUBLIC} == PUBLIC
    for path in PRIVATE:
        assert get(server.address, path).code == "not-found", path


SERVE = ("-m", "sentiment", "serve", "--port")


def test_a_taken_port_is_said_in_one_line_before_the_model_is_loaded(server):
    port = str(server.address[1])
    done = serve_once(*SERVE, port)
    (line,) = done.stderr.splitlines()
    assert line == f"error: cannot listen on 127.0.0.1:{port}: address already in use"
    assert done.returncode == 3


def test_a_taken_metrics_port_is_said_in_one_line(server):
    port = str(server.address[1])
    done = serve_once(*SERVE, "0", SENTIMENT_METRICS_PORT=port)
    (line,) = done.stderr.splitlines()
    assert line == f"error: cannot listen on 127.0.0.1:{port}: address already in use"
    assert done.returncode == 3


def test_a_port_that_is_taken_while_the_model_loads_is_said_too():
    with socket.socket() as rival:
        # Bound like ours: two may, but only one of them can listen.
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", 0))
        with subprocess.Popen(
            [sys.executable, *SERVE, str(rival.getsockname()[1])],
            cwd=REPOSITORY,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            while "Waiting for application startup" not in process.stderr.readline():
                pass
            rival.listen()
            *log, line = process.communicate(timeout=60)[1].splitlines()
    assert line.startswith("error: cannot listen: ")
    assert "address already in use" in line
    assert not any("exception" in json.loads(entry) for entry in log)
    assert process.returncode == 3


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_somebody_else_is_said_in_one_line(host):
    done = serve_once(*SERVE, "0", "--host", host)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: cannot listen on {host}")
    assert done.returncode == 3


def test_a_name_means_every_address_that_it_has(monkeypatch):
    addresses = [("127.0.0.1", 0), ("127.0.0.2", 0)]
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses],
    )
    listeners = bind("several", 0)
    try:
        bound = [listener.getsockname() for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
    assert [host for host, _ in bound] == ["127.0.0.1", "127.0.0.2"]
    assert len({port for _, port in bound}) == 1


def test_localhost_serves_on_each_of_its_addresses():
    with running_server("-m", "sentiment", "serve", "--port", "0", "--host", "localhost") as server:
        port = int(server.url.rpartition(":")[2])
        found = socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)
        for *_, address in found:
            if address[0] == "::1" and not socket.has_dualstack_ipv6():
                continue
            assert get(address[:2], "/livez").status == 200


def test_another_server_is_told_that_it_cannot_move_the_metrics():
    done = serve_once("-m", "uvicorn", "batch_server:app", SENTIMENT_METRICS_PORT="0")
    (line,) = done.stderr.splitlines()
    assert line == "error: SENTIMENT_METRICS_PORT needs: python -m sentiment serve"
    assert done.returncode == 3


def test_half_a_body_does_not_hold_up_the_end():
    with running_server(*GATED) as server, connect(server.address) as connection:
        connection.sendall(chunked(b"1\r\n["))
        assert post(server.address).status == 200
        began_at = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
        assert time.monotonic() - began_at < 10
