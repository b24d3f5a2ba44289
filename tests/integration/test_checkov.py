"""checkov finds nothing unsafe in the manifests, and would if there were something."""

import subprocess

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.manifests.mutations import container, pod
from tests.manifests.reading import PLAIN, VARIANTS, read, text_of

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A function that returns what checkov says of some objects, and whether it passes them."""
    subprocess.run(["make", ".checkov/stamp"], cwd=REPOSITORY, check=True, timeout=1800)

    def run(text):
        file = tmp_path_factory.mktemp("manifests") / "all.yaml"
        file.write_text(text)
        done = subprocess.run(
            [
                REPOSITORY / ".checkov/bin/checkov",
                *("--config-file", REPOSITORY / "deploy/checkov.yaml", "--file", file),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout, done.returncode == 0

    return run


@pytest.mark.parametrize("variant", VARIANTS)
def test_checkov_finds_nothing_unsafe(scan, variant):
    said, passed = scan(text_of(variant))
    assert passed, said


@pytest.mark.parametrize(
    ("mutation", "found"),
    [
        (container("securityContext/allowPrivilegeEscalation", True), "CKV_K8S_20"),
        (container("securityContext/readOnlyRootFilesystem", False), "CKV_K8S_22"),
        (container("image", "server:latest"), "CKV_K8S_14"),
        (pod("hostNetwork", True), "CKV_K8S_19"),
        (pod("hostPID", True), "CKV_K8S_17"),
        (pod("automountServiceAccountToken", True), "CKV_K8S_38"),
    ],
)
def test_checkov_finds_what_is_unsafe(scan, mutation, found):
    manifests = read(PLAIN)
    mutation(manifests)
    said, passed = scan(yaml.safe_dump_all(manifests.objects))
    assert not passed
    assert found in said
