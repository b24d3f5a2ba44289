"""The model card, `README.md`: what a trained model is, how good it was measured to be, how made.

Every figure comes from the records beside it. What is not known, such as a licence, is not made
up: the card says that it is missing.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sentiment.models import ModelFiles
from sentiment.predictions import LABELS
from sentiment.training.markdown import table

PARTS = {
    "test_annotated": "test, annotators' labels",
    "validation_annotated": "validation, annotators' labels",
    "test_teacher": "test, a teacher's labels",
    "validation_teacher": "validation, a teacher's labels",
}
"""Part of the evaluation -> what it is called in the card, in the card's order."""

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


def model_card(
    model: ModelFiles,
    *,
    record: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    english: bool,
) -> str:
    """Return the card as Markdown, with the front matter that the Hub reads.

    Args:
        model: the finished folder, under the name that it will have.
        record: as `training.json`.
        evaluation: as `evaluation.json`, with `temperature` and `golden_sentences`.
        english: whether the model is known to read English.
    """
    sections = [
        _front_matter(record, english=english),
        f"# {_plain(model.name)}: financial sentiment\n\n{_summary(model)}",
        "## Terms\n\nNot stated. The terms of the training data and of the base model hold for "
        "this model too; whoever publishes it adds `license` to the lines at the top.",
        f"## Data\n\n{_data(record)}",
        f"## How good it is\n\n{_figures(evaluation)}",
        f"## Calibration\n\n{_calibration(evaluation['temperature'])}",
        f"## How it was made\n\n{_making(record)}",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(record: Mapping[str, Any], *, english: bool) -> str:
    lines = ["language: en"] if english else []
    lines.append("pipeline_tag: text-classification")
    base = str(record.get("base", {}).get("name", ""))
    if HUB_NAME.fullmatch(base):  # a folder of this machine is nothing to link to
        lines.append(f"base_model: {base}")
    return "\n".join(["---", *lines, "tags: [finance, sentiment]", "---"])


def _summary(model: ModelFiles) -> str:
    sizes = [
        f"{model.config[key]} {unit}"
        for key, unit in (("num_hidden_layers", "layers"), ("hidden_size", "dimensions"))
        if key in model.config
    ]
    labels = ", ".join(f"{index} {label}" for index, label in enumerate(model.labels))
    megabytes = model.weights.stat().st_size / 1e6
    return (
        f"A `{model.architecture}` of {' and '.join(sizes)} ({megabytes:.1f} MB) that says whether "
        f"a text is {', '.join(LABELS[:-1])} or {LABELS[-1]}.\n\n"
        f"Labels: {labels}. It reads {model.max_tokens} tokens of a text."
    )


def _data(record: Mapping[str, Any]) -> str:
    data = record["data"]
    files = _table(
        ("File", "SHA-256"),
        ((f"`{_plain(file)}`", f"`{digest}`") for file, digest in data["files_sha256"].items()),
    )
    counts = ", ".join(
        f"{data[key]:,} {words}"
        for key, words in (
            ("train", "to train"),
            ("validation", "to validate"),
            ("test", "to test"),
        )
        if key in data
    )
    digest = f" (SHA-256 of what is held out: `{sha}`)" if (sha := data.get("split_sha256")) else ""
    taught = f"\n\nTeacher: `{_plain(teacher)}`." if (teacher := record.get("teacher")) else ""
    return f"{files}\n\nTexts: {counts}{digest}; near-duplicates never stand in two parts.{taught}"


def _figures(evaluation: Mapping[str, Any]) -> str:
    parts = evaluation["parts"]
    engine = evaluation["engine"]
    known = [name for name in PARTS if name in parts]
    rows = [
        (
            PARTS.get(name, name),
            f"{parts[name]['texts']:,}",
            _with_interval(parts[name], "accuracy"),
            _with_interval(parts[name], "macro_f1"),
            " / ".join(f"{parts[name]['labels'][label]['f1']:.3f}" for label in LABELS),
            _with_interval(parts[name], "ece") if "ece" in parts[name] else "",
        )
        for name in (*known, *sorted(set(parts) - set(known)))
    ]
    header = ("Held-out texts", "Texts", "Accuracy", "Macro-F1", f"F1 {' / '.join(LABELS)}", "ECE")
    golden = ", ".join(
        f"{right} {label}" for label, right in evaluation["golden_sentences"].items()
    )
    said = _table(
        ("Example", "Label", "Score"),
        (
            (_plain(example["text"]), example["label"], f"{example['score']:.3f}")
            for example in evaluation["documentation_examples"]
        ),
    )
    return (
        f"On texts that were not trained on, by the engine that serves it ({engine['name']}, "
        f"{engine['precision']}). In brackets: 95 % intervals. Against a teacher's labels "
        "accuracy is agreement with that model, which is another claim than being right. What "
        "this run chose, it chose on the validation part.\n\n"
        f"{_table(header, rows)}\n\nGolden sentences, right: {golden}. Sentences that no "
        f"training sees, with its answers:\n\n{said}"
    )


def _calibration(temperature: Mapping[str, Any]) -> str:
    fitted = temperature["fitted_on"]
    return (
        f"Logits are divided by {temperature['temperature']:.4f} before they become scores; the "
        f"server does so. Fitted on {fitted['texts']:,} {fitted['labels']} texts of the validation "
        f"part, whose log loss it takes from {fitted['log_loss_before']:.4f} to "
        f"{fitted['log_loss']:.4f} nats. No label changes by it. A program that reads the weights "
        "without `temperature.json` gets the scores without."
    )


def _making(record: Mapping[str, Any]) -> str:
    base = record.get("base", {})
    lines = [f"Base: `{_plain(base.get('name', 'unknown'))}`"]
    if digest := base.get("weights_sha256"):
        lines[0] += f", weights of SHA-256 `{digest}`"
    if command := record.get("command"):
        lines.append(f"```sh\n{_command(command)}\n```")
    if commit := record.get("commit"):
        lines[0] += f"; the project at commit `{_plain(commit)}`"
    recipe = record.get("recipe", {})
    lines.append(_table(("Setting", "Value"), ((f"`{k}`", f"`{v}`") for k, v in recipe.items())))
    versions = ", ".join(f"{name} {number}" for name, number in record.get("versions", {}).items())
    lines.append(
        f"With {versions or 'libraries of unknown versions'}. `training.json` has the whole "
        "record, `evaluation.json` every figure, `manifest.json` the SHA-256 of each file."
    )
    return "\n\n".join(lines)


def _with_interval(part: Mapping[str, Any], figure: str) -> str:
    interval = part.get("intervals", {}).get(figure)
    around = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"{part[figure]:.4f}{around}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table(header, rows, numbers_from=len(header))  # its cells hold more than numbers


def _command(arguments: Sequence[str]) -> str:
    """Return a command as a shell reads it, an option a line."""
    text = shlex.quote(" ".join(arguments[0].split()))
    for argument in arguments[1:]:
        # A line break would let the next line end the block.
        quoted = shlex.quote(" ".join(argument.split()))
        text += f" \\\n  {quoted}" if argument.startswith("--") else f" {quoted}"
    return text


def _plain(text: Any) -> str:
    """Return `text` as one table cell: no name of a file may draw columns or lines."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("`", "'")
