"""The manifests as objects: the two files as they are, and what kustomize makes of them."""

import os
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import pytest
import yaml

from sentiment.settings import ENV_PREFIX, Settings
from tests.conftest import REPOSITORY

FILES = ("deploy_model.yaml", "model_serve.yaml")
OVERLAYS = tuple(sorted(folder.name for folder in (REPOSITORY / "deploy/overlays").iterdir()))

PLAIN = "plain"
VARIANTS = (PLAIN, *OVERLAYS)
"""`plain` is what `kubectl apply -f` sends of the two files; the others are overlays."""


@dataclass(frozen=True)
class Manifests:
    """What is sent to a cluster at one time."""

    objects: list[dict]

    def all(self, *kinds: str) -> list[dict]:
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str) -> dict:
        (found,) = self.all(kind)
        return found

    @property
    def pod(self) -> dict:
        """The template of the Deployment's pods."""
        return self.one("Deployment")["spec"]["template"]

    @property
    def container(self) -> dict:
        (only,) = self.pod["spec"]["containers"]
        return only

    @property
    def environment(self) -> dict[str, str]:
        """The container's variables, without those of Secrets, with its limits filled in."""
        return {
            name: said["value"] if "value" in said else self._limit(said["valueFrom"])
            for said in self.container["env"]
            for name in [said["name"]]
            if "secretKeyRef" not in said.get("valueFrom", {})
        }

    @property
    def settings(self) -> Settings:
        """What the server reads from the environment; ValidationError where it would not start."""
        return Settings(
            **{
                name.removeprefix(ENV_PREFIX).lower(): value
                for name, value in self.environment.items()
                if name.startswith(ENV_PREFIX)
            }
        )

    @property
    def sleep_s(self) -> float:
        """How long a pod goes on as before when its end has been decided."""
        return self.container["lifecycle"]["preStop"]["sleep"]["seconds"]

    def _limit(self, source: dict) -> str:
        resource = source["resourceFieldRef"]["resource"].removeprefix("limits.")
        return self.container["resources"]["limits"][resource]


def mebibytes(quantity: str) -> int:
    """Return a quantity such as `2Gi` or `256Mi` as a number; KeyError for other units."""
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


class Rules(list[Callable[[Manifests], None]]):
    """Rules in the order in which they are written."""

    def add(self, rule: Callable[[Manifests], None]) -> Callable[[Manifests], None]:
        self.append(rule)
        return rule


def read(variant: str) -> Manifests:
    """Return the objects of `variant`, free to be changed."""
    return deepcopy(parsed(variant))


@cache
def parsed(variant: str) -> Manifests:
    return Manifests(list(yaml.safe_load_all(text_of(variant))))


def text_of(variant: str) -> str:
    """Return a variant as it is sent to a cluster; kustomize asks none."""
    if variant == PLAIN:
        return "\n---\n".join((REPOSITORY / name).read_text() for name in FILES)
    return kubectl(
        "kustomize", "--load-restrictor", "LoadRestrictionsNone", f"deploy/overlays/{variant}"
    )


def kubectl(*arguments: str) -> str:
    """Return what kubectl prints; skip the test where there is none, unless in CI."""
    if not (program := shutil.which("kubectl")):
        missing = "no kubectl: .venv/bin/python .ci/kubectl.py .kubectl, and .kubectl into PATH"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    done = subprocess.run(
        [program, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
