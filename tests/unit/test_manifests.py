"""Kubernetes and its extensions take every object of the manifests."""

import os
import re
import subprocess

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from kubernetes_validate import SchemaNotFoundError, validate
from kubernetes_validate import ValidationError as KubernetesError

from tests.manifests.custom_resources import SPECS, schema_of
from tests.manifests.mutations import GONE, container, put
from tests.manifests.reading import OVERLAYS, PLAIN, VARIANTS, read, text_of

VERSIONS = ("1.30", "1.37")
"""The first that knows a pause before the end, and the newest that the schemas have."""


def check(resource, version):
    """Raise what says what is wrong with a resource, if anything is."""
    if f"{resource['apiVersion']} {resource['kind']}" in SPECS:
        Draft202012Validator(schema_of(resource)).validate(resource)
    else:
        validate(resource, version, strict=True)


def test_there_are_manifests_to_look_at():
    assert OVERLAYS == ("gke", "gpu", "keda", "public", "traces")
    assert read(PLAIN).one("Deployment")["metadata"]["name"] == "ml-model-deployment"
    assert read(PLAIN).one("Deployment")["spec"]["replicas"] == 3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_cluster_takes_every_object(variant, version):
    for resource in read(variant).objects:
        check(resource, version)


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_without_kubectl_an_overlay_is_skipped_at_home_and_fails_in_ci(ci, outcome, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    assert text_of(PLAIN)
    with pytest.raises(outcome, match="no kubectl"):
        text_of("gke")


def test_every_schema_of_a_custom_resource_is_used():
    used = {
        f"{resource['apiVersion']} {resource['kind']}"
        for overlay in OVERLAYS
        for resource in read(overlay).objects
    }
    assert used >= SPECS.keys()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("kind", "mutation"),
    [
        ("Deployment", put("Deployment", "spec/replica", 3)),
        ("Deployment", container("lifecycle/preStop/sleep", {"second": 10})),
        ("Service", put("Service", "spec/ports/0/port", "eighty")),
        ("PodDisruptionBudget", put("PodDisruptionBudget", "apiVersion", "policy/v1beta1")),
    ],
)
def test_what_kubernetes_does_not_know_is_found(kind, mutation, version):
    manifests = read(PLAIN)
    mutation(manifests)
    with pytest.raises((KubernetesError, SchemaNotFoundError)):
        check(manifests.one(kind), version)


@pytest.mark.parametrize(
    ("overlay", "kind", "path", "value"),
    [
        ("gke", "PodMonitoring", "spec/endpoints/0/ports", "metrics"),
        ("gke", "PodMonitoring", "spec/endpoints/0/interval", "15"),
        ("keda", "PodMonitor", "spec/endpoints", []),
        ("keda", "PodMonitor", "spec/podMetricsEndpoints/0/port", 9000),
        ("keda", "ScaledObject", "spec/triggers/0/metadata/limit", "1"),
        ("keda", "ScaledObject", "spec/triggers/0/metadata/threshold", 1),
        ("keda", "ScaledObject", "spec/minReplicas", 3),
        ("public", "Gateway", "spec/listeners/0/protocol", "TLS1.2"),
        ("public", "HTTPRoute", "spec/rules/0/backendRefs/0/port", "http"),
        ("public", "HealthCheckPolicy", "spec/default/config/httpHealthCheck/path", "/readyz"),
        ("public", "GCPBackendPolicy", "spec/default/timeoutSec", 0),
        ("public", "GCPGatewayPolicy", "spec/targetRef/name", GONE),
    ],
)
def test_what_a_definition_does_not_know_is_found(overlay, kind, path, value):
    manifests = read(overlay)
    put(kind, path, value)(manifests)
    changed = manifests.all(kind)[0]
    with pytest.raises(ValidationError):
        check(changed, VERSIONS[0])


def test_the_line_that_the_file_names_puts_an_image_in_and_changes_nothing_else(
    repository, tmp_path
):
    copy = tmp_path / "deploy_model.yaml"
    before = (repository / "deploy_model.yaml").read_text()
    copy.write_text(before)
    (line,) = (line for line in before.splitlines() if line.startswith("#   sed "))
    assert line.removeprefix("#   ") in (repository / "docs/deployment.md").read_text()
    for version in "01":
        image = f"europe-west1-docker.pkg.dev/mine/sentiment/server@sha256:{version * 64}"
        subprocess.run(
            ["bash", "-c", line.removeprefix("#")], cwd=tmp_path, env={"IMAGE": image}, check=True
        )
        deployment = next(yaml.safe_load_all(copy.read_text()))
        assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == image
    changed = set(copy.read_text().splitlines()) - set(before.splitlines())
    assert {each.strip() for each in changed} == {f"image: {image}"}
    assert [*tmp_path.iterdir()] == [copy]
    assert "sed -i.bak " in line  # BSD's sed, as macOS has it, takes no `-i` alone


def test_the_lines_that_the_file_names_apply_it_and_keep_the_replicas(repository, tmp_path):
    """With a kubectl that has twelve replicas and prints what it is told to apply."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\n[ "$1" = get ] && echo 12 || cat\n')
    kubectl.chmod(0o755)
    text = (repository / "deploy_model.yaml").read_text()
    lines = re.findall(r"^  #   (.*)$", text, re.MULTILINE)
    assert len(lines) == 2
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=repository,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == text.replace("\n  replicas: 3\n", "\n  replicas: 12\n") != text
    page = (repository / "docs/deployment.md").read_text()
    assert all(line in page for line in lines)


def test_every_file_and_component_that_the_page_names_exists(repository):
    page = (repository / "docs/deployment.md").read_text()
    named = set(re.findall(r"(?:\.\./|-f )(deploy[\w./-]+)", page))
    assert len(named) >= 10
    assert [name for name in named if not (repository / name).exists()] == []


def test_the_page_makes_the_namespace_before_what_lies_in_it(repository):
    page = (repository / "docs/deployment.md").read_text()
    made = page.index("kubectl apply -f deploy/components/namespace/namespace.yaml\n")
    assert made < page.index("kubectl create secret")
    assert "--namespace sentiment" in page[made:]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_changes_no_name(overlay):
    manifests = read(overlay)
    assert manifests.one("Deployment")["metadata"]["name"] == "ml-model-deployment"
    assert manifests.one("Service")["metadata"]["name"] == "ml-model-service"
