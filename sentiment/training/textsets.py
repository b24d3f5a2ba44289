"""Which texts are measured together: parts of a split, all texts of the data, benchmarks."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment.errors import DataError
from sentiment.manifest import file_sha256
from sentiment.predictions import LABELS
from sentiment.training.benchmarks import read_benchmark
from sentiment.training.datasets import Dataset
from sentiment.training.examples import Example, comparison_key
from sentiment.training.splits import Part, Split, without_seen

BENCHMARK = "benchmark:"
"""Before a benchmark's name, where it stands among the other sets."""


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts that are measured together."""

    name: str
    """Such as `test_annotated`, `all_teacher`, `benchmark:FiQA`."""
    kind: str
    """`annotated`, `teacher` or `benchmark`."""
    examples: tuple[Example, ...]
    files_sha256: Mapping[str, str]
    """Of a benchmark's files; the data's are recorded once for all."""


def held_out_texts(split: Split) -> list[TextSet]:
    """Return the test and the validation part, annotators' and teacher's apart; test first.

    Raises:
        DataError: nothing is held out.
    """
    if not split.test:
        raise DataError("nothing is held out: too few texts")
    return [
        each
        for part in (Part.TEST, Part.VALIDATION)
        for each in _by_kind(part.value, split.part(part))
    ]


def all_texts(dataset: Dataset) -> list[TextSet]:
    """Return every text of the data, annotators' and teacher's apart."""
    return _by_kind("all", dataset.examples)


def name_benchmarks(given: Iterable[str]) -> dict[str, list[Path]]:
    """Read `NAME=FILE` or `FILE`, which is named by its stem; files of one name belong together.

    A file's name may hold an equals sign: what lies there as a whole is a file.
    """
    named: dict[str, list[Path]] = defaultdict(list)
    for each in given:
        name, separator, path = each.partition("=")
        if not (separator and name and path) or Path(each).exists():
            name, path = Path(each).stem, each
        named[name].append(Path(path))
    return dict(named)


def benchmark_texts(name: str, files: Sequence[Path]) -> TextSet:
    """Return the texts of a benchmark's files as one set.

    Raises:
        DataError: a file cannot be read, or two have one name.
    """
    names = [path.name for path in files]
    if repeated := sorted({each for each in names if names.count(each) > 1}):
        raise DataError(
            f"benchmark {name}: two files are named {', '.join(repeated)}; records go by name"
        )
    return TextSet(
        f"{BENCHMARK}{name}",
        "benchmark",
        tuple(example for path in files for example in read_benchmark(path)),
        files_sha256={path.name: file_sha256(path) for path in files},
    )


def describe(texts: TextSet, dataset: Dataset) -> dict[str, Any]:
    """Return what a report says of a set: counts, and a digest of its texts and labels."""
    labels = [example.label for example in texts.examples]
    keys = [comparison_key(example.text) for example in texts.examples]
    lines = sorted(f"{key}\t{LABELS[label]}\n" for key, label in zip(keys, labels, strict=True))
    known = {comparison_key(example.text) for example in dataset.examples}
    described = {
        "name": texts.name,
        "kind": texts.kind,
        "texts": len(labels),
        "labels": {label: labels.count(index) for index, label in enumerate(LABELS)},
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }
    if texts.kind == "benchmark":
        described["files_sha256"] = dict(texts.files_sha256)
        described["texts_also_in_data"] = sum(key in known for key in keys)
        new = without_seen(texts.examples, seen=dataset.examples)
        described["texts_like_the_data"] = len(keys) - len(new)
    return described


def set_title(name: str) -> str:
    """Return how a report calls a set, such as `Test, annotated`; a benchmark by its name."""
    if name.startswith(BENCHMARK):
        return name.removeprefix(BENCHMARK)
    part, _, kind = name.partition("_")
    return f"{part.capitalize()}, {kind}"


def _by_kind(part: str, examples: Sequence[Example]) -> list[TextSet]:
    kinds = {
        kind: tuple(each for each in examples if each.soft is soft)
        for kind, soft in (("annotated", False), ("teacher", True))
    }
    return [
        TextSet(f"{part}_{kind}", kind, chosen, files_sha256={})
        for kind, chosen in kinds.items()
        if chosen
    ]
