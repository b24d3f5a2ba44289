"""The server starts with what the manifests give it, and answers what they ask of it."""

import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.conftest import GATED, environment, running_server
from tests.e2e.wire import connect, get, post, posting
from tests.manifests.reading import PLAIN, VARIANTS, read


def given(manifests, **changed):
    """The variables of the manifests, but for the bundled model, fewer cores and a free port."""
    here = {"SENTIMENT_MODEL": "compact", "SENTIMENT_METRICS_PORT": "0", "SENTIMENT_THREADS": "1"}
    return manifests.environment | here | changed


def test_a_pod_starts_and_its_probes_are_green():
    manifests = read(PLAIN)
    with running_server(**given(manifests)) as server:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert (
                get(server.operations, manifests.container[probe]["httpGet"]["path"]).status == 200
            )
        scraped = manifests.pod["metadata"]["annotations"]["prometheus.io/path"]
        assert get(server.operations, scraped).status == 200
        assert post(server.address).status == 200


def test_the_balancer_sees_a_ready_server_though_it_has_no_key():
    manifests = read("public")
    (policy,) = manifests.all("HealthCheckPolicy")
    path = policy["spec"]["default"]["config"]["httpHealthCheck"]["requestPath"]
    with running_server(**given(manifests, SENTIMENT_API_KEYS="secret")) as server:
        assert post(server.address).status == 401
        assert get(server.address, path).status == 200


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"SENTIMENT_DEADLINE": "60"}, 3),
        ({"SENTIMENT_MODEL": "/models/none"}, 3),
    ],
)
def test_what_kubernetes_keeps_of_a_start_that_failed_says_why(wrong, code):
    done = subprocess.run(
        [sys.executable, "-m", "sentiment", "serve", "--port", "0"],
        cwd=REPOSITORY,
        env=environment(**given(read(PLAIN), **wrong)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    kept = done.stdout + done.stderr
    assert len(kept.encode()) <= 2048
    (line,) = (each for each in kept.splitlines() if "error: " in each or "cannot start: " in each)
    ((name, value),) = wrong.items()
    assert name in line or value in line


@pytest.mark.nightly
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pod_ends_within_its_grace_though_its_engine_hangs(variant):
    """With a drain of one second in place of its own, which the grace is shorter by as well."""
    manifests = read(variant)
    settings = manifests.settings
    grace_s = manifests.pod["spec"]["terminationGracePeriodSeconds"] - manifests.sleep_s
    with (
        running_server(
            *GATED, **given(manifests, SENTIMENT_DRAIN_S="1", SENTIMENT_DEVICE="cpu")
        ) as server,
        connect(server.address) as waiting,
        connect(server.operations),
    ):
        server.tell("hold", until="held")
        waiting.sendall(posting(b'["a"]'))
        server.hear("entered")
        server.signal(signal.SIGTERM)
        server.process.wait(timeout=grace_s - settings.drain_s + 1)
