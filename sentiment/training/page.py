"""The page of a report: tables, plots, and sentences that depend on what was measured."""

from collections.abc import Iterator
from typing import Any

from sentiment.predictions import LABELS
from sentiment.training.evaluation import model_names
from sentiment.training.findings import (
    caveats,
    figures_of,
    findings,
    mean_confidence,
    p_value,
    range_of,
    with_interval,
)
from sentiment.training.markdown import escaped, table
from sentiment.training.textsets import set_title

SUMMARY = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "weighted_f1": "Weighted F1",
    "ece": "ECE",
}
"""Figures with an interval, and what to call them."""


def page(evaluation: dict[str, Any], plots: dict[str, list[str]]) -> str:
    """Return the page.

    Args:
        evaluation: what `evaluate_models` answered.
        plots: file names by kind, as `draw_plots` answers them.
    """
    return "\n\n".join(_sections(evaluation, plots)) + "\n"


def _sections(evaluation: dict[str, Any], plots: dict[str, list[str]]) -> Iterator[str]:
    names = [escaped(name) for name in model_names(evaluation)]
    yield f"# Evaluation: {', '.join(names)}"
    yield "\n".join(f"- {each}" for each in findings(evaluation))
    yield _summary(evaluation)
    yield f"![Accuracy, macro-F1 and weighted F1 on every set]({plots['overview'][0]})"
    yield "## What was measured, and on which texts"
    yield from _measured(evaluation)
    yield "## What it means, and what it does not"
    yield "\n".join(f"- {each}" for each in caveats(evaluation))
    yield from _comparisons(evaluation)
    yield "## Labels"
    yield f"![F1 of each label]({plots['labels'][0]})"
    yield _labels(evaluation)
    for name, plot in zip(names, plots["confusion"], strict=True):
        yield f"Confusion of {name}: shares of the expected label, and texts."
        yield f"![Confusion matrices of {name}]({plot})"
    yield "## Does it know when it is wrong?"
    yield from _calibration(evaluation, names, plots["reliability"])
    yield "## Agreement and length"
    yield from _groups(evaluation, plots["groups"][0])
    yield "## Texts to read"
    yield from _texts(evaluation, names)


def _summary(evaluation: dict[str, Any]) -> str:
    several = len(evaluation["models"]) > 1
    header = ["Texts", *(["Model"] if several else []), "n", *SUMMARY.values(), "Brier", "Log loss"]
    rows = [
        [
            escaped(set_title(each["name"])),
            *([escaped(name)] if several else []),
            f"{part['texts']:,}",
            *(with_interval(part, key) for key in SUMMARY),
            f"{part['brier']:.3f}",
            f"{part['log_loss']:.3f}",
        ]
        for each in evaluation["sets"]
        for name, part in figures_of(evaluation, each["name"])
    ]
    return table(header, rows, numbers_from=2 if several else 1)


def _measured(evaluation: dict[str, Any]) -> Iterator[str]:
    data = evaluation["data"]
    if data["split_sha256"] is None:
        yield (
            f"**All texts of the data were measured, not a held-out part**: a model that was "
            f"trained on any of them is flattered. {data['rows']:,} rows, "
            f"{data['duplicates_merged']:,} of them duplicates, "
            f"{data['label_conflicts']:,} with another label than the row that was kept."
        )
    else:
        yield (
            f"Of {data['rows']:,} rows ({data['duplicates_merged']:,} duplicates, "
            f"{data['label_conflicts']:,} with another label than the row that was kept) about "
            f"{100 * data['held_out']:g} % each are the validation and the test part, drawn such "
            f"that no text resembles one of training. Split (SHA-256 of the texts held out): "
            f"`{data['split_sha256']}`."
        )
    yield table(
        ["Texts", "Whose labels", "n", *LABELS, "SHA-256 of texts and labels"],
        [
            [
                escaped(set_title(each["name"])),
                {"teacher": "another model's", "benchmark": "the benchmark's"}.get(
                    each["kind"], "annotators'"
                ),
                f"{each['texts']:,}",
                *(f"{each['labels'][label]:,}" for label in LABELS),
                f"`{each['sha256'][:16]}`",
            ]
            for each in evaluation["sets"]
        ],
        numbers_from=2,
    )
    # A benchmark's file may be named as one of the data is.
    sources = [("The data", data["files_sha256"])]
    sources += [
        (escaped(set_title(each["name"])), each["files_sha256"])
        for each in evaluation["sets"]
        if "files_sha256" in each
    ]
    yield table(
        ["Texts", "File", "SHA-256"],
        [
            [source, escaped(name), f"`{digest}`"]
            for source, files in sources
            for name, digest in files.items()
        ],
        numbers_from=3,
    )
    yield table(
        ["Model", "Engine", "Precision", "Held out from its training", "Texts a second"],
        [
            [
                escaped(entry["model"]),
                escaped(entry["engine"]["name"]),
                escaped(entry["engine"]["precision"]),
                {True: "yes, by its record", False: "**no**", None: "not known"}[
                    entry["held_out_from_its_training"]
                ],
                f"{_texts_per_s(entry):,.0f}",
            ]
            for entry in evaluation["models"]
        ],
        numbers_from=4,
    )
    yield (
        "The engine is the one that serves. Speed is this machine's while measuring, tokenisation "
        "included, in one process and without a server around it."
    )


def _comparisons(evaluation: dict[str, Any]) -> Iterator[str]:
    if not evaluation["comparisons"]:
        return
    names = model_names(evaluation)
    yield "## Is the difference real?"
    yield (
        "McNemar's test looks at the texts that one of two models alone gets right: if the models "
        "were equal, each would fall to either like a coin. p is the chance of so uneven a "
        "division; it is not corrected for the number of rows."
    )
    yield table(
        ["Texts", "First", "Second", "Only first right", "Only second right", "p", "Test"],
        [
            [
                escaped(set_title(each["set"])),
                escaped(names[each["first"]]),
                escaped(names[each["second"]]),
                f"{each['only_first_right']:,}",
                f"{each['only_second_right']:,}",
                p_value(each).removeprefix("= "),
                each["test"],
            ]
            for each in evaluation["comparisons"]
        ],
        numbers_from=3,
    )


def _labels(evaluation: dict[str, Any]) -> str:
    return table(
        ["Texts", "Model", "Label", "Precision", "Recall", "F1", "n"],
        [
            [
                escaped(set_title(each["name"])),
                escaped(name),
                label,
                f"{of_label['precision']:.3f}",
                f"{of_label['recall']:.3f}",
                f"{of_label['f1']:.3f} ({range_of(of_label['f1_interval'])})",
                f"{of_label['texts']:,}",
            ]
            for each in evaluation["sets"]
            for name, part in figures_of(evaluation, each["name"])
            for label, of_label in part["labels"].items()
        ],
        numbers_from=3,
    )


def _calibration(evaluation: dict[str, Any], names: list[str], plots: list[str]) -> Iterator[str]:
    yield (
        "Where bars end below the dashed line the model is surer than it is right. The ECE adds "
        "up absolute gaps, so on few texts even a faultless model shows some; that share is in "
        "the last column."
    )
    for name, plot in zip(names, plots, strict=True):
        yield f"![Reliability of {name}: accuracy by confidence]({plot})"
    yield table(
        ["Texts", "Model", "Mean confidence", "Accuracy", "ECE", "ECE if calibrated"],
        [
            [
                escaped(set_title(each["name"])),
                escaped(name),
                f"{mean_confidence(part):.3f}",
                f"{part['accuracy']:.3f}",
                with_interval(part, "ece"),
                f"{part['ece_when_calibrated']:.3f}",
            ]
            for each in evaluation["sets"]
            for name, part in figures_of(evaluation, each["name"])
        ],
        numbers_from=2,
    )


def _groups(evaluation: dict[str, Any], plot: str) -> Iterator[str]:
    main = evaluation["main_set"]
    yield (
        f"{escaped(set_title(main))}. Each level of agreement holds the ones before it; length is "
        f"in words between white space."
    )
    yield f"![Accuracy by agreement and by length]({plot})"
    rows = []
    for name, part in figures_of(evaluation, main):
        for kind, described in (
            ("by_agreement", "at least {} % agree"),
            ("by_words", "{} words"),
        ):
            for key, group in part[kind].items():
                figures = (with_interval(group, figure) for figure in ("accuracy", "macro_f1"))
                rows.append([escaped(name), described.format(key), f"{group['texts']:,}", *figures])
    yield table(["Model", "Texts", "n", "Accuracy", "Macro-F1"], rows, numbers_from=2)


def _texts(evaluation: dict[str, Any], names: list[str]) -> Iterator[str]:
    for name, entry in zip(names, evaluation["models"], strict=True):
        yield f"### {name}: surest mistakes"
        yield (
            "Some will be the label's mistake: read the text before blaming the model."
            if entry["mistakes"]
            else "None."
        )
        if entry["mistakes"]:
            yield _text_table(entry["mistakes"])
        yield f"### {name}: closest calls"
        yield _text_table(entry["uncertain"])
        yield f"### {name}: the documentation's examples"
        yield table(
            ["Text", "Label", "Score"],
            [
                [escaped(each["text"]), each["label"], f"{each['score']:.3f}"]
                for each in entry["documentation_examples"]
            ],
            numbers_from=2,
        )


def _text_table(texts: list[dict[str, Any]]) -> str:
    return table(
        ["Text", "Expected", "Predicted", "Agreement", *LABELS],
        [
            [
                escaped(each["text"]),
                each["expected"],
                each["predicted"],
                "" if each["agreement"] is None else f"{each['agreement']} %",
                *(f"{each['probabilities'][label]:.3f}" for label in LABELS),
            ]
            for each in texts
        ],
        numbers_from=4,
    )


def _texts_per_s(entry: dict[str, Any]) -> float:
    parts = entry["parts"].values()
    seconds = sum(part["texts"] / part["texts_per_s"] for part in parts)
    return float(sum(part["texts"] for part in parts) / seconds)
