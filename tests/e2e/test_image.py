"""The Dockerfile, built as it stands, and its server: read-only, without network, as UID 10001.

buildah builds without a daemon; the base is made here of Debian's packages and this machine's
Python, because a test reaches no registry.
"""

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sentiment.manifest import file_sha256
from sentiment.models import COMPACT_FOLDER
from tests.containers import Builder, starting
from tests.integration.test_hub import Hub
from tests.manifests.reading import PLAIN, read
from tests.package_index import serving

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]

POST = """
import json, sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:8000/", data=sys.argv[1].encode())
with urllib.request.urlopen(request, timeout=30) as answer:
    print(json.dumps([answer.headers["X-Model"], json.load(answer)]))
"""

GET = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
    print(answer.status)
"""

ATTEMPTS = "from tests.offline import refused_by_kernel; print(refused_by_kernel())"

TEXTS = ["Profit rose.", "Sales fell and the loss widened.", "The company is based in Espoo."]


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    missing = [tool for tool in ("buildah", "mmdebstrap", "nsenter") if not shutil.which(tool)]
    if missing and not os.environ.get("CI"):
        pytest.skip(
            f"{', '.join(missing)} not found: apt-get install buildah mmdebstrap util-linux"
        )
    assert not missing
    if os.getuid() != 0:
        pytest.skip("only root makes the namespaces and users of a container")
    folder = tmp_path_factory.mktemp("images")
    builder = Builder(folder)
    builder.make_base()
    yield builder
    builder("rm", "--all")
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture(scope="module")
def image(builder):
    built = builder.build("server", VERSION="1.2.3")
    assert built.returncode == 0, built.stdout + built.stderr
    with builder.mounted("server") as image:
        yield image


@pytest.fixture
def docker(builder, tmp_path, monkeypatch):
    """Put a `docker` on the path that is podman, with the builder's images."""
    if missing := [tool for tool in ("podman", "runc", "conmon") if not shutil.which(tool)]:
        pytest.skip(f"{', '.join(missing)} not found: apt-get install podman runc")
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]  # no more than is ours
    podman = ["podman", *builder.store, "--runtime=runc", "--cgroup-manager=cgroupfs"]
    script = tmp_path / "docker"
    script.write_text(
        "#!/bin/sh\n"
        f'case $1 in run) shift; exec {shlex.join(podman)} run {shlex.join(limits)} "$@" ;; esac\n'
        f'exec {shlex.join(podman)} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def files(image):
    """Yield every file of an image but links, with its status."""
    for folder, _, names in os.walk(image.root):
        for name in names:
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                yield path.relative_to(image.root).as_posix(), status


def post(container, texts):
    model, answers = json.loads(container.python(POST, json.dumps(texts)))
    return model, [answer["label"] for answer in answers]


def test_it_serves_read_only_without_network_and_ends_with_0(image):
    with starting(image) as container:
        container.server.wait_until_it_listens()
        model, labels = post(container, TEXTS)
        assert model == f"compact@{file_sha256(COMPACT_FOLDER / 'model.safetensors')[:12]}"
        assert labels == ["positive", "negative", "neutral"]
        assert container.check_health().returncode == 0
        status = Path(f"/proc/{container.first_process}/status").read_text()
        assert "Uid:\t10001\t10001\t10001\t10001\n" in status
        assert "CapEff:\t0000000000000000\n" in status
        assert list(Path(f"/proc/{container.first_process}/root/tmp").iterdir()) == []
        assert container.python(ATTEMPTS) == "0\n"
        os.kill(container.first_process, signal.SIGTERM)
        assert container.server.wait() == 0
    assert not any("exception" in line for line in container.server.log)


def test_it_runs_as_the_manifest_says(image):
    manifests = read(PLAIN)
    user = manifests.pod["spec"]["securityContext"]
    (volume,) = manifests.pod["spec"]["volumes"]
    with starting(
        image,
        command=manifests.container["args"],
        user=f"{user['runAsUser']}:{user['runAsGroup']}",
        tmp=volume["emptyDir"]["sizeLimit"].removesuffix("i"),
        **manifests.environment,
    ) as container:
        container.server.wait_until_it_listens()
        ports = {each["name"]: each["containerPort"] for each in manifests.container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = manifests.container[probe]["httpGet"]
            url = f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"
            assert container.python(GET, url) == "200\n"
        assert post(container, TEXTS)[1] == ["positive", "negative", "neutral"]
        os.kill(container.first_process, signal.SIGTERM)
        assert container.server.wait() == 0


def test_probes_on_a_port_of_their_own_are_where_the_health_check_asks(image):
    with starting(image, SENTIMENT_METRICS_PORT="9000") as container:
        container.server.wait_until_it_listens()
        assert container.check_health().returncode == 0
        os.kill(container.first_process, signal.SIGSTOP)
        checked = container.check_health()
        assert checked.returncode == 1
        assert checked.stderr == "port 9000: timed out\n"
        os.kill(container.first_process, signal.SIGCONT)
        os.kill(container.first_process, signal.SIGTERM)
        assert container.server.wait() == 0


def test_several_workers_need_no_more_than_that(image):
    command = [*image.config["Cmd"], "--workers", "2"]
    with starting(image, command=command) as container:
        container.server.wait_for_line("all workers are ready")
        assert post(container, TEXTS)[1] == ["positive", "negative", "neutral"]
        os.kill(container.first_process, signal.SIGTERM)
        assert container.server.wait() == 0


def test_it_holds_nothing_that_installs_or_compiles_and_nothing_of_the_checkout(image):
    found = {path for path, _ in files(image)}
    tools = ("pip", "pip3", "gcc", "cc", "c++", "make", "ld")
    assert not {
        path for path in found if path.startswith(("usr/", "opt/")) and path.split("/")[-1] in tools
    }
    assert not [path for path in found if "/site-packages/pip/" in path or "ensurepip" in path]
    assert not [
        path
        for path in found
        if path.endswith(
            ("site-packages/torch/__init__.py", "site-packages/transformers/__init__.py")
        )
    ]
    assert {path for path in found if path.startswith("app/") and "/sentiment/" not in path} == {
        "app/LICENSE",
        "app/health.py",
    }


def test_its_user_may_read_all_of_the_server_and_write_none_of_it(image):
    for path, status in files(image):
        if path.startswith(("app/", "models/", "opt/")):
            assert (status.st_uid, status.st_gid) == (0, 0), path
            assert status.st_mode & stat.S_IROTH, path
            assert not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH), path


@pytest.mark.parametrize(
    "folder", ["app/sentiment", "opt/venv/lib/python3.11", "usr/local/lib/python3.11"]
)
def test_no_start_compiles_a_module(image, folder):
    sources = list((image.root / folder).rglob("*.py"))
    assert len(sources) > 50
    for path in sources:
        assert (path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc").exists(), path


def test_it_says_what_it_is(image):
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.base.name"].endswith("python:3.11-slim-bookworm")
    assert labels["sentiment.model"] == "compact"
    assert image.config["User"] == "10001:10001"
    assert image.config["StopSignal"] == "SIGTERM"


@pytest.mark.usefixtures("docker", "image")
def test_an_engine_runs_it_and_try_says_so(repository):
    tried = subprocess.run(
        [repository / "deploy/image/try.sh", "localhost/server"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.splitlines()[-1] == "localhost/server is healthy, answers, and ends with 0"
    refused = subprocess.run(
        [repository / "deploy/image/try.sh", "localhost/python:3.11-slim-bookworm"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0


def test_a_release_on_a_base_that_may_change_is_not_built(builder):
    built = builder.build("release", RELEASE="yes")
    assert built.returncode != 0
    # buildah may lose the line of a script that ends so soon; tests/unit/test_dockerfile.py has it.
    assert "check_base.sh" in built.stderr
    assert "exit status 2" in built.stderr


def test_a_model_of_the_hub_is_baked_in_by_commit_and_digest(builder):
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    weights = {name: (COMPACT_FOLDER / name).read_bytes() for name in names}
    digest = file_sha256(COMPACT_FOLDER / "model.safetensors")
    with Hub().running() as hub:
        model = f"acme/model@{hub.publish('acme/model', weights)}"
        other = builder.build("other", MODEL=model, MODEL_SHA256="0" * 64, HF_ENDPOINT=hub.url)
        assert other.returncode != 0
        assert "weights.sh" in other.stderr
        assert "exit status 3" in other.stderr
        built = builder.build("hub", MODEL=model, MODEL_SHA256=digest, HF_ENDPOINT=hub.url)
        assert built.returncode == 0, built.stdout + built.stderr
    with builder.mounted("hub") as image, starting(image) as container:
        container.server.wait_until_it_listens()
        assert post(container, TEXTS) == (model, ["positive", "negative", "neutral"])
        os.kill(container.first_process, signal.SIGTERM)
        assert container.server.wait() == 0


@pytest.fixture
def torch_index(tmp_path):
    """Where the build gets torch: the CPU's wheel that was installed here, if it can be had again.

    Else the build asks PyTorch's own index, as it does by default.
    """
    if not version("torch").endswith("+cpu"):  # PyPI's would bring CUDA, which is several GB
        yield {}
        return
    wheels = tmp_path / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    had = subprocess.run(
        [*command, f"--dest={wheels}", f"torch=={version('torch')}"],
        capture_output=True,
        check=False,
    )
    if had.returncode:
        yield {}
        return
    with serving(wheels) as (url, asked):
        yield {"TORCH_INDEX": url}
        assert any(path.endswith(".whl") for path in asked)


def test_a_pickle_of_the_hub_is_converted_and_its_torch_stays_behind(
    builder, torch_index, tmp_path
):
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")
    published = {name: (COMPACT_FOLDER / name).read_bytes() for name in names}
    pickle = tmp_path / "pytorch_model.bin"
    torch.save(load_file(COMPACT_FOLDER / "model.safetensors"), pickle)
    published[pickle.name] = pickle.read_bytes()
    with Hub().running() as hub:
        model = f"acme/pickled@{hub.publish('acme/pickled', published)}"
        given = {"MODEL": model, "MODEL_SHA256": file_sha256(pickle), "HF_ENDPOINT": hub.url}
        built = builder.build("pickled", **given, **torch_index)
        assert built.returncode == 0, built.stdout + built.stderr
    with builder.mounted("pickled") as image:
        folder = image.root / "models/model"
        assert (folder / "model.safetensors").exists()
        assert not (folder / pickle.name).exists()
        assert not [path for path, _ in files(image) if "/site-packages/torch/" in path]
        with starting(image) as container:
            container.server.wait_until_it_listens()
            assert post(container, TEXTS) == (model, ["positive", "negative", "neutral"])
            os.kill(container.first_process, signal.SIGTERM)
            assert container.server.wait() == 0


def test_traces_are_an_argument_of_the_build(builder, image):
    assert not [path for path, _ in files(image) if "/opentelemetry/" in path]
    built = builder.build("traced", TRACES="otlp")
    assert built.returncode == 0, built.stdout + built.stderr
    with (
        builder.mounted("traced") as traced,
        starting(traced, SENTIMENT_TRACES="otlp") as container,
    ):
        container.server.wait_until_it_listens()
        assert post(container, TEXTS)[1] == ["positive", "negative", "neutral"]
        os.kill(container.first_process, signal.SIGTERM)
        assert container.server.wait() == 0
    said = [line["message"] for line in container.server.log]
    assert any("traces cannot be sent" in message for message in said)  # nobody listens there
