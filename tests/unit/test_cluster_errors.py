"""What keeps a run from a cluster is said before anything is begun, and without Ray."""

import socket
import sys

import pytest

from benchmarks.cluster_run import CompactModel
from sentiment.bulk.cluster import ClusterOptions, ScoreItems, score_on_cluster
from sentiment.bulk.items import Item
from sentiment.bulk.places import Place
from sentiment.errors import ClusterError, LibraryError, OptionError

ITEMS = [Item(number=0, file="news.csv")]


@pytest.fixture
def place(tmp_path):
    return Place.at(str(tmp_path / "scored"), suffix=".csv", items=1)


def score(place, *, done=None, address=None):
    return score_on_cluster(
        ITEMS,
        work=CompactModel("unused"),
        place=place,
        done=done or {},
        options=ClusterOptions(address=address),
    )


@pytest.fixture(autouse=True)
def no_cluster_from_outside(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_AUTO_CONNECT"):
        monkeypatch.setenv(name, "")
    monkeypatch.delenv("RAY_ADDRESS")


@pytest.fixture
def closed_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_an_address_where_nobody_listens_is_named(place, closed_port):
    with pytest.raises(ClusterError, match=f"no Ray cluster 127.0.0.1:{closed_port}"):
        score(place, address=f"127.0.0.1:{closed_port}")


def test_the_address_of_the_environment_is_looked_at_too(place, closed_port, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    with pytest.raises(ClusterError, match=f"no Ray cluster 127.0.0.1:{closed_port}"):
        score(place)


@pytest.mark.parametrize("address", ["head:ray", "head:"])
def test_an_address_without_a_port_is_none(place, address):
    with pytest.raises(OptionError, match="expected host:port, or auto"):
        score(place, address=address)


def test_the_address_of_a_ray_client_is_refused_with_what_to_do_instead():
    with pytest.raises(OptionError, match="host:6379"):
        ClusterOptions(address="ray://head:10001")


def test_without_ray_its_requirements_are_named(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LibraryError, match=r"pip install -r requirements-ray\.txt"):
        score(place)


def test_where_nothing_is_left_to_do_no_cluster_is_needed(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert score(place, done={0: {"rows": 7}}) == {0: {"rows": 7}}


class Unloadable:
    """Work whose model cannot be had."""

    def open(self, *, threads):
        raise ClusterError("no such model")


def test_an_actor_without_its_model_lives_and_says_why(place):
    actor = ScoreItems(Unloadable(), place, threads=1)
    (answer,) = actor({"item": ['{"number": 0, "file": "a", "row_groups": null}']})["answer"]
    assert '"error": "ClusterError", "message": "no such model"' in answer
