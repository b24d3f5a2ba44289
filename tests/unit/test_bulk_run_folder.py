"""The folder of a run: what is in the way, what is kept, and what is left behind."""

import json

import pytest

from sentiment.bulk.inputs import KEPT_STANDARD_INPUT
from sentiment.bulk.run_folder import DISCARDED, JOURNAL, opened_run
from sentiment.errors import DataError, OptionError, StorageError


@pytest.fixture
def output(tmp_path):
    return tmp_path / "scored.csv"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scored.csv.run"


def begin(output, record=None, **how):
    """Begin a run and leave it unfinished."""
    with opened_run(output, **{"resume": False, "overwrite": False} | how) as folder:
        folder.agree(record or {"files": 1})
        (folder.path / JOURNAL).write_bytes(b"computed")


def break_off(output, error, *, standard_input=None):
    """Open a run that ends by an error before anything is begun."""
    with opened_run(output, resume=False, overwrite=False) as folder:
        if standard_input is not None:
            (folder.path / KEPT_STANDARD_INPUT).write_text(standard_input)
        raise error


def test_a_run_that_is_done_leaves_its_output_alone(output, path):
    with opened_run(output, resume=False, overwrite=False) as folder:
        folder.agree({"files": 1})
        output.write_text("scored")
        folder.discard()
    assert list(output.parent.iterdir()) == [output]


def test_what_a_death_while_tidying_up_left_goes_when_the_run_goes_on(output, path):
    begin(output)
    output.write_text("scored")
    aside = path.with_name(f"{DISCARDED}{path.name}")
    path.rename(aside)
    with opened_run(output, resume=True, overwrite=False) as folder:
        assert folder is None
    assert list(output.parent.iterdir()) == [output]


def test_what_a_death_while_tidying_up_left_is_not_in_the_way_of_the_next_run(output, path):
    begin(output)
    path.rename(path.with_name(f"{DISCARDED}{path.name}"))
    with opened_run(output, resume=False, overwrite=False) as folder:
        folder.agree({"files": 2})
        folder.discard()
    assert list(output.parent.iterdir()) == []


def test_a_folder_of_the_outputs_name_is_said_before_anything_is_done(output):
    output.mkdir()
    with (
        pytest.raises(OptionError, match=r"scored\.csv is a folder"),
        opened_run(output, resume=False, overwrite=True),
    ):
        pass


def test_a_name_that_is_too_long_is_the_disks_error(output):
    with pytest.raises(StorageError, match="File name too long"):
        begin(output.with_name("x" * 254))


def test_another_process_is_in_the_way(output):
    with (
        opened_run(output, resume=False, overwrite=False) as folder,
    ):
        folder.agree({})
        with (
            pytest.raises(OptionError, match="another process is scoring there"),
            opened_run(output, resume=True, overwrite=False),
        ):
            pass


def test_the_same_run_goes_on_and_another_does_not(output):
    begin(output, {"files": 1, "model": "a"})
    begin(output, {"files": 1, "model": "a"}, resume=True)
    with pytest.raises(OptionError, match="model: 'a', not 'b'"):
        begin(output, {"files": 1, "model": "b"}, resume=True)
    with pytest.raises(OptionError, match="model: 'a', not None"):
        begin(output, {"files": 1}, resume=True)
    begin(output, {"files": 2}, overwrite=True)


@pytest.mark.parametrize("content", ["", "{", "[]", "\udcff"])
def test_a_record_that_is_none_is_said(output, path, content):
    begin(output)
    (path / "run.json").write_text(content, errors="surrogateescape")
    with (
        pytest.raises(OptionError, match="not the record of a run"),
        opened_run(output, resume=True, overwrite=False),
    ):
        pass


@pytest.mark.parametrize("name", ["plan.json", "parts", "thesis.txt"])
def test_a_folder_of_the_runs_name_that_no_run_made_is_only_cleared_when_asked(output, path, name):
    path.mkdir()
    (path / name).write_text("of years")
    with (
        pytest.raises(OptionError, match=f"{name}, which is not of a run on one machine"),
        opened_run(output, resume=True, overwrite=False),
    ):
        pass
    assert [each.name for each in path.iterdir()] == [name]
    with opened_run(output, resume=False, overwrite=True):
        assert not (path / name).exists()


def test_what_a_run_left_that_died_before_its_record_was_written_is_not_in_the_way(output, path):
    path.mkdir()
    for name in ("lock", JOURNAL, ".writing-run.json", "standard-input.writing"):
        (path / name).write_text("")
    (path / KEPT_STANDARD_INPUT).write_text("text\n")
    with opened_run(output, resume=True, overwrite=False) as folder:
        assert folder.begun is None
        assert {each.name for each in path.iterdir()} == {"lock", KEPT_STANDARD_INPUT}


def test_overwriting_begins_anew_whatever_is_there(output, path):
    begin(output)
    (path / "scores.journal").write_text("x")
    (path / "folder").mkdir()
    with opened_run(output, resume=False, overwrite=True) as folder:
        assert folder.begun is None
        assert [each.name for each in path.iterdir()] == ["lock"]
        folder.agree({"files": 2})
    assert json.loads((path / "run.json").read_text()) == {"files": 2}


def test_an_error_before_anything_is_begun_leaves_nothing(output):
    with pytest.raises(DataError):
        break_off(output, DataError("no such column"), standard_input="text\n")
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize("computed", [b"", b"a window"])
def test_a_run_that_ends_by_an_error_stays_only_if_it_has_computed_something(
    output, path, computed
):
    def failing():
        with opened_run(output, resume=False, overwrite=False) as folder:
            folder.agree({"files": 1})
            (folder.path / JOURNAL).write_bytes(computed)
            raise DataError("a bad row")

    with pytest.raises(DataError):
        failing()
    assert path.exists() == bool(computed)


def test_an_interrupt_before_anything_is_begun_keeps_only_what_nobody_can_give_again(output, path):
    for error, standard_input in (
        (KeyboardInterrupt, None),
        (StorageError, None),
        (KeyboardInterrupt, "text\n"),
    ):
        with pytest.raises(error):
            break_off(output, error(), standard_input=standard_input)
        assert path.exists() == (standard_input is not None)
    with opened_run(output, resume=True, overwrite=False) as folder:
        assert (folder.path / KEPT_STANDARD_INPUT).read_text() == "text\n"
        folder.discard()
