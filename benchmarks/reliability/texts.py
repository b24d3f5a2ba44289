"""Texts by number, and the score that proves whose answer an answer is.

The double scores a text by a checksum of its token ids, and the client computes the same from
the words, each of which is one token: no answer can reach the wrong text unnoticed.
"""

import json
import random
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import orjson
from tokenizers import Tokenizer

from sentiment.models import COMPACT_FOLDER

WORDS = 4096
"""Words that texts are made of; three of them number 69 billion texts."""

DOUBLE_WORDS = 6
"""Words of the usual text of the double: 8 tokens with the two special ones."""

TOLERANCE = 2e-6
"""Of a score: the server computes it in float32, the client in float64."""


@cache
def vocabulary() -> tuple[list[str], list[int], int, int]:
    """Return words of one token each, their ids, and the ids of [CLS] and [SEP]."""
    tokenizer = Tokenizer.from_file(str(COMPACT_FOLDER / "tokenizer.json"))
    ids = tokenizer.get_vocab()
    words = sorted(
        (word for word in ids if word.isascii() and word.isalpha() and 3 <= len(word) <= 9),
        key=ids.__getitem__,
    )[: WORDS + 1]
    return words, [ids[word] for word in words], ids["[CLS]"], ids["[SEP]"]


def poison() -> tuple[str, int]:
    """Return the word on which the double fails, and its id; no numbered text has it."""
    words, ids, _, _ = vocabulary()
    return words[WORDS], ids[WORDS]


def checksum_score(checksum: int) -> tuple[int, float]:
    """Return the label's index and the score, 0.4 to 0.99, that a checksum stands for."""
    return checksum % 3, 0.4 + 0.59 * (checksum / 2**32)


@dataclass(frozen=True, slots=True)
class Text:
    """One text and what the double must answer."""

    words: str
    label: int
    score: float


def numbered(serial: int, words: int = DOUBLE_WORDS, *, poisoned: bool = False) -> Text:
    """Return the text of this number, of at least three words, and its score."""
    pool, pool_ids, first, last = vocabulary()
    picks = [serial % WORDS, serial // WORDS % WORDS, serial // WORDS**2 % WORDS]
    for _ in range(words - 3):
        picks.append((picks[-1] * 1103 + picks[-3] + 12345) % WORDS)
    if poisoned:
        picks[-1] = WORDS
    ids = array("q", [first, *(pool_ids[pick] for pick in picks), last])
    label, score = checksum_score(zlib.crc32(ids.tobytes()))
    return Text(" ".join([pool[pick] for pick in picks]), label, score)


def body_of(texts: Sequence[Text]) -> bytes:
    """Return the JSON body that asks for these texts."""
    return orjson.dumps([{"text": text.words} for text in texts])


def answers_to(texts: Sequence[Text], body: bytes, labels: Sequence[str]) -> bool:
    """Return whether `body` answers exactly these texts, in this order."""
    answers = orjson.loads(body)
    return len(answers) == len(texts) and all(
        answer["label"] == labels[text.label] and abs(answer["score"] - text.score) < TOLERANCE
        for answer, text in zip(answers, texts, strict=True)
    )


def headlines(count: int, seed: int = 0) -> list[str]:
    """Return different texts of a headline's length for the real model: 8 to 24 words."""
    pool, _, _, _ = vocabulary()
    source = random.Random(seed)
    return [" ".join(source.choices(pool, k=source.randint(8, 24))) for _ in range(count)]


@cache
def labels_of(folder: object = COMPACT_FOLDER) -> list[str]:
    """Return the bundled model's labels in its own order."""
    with open(f"{folder}/config.json") as file:
        named = json.load(file)["id2label"]
    return [named[str(index)].lower() for index in range(len(named))]
