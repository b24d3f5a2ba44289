"""The check that the suite stays on this machine is itself able to fail."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

CALLS = {
    "nobody": "pass",
    "loopback": "socket.create_server(('127.0.0.1', 0)).close()",
    "an address": "leave(('192.0.2.1', 80))",
    "an address of version 6": "leave(('2001:db8::1', 80))",
    "a datagram": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))",
}


def run(tmp_path, call):
    """Run a suite of one test that makes a call and carries on if it fails."""
    (tmp_path / "test_one.py").write_text(
        "import contextlib, socket\n"
        "def leave(address):\n    socket.create_connection(address, timeout=5)\n"
        f"def test_one():\n    with contextlib.suppress(OSError):\n        {call}\n"
    )
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tests" / "offline.py"), "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.stdout.startswith("skipped"):
        pytest.skip(done.stdout)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("whom", ["an address", "an address of version 6", "a datagram"])
def test_an_attempt_to_leave_fails_the_run_though_its_test_passes(tmp_path, whom):
    done = run(tmp_path, CALLS[whom])
    assert done.returncode == 1
    assert "failed: 1 attempts" in done.stdout


@pytest.mark.parametrize("whom", ["nobody", "loopback"])
def test_a_suite_that_stays_on_loopback_passes(tmp_path, whom):
    done = run(tmp_path, CALLS[whom])
    assert done.returncode == 0
    assert "nothing tried" in done.stdout
