"""The bundled model's card says what its own records say."""

import json
import re

from sentiment.models import COMPACT_FOLDER

CARD = (COMPACT_FOLDER / "README.md").read_text()


def record(name):
    return json.loads((COMPACT_FOLDER / f"{name}.json").read_text())


def test_the_cards_figures_are_the_evaluations():
    table = {
        tuple(cells[1:4])
        for line in CARD.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
    }
    for part in record("evaluation")["parts"].values():
        row = (f"{part['texts']:,}", f"{part['accuracy']:.4f}", f"{part['macro_f1']:.4f}")
        assert row in table, row


def test_the_cards_command_is_the_recipe():
    options = dict(re.findall(r"--([\w-]+) ([\w./]+)", CARD))
    for name, value in record("training")["recipe"].items():
        if name in ("weight_decay", "max_tokens", "seed"):
            continue  # as the command line has them by itself
        given = options.get(name.replace("_", "-"))
        assert f"--{name}" in CARD if value is True else float(given) == value, name


def test_the_model_was_not_trained_on_what_it_is_evaluated_on():
    evaluation, training = record("evaluation"), record("training")
    assert evaluation["data_sha256"] == training["data"]["files_sha256"]
    assert evaluation["held_out_from_its_training"] is True


def test_the_cards_temperature_is_the_one_that_is_served():
    assert f"divided by {record('temperature')['temperature']:.4f}" in CARD
    assert (
        f"error from 0.097 to {record('evaluation')['parts']['test_annotated']['ece']:.3f}" in CARD
    )


def test_the_folder_holds_no_more_than_a_model_and_its_records():
    assert {path.name for path in COMPACT_FOLDER.iterdir()} == {
        "README.md",
        "config.json",
        "evaluation.json",
        "int8.safetensors",
        "manifest.json",
        "model.safetensors",
        "temperature.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    }
