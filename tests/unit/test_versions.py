"""Installed versions are not older than the ones that closed known holes."""

from importlib.metadata import PackageNotFoundError, version

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

FLOORS = {
    "starlette": "1.3.1",  # CVE-2026-48710, CVE-2026-54283
    "h11": "0.16.0",  # CVE-2025-43859
    "uvicorn": "0.50",  # exit code 3 when the start fails
    "torch": "2.13.0",  # CVE-2025-32434, CVE-2026-24747: weights_only=True
    "transformers": "5.3.0",  # CVE-2026-1839, CVE-2026-4372, CVE-2026-5241
    "ray": "2.52.0",  # CVE-2025-62593: a page in a browser could reach its dashboard
    "urllib3": "2.7.0",  # CVE-2026-44431, CVE-2026-44432
    "requests": "2.33",  # CVE-2026-25645
    "jinja2": "3.1.6",
    "python-multipart": "0.0.18",  # CVE-2024-53981; we parse no forms and depend on it nowhere
}
NEEDED = {"starlette", "h11", "uvicorn", "torch", "transformers"}
"""The others come with optional tools; where they are absent there is nothing to hold."""


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_installed_is_not_below_its_floor(name):
    try:
        installed = Version(version(name))
    except PackageNotFoundError:
        assert name not in NEEDED
    else:
        assert installed >= Version(FLOORS[name])


@pytest.mark.parametrize(
    "file",
    [
        "requirements.txt",
        "requirements-bulk.txt",
        "requirements-train.txt",
        "requirements-otel.txt",
        "requirements-ray.txt",
        "requirements-dev.txt",
    ],
)
def test_every_requirement_is_pinned_and_installed_as_pinned(repository, file):
    for line in (repository / file).read_text().splitlines():
        line = line.partition("#")[0].strip()
        if not line or line.startswith("-r "):
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate():
            assert str(requirement.specifier).startswith("=="), line
            assert Version(version(requirement.name)) in requirement.specifier, line
