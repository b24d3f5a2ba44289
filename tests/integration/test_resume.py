"""A training that is interrupted ends in the same weights as one that is not."""

import hashlib
import json
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.forks import Forks
from tests.small_bert import write_base, write_data

RECIPE = {
    "epochs": 4,
    "learning-rate": 0.003,
    "batch-texts": 4,
    "accumulation": 2,
    "warmup-share": 0.2,
    "layer-decay": 0.9,
    "unfreeze-every": 0.5,
    "average-decay": 0.9,
    "class-weights": "balanced",
    "label-smoothing": 0.1,
    "masked-share": 0.1,
    "held-out": 0.2,
}
"""Everything that a checkpoint must carry: moments of a few layers, average, dropout, masks."""

STEPS = 16

HOSTILE = (
    "optimizer.pt",
    "optimizer.bin",
    "scheduler.pt",
    "scaler.pt",
    "rng_state.pth",
    "rng_state_0.pth",
    "training_args.bin",
    "pytorch_model.bin",
    "adapter_model.bin",
)
"""The pickles that `transformers.Trainer` would look for."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def base(folder):
    (folder / "base").mkdir()
    return write_base(folder / "base")


@pytest.fixture(scope="module")
def data(folder):
    return write_data(folder)


@pytest.fixture(scope="module")
def forks(repository, folder):
    made = Forks(cwd=repository, folder=folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def command(base, data):
    """The command line of a training into `output`."""

    def command(output, *flags, **changed):
        recipe = RECIPE | {name.replace("_", "-"): value for name, value in changed.items()}
        files = [f"--data={path}" for path in data]
        options = [f"--{name}={value}" for name, value in recipe.items()]
        steps = ["--checkpoint-steps=3", "--log-steps=1", "--no-tensorboard"]
        return ["train", f"--base={base}", f"--output={output}", *files, *options, *steps, *flags]

    return command


@pytest.fixture(scope="module")
def unbroken(forks, command, folder):
    """The output of a training that nothing interrupts, and what its process left."""
    done = forks.run(command(folder / "unbroken"))
    assert done.code == 0, done.stderr
    return folder / "unbroken", done


@pytest.fixture
def output(tmp_path_factory, folder, request):
    return folder / request.node.name.replace("[", "-").rstrip("]")


def run_folder(output):
    return output.with_name(output.name + ".run")


def rows(output):
    return json_lines(run_folder(output) / "log.jsonl")


def json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def logged(output, step):
    """A condition: that the log has come to `step`."""
    path = run_folder(output) / "log.jsonl"
    return lambda: path.is_file() and f'{{"step": {step},' in path.read_text()


def steps_kept(output):
    checkpoints = (run_folder(output) / "checkpoints").glob("step-*")
    return sorted(int(path.name.removeprefix("step-")) for path in checkpoints)


def newest(output):
    return max((run_folder(output) / "checkpoints").glob("step-*"))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stop(forks, command, output, step=7):
    """Begin a training and end it by SIGTERM when it has done `step` steps."""
    forks.start(command(output))
    forks.signal_when(logged(output, step))
    done = forks.wait()
    assert done.code == 128 + signal.SIGTERM, done.stderr
    return done


def assert_the_same(output, unbroken):
    """The same curve, number by number, and the same weights."""
    ours, theirs = rows(output), rows(unbroken[0])
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        assert row == pytest.approx(other, abs=1e-6)
    weights, expected = (load_file(each / "model.safetensors") for each in (output, unbroken[0]))
    assert weights.keys() == expected.keys()
    assert all((weights[name] == expected[name]).all() for name in weights)


def test_a_finished_run_keeps_its_settings_and_log_but_no_checkpoint(unbroken):
    kept = {path.name for path in run_folder(unbroken[0]).iterdir()}
    assert kept == {"settings.json", "log.jsonl", "finished.json", "lock", "conflicts.jsonl"}
    steps = [row for row in rows(unbroken[0]) if "loss" in row]
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    assert all(row.keys() >= {"learning_rate", "gradient_norm", "epoch"} for row in steps)
    epochs = [row for row in rows(unbroken[0]) if "validation_macro_f1" in row]
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]


def test_the_epoch_with_the_best_macro_f1_is_the_one_written(unbroken):
    record = json.loads((unbroken[0] / "training.json").read_text())
    ranks = {
        (entry["eval_macro_f1"], -entry["eval_loss"]): entry["epoch"] for entry in record["epochs"]
    }
    assert record["best"]["epoch"] == ranks[max(ranks)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_a_signal_ends_a_training_that_resumes_to_the_same_weights(
    forks, command, output, unbroken, number
):
    forks.start(command(output))
    forks.signal_when(logged(output, 6), number)
    done = forks.wait()
    assert done.code == 128 + number
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    step = max(row["step"] for row in rows(output))
    assert f"stopped by {number.name} at step {step} of {STEPS}" in line
    assert "--resume continues" in line
    assert steps_kept(output)[-1] == step or step % 4 == 0
    assert not output.exists()
    resumed = forks.run(command(output, "--resume"))
    assert resumed.code == 0, resumed.stderr
    assert "going on from step" in resumed.stderr
    assert_the_same(output, unbroken)


def test_a_training_killed_at_many_moments_ends_in_the_same_weights(
    forks, command, output, unbroken
):
    total = sum(str(output.parent) in each for each in unbroken[1].opened)
    moments = [total // 12, total // 7, total // 5, total // 4, total // 4 + 1, total // 4 + 2]
    deaths = 0
    for moment in moments:
        done = forks.run(command(output, "--resume"), die_at=moment)
        assert done.code in (-signal.SIGKILL, 0), done.stderr
        deaths += done.code == -signal.SIGKILL
    assert deaths >= 4
    done = forks.run(command(output, "--resume"))
    assert done.code == 0, done.stderr
    assert_the_same(output, unbroken)


def test_a_checkpoint_that_was_being_written_when_the_process_died_does_not_count(
    forks, command, output, unbroken
):
    checkpoints = run_folder(output) / "checkpoints"
    forks.start(command(output))
    forks.signal_when(lambda: list(checkpoints.glob(".writing-step-*6")), signal.SIGKILL)
    assert forks.wait().code == -signal.SIGKILL
    assert 3 in steps_kept(output)
    done = forks.run(command(output, "--resume"))
    assert done.code == 0, done.stderr
    assert_the_same(output, unbroken)


def test_texts_with_two_labels_are_listed_in_the_run_folder(unbroken):
    output, done = unbroken
    (conflict,) = json_lines(run_folder(output) / "conflicts.jsonl")
    assert conflict == {
        "text": "sales of nokia rose .",
        "kept": "positive",
        "other": "negative",
        "kept_at": "bank.txt:1",
        "other_at": "teacher.csv:33",
    }
    said = f"texts with two labels, of which the first counts: 1, see {run_folder(output)}"
    assert f"{said}/conflicts.jsonl\n" in done.stderr


def test_the_record_says_with_what_a_training_began_and_went_on(forks, command, output, unbroken):
    stop(forks, command, output)
    path = run_folder(output) / "settings.json"
    settings = json.loads(path.read_text())
    now = settings["versions"]["torch"]
    settings["versions"]["torch"], settings["commit"] = "1.0", "abc"
    path.write_text(json.dumps(settings))
    done = forks.run(command(output, "--resume"))
    assert done.code == 0, done.stderr
    assert f"was begun with torch 1.0 and goes on with {now}: its weights may be" in done.stderr
    record = json.loads((output / "training.json").read_text())
    assert (record["versions"]["torch"], record["commit"]) == ("1.0", "abc")
    assert "--resume" not in record["command"]
    (resumed,) = record["resumed"]
    assert resumed["versions"]["torch"] == now
    assert resumed["command"][-1] == "--resume"
    assert not any("/" in argument for argument in resumed["command"])
    assert json.loads((unbroken[0] / "training.json").read_text())["resumed"] == []


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(forks, command, output, unbroken):
    stop(forks, command, output)
    kept = steps_kept(output)
    assert len(kept) == 2
    weights = newest(output) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    done = forks.run(command(output, "--resume"))
    assert done.code == 0, done.stderr
    assert "is damaged: going on from the checkpoint before it" in done.stderr
    assert f"going on from step {kept[0]}" in done.stderr
    assert_the_same(output, unbroken)


def tear(folder):
    """Break every weights file in a folder."""
    for path in folder.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")


def test_torn_checkpoints_do_not_outlive_whole_ones(tmp_path):
    import torch

    from sentiment.training.checkpoints import Checkpoints

    checkpoints = Checkpoints(tmp_path)
    weights = {"weights": {"w": torch.ones(1)}}
    for step in (7, 10):
        checkpoints.write(step, tensors=weights, states={"ours": step})
        tear(tmp_path / f"step-{step:08}")
    for step in (3, 6, 9):
        checkpoints.write(step, tensors=weights, states={"ours": step})
        assert next(checkpoints.whole()).step == step
    assert names(tmp_path) == {"step-00000006", "step-00000009"}


def test_with_a_torn_best_model_the_checkpoint_before_it_is_taken(forks, command, output, unbroken):
    assert forks.run(command(output), nan_at=9).code == 3  # at step 5
    (best,) = (run_folder(output) / "checkpoints").glob("best-*")
    tear(best)
    assert steps_kept(output) == [3, 4]
    done = forks.run(command(output, "--resume"))
    assert done.code == 0, done.stderr
    assert f"{best} is damaged, the best model so far" in done.stderr
    assert "going on from step 3" in done.stderr
    assert_the_same(output, unbroken)


@pytest.mark.parametrize("every", [3, 4])
def test_where_no_best_model_is_whole_training_goes_on_and_says_so(forks, command, output, every):
    steps = f"--checkpoint-steps={every}"
    assert forks.run(command(output, steps), refused=True).code == 3
    checkpoints = run_folder(output) / "checkpoints"
    for best in checkpoints.glob("best-*"):
        tear(best)
    last = steps_kept(output)[-1]
    done = forks.run(command(output, steps, "--resume"))
    assert done.code == 0, done.stderr
    assert f"the best of the epochs from step {last} on will be written" in done.stderr
    record = json.loads((output / "training.json").read_text())
    assert record["best"]["step"] >= last
    assert [entry["epoch"] for entry in record["epochs"]] == [1, 2, 3, 4]


def test_a_full_disk_is_one_line_and_the_training_can_be_resumed(forks, command, output, unbroken):
    stop(forks, command, output)
    before = steps_kept(output)
    largest = (newest(output) / "weights.safetensors").stat().st_size
    full = forks.run(command(output, "--resume"), largest_file=largest - 1)
    assert full.code == 5
    (line,) = [line for line in full.stderr.splitlines() if line.startswith("error: ")]
    assert "cannot be written: " in line
    assert "Traceback" not in full.stderr
    assert steps_kept(output) == before
    assert not list((run_folder(output) / "checkpoints").glob(".writing-*"))
    done = forks.run(command(output, "--resume"))
    assert done.code == 0, done.stderr
    assert_the_same(output, unbroken)


def test_a_disk_that_is_full_at_promotion_is_one_line(forks, command, output):
    assert forks.run(command(output), refused=True).code == 3
    best = max((run_folder(output) / "checkpoints").glob("best-*"))
    largest = (best / "model.safetensors").stat().st_size
    full = forks.run(command(output, "--resume"), largest_file=largest - 1)
    assert full.code == 5
    line = full.stderr.splitlines()[-1]
    copy = run_folder(output) / "work" / "model.safetensors"
    assert line == f"error: {copy}: cannot be written: File too large"


def test_nothing_in_a_run_folder_can_run_code(forks, command, output, unbroken, folder):
    stop(forks, command, output)
    marker = folder / "marker"
    # What unpickling this would do: `os.system("touch marker")`.
    pickled = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    for place in (newest(output), newest(output).parent, run_folder(output)):
        for name in HOSTILE:
            (place / name).write_bytes(pickled)
    done = forks.run(command(output, "--resume"))
    assert done.code == 0, done.stderr
    assert "going on from step" in done.stderr
    assert not marker.exists()
    assert not any(Path(each).name in HOSTILE or each == "pickle" for each in done.opened)
    assert any(Path(each).name == "ours.json" for each in done.opened)  # the watch works
    assert_the_same(output, unbroken)


def test_no_checkpoint_file_is_a_pickle(forks, command, output):
    stop(forks, command, output)
    files = [path for path in run_folder(output).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".safetensors", ""}


@pytest.fixture(scope="module")
def stopped(forks, command, folder):
    stop(forks, command, folder / "stopped")
    return folder / "stopped"


def test_another_training_does_not_continue_this_one(forks, command, stopped, base, data, folder):
    other = folder / "other-base"
    shutil.copytree(base, other)
    tokenizer = other / "tokenizer.json"
    weights = load_file(other / "model.safetensors")
    from safetensors.numpy import save_file

    save_file({name: each * 2 for name, each in weights.items()}, other / "model.safetensors")
    assert tokenizer.exists()
    more = folder / "more.csv"
    more.write_text("text,label\nOrders of Nokia fell,negative\n")
    before = steps_kept(stopped)
    for arguments, said in (
        (
            command(stopped, "--resume", learning_rate=0.001),
            "recipe learning_rate: 0.003, not 0.001",
        ),
        (command(stopped, "--resume", held_out=0.3), "split held_out: 0.2, not 0.3"),
        (command(stopped, "--resume", f"--data={more}"), "data more.csv: None, not "),
        ([*command(stopped, "--resume"), f"--base={other}"], "base weights_sha256: "),
    ):
        done = forks.run(arguments)
        assert done.code == 2
        (line,) = done.stderr.splitlines()
        assert "stopped.run is another training: it has " in line
        assert said in line
    assert steps_kept(stopped) == before


def test_an_unfinished_training_is_neither_continued_nor_lost_unasked(forks, command, stopped):
    before = steps_kept(stopped)
    done = forks.run(command(stopped))
    assert done.code == 2
    assert "holds an unfinished training; --resume continues it" in done.stderr
    assert steps_kept(stopped) == before


def test_a_finished_model_is_neither_lost_nor_trained_again(forks, command, unbroken):
    before = sha256(unbroken[0] / "model.safetensors")
    refused = forks.run(command(unbroken[0]))
    assert refused.code == 2
    assert "is not empty; --overwrite replaces it when done" in refused.stderr
    again = forks.run(command(unbroken[0], "--resume"))
    assert again.code == 0, again.stderr
    assert "is finished already" in again.stderr
    assert sha256(unbroken[0] / "model.safetensors") == before


def test_an_old_model_is_replaced_only_when_the_new_one_is_done(forks, command, output, unbroken):
    shutil.copytree(unbroken[0], output)
    (output / "README.md").write_text("mine")
    forks.start(command(output, "--overwrite", "--seed=8"))
    forks.signal_when(logged(output, 6))
    assert forks.wait().code == 143
    assert (output / "README.md").exists()
    refused = forks.run(command(output, "--resume", "--seed=8"))
    assert refused.code == 2
    assert "is not empty; --overwrite replaces it when done" in refused.stderr
    done = forks.run(command(output, "--overwrite", "--resume", "--seed=8"))
    assert done.code == 0, done.stderr
    assert not (output / "README.md").exists()
    assert json.loads((output / "training.json").read_text())["recipe"]["seed"] == 8


def test_an_old_model_is_not_replaced_unasked_by_one_that_promotion_had_refused(
    forks, command, output, unbroken
):
    shutil.copytree(unbroken[0], output)
    old = sha256(output / "model.safetensors")
    refused = forks.run(command(output, "--overwrite", "--seed=8"), refused=True)
    assert refused.code == 3, refused.stderr
    unasked = forks.run(command(output, "--resume", "--seed=8"))
    assert unasked.code == 2
    assert "is not empty; --overwrite replaces it when done" in unasked.stderr
    assert sha256(output / "model.safetensors") == old
    asked = forks.run(command(output, "--resume", "--overwrite", "--seed=8"))
    assert asked.code == 0, asked.stderr
    assert "epoch" not in asked.stderr  # it was trained already
    assert sha256(output / "model.safetensors") != old


def test_a_model_that_waits_for_promotion_is_not_lost_unasked(forks, command, output):
    steps = "--checkpoint-steps=1000"  # none is written: only the best model is there
    assert forks.run(command(output, steps, epochs=1), refused=True).code == 3
    assert not steps_kept(output)
    again = forks.run(command(output, steps, epochs=1))
    assert again.code == 2
    assert "holds an unfinished training" in again.stderr
    assert list((run_folder(output) / "checkpoints").glob("best-*"))


@pytest.mark.parametrize("removed", [0, 24])
def test_a_promoted_model_is_not_trained_again_however_far_its_checkpoints_were_removed(
    forks, command, output, unbroken, removed
):
    done = forks.run(command(output), die_removing=["/checkpoints", removed])
    assert done.code == -signal.SIGKILL, done.stderr
    resumed = forks.run(command(output, "--resume"))
    assert resumed.code == 0, resumed.stderr
    assert "epoch" not in resumed.stderr
    assert names(run_folder(output)) == names(run_folder(unbroken[0]))
    assert_the_same(output, unbroken)


def names(folder):
    return {path.name for path in folder.iterdir() if path.name != "work"}


def test_a_finished_model_that_was_taken_away_is_not_trained_again(
    forks, command, output, unbroken
):
    shutil.copytree(run_folder(unbroken[0]), run_folder(output))
    for emptied in (False, True):
        if emptied:
            output.mkdir()
        done = forks.run(command(output, "--resume"))
        assert done.code == 2
        (line,) = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
        assert "is of a training that has ended, but its model is not in " in line


def test_a_loss_that_is_no_number_stops_at_once_and_keeps_the_best_model(forks, command, output):
    done = forks.run(command(output), nan_at=13)  # accumulation makes it step 7, in epoch 2
    assert done.code == 3
    line = done.stderr.splitlines()[-1]
    assert f"the loss is not finite at step 7 of {STEPS}: try a lower learning rate" in line
    best = Path(line.rpartition("the best so far, is ")[2])
    assert best.parent == run_folder(output) / "checkpoints"
    assert load_file(best / "model.safetensors")
    assert not output.exists()


def test_folds_that_are_finished_are_not_trained_again(forks, command, output):
    fold_2 = run_folder(output) / "fold-2" / "log.jsonl"
    forks.start(command(output, "--folds=2"))
    forks.signal_when(lambda: fold_2.is_file() and '{"step": 5,' in fold_2.read_text())
    assert forks.wait().code == 143
    done = forks.run(command(output, "--folds=2", "--resume"))
    assert done.code == 0, done.stderr
    assert "fold 1 of 2: macro-F1" in done.stderr
    assert "fold 1 of 2: 2" not in done.stderr  # the texts it would train on
    assert {path.name for path in output.iterdir()} == {"folds.json", "folds.jsonl"}
    figures = json.loads((output / "folds.json").read_text())
    assert figures == json.loads(done.stdout)
    predictions = json_lines(output / "folds.jsonl")
    assert figures["pooled"]["texts"] == len(predictions) == 29
    assert len({each["text_sha256"] for each in predictions}) == len(predictions)
    assert {each["fold"] for each in predictions} == {1, 2}
    assert [each["temperature"] for each in figures["folds"]] == [
        next(row["temperature"] for row in predictions if row["fold"] == fold) for fold in (1, 2)
    ]
    assert len({each["split_sha256"] for each in figures["folds"]}) == 2
    assert set(figures["data"]) == {"bank.txt", "teacher.csv"}
    assert figures["annotated_texts"] == 29 + figures["never_tested"]
    for each in predictions:
        assert sum(each["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_a_fold_killed_before_it_could_remove_its_checkpoints_leaves_none(forks, command, output):
    done = forks.run(command(output, "--folds=2"), die_removing=["fold-1/checkpoints", 0])
    assert done.code == -signal.SIGKILL, done.stderr
    done = forks.run(command(output, "--folds=2", "--resume"))
    assert done.code == 0, done.stderr
    assert names(run_folder(output) / "fold-1") == names(run_folder(output) / "fold-2")
    assert "checkpoints" not in names(run_folder(output) / "fold-1")


def test_a_model_left_aside_by_a_killed_promotion_is_put_back_at_the_next_start(
    forks, command, output, unbroken
):
    shutil.copytree(unbroken[0], output.with_name(f".{output.name}.replaced-by-promotion"))
    done = forks.run(command(output))
    assert done.code == 2
    assert "put back the model that an interrupted promotion had moved aside" in done.stderr
    assert "is not empty; --overwrite replaces it when done" in done.stderr
    assert sha256(output / "model.safetensors") == sha256(unbroken[0] / "model.safetensors")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--folds=1"], "--folds 1 leaves nothing to train on; it takes 2 or more"),
        (["--folds=2", "--golden=golden.csv"], "--golden is for promotion, and --folds promotes"),
    ],
)
def test_folds_are_two_or_more_and_promote_nothing(forks, command, output, flags, said):
    done = forks.run(command(output, *flags))
    assert done.code == 2
    (line,) = done.stderr.splitlines()
    assert said in line


def test_figures_of_folds_are_not_written_into_a_models_folder(forks, command, output, unbroken):
    shutil.copytree(unbroken[0], output)
    done = forks.run(command(output, "--folds=2", "--overwrite"))
    assert done.code == 2
    assert "which is no part of the figures of folds" in done.stderr
    assert names(output) == names(unbroken[0])


def test_folds_need_no_split_that_can_be_trained(forks, command, output, folder):
    few = folder / "few.csv"
    rows = ["a rose,positive", "b rose,positive", "a fell,negative", "c stayed,neutral"]
    few.write_text("\n".join(["text,label", *rows]) + "\n")
    arguments = [each for each in command(output, "--folds=2") if not each.startswith("--data")]
    done = forks.run([*arguments, f"--data={few}"])
    assert "fold 1 of 2" in done.stderr


def test_figures_of_another_recipe_are_not_replaced_unasked(forks, command, output):
    output.mkdir()
    (output / "folds.json").write_text('{"base": "base", "recipe": {}}')
    done = forks.run(command(output, "--folds=2", "--resume"))
    assert done.code == 2
    assert "is not empty; --overwrite replaces it when done" in done.stderr


def test_a_teacher_is_asked_once(forks, command, output, unbroken):
    flags = [f"--teacher={unbroken[0]}", "--teacher-share=0.7"]
    forks.start(command(output, *flags))
    forks.signal_when(logged(output, 6))
    done = forks.wait()
    assert done.code == 143, done.stderr
    assert "asking unbroken@" in done.stderr
    resumed = forks.run(command(output, *flags, "--resume"))
    assert resumed.code == 0, resumed.stderr
    assert "asking" not in resumed.stderr
    record = json.loads((output / "training.json").read_text())
    assert record["teacher"].startswith("unbroken@")
    first, other = (rows(each)[0]["loss"] for each in (output, unbroken[0]))
    assert abs(first - other) > 0.01  # its targets are others


def test_training_stops_when_macro_f1_has_not_risen_for_long_enough(forks, command, output):
    done = forks.run(command(output, "--patience=2", "--tensorboard", learning_rate=0, epochs=30))
    assert done.code == 0, done.stderr
    record = json.loads((output / "training.json").read_text())
    assert [entry["epoch"] for entry in record["epochs"]] == [1, 2, 3]
    assert record["best"]["epoch"] == 1
    assert list((run_folder(output) / "tensorboard").glob("events.*"))
