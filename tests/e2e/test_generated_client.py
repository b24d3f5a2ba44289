"""A client that a program writes from `/openapi.json` works, for every face with a JSON body."""

import importlib
import subprocess
import sys

import pytest

PACKAGE = "generated_sentiment_client"


@pytest.fixture(scope="module")
def generated(server, tmp_path_factory):
    """The modules of a client that openapi-python-client has written."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.yaml"
    config.write_text(f"package_name_override: {PACKAGE}\nproject_name_override: client\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
            *("--url", f"{server.url}/openapi.json", "--config", config, "--meta", "none"),
            *("--output-path", folder / PACKAGE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    sys.path.remove(str(folder))


def test_it_is_generated(generated):
    pass
