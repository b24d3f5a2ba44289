"""A run's parts stand whole or not at all, and its output when all are there."""

import json
import pickle
from pathlib import Path
from uuid import uuid4

import pytest

from sentiment.bulk.items import Item
from sentiment.bulk.places import Place
from sentiment.errors import LibraryError, OptionError, StorageError

ITEMS = [Item(number=number, file="news.csv") for number in range(3)]
PLAN = {"items": [item.as_json() for item in ITEMS]}


@pytest.fixture(params=["folder", "address"])
def place(request, tmp_path):
    """A folder, and the same behind an address, which goes the way of an object store."""
    output = str(tmp_path / "scored")
    if request.param == "address":
        output = f"file://{output}"
    return Place.at(output, suffix=".csv", items=len(ITEMS))


def begin(place, *, plan=PLAN, resume=False, overwrite=False):
    return place.begin(plan, resume=resume, overwrite=overwrite)


def do(place, *items):
    for item in items:
        with place.writing(item) as drafts:
            drafts.part.write_text(f"part {item.number}\n")
        place.finish_item(item, {"rows": item.number})


def output_of(place):
    return Path(place.output.removeprefix("file://"))


def contents(place):
    return {path.name: path.read_text() for path in output_of(place).iterdir()}


def test_the_output_holds_the_parts_of_all_items_and_the_summary(place):
    assert begin(place) == {}
    do(place, *ITEMS)
    place.finish({"rows": 3})
    found = contents(place)
    assert json.loads(found.pop("_SUCCESS")) == {"rows": 3}
    assert found == {f"part-0000{number}.csv": f"part {number}\n" for number in range(3)}
    assert not Path(f"{output_of(place)}.run").exists()


def test_names_of_parts_sort_as_their_numbers_do():
    place = Place.at("scored", suffix=".csv", items=1_000_001)
    names = [place.part_name(number) for number in (0, 9, 10, 10**6)]
    assert names == sorted(names)
    assert names[0] == "part-0000000.csv"


def test_a_folder_appears_when_all_is_there_and_not_before(tmp_path):
    place = Place.at(str(tmp_path / "scored"), suffix=".csv", items=3)
    begin(place)
    do(place, *ITEMS)
    assert not (tmp_path / "scored").exists()
    place.finish({})
    assert (tmp_path / "scored").is_dir()


def test_an_address_has_the_sign_that_all_is_there_when_it_is(place):
    begin(place)
    do(place, *ITEMS)
    assert not (output_of(place) / "_SUCCESS").exists()


def test_a_part_whose_writing_fails_leaves_nothing(place):
    begin(place)
    with pytest.raises(ValueError, match="half"), place.writing(ITEMS[0]) as drafts:  # noqa: PT012
        drafts.part.write_text("half of a part")
        raise ValueError("half")
    assert not drafts.part.exists()
    assert place.facts(ITEMS[0]) is None


def test_a_part_that_is_written_twice_is_there_once(place):
    begin(place)
    do(place, *ITEMS)
    do(place, ITEMS[1])
    place.finish({})
    assert len(contents(place)) == 4


def test_a_resumed_run_knows_what_is_done(place):
    begin(place)
    do(place, ITEMS[0], ITEMS[2])
    assert begin(place, resume=True) == {0: {"rows": 0}, 2: {"rows": 2}}
    assert place.facts(ITEMS[2]) == {"rows": 2}
    assert place.facts(ITEMS[1]) is None


def test_attempts_are_counted_by_item_and_forgotten_when_a_run_is_resumed(place):
    begin(place)
    assert [place.count_attempt(ITEMS[0]) for _ in range(3)] == [1, 2, 3]
    assert place.count_attempt(ITEMS[1]) == 1
    begin(place, resume=True)
    assert place.count_attempt(ITEMS[0]) == 1


def test_to_resume_what_was_never_begun_is_to_begin(place):
    assert begin(place, resume=True) == {}


def test_an_unfinished_run_is_not_begun_anew_unasked(place):
    begin(place)
    with pytest.raises(OptionError, match="--resume"):
        begin(place)


def test_a_run_of_another_input_is_not_resumed(place):
    begin(place)
    with pytest.raises(OptionError, match=r"is another run: it has items: "):
        begin(place, plan={"items": []}, resume=True)


@pytest.mark.parametrize("name", ["run.json", "lock", "thesis.txt", ".hidden"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_the_runs_name_that_no_cluster_made_is_only_removed_when_asked(
    place, name, resume
):
    other = Path(f"{output_of(place)}.run") / name
    other.parent.mkdir()
    other.write_text("of years")
    with pytest.raises(OptionError, match=rf"{name}, which is not of a run on a cluster"):
        begin(place, resume=resume)
    assert other.read_text() == "of years"
    begin(place, overwrite=True)
    assert not other.exists()


def test_what_a_run_left_that_ended_before_its_plan_was_written_is_not_in_the_way(place):
    begin(place)
    place.count_attempt(ITEMS[0])
    run = Path(f"{output_of(place)}.run")
    (run / "plan.json").rename(run / f".{uuid4().hex}")
    assert begin(place) == {}
    assert [path.name for path in run.iterdir()] == ["plan.json"]


def test_what_is_overwritten_is_begun_anew(place):
    begin(place)
    do(place, ITEMS[0])
    assert begin(place, overwrite=True) == {}
    assert place.facts(ITEMS[0]) is None


def test_a_finished_output_is_replaced_only_when_asked(place):
    begin(place)
    do(place, *ITEMS)
    place.finish({"run": 1})
    with pytest.raises(OptionError, match="is there already"):
        begin(place)
    begin(place, overwrite=True)
    do(place, *ITEMS)
    place.finish({"run": 2})
    assert len(contents(place)) == 4
    assert json.loads(contents(place)["_SUCCESS"]) == {"run": 2}


def test_a_folder_of_something_else_is_never_replaced(place):
    output_of(place).mkdir()
    (output_of(place) / "thesis.txt").write_text("of years")
    with pytest.raises(OptionError, match="not to be overwritten"):
        begin(place, overwrite=True)
    assert contents(place) == {"thesis.txt": "of years"}


def test_bad_rows_and_sums_of_the_items_come_together_in_their_order(place):
    begin(place)
    for item in reversed(ITEMS):
        with place.writing(item) as drafts:
            drafts.part.write_text("part\n")
            drafts.tally.write_text(json.dumps({"rows": item.number}))
            if item.number != 1:
                drafts.faults.write_bytes(b"file,row,reason\r\na.csv,%d,no text\r\n" % item.number)
        place.finish_item(item, {"rows": item.number})
    assert [sums["rows"] for sums in place.tallies()] == [0, 1, 2]
    place.put_faults([0, 2])
    listed = output_of(place).with_name("scored.errors.csv")
    expected = b"file,row,reason\r\na.csv,0,no text\r\na.csv,2,no text\r\n"
    assert listed.read_bytes() == expected
    place.put_faults([])
    assert not listed.exists()


def test_a_run_of_which_nothing_is_done_is_abandoned_without_a_trace(place):
    begin(place)
    place.abandon()
    assert begin(place) == {}
    do(place, ITEMS[0])
    place.abandon()
    assert begin(place, resume=True) == {0: {"rows": 0}}


def test_an_output_is_complete_when_its_run_is_over(place):
    assert not place.is_complete()
    begin(place)
    do(place, *ITEMS)
    assert not place.is_complete()
    place.finish({})
    assert place.is_complete()


def test_a_part_that_another_machine_kept_to_itself_is_missed(place):
    begin(place)
    do(place, ITEMS[0], ITEMS[2])
    with pytest.raises(StorageError, match=r"1 of 3 parts .* part-00001\.csv; .* every machine"):
        place.finish({})
    assert begin(place, resume=True).keys() == {0, 2}


def test_a_run_that_ended_between_its_last_two_steps_is_resumed_to_its_end(tmp_path):
    place = Place.at(str(tmp_path / "scored"), suffix=".csv", items=3)
    begin(place)
    do(place, *ITEMS)
    (tmp_path / "scored.run/parts").rename(tmp_path / "scored")
    assert len(begin(place, resume=True)) == 3
    place.finish({})
    assert not (tmp_path / "scored.run").exists()
    assert len(contents(place)) == 3


def test_a_place_goes_to_another_process_as_it_is(place):
    begin(place)
    do(place, ITEMS[0])
    moved = pickle.loads(pickle.dumps(place))
    assert moved == place
    assert moved.facts(ITEMS[0]) == {"rows": 0}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    place = Place.at(str(tmp_path / "file/scored"), suffix=".csv", items=3)
    with pytest.raises(StorageError, match="file"):
        begin(place)


def test_what_cannot_be_read_is_not_said_to_be_written(place):
    Path(f"{output_of(place)}.run").write_text("a file")
    with pytest.raises(StorageError, match=r"scored\.run/plan\.json: cannot be read: "):
        begin(place)


def test_an_output_that_cannot_be_reached_is_the_storages_error():
    with pytest.raises(StorageError, match=r"^hdfs://nobody/news: cannot be reached: .+$"):
        begin(Place.at("hdfs://nobody/news", suffix=".csv", items=3))


def test_an_address_that_nothing_here_knows_is_named():
    with pytest.raises(LibraryError, match="teleport:// cannot be read"):
        begin(Place.at("teleport://news", suffix=".csv", items=3))
