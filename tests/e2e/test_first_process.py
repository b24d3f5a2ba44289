"""The server as the first process of a container, from which the kernel keeps signals.

Each runs in a PID namespace of its own, where nothing ends process 1 that it has no handler for.
"""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.containers import child_of
from tests.e2e.conftest import GATED, running_server, starting_server
from tests.e2e.wire import answers, connect, posting, read

OWN_PROCESSES = (
    *("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"),
    sys.executable,
)

SERVE = ("-m", "sentiment", "serve", "--port", "0")

AS_ONE_OR_SEVERAL = pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=" ".join)


@pytest.fixture(autouse=True)
def namespaces():
    try:
        subprocess.run([*OWN_PROCESSES, "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no PID namespace can be made here ({error})")


def tell(server, number):
    os.kill(child_of(server.process), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_what_was_accepted_and_ends_with_0(number):
    with (
        running_server(*GATED, within=OWN_PROCESSES) as server,
        connect(server.address) as connection,
    ):
        server.tell("hold", until="held")
        connection.sendall(posting(b'["a"]'))
        server.hear("entered")
        tell(server, number)
        server.wait_for_line("draining")
        server.tell("release", until="released")
        assert answers(read(connection))[0].status == 200
        assert server.wait() == 0


def test_a_second_interrupt_ends_at_once_with_its_number():
    with running_server(*GATED, within=OWN_PROCESSES) as server, connect(server.address) as waiting:
        server.tell("hold", until="held")
        waiting.sendall(posting(b'["a"]'))
        server.hear("entered")
        tell(server, signal.SIGINT)
        server.wait_for_line("draining")
        tell(server, signal.SIGINT)
        assert server.wait() == 128 + signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@AS_ONE_OR_SEVERAL
def test_a_signal_while_the_model_loads_ends_at_once_with_its_number(options, number):
    with starting_server(*SERVE, *options, within=OWN_PROCESSES) as server:
        server.wait_for_line("Waiting for application startup")
        tell(server, number)
        assert server.wait() == 128 + number
    assert not any(line["message"] == "ready" for line in server.log)


def test_sigterm_while_the_libraries_are_imported_ends_at_once(tmp_path):
    """A library that waits for ever stands in for the second that the real ones take."""
    waiting = tmp_path / "waiting"
    os.mkfifo(waiting)
    (tmp_path / "typer.py").write_text(f"open({str(waiting)!r}, 'w').close()\ninput()")
    with starting_server(*SERVE, within=OWN_PROCESSES, PYTHONPATH=str(tmp_path)) as server:
        waiting.read_bytes()  # until the import opens it
        tell(server, signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM


def test_sigterm_ends_several_workers_with_0():
    with running_server(*SERVE, "--workers", "2", within=OWN_PROCESSES) as server:
        server.wait_for_line("all workers are ready")
        tell(server, signal.SIGTERM)
        assert server.wait() == 0


def test_a_second_interrupt_ends_several_workers_at_once_with_its_number():
    # A drain that waits for a balancer is still under way when the second one comes.
    delay = {"SENTIMENT_DRAIN_DELAY_S": "30"}
    with running_server(*SERVE, "--workers", "2", within=OWN_PROCESSES, **delay) as server:
        server.wait_for_line("all workers are ready")
        tell(server, signal.SIGINT)
        server.wait_for_line("draining")
        tell(server, signal.SIGINT)
        assert server.wait() == 128 + signal.SIGINT


def check_health(port):
    # A proxy of the environment is no way to oneself.
    variables = {"SENTIMENT_METRICS_PORT": str(port), "http_proxy": "http://192.0.2.1:9"}
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "deploy/image/health.py")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_health_check_tells_a_live_server_from_another_and_from_none():
    with running_server(*GATED, SENTIMENT_METRICS_PORT="0") as server:
        probes, api = server.operations[1], server.address[1]
        assert check_health(probes).returncode == 0
        other = check_health(api)
        assert (other.returncode, other.stderr) == (1, f"port {api}: /livez answers 404\n")
        server.stop()
    none = check_health(probes)
    assert none.returncode == 1
    assert none.stderr.startswith(f"port {probes}: ")
    assert len(none.stderr.splitlines()) == 1
