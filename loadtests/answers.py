"""What a server answers for each text alone, against which all its other answers are compared.

No text's answer depends on what else is in its request or its batch beyond rounding, so an answer
that differs from the text's own is another text's, or wrong.
"""

import itertools
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gevent

from loadtests.connections import Answer, Connections
from loadtests.texts import numbered_texts

KINDS = ("headline", "sentence")

AT_ONCE = 16
ASKED_AGAIN = 50
"""One of so many texts."""

ALL_LABELS = 100
"""More than any model has."""

TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 2e-2, "int8": 2e-2}
"""By precision, how far a score may move with what else is in the batch. Of 1,200 texts in arrays
of 200 none moved by more than 1.1e-6 in fp32, 1.8e-3 in bf16, 3.0e-3 in int8; a run has more."""


class Unusable(Exception):
    """Why a server cannot be loaded, in one line."""


@dataclass(frozen=True, slots=True)
class Known:
    """A text and what the server answers for it alone."""

    text: str
    probabilities: Mapping[str, float]
    """Of each label."""

    def differs(self, prediction: Any, *, tolerance: float) -> str:
        """Say how an answer's `label` and `score` differ from the text's own; empty if not."""
        try:
            label, score = prediction["label"], float(prediction["score"])
        except (TypeError, KeyError, ValueError):
            return "an answer without label and score"
        own = self.probabilities.get(label, -math.inf)
        if abs(own - score) > tolerance or max(self.probabilities.values()) - own > tolerance:
            return "an answer that is not this text's"
        return ""


class AnswerTable:
    """Texts of which the answers are known, in turns, so that none comes back soon."""

    def __init__(self, known: Mapping[str, Sequence[Known]], *, tolerance: float) -> None:
        """Take the known texts of each kind, and how far a score may differ."""
        self._known = known
        self.tolerance = tolerance
        # Each process begins elsewhere, so that two do not ask for the same text at once.
        self._turns = {
            kind: itertools.islice(itertools.cycle(texts), random.randrange(len(texts)), None)
            for kind, texts in known.items()
        }

    @classmethod
    def ask(
        cls,
        connections: Connections,
        *,
        texts: int,
        seconds: float,
        tolerance: float,
        seed: int = 0,
    ) -> "AnswerTable":
        """Ask for texts, each in a request of its own.

        They are asked `AT_ONCE` at a time, or a table that outlasts the server's queue would take
        minutes; some of them again while nothing else is asked.

        Args:
            connections: to the server.
            texts: of each kind, at most.
            seconds: to ask for, at most; `AT_ONCE` texts of each kind are asked for in any case.
            tolerance: how far a score may differ.
            seed: of the texts; another in each process, or one would ask what the other asked.

        Raises:
            Unusable: the server does not answer, or answers a text alone otherwise.
        """
        ends_at = time.perf_counter() + seconds
        sources = {kind: numbered_texts(kind, seed) for kind in KINDS}
        known: dict[str, list[Known]] = {kind: [] for kind in KINDS}
        for begun in range(0, texts, AT_ONCE):
            if begun and time.perf_counter() > ends_at:
                break
            count = min(AT_ONCE, texts - begun)
            for kind, source in sources.items():
                asking = [
                    gevent.spawn(_ask_alone, connections, text)
                    for text in itertools.islice(source, count)
                ]
                known[kind] += [each.get() for each in asking]
        table = cls(known, tolerance=tolerance)
        table._ask_again(connections)
        return table

    @property
    def sizes(self) -> dict[str, int]:
        """How many texts there are of each kind."""
        return {kind: len(texts) for kind, texts in self._known.items()}

    def take(self, kind: str, count: int) -> list[Known]:
        """Return the next `count` texts of a kind."""
        return list(itertools.islice(self._turns[kind], count))

    def wrong(self, asked: Sequence[Known], predictions: Any) -> str:
        """Say what is wrong with the answers to some texts, in their order; empty if nothing."""
        if not isinstance(predictions, list) or len(predictions) != len(asked):
            return "not one answer for each text"
        differences = (
            known.differs(prediction, tolerance=self.tolerance)
            for known, prediction in zip(asked, predictions, strict=True)
        )
        return next(filter(None, differences), "")

    def _ask_again(self, connections: Connections) -> None:
        for texts in self._known.values():
            for known in texts[::ASKED_AGAIN]:
                alone = _ask_alone(connections, known.text)
                if known.differs(_best(alone), tolerance=self.tolerance):
                    raise Unusable(f"{connections.url}: a text's score differs when it is alone")

    def told_apart(self, pairs: int = 10_000) -> float:
        """Return the share of pairs of texts of which exchanged answers would show."""
        everything = list(itertools.chain.from_iterable(self._known.values()))
        source = random.Random(0)
        shown = sum(
            bool(one.differs(_best(other), tolerance=self.tolerance))
            for one, other in (source.sample(everything, 2) for _ in range(pairs))
        )
        return shown / pairs


def _ask_alone(connections: Connections, text: str) -> Known:
    for answer in _attempts(connections, f"/?top_k={ALL_LABELS}", [{"text": text}]):
        if answer.status == 200:
            (labels,) = answer.document()
            return Known(text, {each["label"]: each["score"] for each in labels})
        if not answer.refused:
            raise Unusable(f"{connections.url}: {answer.status} {answer.code} to a single text")
        gevent.sleep(answer.retry_after_s or 1)
    raise Unusable(f"{connections.url}: refuses single texts before the load begins")


def _attempts(connections: Connections, path: str, document: object) -> Iterator[Answer]:
    for _ in range(10):
        try:
            yield connections.post(path, document)
        except OSError as error:
            raise Unusable(f"{connections.url}: {error}") from error


def _best(known: Known) -> dict[str, object]:
    label = max(known.probabilities, key=lambda each: known.probabilities[each])
    return {"label": label, "score": known.probabilities[label]}
