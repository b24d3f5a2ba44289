"""Every example of the README that can run is run, and its output compared."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.conftest import environment

README = (REPOSITORY / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def examples():
    """Yield each `$ command` of the README with the output that stands below it."""
    for block in blocks("console"):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            yield command, output


EXAMPLES = list(examples())
CURLS = [example for example in EXAMPLES if example[0].startswith("curl ")]
MAKES = [command for command, _ in EXAMPLES if "make " in command]


def rounded(document):
    """Return `document` with every score cut to what the README prints."""
    if isinstance(document, float):
        return pytest.approx(document, abs=6e-5)
    if isinstance(document, list):
        return [rounded(item) for item in document]
    if isinstance(document, dict):
        return {key: rounded(value) for key, value in document.items()}
    return document


def test_every_example_is_of_a_kind_that_is_tested_here():
    assert len(CURLS) >= 4
    assert len(CURLS) + len(MAKES) == len(EXAMPLES)


@pytest.mark.parametrize(("command", "output"), CURLS, ids=lambda text: text[-40:])
def test_a_curl_of_the_readme_answers_what_stands_below_it(server, command, output):
    command = command.replace("http://localhost:8000", server.url)
    done = subprocess.run(
        [*shlex.split(command), "--silent"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == rounded(json.loads(output))


def test_the_first_two_documentation_texts_are_positive():
    labels = [item["label"] for item in json.loads(CURLS[0][1])]
    assert labels[:2] == ["positive", "positive"]


@pytest.mark.parametrize("command", MAKES)
def test_a_make_target_of_the_readme_exists(command):
    # Not made: these tests run inside the environment that `make test` has built.
    target = re.search(r"make (\w+)", command)[1]
    subprocess.run(["make", "--dry-run", target], cwd=REPOSITORY, capture_output=True, check=True)


def test_make_help_prints_what_the_readme_shows():
    # Inside `make test` a second make would say which folder it enters.
    command = ["make", "--no-print-directory", "help"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert dict(EXAMPLES)["make help"] == done.stdout


def test_the_python_example_runs():
    (script,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "positive\n"
