"""Derive `lengths.json` from data sets: `python -m loadtests.lengths [FOLDER]`.

Headlines are those of Reuters, the Guardian and CNBC, sentences those of Financial PhraseBank.
Only how many words they have is kept, at every twentieth of the ranks. Articles are longer than
what the data sets hold: their quantiles are those of the 4,253 full articles of FelixDrinkall's
financial-news-dataset, as the README of the data says them, with straight lines between.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measurement import REPOSITORY
from benchmarks.texts import read_texts
from loadtests.texts import LENGTHS

DATA = REPOSITORY.parent / "shared" / "data"
STEPS = 20
WORD = re.compile(r"\w[\w'.,&%-]*")  # a mark with spaces around it is no word

FILES = {
    "headline": "headlines/reuters_guardian_cnbc_headlines.txt",
    "sentence": "financial_phrasebank/Sentences_50Agree.txt",
}
ARTICLE_WORDS = {0: 100, 5: 196, 25: 382, 50: 564, 75: 790, 90: 3423, 95: 4187, 99: 6335}
"""By percentile. The shortest is our guess; above the 99th nothing is known, nor drawn."""


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description="Derive lengths.json from data sets.")
    parser.add_argument("folder", type=Path, nargs="?", default=DATA)
    folder = parser.parse_args().folder
    table: dict[str, dict[str, Sequence[int]]] = {}
    for kind, name in FILES.items():
        if not (folder / name).is_file():
            sys.exit(f"error: {folder / name}: no such file; name the folder of the data sets")
        words = [len(WORD.findall(text)) for text in read_texts(folder / name)]
        table[kind] = {"words": quantiles(words)}
    table["article"] = {"words": article_quantiles()}
    LENGTHS.write_text(json.dumps(table) + "\n")
    print(f"-> {LENGTHS}")


def quantiles(values: Sequence[int]) -> list[int]:
    """Return the values at equal steps of rank, the smallest and the largest included."""
    ranked = sorted(values)
    return [ranked[round(step * (len(ranked) - 1) / STEPS)] for step in range(STEPS + 1)]


def article_quantiles() -> list[int]:
    """Return what is known of articles, at the same steps of rank."""
    percentiles = np.linspace(0, 100, STEPS + 1)
    known = np.interp(percentiles, list(ARTICLE_WORDS), list(ARTICLE_WORDS.values()))
    return [round(value) for value in known]


if __name__ == "__main__":
    main()
