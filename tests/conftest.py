"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no defect: examples may take as long as they take.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    """A developer's own SENTIMENT_* variables must not change what is tested."""
    for name in [name for name in os.environ if name.startswith("SENTIMENT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def service():
    """A client of the whole application: bundled model, default limits."""
    from starlette.testclient import TestClient

    from sentiment import Settings
    from sentiment.api.app import create_app

    with TestClient(create_app(Settings(model="compact", threads=2, precision="fp32"))) as client:
        yield client
