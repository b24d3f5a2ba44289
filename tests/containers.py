"""Images that buildah builds from the Dockerfile itself, and containers without an engine.

`python -m tests.containers ROOT CONFIG` is the first process of a container until it becomes the
server: it runs in namespaces of its own (mounts, processes, network), turns ROOT read-only but for
an empty /tmp, and becomes the image's user, without any capability.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.e2e.conftest import Server
from tests.offline import start_loopback

ALONE = ["unshare", "--mount", "--pid", "--net", "--fork"]

DEVICES = ("null", "zero", "random", "urandom")

LIBRARIES = (
    "ca-certificates", "libbz2-1.0", "libffi8", "liblzma5", "libreadline8", "libsqlite3-0",
    "libssl3", "netbase", "tzdata", "zlib1g",
)  # fmt: skip
"""Of Debian, that the interpreter and its modules are linked with."""

BASE = "localhost/python:3.11-slim-bookworm"

BASE_DOCKERFILE = """
FROM scratch
ADD debian.tar /
ADD python.tar /usr/local/
COPY ca-certificates.crt /etc/ssl/certs/
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
RUN ldconfig && mkdir /usr/local/lib/python3.11/site-packages && python3 -m ensurepip
"""
"""What stands in for the base from the registry: Debian and Python are real, their maker is not.
The certificates are this machine's, whose network may have an authority of its own."""


@dataclass(frozen=True)
class Image:
    """A built image, mounted."""

    name: str
    root: Path
    config: dict
    """As the Docker format has it: `User`, `Env`, `Entrypoint`, `Cmd`, `Healthcheck`, ..."""

    @property
    def environment(self) -> dict[str, str]:
        return dict(each.split("=", 1) for each in self.config["Env"])


class Builder:
    """buildah with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.store = [f"--root={folder / 'store'}", f"--runroot={folder / 'run'}"]

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["buildah", *self.store, *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=check,
        )

    def make_base(self) -> None:
        context = self._folder / "base"
        context.mkdir()
        (context / "Dockerfile").write_text(BASE_DOCKERFILE)
        certificates = Path("/etc/ssl/certs/ca-certificates.crt")
        (context / certificates.name).write_bytes(certificates.read_bytes())
        debian = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(LIBRARIES)}"]
        subprocess.run([*debian, "bookworm", str(context / "debian.tar")], check=True)
        home = Path(sys.base_prefix)
        parts = ["bin/python3", "bin/python3.11", "lib/python3.11"]
        if (home / "bin/python").exists():
            parts.append("bin/python")
        parts += [str(path.relative_to(home)) for path in home.glob("lib/libpython3.11.so*")]
        left_out = [f"--exclude={name}" for name in ("site-packages", "__pycache__", "test")]
        archive = str(context / "python.tar")
        subprocess.run(["tar", "-C", home, "-cf", archive, *left_out, *parts], check=True)
        self("bud", "--isolation=chroot", f"--tag={BASE}", str(context))

    def build(self, name: str, **arguments: str) -> subprocess.CompletedProcess:
        """Build the Dockerfile; what fails is the caller's to look at."""
        given = [
            f"--build-arg={key}={value}" for key, value in ({"BASE": BASE} | arguments).items()
        ]
        return self(
            *("bud", "--isolation=chroot", "--format=docker", "--layers", "--network=host"),
            *("--pull-never", f"--tag={name}", *given, "."),
            check=False,
        )

    @contextmanager
    def mounted(self, name: str):
        container = self("from", "--pull-never", f"localhost/{name}").stdout.strip()
        try:
            root = Path(self("mount", container).stdout.strip())
            inspected = json.loads(self("inspect", "--type=image", f"localhost/{name}").stdout)
            yield Image(name, root, inspected["Docker"]["config"])
        finally:
            self("rm", container)


class Container:
    """The server in an image, as its first process; `tmp` is the size of its /tmp."""

    def __init__(
        self,
        image: Image,
        *,
        command: list[str] | None = None,
        user: str | None = None,
        tmp: str = "256m",
        **environment: str,
    ):
        self._image = image
        config = {
            "command": image.config["Entrypoint"] + (command or image.config["Cmd"]),
            "environment": image.environment | environment,
            "folder": image.config["WorkingDir"],
            "user": user or image.config["User"],
            "tmp": tmp,
        }
        self.process = subprocess.Popen(
            [*ALONE, sys.executable, "-m", __name__, str(image.root), json.dumps(config)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.server = Server(self.process)
        self._environment = config["environment"]

    @property
    def first_process(self) -> int:
        return child_of(self.process)

    def check_health(self) -> subprocess.CompletedProcess:
        """Run the image's HEALTHCHECK where an engine would: inside."""
        kind, *command = self._image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self._run(
            ["--mount", "--pid", "--root", "--wd", "--setuid=10001", "--setgid=10001"],
            ["env", "-i", *(f"{k}={v}" for k, v in self._environment.items()), *command],
        )

    def python(self, code: str, *arguments: str) -> str:
        """Run code of this machine's Python in the container's network; return what it prints."""
        done = self._run([], [sys.executable, "-c", code, *arguments])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, namespaces: list[str], command: list[str]) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["nsenter", "--target", str(self.first_process), "--net", *namespaces, *command],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def child_of(process: subprocess.Popen) -> int:
    """Return the process that `unshare --fork` waits for."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (child,) = children
    return int(child)


@contextmanager
def starting(image: Image, **settings):
    """Start the image's server; `settings` are those of `Container`."""
    container = Container(image, **settings)
    try:
        yield container
    finally:
        if container.process.poll() is None:
            # Itself: a process that has become another user is not killed with its parent.
            os.kill(container.first_process, signal.SIGKILL)
        container.server.wait()
        for stream in (container.process.stdout, container.process.stderr):
            stream.close()


def enter(root: str, config: dict) -> None:
    """Become the container's command."""
    mount("--bind", root, root)
    mount("-t", "proc", "proc", f"{root}/proc")
    mount("--bind", "-o", "ro", "/sys", f"{root}/sys")
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/dev")
    for device in DEVICES:
        Path(root, "dev", device).touch()
        mount("--bind", f"/dev/{device}", f"{root}/dev/{device}")
    mount("-o", "remount,bind,ro", f"{root}/dev")
    mount("-o", "remount,bind,ro", root)
    mount("-t", "tmpfs", "-o", f"mode=1777,size={config['tmp']}", "tmpfs", f"{root}/tmp")
    start_loopback()
    os.chroot(root)
    os.chdir(config["folder"])
    user, _, group = config["user"].partition(":")
    confined = [
        *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
        *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
    ]
    os.execve("/usr/bin/setpriv", [*confined, *config["command"]], config["environment"])


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    enter(sys.argv[1], json.loads(sys.argv[2]))
