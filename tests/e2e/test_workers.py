"""`serve --workers N`: several processes that are one server, from its start to its end."""

import json
import os
import re
import signal
import socket
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from sentiment.listeners import bind
from tests.e2e.conftest import running_server, starting_server
from tests.e2e.test_lifecycle import no_tracebacks, serve_once, wait_until
from tests.e2e.wire import answers, connect, get, head, metric, post, posting, read, take

SERVE = ("-m", "sentiment", "serve", "--port", "0", "--workers", "2")
READY = "all workers are ready"
TEXTS = 192
LONG = json.dumps([f"{number} " + "profit " * 40 for number in range(TEXTS)]).encode()
"""A second or two of work for one core: what is not answered at once."""


@contextmanager
def pair(**settings):
    """Two workers, both ready."""
    with running_server(*SERVE, **settings) as server:
        server.wait_for_line(READY)
        yield server


@pytest.fixture(scope="module")
def workers():
    with pair() as server:
        yield server
        assert server.stop() == -signal.SIGTERM


def line_of(server, **fields):
    """Return the first line of the log with these fields, as soon as it is there."""
    waited = threading.Event()
    for _ in range(3000):
        for line in list(server.log):
            if fields.items() <= line.items():
                return line
        waited.wait(0.01)
    pytest.fail(f"no line has {fields}: {server.log}")


def worker_of(server, connection):
    """Return the number of the worker that has accepted `connection`."""
    request_id = uuid4().hex
    connection.sendall(head("GET", "/info", f"X-Request-Id: {request_id}"))
    assert take(connection).status == 200
    return line_of(server, request_id=request_id)["worker"]


def connections(server, stack):
    """Return a connection to each of the two workers, by its number."""
    found = {}
    for _ in range(1000):
        connection = stack.enter_context(connect(server.address))
        found.setdefault(worker_of(server, connection), connection)
        if len(found) == 2:
            return found
    pytest.fail("a thousand connections went to one worker")


def process_of(server, number):
    """Return the process id of the worker that bears `number` now."""
    pattern = re.compile(r"Started server process \[(\d+)\]")
    return [
        int(found[1])
        for line in list(server.log)
        if line.get("worker") == number and (found := pattern.match(line["message"]))
    ][-1]


def metrics_folder(server):
    environment = Path(f"/proc/{process_of(server, 1)}/environ").read_bytes().decode()
    return Path(re.search(r"PROMETHEUS_MULTIPROC_DIR=([^\0]+)", environment)[1])


def accepted_texts(address):
    """How many texts wait, stand ready or run, beside the four of each worker's warm-up."""
    given, waiting = (
        metric(address, f"sentiment_{name}") for name in ("batch_texts_sum", "queue_texts")
    )
    return given + waiting - 8


def ready_times(server):
    return sum(line["message"] == READY for line in list(server.log))


def test_every_worker_answers_on_the_one_port(workers):
    with ExitStack() as stack:
        for connection in connections(workers, stack).values():
            connection.sendall(posting(b'["a", "b"]'))
            assert len(json.loads(take(connection).body)) == 2


def test_metrics_add_up_whichever_worker_is_asked(workers):
    request = posting(b'{"text": "Profit rose"}', to="/analyze_sentiment")  # as no other test here

    def shown(connection):
        connection.sendall(head("GET", "/metrics"))
        page = take(connection).body.decode()
        return dict(re.findall(r"^([^#].*) (\S+)$", page, re.MULTILINE))

    with ExitStack() as stack:
        by_worker = connections(workers, stack)
        for connection in by_worker.values():
            connection.sendall(request)
            assert take(connection).status == 200
        for _ in range(20):
            with connect(workers.address) as connection:
                connection.sendall(request)
                assert take(connection).status == 200
        requests = 'sentiment_requests_total{route="POST /analyze_sentiment",status="200"}'
        seconds = (
            'sentiment_request_seconds_count{outcome="answered",route="POST /analyze_sentiment"}'
        )
        for connection in by_worker.values():
            wait_until(
                lambda at=connection: shown(at).get(requests) == shown(at)[seconds] == "22.0"
            )
            page = shown(connection)
            for gauge in ("wanted_worker_processes", "worker_processes", "ready"):
                assert page[f"sentiment_{gauge}"] == "2.0"
            assert page["sentiment_queue_texts"] == "0.0"
            assert not [name for name in page if name.startswith(("process_", "python_"))]


def test_a_worker_that_is_told_to_end_drains_and_is_replaced_while_the_other_serves(workers):
    starts = ready_times(workers)
    answered = []

    def post_on_new_connections():
        # None is refused, and none comes to the one that leaves.
        answered.extend(post(workers.address).status for _ in range(10))

    with ExitStack() as stack:
        leaving = connections(workers, stack)[2]
        leaving.sendall(posting(LONG))
        old = process_of(workers, 2)
        os.kill(old, signal.SIGTERM)
        post_on_new_connections()
        line_of(workers, worker=2, message="draining")
        post_on_new_connections()
        (answer,) = answers(read(leaving))
        assert (answer.status, answer.closes) == (200, True)
        assert len(json.loads(answer.body)) == TEXTS
        assert line_of(workers, number=2, signal="SIGTERM")["failures"] == 1
        post_on_new_connections()
        wait_until(lambda: post(workers.address).status == 200 and ready_times(workers) > starts)
    assert set(answered) == {200}
    assert process_of(workers, 2) != old


def test_a_worker_that_is_killed_loses_what_it_had_and_nothing_else(workers):
    starts = ready_times(workers)
    texts = metric(workers.address, "sentiment_texts_total")
    with ExitStack() as stack:
        by_worker = connections(workers, stack)
        killed = process_of(workers, 2)
        os.kill(killed, signal.SIGSTOP)  # so that it cannot answer before it dies
        by_worker[2].sendall(posting(LONG))
        by_worker[1].sendall(posting(LONG))
        os.kill(killed, signal.SIGKILL)
        assert read(by_worker[2]) == b""
        line_of(workers, number=2, signal="SIGKILL")
        assert len(json.loads(take(by_worker[1]).body)) == TEXTS
        assert metric(workers.address, "sentiment_texts_total") >= texts + TEXTS
        wait_until(lambda: post(workers.address).status == 200 and ready_times(workers) > starts)
        assert metric(workers.address, "sentiment_worker_processes") == 2
    with ExitStack() as stack:
        assert connections(workers, stack).keys() == {1, 2}
    no_tracebacks(workers)


def test_sigterm_answers_everything_that_any_worker_accepted():
    with (
        pair(SENTIMENT_METRICS_PORT="0", SENTIMENT_DRAIN_DELAY_S="0.5") as server,
        ExitStack() as stack,
    ):
        folder = metrics_folder(server)
        assert folder.stat().st_mode & 0o777 == 0o700
        by_worker = connections(server, stack)
        for connection in by_worker.values():
            connection.sendall(posting(LONG))
        wait_until(lambda: accepted_texts(server.operations) == 2 * TEXTS)
        server.signal(signal.SIGTERM)
        wait_until(lambda: get(server.operations, "/readyz").code == "draining")
        server.signal(signal.SIGTERM)  # once more changes nothing
        for connection in by_worker.values():
            (answer,) = answers(read(connection))
            assert (answer.status, answer.closes) == (200, True), answer.body
            assert len(json.loads(answer.body)) == TEXTS
        assert server.wait() == -signal.SIGTERM
        assert not folder.exists()
        listens_again(server.address)
    no_tracebacks(server)
    assert not [line for line in server.log if line["message"].startswith("killing")]


def listens_again(address):
    """The port is free: another server could listen on it."""
    for listener in bind(*address):
        listener.listen()
        listener.close()


def test_a_second_interrupt_ends_every_worker_at_once():
    with running_server(*SERVE) as server, connect(server.address) as connection:
        connection.sendall(posting(LONG))
        wait_until(lambda: metric(server.address, "sentiment_batch_texts_sum") > 4)
        folder = metrics_folder(server)
        server.signal(signal.SIGINT)
        line_of(server, logger="sentiment.workers", message="draining")
        server.signal(signal.SIGINT)
        assert read(connection) == b""
        assert server.wait() == -signal.SIGINT
        assert not folder.exists()
        listens_again(server.address)


def test_workers_whose_parent_is_killed_answer_what_they_have_and_end():
    with pair() as server, ExitStack() as stack:
        folder = metrics_folder(server)
        by_worker = connections(server, stack)
        for connection in by_worker.values():
            connection.sendall(posting(LONG))
        server.signal(signal.SIGKILL)
        for connection in by_worker.values():
            (answer,) = answers(read(connection))
            assert (answer.status, answer.closes) == (200, True), answer.body
        assert server.wait() == -signal.SIGKILL
        # The workers hold the other ends of the log: it is over when both are.
        assert not server._reader.is_alive()
        assert not folder.exists()
        listens_again(server.address)
    no_tracebacks(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_first_worker_loads_ends_all_at_once(number):
    with starting_server(*SERVE) as server:
        server.wait_for_line("Waiting for application startup")
        server.signal(number)
        assert server.wait() == -number
    assert {line.get("worker") for line in server.log} <= {None, 1}
    assert not any(line["message"] == "ready" for line in server.log)
    no_tracebacks(server)


def test_a_model_that_cannot_be_had_is_said_once_for_all_workers(tmp_path):
    done = serve_once(*SERVE[:-1], "4", SENTIMENT_MODEL="./no-such-folder", HF_HOME=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.count("neither a folder nor a Hub name") == 1
    assert "Traceback" not in done.stderr
    assert {json.loads(line).get("worker") for line in done.stderr.splitlines()} == {1}


@pytest.mark.parametrize("which", ["--port", "SENTIMENT_METRICS_PORT"])
def test_a_taken_port_is_said_before_any_worker_is_started(which):
    with socket.create_server(("127.0.0.1", 0)) as rival:
        port = str(rival.getsockname()[1])
        if which == "--port":
            done = serve_once(*SERVE[:4], port, *SERVE[5:])
        else:
            done = serve_once(*SERVE, SENTIMENT_METRICS_PORT=port)
    (line,) = done.stderr.splitlines()
    assert line == f"error: cannot listen on 127.0.0.1:{port}: address already in use"
    assert done.returncode == 3
