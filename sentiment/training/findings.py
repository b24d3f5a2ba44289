"""What an evaluation says, in sentences: what was found, and what it does not prove."""

from collections.abc import Iterator
from typing import Any

from sentiment.predictions import LABELS
from sentiment.training.evaluation import model_names
from sentiment.training.markdown import escaped
from sentiment.training.textsets import set_title

LEVEL = 0.05
"""Of McNemar's test, below which a difference is called one."""


def findings(evaluation: dict[str, Any]) -> Iterator[str]:
    """Yield what was found, the most important first; all but the benchmarks on the main set."""
    main = next(each for each in evaluation["sets"] if each["name"] == evaluation["main_set"])
    whose = "the annotators' label" if main["kind"] == "annotated" else "the teacher's label"
    where = set_title(main["name"]).lower()
    for name, part in figures_of(evaluation, main["name"]):
        low, high = part["intervals"]["accuracy"]
        yield (
            f"**{escaped(name)} gives {whose} to {percent(part['accuracy'])} of {part['texts']:,} "
            f"texts** ({where}; 95 % interval {percent(low)} to {percent(high)}). Macro-F1 is "
            f"{with_interval(part, 'macro_f1')}. {_weakest(part)}"
        )
        yield _confidence(name, part)
    for each in evaluation["comparisons"]:
        if each["set"] == main["name"]:
            yield _difference(model_names(evaluation), each)
    outside = [each for each in evaluation["sets"] if each["kind"] == "benchmark"]
    for index, name in enumerate(model_names(evaluation) if outside else []):
        parts = evaluation["models"][index]["parts"]
        figures = ", ".join(
            f"{escaped(set_title(each['name']))} {parts[each['name']]['weighted_f1']:.3f}"
            for each in outside
        )
        yield f"On texts of another kind the weighted F1 of {escaped(name)} is: {figures}."


def _weakest(part: dict[str, Any]) -> str:
    """Name the label with the lowest F1, and what it is taken for."""
    occurring = [label for label in LABELS if part["labels"][label]["texts"]]
    label = min(occurring, key=lambda each: float(part["labels"][each]["f1"]))
    counts = dict(zip(LABELS, part["confusion"]["counts"][LABELS.index(label)], strict=True))
    right = counts.pop(label)
    other = max(counts, key=counts.__getitem__)
    total = right + sum(counts.values())
    taken = f"; {counts[other]} of {total:,} are taken for {other}" if counts[other] else ""
    return f"The weakest label is {label} (F1 {part['labels'][label]['f1']:.3f}{taken})."


def _confidence(name: str, part: dict[str, Any]) -> str:
    sure, chance = mean_confidence(part), part["ece_when_calibrated"]
    if part["ece"] <= chance + 0.005:
        verdict = "as well calibrated as can be told"
    else:
        verdict = "too sure" if sure > part["accuracy"] else "not sure enough"
    return (
        f"{escaped(name)} is {percent(sure)} sure on average and right on "
        f"{percent(part['accuracy'])}: {verdict} (ECE {part['ece']:.3f}; a faultless model would "
        f"show about {chance:.3f} on so many texts)."
    )


def _difference(names: list[str], each: dict[str, Any]) -> str:
    first, second = escaped(names[each["first"]]), escaped(names[each["second"]])
    verdict = "is hardly chance" if each["p_value"] < LEVEL else "chance alone could have made"
    return (
        f"{first} alone is right on {each['only_first_right']:,} texts, {second} alone on "
        f"{each['only_second_right']:,}: a difference that {verdict} (McNemar, p {p_value(each)})."
    )


def caveats(evaluation: dict[str, Any]) -> Iterator[str]:
    """Yield what a reader must know before believing a figure."""
    yield (
        "Each interval says what another draw of texts of the same kind would change (bootstrap, "
        "2,000 resamples, 95 %; texts that resemble each other are drawn together). It does not "
        "cover what another seed of the training or other annotators would change. Of an F1 of 0 "
        "or 1 it has no width, which is no certainty."
    )
    if evaluation["comparisons"]:
        yield (
            "McNemar's test takes each text by itself: where many resemble each other, a "
            "difference is less certain than p says."
        )
    kinds = {each["kind"] for each in evaluation["sets"]}
    if evaluation["data"]["split_sha256"] is not None:
        yield (
            "Whoever chose a recipe by the validation part has tuned it to these texts: judge by "
            "the test part, and only once."
        )
    for name, entry in zip(model_names(evaluation), evaluation["models"], strict=True):
        held_out = entry["held_out_from_its_training"]
        if held_out is False:
            yield (
                f"**{escaped(name)} was trained on another selection of texts: some of these it "
                f"may have seen**, so its figures may be too good."
            )
        elif held_out is None:
            yield (
                f"{escaped(name)} brings no record of its training that speaks of these files: "
                f"what it has seen of them is not known."
            )
    if "teacher" in kinds:
        yield (
            "Against a teacher's probabilities, accuracy is agreement with another model, which "
            "makes mistakes of its own, and the log loss cannot fall to 0."
        )
    if "benchmark" in kinds:
        yield (
            "Benchmarks are texts of another kind, labelled by other people by other rules, "
            "measured whole. A low figure may be the model's or the rules' doing: see in the "
            "confusion matrix which labels are mistaken for which."
        )
    for each in evaluation["sets"]:
        if similar := each.get("texts_like_the_data"):
            yield (
                f"{similar:,} texts of {escaped(set_title(each['name']))} resemble texts of the "
                f"data, {each['texts_also_in_data']:,} of which stand there as they are: a model "
                "trained on the data knows them."
            )
        for name, part in figures_of(evaluation, each["name"]):
            if part.get("trained_on"):
                title = escaped(set_title(each["name"]))
                yield f"**{escaped(name)} was trained on {title}**: for it this is no test."
    yield (
        "ECE, the expected calibration error, is the mean distance between confidence and accuracy "
        "over 15 equal bins of the top probability (Guo et al. 2017). Brier is the squared "
        "distance from probabilities to label, 0 to 2; log loss is in nats."
    )


def figures_of(evaluation: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each model's name with its figures on one set."""
    for model, entry in zip(model_names(evaluation), evaluation["models"], strict=True):
        yield model, entry["parts"][name]


def p_value(comparison: dict[str, Any]) -> str:
    """Return a comparison's p, as `= 0.0312` or `< 0.0001`."""
    p = comparison["p_value"]
    return "< 0.0001" if p < 1e-4 else f"= {p:.4f}"


def mean_confidence(part: dict[str, Any]) -> float:
    """Return the mean top probability of a set."""
    total = sum(each["texts"] * each["confidence"] for each in part["reliability"])
    return float(total / part["texts"])


def with_interval(part: dict[str, Any], figure: str) -> str:
    """Return a figure as `0.821 (0.779 to 0.863)`."""
    return f"{part[figure]:.3f} ({range_of(part['intervals'][figure])})"


def range_of(interval: list[float]) -> str:
    """Return an interval as `0.779 to 0.863`."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}"


def percent(share: float) -> str:
    """Return a share as `85.8 %`."""
    return f"{100 * share:.1f} %"
