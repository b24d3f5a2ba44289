"""A text's score does not depend on its neighbours in the batch: the bundled model, fp32."""

import asyncio
import random

import numpy as np

from benchmarks.reliability.report import Report
from benchmarks.reliability.texts import headlines
from sentiment.analyzer import Analyzer
from sentiment.predictions import Predictions
from sentiment.settings import Settings

LONG_WORDS = (1, 2, 40, 120, 250, 480)
"""Lengths beside headlines, in headlines' words; the last fills the model."""

TOLERANCE = 1e-5


async def invariance(*, texts: int = 500, rounds: int = 20, seed: int = 0) -> Report:
    """Classify each text alone, then all of them `rounds` times in random company."""
    report = Report("invariance")
    source = random.Random(seed)
    pool = headlines(texts, seed=7)
    words = " ".join(pool).split()
    for index in range(0, texts, 20):  # one in twenty is no headline
        length = source.choice(LONG_WORDS)
        start = source.randrange(len(words) - length)
        pool[index] = f"{index} {' '.join(words[start : start + length])}"
    settings = Settings(
        model="compact", precision="fp32", cache_texts=0, deadline_s=3600, max_backlog_s=3600
    )
    async with Analyzer.open(settings) as analyzer:
        labels = analyzer.model.labels
        alone = np.concatenate(
            [_probabilities(await analyzer.classify([text]), labels) for text in pool]
        )
        worst, flips, batches = 0.0, 0, 0
        for _ in range(rounds):
            order = source.sample(range(texts), texts)
            parts = []
            while order:
                size = source.randint(1, 64)
                parts.append(order[:size])
                order = order[size:]
            answers = await asyncio.gather(
                *(analyzer.classify([pool[index] for index in part]) for part in parts)
            )
            for part, answer in zip(parts, answers, strict=True):
                found = _probabilities(answer, labels)
                worst = max(worst, float(np.abs(found - alone[part]).max()))
                flips += int((found.argmax(1) != alone[part].argmax(1)).sum())
            batches += len(parts)
    report.figures = {"texts": texts, "rounds": rounds, "requests": batches, "max_dp": worst}
    report.checks = []
    report.check("flips", flips, "==", 0)
    report.check("max |dp| in millionths", worst * 1e6, "<=", TOLERANCE * 1e6)
    return report


def _probabilities(predictions: Predictions, labels: tuple[str, ...]) -> np.ndarray:
    return np.array(
        [[each.probabilities[label] for label in labels] for each in predictions], np.float64
    )
