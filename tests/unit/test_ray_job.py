"""The RayJob is one that KubeRay takes, and agrees with itself and with the project's pins."""

import os
import re
import shlex
import subprocess
from copy import deepcopy

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from kubernetes_validate import validate

from tests.conftest import REPOSITORY
from tests.manifests.ray_job import RAY_JOB, pod_templates
from tests.unit.test_manifests import VERSIONS

FOLDER = REPOSITORY / "deploy/ray"


@pytest.fixture(scope="module")
def objects():
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text())}


@pytest.fixture(scope="module")
def job(objects):
    return objects["RayJob"]


@pytest.fixture(scope="module")
def pinned():
    requirements = (REPOSITORY / "requirements-ray.txt").read_text()
    return re.search(r"^ray\[data\]==(.+)$", requirements, re.MULTILINE)[1]


def test_kuberay_takes_the_job(job):
    Draft202012Validator(RAY_JOB).validate(job)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("submissionMode", "JobMode"),
        ("backoff", 2),
        ("rayClusterSpec/rayVersion", 2.6),
        ("rayClusterSpec/headGroupSpec/rayStartParams/num-cpus", 0),
        ("rayClusterSpec/workerGroupSpecs/0/maxReplicas", "16"),
        ("rayClusterSpec/authOptions/mode", "tokens"),
    ],
)
def test_what_kuberay_does_not_know_is_found(job, path, value):
    changed = deepcopy(job)
    place = changed["spec"]
    *parents, last = path.split("/")
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(RAY_JOB).validate(changed)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_takes_its_pods_and_what_stands_beside(objects, job, version):
    for template in pod_templates(job).values():
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        validate(pod, version, strict=True)
    for kind in ("ServiceAccount", "NetworkPolicy"):
        validate(objects[kind], version, strict=True)


def test_every_node_and_the_image_have_the_ray_that_is_pinned(job, pinned):
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned
    assert f"\nFROM rayproject/ray:{pinned}-py311-cpu\n" in (FOLDER / "Dockerfile").read_text()
    images = {each["spec"]["containers"][0]["image"] for each in pod_templates(job).values()}
    assert len(images) == 1  # driver and actors must have the same Python and the same Ray


def test_an_actor_fits_on_a_worker_and_none_on_the_head(job):
    words = shlex.split(job["spec"]["entrypoint"])
    cpus = words[words.index("--cpus-per-actor") + 1]
    worker = pod_templates(job)["ray-worker"]["spec"]["containers"][0]["resources"]
    assert worker["requests"] == worker["limits"]
    assert worker["limits"]["cpu"] == cpus
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_a_job_that_is_tried_again_goes_on_where_it_was(job):
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "sentiment", "score"]
    assert {"--ray", "--resume"} <= set(words)
    assert job["spec"]["backoffLimit"] >= 1


def test_the_documented_command_puts_in_the_image_and_every_bucket():
    document = (REPOSITORY / "docs/bulk.md").read_text()
    (command,) = re.findall(r"^(sed .*rayjob\.yaml) \| kubectl apply", document, re.MULTILINE)
    image = f"europe-west1-docker.pkg.dev/my-project/sentiment/bulk@sha256:{'0' * 64}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=REPOSITORY,
        env=os.environ | {"IMAGE": image, "BUCKET": "my-bucket"},
        capture_output=True,
        text=True,
        check=True,
    )
    job = next(yaml.safe_load_all(done.stdout))
    words = shlex.split(job["spec"]["entrypoint"])
    assert [word for word in words if word.startswith("gs://")] == [
        "gs://my-bucket/headlines/",
        "gs://my-bucket/scored",
    ]
    images = {each["spec"]["containers"][0]["image"] for each in pod_templates(job).values()}
    assert images == {image}
    assert "BUCKET" not in done.stdout


def test_nobody_but_the_cluster_and_the_operator_reaches_it(objects, job):
    policy = objects["NetworkPolicy"]["spec"]
    selected = policy["podSelector"]["matchLabels"].items()
    for template in pod_templates(job).values():
        assert selected <= template["metadata"]["labels"].items()
    among, operator = policy["ingress"]
    assert among == {"from": [{"podSelector": policy["podSelector"]}]}
    assert operator["from"][0].keys() == {"namespaceSelector"}
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_no_pod_runs_as_root_or_gets_more_rights(job):
    for template in pod_templates(job).values():
        (container,) = template["spec"]["containers"]
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
