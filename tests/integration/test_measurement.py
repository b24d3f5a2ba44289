"""What the planner measures, when the measured server does not behave."""

import sys

import numpy as np
import pytest

from sentiment.errors import ModelError
from sentiment.planning import measurement
from sentiment.settings import Settings

NOT_READY_THEN_GONE = """
import json, socket, sys
sys.stdin.readline()
with socket.create_server(("127.0.0.1", 0)) as server:
    print(json.dumps({"port": server.getsockname()[1]}), flush=True)
    for answer in (b"HTTP/1.1 503 No\\r\\nContent-Length: 2\\r\\n\\r\\nno", b"", b"HTTP/1.1 2"):
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
sys.exit("error: the model fell over")
"""
"""A probe that is not ready, drops two connections, and ends."""


def measure():
    return measurement.measure_replica(Settings(), texts=["Up."], lengths=np.array([3]))


def test_a_server_that_ends_before_it_is_ready_has_the_last_word(monkeypatch):
    monkeypatch.setattr(measurement, "PROBE_COMMAND", (sys.executable, "-c", NOT_READY_THEN_GONE))
    with pytest.raises(ModelError, match="the model fell over"):
        measure()


def test_a_server_that_ends_at_once_has_the_last_word(monkeypatch):
    script = "import sys; sys.exit('error: no such thing')"
    monkeypatch.setattr(measurement, "PROBE_COMMAND", (sys.executable, "-c", script))
    with pytest.raises(ModelError, match="no such thing"):
        measure()


def test_the_measured_server_sends_its_traces_nowhere(monkeypatch):
    monkeypatch.setenv("SENTIMENT_TRACES", "otlp")
    environment = measurement.probe_environment(Settings(traces="otlp", precision="fp32"))
    assert environment["SENTIMENT_PRECISION"] == "fp32"
    assert "SENTIMENT_TRACES" not in environment
