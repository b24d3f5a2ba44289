"""`calibrate`: a finished model gets a temperature, and stays what it is."""

import shutil

import pytest

from sentiment.errors import DataError, ModelError, OptionError
from sentiment.manifest import verify_manifest
from sentiment.models import COMPACT_FOLDER, read_model
from sentiment.training.recalibration import calibrate
from tests.small_bert import write_data

UNCALIBRATED = ("README.md", "config.json", "model.safetensors", "tokenizer.json", "training.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return list(write_data(tmp_path_factory.mktemp("data")))


@pytest.fixture
def model(tmp_path):
    """The bundled model before it was calibrated."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in UNCALIBRATED:
        shutil.copy(COMPACT_FOLDER / name, folder)
    return folder


def test_a_calibrated_copy_has_a_temperature_and_its_own_weights_and_card(model, data, tmp_path):
    output = tmp_path / "calibrated"
    made = calibrate(str(model), data=data, held_out=0.2, output=output)
    calibrated = read_model(output, name="calibrated")
    assert calibrated.temperature == made["temperature"]["temperature"] != 1
    assert calibrated.weights_sha256 == read_model(model, name="model").weights_sha256
    assert (output / "README.md").read_bytes() == (model / "README.md").read_bytes()
    assert {path.name for path in model.iterdir()} == set(UNCALIBRATED)
    verify_manifest(output)


def test_a_model_is_calibrated_in_its_own_folder_only_when_that_is_asked_for(model, data):
    with pytest.raises(OptionError, match="--overwrite replaces it"):
        calibrate(str(model), data=data, held_out=0.2, output=model)
    assert not (model / "temperature.json").exists()
    for _ in range(2):  # the second begins with what the first has left
        calibrate(str(model), data=data, held_out=0.2, output=model, overwrite=True)
        assert (model / "temperature.json").exists()
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_a_model_that_fails_at_the_gate_stays_as_it_was(model, data, tmp_path):
    golden = tmp_path / "golden.csv"
    rows = [
        f"The profit of company {i} {verb} sharply,{label}"
        for i in range(10)
        for verb, label in (("rose", "negative"), ("fell", "positive"), ("ended", "neutral"))
    ]
    golden.write_text("\n".join(["text,label", *rows]) + "\n")
    for _ in range(2):  # what the first leaves does not hinder the second
        with pytest.raises(ModelError, match=r"left for inspection in .*model\.work"):
            calibrate(
                str(model), data=data, held_out=0.2, golden=golden, output=model, overwrite=True
            )
    assert {path.name for path in model.iterdir()} == set(UNCALIBRATED)


def test_a_folder_that_is_no_model_is_not_replaced(model, data, tmp_path):
    output = tmp_path / "notes"
    output.mkdir()
    (output / "diary.txt").write_text("dear diary")
    with pytest.raises(OptionError, match=r"diary\.txt"):
        calibrate(str(model), data=data, held_out=0.2, output=output, overwrite=True)


def test_without_held_out_texts_there_is_nothing_to_fit(model, tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("text,label\nProfit rose,positive\n")
    with pytest.raises(DataError):
        calibrate(str(model), data=[path], held_out=0.1, output=tmp_path / "calibrated")
