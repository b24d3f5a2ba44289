"""The image's files agree with the project, as far as that shows without building them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sentiment.settings import ENV_PREFIX, Settings
from tests.conftest import REPOSITORY
from tests.manifests.reading import PLAIN, read

TOOLS = Path(sys.executable).parent
"""Where the linters that pip installs lie."""

SCRIPTS = sorted((REPOSITORY / "deploy/image").glob("*.sh"))

NEVER = (
    ".git/config", ".gitignore", ".venv/bin/python", ".env", "sentiment/.env", "models/.cache/x",
    "tests/conftest.py", "docs/image.md", "deploy_model.yaml", "deploy/prometheus/rules.yaml",
    "benchmarks/server.py", "sentiment/__pycache__/cli.cpython-311.pyc", "Dockerfile", "id_rsa",
)  # fmt: skip
"""What no image may hold."""


@pytest.fixture(scope="module")
def instructions():
    """Instructions of the Dockerfile with their arguments, continued lines joined."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def given(instructions, name):
    return [argument for instruction, argument in instructions if instruction == name]


def sent_to_the_builder(path, patterns):
    """Whether `.dockerignore` lets a path through: the last pattern that matches it decides."""
    sent = True
    for pattern in patterns:
        if matches(path, pattern.removeprefix("!")):
            sent = pattern.startswith("!")
    return sent


def matches(path, pattern):
    """Whether a pattern is for the path or a folder above it."""
    parts = PurePosixPath(path).parts
    if pattern.startswith("**/"):  # at any depth
        return any(fnmatch(part, pattern.removeprefix("**/")) for part in parts)
    depth = pattern.count("/") + 1
    return len(parts) >= depth and fnmatch("/".join(parts[:depth]), pattern)


@pytest.fixture(scope="module")
def patterns():
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def lint(tool, *arguments, text=None):
    return subprocess.run(
        [TOOLS / tool, *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_hadolint_finds_nothing():
    assert lint("hadolint", REPOSITORY / "Dockerfile").stdout == ""


def test_hadolint_is_able_to_find_something():
    assert "DL3002" in lint("hadolint", "-", text="FROM python:3.11\nUSER root\n").stdout


def test_shellcheck_finds_nothing():
    assert lint("shellcheck", *SCRIPTS).stdout == ""
    assert len(SCRIPTS) >= 6


def test_every_script_ends_at_its_first_failure_and_runs_in_any_shell():
    for path in SCRIPTS:
        first, *lines = path.read_text().splitlines()
        assert first == "#!/bin/sh", path.name
        assert "set -eu" in lines, path.name


def test_every_file_that_is_copied_exists_and_reaches_the_builder(instructions, patterns):
    copied = [line.split() for line in given(instructions, "COPY") if "--from" not in line]
    sources = [source for *sources, _ in copied for source in sources]
    assert len(sources) >= 5
    for source in sources:
        assert (REPOSITORY / source).exists()
        assert sent_to_the_builder(source, patterns), source
    for path in ("sentiment/api/static/docs.html", "models/compact/model.safetensors"):
        assert sent_to_the_builder(path, patterns)


@pytest.mark.parametrize("path", NEVER)
def test_what_no_image_may_hold_does_not_reach_the_builder(path, patterns):
    assert not sent_to_the_builder(path, patterns)


def test_every_script_that_is_run_exists_and_every_one_is_run(instructions):
    run = set(re.findall(r"[\w/]+/(\w+\.sh)", " ".join(given(instructions, "RUN"))))
    elsewhere = {"lock.sh", "try.sh", "compile.sh"}  # by developers, Cloud Build, other scripts
    assert run | elsewhere == {path.name for path in SCRIPTS}


def test_its_variables_are_settings_that_the_server_takes(instructions, monkeypatch):
    text = " ".join(given(instructions, "ENV"))
    named = dict(re.findall(rf"\b({ENV_PREFIX}\w+)=(\S+)", text))
    assert named == {"SENTIMENT_MODEL": "/models/model"}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().model == "/models/model"


def test_the_ports_are_those_of_command_and_health_check(instructions):
    (port,) = given(instructions, "EXPOSE")
    (command,) = map(json.loads, given(instructions, "CMD"))
    assert command[command.index("--port") + 1] == port
    assert f"PORT = {port}\n" in (REPOSITORY / "deploy/image/health.py").read_text()
    (check,) = given(instructions, "HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["python", "/app/health.py"]


def test_signals_reach_the_server_itself_which_is_nobody_in_particular(instructions):
    assert given(instructions, "ENTRYPOINT") == ['["python", "-m", "sentiment"]']
    assert given(instructions, "STOPSIGNAL") == ["SIGTERM"]
    assert given(instructions, "USER") == ["10001:10001"]


@pytest.fixture(scope="module")
def manifests():
    return read(PLAIN)


def test_a_cluster_runs_what_the_image_is_made_for(instructions, manifests):
    (command,) = map(json.loads, given(instructions, "CMD"))
    assert manifests.container["args"] == command
    variables = dict(re.findall(r"(\w+)=(\S+)", " ".join(given(instructions, "ENV"))))
    shared = variables.keys() & manifests.environment.keys()
    assert {"SENTIMENT_MODEL", "HF_HUB_OFFLINE"} <= shared
    assert {name: variables[name] for name in shared} == {
        name: manifests.environment[name] for name in shared
    }
    (served,) = {
        target.split()[-1] for target in given(instructions, "COPY") if "=server /models" in target
    }
    assert manifests.settings.model == served
    context = manifests.pod["spec"]["securityContext"]
    (user,) = given(instructions, "USER")
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
    assert variables["HOME"] in {each["mountPath"] for each in manifests.container["volumeMounts"]}


def test_an_image_is_tried_as_a_cluster_runs_it(manifests):
    script = (REPOSITORY / "deploy/image/try.sh").read_text().replace("\\\n", " ")
    (run,) = re.findall(r"docker run (.*)\)$", script, re.MULTILINE)
    words = shlex.split(run)
    image = words.index("$1")
    assert words[image + 1 :] == manifests.container["args"]
    options = {}
    for word, following in pairwise(words[:image]):
        if word.startswith("--"):
            options.setdefault(word, []).append(following)
    limits = manifests.container["resources"]["limits"]
    context = manifests.pod["spec"]["securityContext"]
    (volume,) = manifests.pod["spec"]["volumes"]
    assert options["--cpus"] == [limits["cpu"]]
    assert options["--memory"] == [in_docker(limits["memory"])]
    assert options["--tmpfs"] == [f"/tmp:size={in_docker(volume['emptyDir']['sizeLimit'])}"]
    assert options["--user"] == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    assert options["--cap-drop"] == manifests.container["securityContext"]["capabilities"]["drop"]
    assert {"--read-only", "--network"} <= options.keys()
    given_here = dict(each.split("=") for each in options["--env"])
    assert given_here.keys() >= {"SENTIMENT_METRICS_PORT", "SENTIMENT_THREADS"}
    assert given_here.items() <= manifests.environment.items()


def in_docker(quantity):
    """Return Kubernetes' `256Mi` as Docker has it, whose `m` is as large."""
    return quantity.removesuffix("i").lower()


def test_the_stage_that_fetches_a_model_has_the_modules_for_it_and_no_other(instructions, tmp_path):
    """Else every change of the server fetches the weights anew."""
    starts = [i for i, (name, _) in enumerate(instructions) if name == "FROM"]
    (start,) = [i for i in starts if instructions[i][1].endswith(" AS weights")]
    stage = instructions[start : min(i for i in starts if i > start)]
    for *sources, target in (line.split() for line in given(stage, "COPY")):
        for source in sources:
            path = REPOSITORY / source
            if path.is_dir():
                shutil.copytree(path, tmp_path / target)
            else:
                (tmp_path / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, tmp_path / target)
    program = (
        "import runpy, sys\n"
        "sys.argv = ['weights.py', 'fetch', 'compact', 'model']\n"
        "runpy.run_path('deploy/image/weights.py', run_name='__main__')\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'sentiment'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported = {Path(path) for path in done.stdout.splitlines()[-1].split()}
    assert imported == set((tmp_path / "sentiment").glob("*.py"))


def test_the_stage_that_fetches_a_model_declares_what_its_script_reads(instructions):
    """Not every builder hands a stage's arguments on to the stages that are based on it."""
    starts = [i for i, (name, _) in enumerate(instructions) if name == "FROM"]
    (start,) = [i for i in starts if instructions[i][1].endswith(" AS weights")]
    stage = instructions[start : min(i for i in starts if i > start)]
    declared = {argument.partition("=")[0] for argument in given(stage, "ARG")}
    script = (REPOSITORY / "deploy/image/weights.sh").read_text()
    read_there = set(re.findall(r"\$\{([A-Z_0-9]+):", script))
    assert read_there == {"MODEL_SHA256", "TORCH_INDEX"}
    assert read_there <= declared


def test_a_change_of_the_server_installs_no_library_anew(instructions):
    starts = [i for i, (name, _) in enumerate(instructions) if name == "FROM"]
    libraries = instructions[starts[0] : starts[1]]
    copied = {source for line in given(libraries, "COPY") for source in line.split()[:-1]}
    assert copied == {
        "requirements.txt",
        *(
            f"deploy/image/{name}"
            for name in ("check_base.sh", "install.sh", "requirements.txt", "requirements-otel.txt")
        ),
    }


def test_a_release_names_its_base_with_a_digest():
    digest = "sha256:" + "ab" * 32
    for base, release, code in [
        ("python:3.11-slim-bookworm", "no", 0),
        ("python:3.11-slim-bookworm", "yes", 2),
        ("python@sha256:abc", "yes", 2),
        (f"python:3.11-slim-bookworm@{digest}", "yes", 0),
        (f"python@{digest}", "yes", 0),
        (f"python@{digest}", "perhaps", 2),
    ]:
        done = subprocess.run(
            ["sh", REPOSITORY / "deploy/image/check_base.sh", base, release],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (base, release)
        assert len(done.stderr.splitlines()) == (code != 0)


@pytest.fixture(scope="module")
def locked():
    """Name and version of each library that the image installs."""
    return pins_of("deploy/image/requirements.txt")


@pytest.fixture(scope="module")
def locked_traces():
    """The same of what TRACES=otlp adds."""
    return pins_of("deploy/image/requirements-otel.txt")


def pins_of(lock):
    text = (REPOSITORY / lock).read_text().replace("\\\n", " ")
    pins = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin, *digests = line.split()
            assert digests, line
            assert all(digest.startswith("--hash=sha256:") for digest in digests), line
            name, _, pinned = pin.partition("==")
            pins[canonicalize_name(name)] = pinned
    return pins


def pinned_in(requirements):
    lines = (REPOSITORY / requirements).read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(each.name): str(each.specifier)[2:] for each in wanted}


def test_the_image_installs_what_is_pinned_but_torch_and_transformers(locked):
    pinned = pinned_in("requirements.txt")
    left_out = pinned.keys() - locked.keys()
    assert left_out == {"torch", "transformers"}
    assert {name: locked[name] for name in pinned.keys() - left_out} == {
        name: pinned[name] for name in pinned.keys() - left_out
    }


def test_traces_add_what_is_pinned_and_change_nothing(locked, locked_traces):
    assert pinned_in("requirements-otel.txt").items() <= locked_traces.items()
    shared = locked.keys() & locked_traces.keys()
    assert {name: locked_traces[name] for name in shared} == {name: locked[name] for name in shared}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TORCH", "rocm", "TORCH=rocm is none of none, cpu, cuda"),
        ("TRACES", "jaeger", "TRACES=jaeger is neither none nor otlp"),
    ],
)
def test_a_choice_that_there_is_not_installs_nothing(tmp_path, name, value, said):
    done = subprocess.run(
        ["sh", REPOSITORY / "deploy/image/install.sh", tmp_path / "libraries"],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")
    assert not (tmp_path / "libraries").exists()


def test_whatever_a_locked_library_needs_is_locked_too(locked, locked_traces):
    looked_at = 0
    locked = locked | locked_traces
    for name, pinned in locked.items():
        try:
            if version(name) != pinned:  # another is installed here, which may need something else
                continue
        except PackageNotFoundError:
            continue
        looked_at += 1
        for needed in map(Requirement, requires(name) or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in locked, f"{name} needs {needed}"
    assert looked_at >= len(locked) / 2


@pytest.fixture(scope="module")
def cloud_build():
    return yaml.safe_load((REPOSITORY / "cloudbuild.yaml").read_text())


def test_cloud_build_gives_arguments_that_the_dockerfile_has(instructions, cloud_build):
    known = {argument.partition("=")[0] for argument in given(instructions, "ARG")}
    script = " ".join(" ".join(step["args"]) for step in cloud_build["steps"])
    arguments = set(re.findall(r"--build-arg (\w+)=", script))
    assert known - arguments == {"TORCH_INDEX"}
    assert arguments <= known
    assert "--build-arg RELEASE=yes" in script


def test_cloud_build_pushes_what_it_tried_with_its_provenance(cloud_build):
    """Only for what `images` names does it know what was built from what."""
    (pushed,) = cloud_build["images"]
    steps = {step["id"]: " ".join(step["args"]) for step in cloud_build["steps"]}
    assert f'--tag "{pushed}"' in steps["build"]
    assert steps["try"].endswith(f"try.sh {pushed}")
    assert "docker push" not in " ".join(steps.values())
    assert cloud_build["options"]["requestedVerifyOption"] == "VERIFIED"


def test_a_token_of_the_hub_reaches_the_build_as_a_secret_and_no_other_way(cloud_build):
    steps = {step["id"]: step for step in cloud_build["steps"]}
    assert steps["token"]["volumes"] == steps["build"]["volumes"]
    (volume,) = steps["token"]["volumes"]
    script = steps["build"]["args"][-1]
    assert f"--secret id=hf_token,src={volume['path']}/hf_token" in script
    assert "TOKEN" not in script
    named = re.findall(r"--mount=type=secret,id=(\w+)", (REPOSITORY / "Dockerfile").read_text())
    assert named == ["hf_token"]


def test_every_substitution_of_cloud_build_is_given_and_used(cloud_build):
    pushed = cloud_build["images"]
    script = " ".join([*(" ".join(step["args"]) for step in cloud_build["steps"]), *pushed])
    used = set(re.findall(r"(?<!\$)\$\{(\w+)\}", script))
    assert used - {"PROJECT_ID", "COMMIT_SHA"} == cloud_build["substitutions"].keys()


def test_the_page_has_every_argument_with_its_default(instructions):
    defaults = {}
    for argument in given(instructions, "ARG"):
        name, _, default = argument.partition("=")
        defaults[name] = default or defaults.get(name, "")
    page = (REPOSITORY / "docs/image.md").read_text()
    documented = dict(
        re.findall(r"^\| `([A-Z_0-9]+)` \| (?:`([^`]*)`|none) \|", page, re.MULTILINE)
    )
    assert documented == defaults
