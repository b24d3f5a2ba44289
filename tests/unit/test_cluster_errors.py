"""What keeps a run from a cluster is said before anything is begun, and without Ray."""

import json
import socket
import sys
from contextlib import contextmanager

import pytest

from sentiment.bulk.cluster import ClusterOptions, ScoreItems, facts_of, score_on_cluster
from sentiment.bulk.items import Item
from sentiment.bulk.places import Place
from sentiment.cli import main
from sentiment.errors import (
    ClusterError,
    InferenceFailed,
    LibraryError,
    OptionError,
    OutOfMemory,
    StorageError,
)

ITEMS = [Item(number=0, file="news.csv")]


@pytest.fixture
def place(tmp_path):
    return Place.at(str(tmp_path / "scored"), suffix=".csv", items=1)


class Unloadable:
    """Work whose model cannot be had."""

    def open(self, *, threads):
        raise ClusterError("no such model")


def score(place, *, done=None, address="local"):
    return score_on_cluster(
        ITEMS,
        work=Unloadable(),
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
        score(place, address="auto")


@pytest.mark.parametrize("address", ["head:ray", "head:", "head"])
def test_an_address_without_a_port_is_none(place, address):
    with pytest.raises(OptionError, match="expected auto, local or host:port"):
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


def test_an_actor_without_its_model_lives_and_says_why(place):
    actor = ScoreItems(Unloadable(), place, threads=1)
    (answer,) = actor({"item": ['{"number": 0, "file": "a", "row_groups": null}']})["answer"]
    assert '"error": "ClusterError", "message": "no such model"' in answer


class Failing:
    """Work that fails on every item."""

    def __init__(self, error):
        self._error = error

    @contextmanager
    def open(self, *, threads):
        def score(item, drafts):
            raise self._error

        yield score


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (InferenceFailed("the model fails"), InferenceFailed),
        (StorageError("the disk is full"), StorageError),
        (OutOfMemory("one text is too much"), ClusterError),
    ],
)
def test_what_an_actor_raises_ends_the_command_as_on_one_machine(place, raised, expected):
    place.begin({}, resume=False, overwrite=False)
    actor = ScoreItems(Failing(raised), place, threads=1)
    (answer,) = actor({"item": [json.dumps(ITEMS[0].as_json())]})["answer"]
    with pytest.raises(expected, match=str(raised)):
        facts_of(json.loads(answer))


@pytest.fixture
def news(tmp_path, monkeypatch):
    monkeypatch.setenv("SENTIMENT_MODEL", "compact")
    path = tmp_path / "news.csv"
    path.write_text("text,label\nProfit rose.,x\n")
    return path


def refused(monkeypatch, capsys, *arguments):
    """Run the command, which is to end before Ray is asked for; return what it said."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(sys, "argv", ["sentiment", "score", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (("-", "--ray", "local"), 2, "no other machine can read standard input"),
        (("{news}", "--ray", "head"), 2, "--ray head: expected auto, local or host:port"),
        (("{news}", "--cpus-per-actor", "2"), 2, "--cpus-per-actor and --gpus-per-actor go with"),
        (("{news}", "--ray", "local"), 2, "has a column 'label' already"),
        (("{news}", "--ray", "local", "--text-column", "body"), 4, "a column named 'body'"),
        (("{news}", "--ray", "local", "--output-format", "xlsx"), 2, "--output-format xlsx: expec"),
        (("{news}", "--ray", "local", "--prefix", "new_"), 3, "requirements-ray.txt"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_before_a_cluster_is_asked_for(
    news, tmp_path, monkeypatch, capsys, given, code, said
):
    arguments = [each.format(news=news) for each in given]
    if "--output-format" not in arguments:
        arguments += ["--output-format", "csv"]
    ended, errors = refused(monkeypatch, capsys, *arguments, "--output", tmp_path / "scored")
    assert (ended, errors.count("\n")) == (code, 1)
    assert said in errors
    assert not (tmp_path / "scored.run").exists()


def test_what_only_begins_with_the_outputs_name_is_an_input(news, tmp_path, monkeypatch, capsys):
    said = refused(
        *(monkeypatch, capsys, f"file://{news}", "--output", f"file://{tmp_path}/news"),
        *("--ray", "local", "--output-format", "csv", "--prefix", "new_"),
    )
    assert said[0] == 3
    assert "requirements-ray.txt" in said[1]


@pytest.mark.parametrize("own", ["scored/part-0.csv", "scored.run/a.csv", "scored.errors.csv"])
def test_what_the_command_writes_to_an_address_is_no_input(tmp_path, monkeypatch, capsys, own):
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("text\nProfit rose.\n")
    said = refused(
        *(monkeypatch, capsys, f"file://{tmp_path}/", "--output", f"file://{tmp_path}/scored/"),
        *("--ray", "local", "--output-format", "csv"),
    )
    assert said == (2, f"error: file://{tmp_path}/scored/: both input and output\n")


def test_an_address_as_output_needs_a_cluster(news, monkeypatch, capsys):
    code, errors = refused(monkeypatch, capsys, news, "--output", "gs://news/scored.csv")
    assert (code, errors) == (
        2,
        "error: --output gs://news/scored.csv: an address needs --ray; name a file\n",
    )
