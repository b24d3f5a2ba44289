"""Texts become token ids, on threads of their own.

Knows nothing of engines or requests. Truncation is set once for each tokenizer and padding
is off: batches are laid out by `engines.batches`, and a fast tokenizer whose truncation is
passed with each call is not thread-safe ("Already borrowed").
"""

import asyncio
import json
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from sentiment.errors import ModelError

TokenIds = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

WORDPIECE_TOKENIZERS = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
"""Which classes `vocab.txt` alone defines; others cut words by rules of their own."""

HEADLINE_CHARS = 512
"""A text up to here is tokenised on the event loop: 26 us for a headline, about 150 us at most. A
thread must first be woken, which takes 70 us on a busy machine and 300 us on one that slept."""

CHUNK_TEXTS = 64
CHUNK_CHARS = 16_384
"""What one thread takes at a time: a few milliseconds of work, so that a request of thousands of
texts uses every thread, and a single text beside it waits for one chunk of it at most."""

CHARS_PER_TOKEN = 4.5
"""Of English headlines in BERT's vocabulary: the first guess, until texts have been seen."""

TOKENS_PER_CHAR = (0.05, 1.5)
"""Bounds of what is believed: fewer are unknown words of a hundred letters, more are emoji."""

# A batch is tokenised on the thread that was asked: the library's own pool would run beside the
# engine's threads on the same cores.
os.environ["TOKENIZERS_PARALLELISM"] = "false"


class Truncation(Enum):
    """What becomes of a text with more tokens than the model reads."""

    RIGHT = "right"
    """Its end is left out."""

    LEFT = "left"
    """Its beginning is left out."""

    REFUSE = "refuse"
    """It is not classified, nor is any text that came with it."""


@dataclass(frozen=True, slots=True)
class Encodings:
    """The token ids of one request's texts, in order."""

    ids: list[TokenIds]
    """For each text `int64 [tokens]`: special tokens included, truncated, not padded."""

    left_out: npt.NDArray[np.int64]
    """`[texts]`: how many tokens of the text the model does not read."""

    @property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """`[texts]`: the text had more tokens than the model reads."""
        return self.left_out > 0


class Tokenization:
    """A pool of threads, each with its own tokenizer.

    A thread makes itself a second one when it is first asked to leave out the beginning of texts:
    few callers are, and each costs tens of milliseconds and megabytes.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int, threads: int) -> None:
        """Take over `tokenizer`'s vocabulary and rules, not its truncation and padding.

        Args:
            max_tokens: what the model reads of a text, special tokens included.
            threads: size of the pool.
        """
        self.max_tokens = max_tokens
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self.special_tokens: int = tokenizer.num_special_tokens_to_add(is_pair=False)
        """Of every text, such as [CLS] and [SEP]."""
        self._serialized = tokenizer.to_str()
        self._tokenizer = tokenizer  # the event loop's own, for single headlines
        self._threads = threads
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(
            threads, thread_name_prefix="tokenize", initializer=self._start_thread
        )

    def __enter__(self) -> Self:
        # Each thread's tokenizer takes long to make and holds the interpreter meanwhile: now, not
        # when requests come. The barrier sees to it that every thread takes one of the tasks.
        barrier = threading.Barrier(self._threads)
        list(self._pool.map(lambda _: barrier.wait(), range(self._threads)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def encode(
        self, texts: Sequence[str], truncation: Truncation = Truncation.RIGHT
    ) -> Encodings:
        """Tokenise `texts` without holding up the event loop.

        To refuse those that are too long is left to the caller: they are truncated right.

        A single headline takes less time than to wake a thread. Of more, a request has no more
        chunks in hand than there are threads, so that others come in between; one that is
        cancelled leaves at most those.
        """
        left = truncation is Truncation.LEFT
        if len(texts) == 1 and len(texts[0]) <= HEADLINE_CHARS and not left:
            return _encodings(self._tokenizer, texts)
        loop = asyncio.get_running_loop()
        parts: list[Encodings] = []
        begun: deque[asyncio.Future[Encodings]] = deque()
        try:
            for chunk in _chunks(texts):
                if len(begun) == self._threads:
                    parts.append(await begun.popleft())
                begun.append(loop.run_in_executor(self._pool, self._encode_chunk, chunk, left))
            while begun:
                parts.append(await begun.popleft())
        finally:
            for future in begun:
                future.cancel()
        return _joined(parts)

    def encode_now(self, texts: Sequence[str]) -> Encodings:
        """Tokenise `texts` on all threads, for a caller without an event loop."""
        return _joined(list(self._pool.map(self._encode_chunk, _chunks(texts))))

    def _start_thread(self) -> None:
        self._local.tokenizer = Tokenizer.from_str(self._serialized)
        self._local.left = None

    def _encode_chunk(self, texts: Sequence[str], left: bool = False) -> Encodings:
        return _encodings(self._left_tokenizer() if left else self._local.tokenizer, texts)

    def _left_tokenizer(self) -> Tokenizer:
        """Return this thread's tokenizer that leaves out the beginning of long texts."""
        if self._local.left is None:
            tokenizer = Tokenizer.from_str(self._serialized)
            tokenizer.enable_truncation(self.max_tokens, direction="left")
            self._local.left = tokenizer
        left: Tokenizer = self._local.left
        return left


class TokenEstimate:
    """Predicts tokens from characters, before anything is tokenised."""

    def __init__(self, *, max_tokens: int, special_tokens: int) -> None:
        """Estimate for a model that reads `max_tokens`; `special_tokens` belong to every text."""
        self._max_tokens = max_tokens
        self._special_tokens = special_tokens
        self._tokens_per_char = 1 / CHARS_PER_TOKEN

    def lengths(self, chars: Float64) -> Float64:
        """Return the predicted tokens of texts of `chars` characters, both `[texts]`."""
        guess = self._special_tokens + chars * self._tokens_per_char
        return np.minimum(guess, self._max_tokens)

    def observe(self, *, chars: Float64, tokens: Float64) -> None:
        """Learn from texts of `chars` characters that gave `tokens`, both `[texts]`.

        They must not have been truncated. No request decides more than a tenth: one in another
        script or full of unknown words says nothing of the next.
        """
        total = float(chars.sum())
        if not total:
            return
        ratio = float(np.clip((tokens - self._special_tokens).sum() / total, *TOKENS_PER_CHAR))
        weight = 0.1 * total / (total + 1000)
        self._tokens_per_char += weight * (ratio - self._tokens_per_char)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load `tokenizer.json`, or build BERT's tokenizer from `vocab.txt`.

    Raises:
        ModelError: neither file is there, or it cannot be read.
    """
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            return Tokenizer.from_file(str(path))
        path = folder / "vocab.txt"
        if path.is_file():
            return _bert_tokenizer(path, read_tokenizer_config(folder))
    except ModelError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ModelError(f"{path}: not a tokenizer file: {error}") from error
    raise ModelError(f"{folder}: neither tokenizer.json nor vocab.txt lies there")


def read_tokenizer_config(folder: Path) -> dict[str, Any]:
    """Return `tokenizer_config.json`, or `{}` where there is none.

    Raises:
        ModelError: the file is not a JSON object.
    """
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected a JSON object")
    return config


def _bert_tokenizer(vocab_path: Path, config: dict[str, Any]) -> Tokenizer:
    """Build what `transformers.BertTokenizer` builds from the same two files."""
    declared = config.get("tokenizer_class", "BertTokenizer")
    if declared.removesuffix("Fast") not in WORDPIECE_TOKENIZERS:
        raise ModelError(f"{vocab_path}: a {declared} needs a tokenizer.json")
    vocab = WordPiece.read_file(str(vocab_path))
    special = {
        role: _content(config.get(f"{role}_token", default))
        for role, default in (
            ("unk", "[UNK]"),
            ("sep", "[SEP]"),
            ("pad", "[PAD]"),
            ("cls", "[CLS]"),
            ("mask", "[MASK]"),
        )
    }
    if missing := [token for token in special.values() if token not in vocab]:
        raise ModelError(f"{vocab_path}: no {', '.join(missing)} in the vocabulary")
    tokenizer = Tokenizer(WordPiece(vocab, unk_token=special["unk"], max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(
        (special["sep"], vocab[special["sep"]]), (special["cls"], vocab[special["cls"]])
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in special.values()]
    )
    return tokenizer


def _content(token: str | dict[str, Any]) -> str:
    """Return a special token's text; older files write it as an object."""
    return token if isinstance(token, str) else str(token["content"])


def _encodings(tokenizer: Tokenizer, texts: Sequence[str]) -> Encodings:
    # `fast` leaves out character offsets, which nobody here reads.
    encodings = tokenizer.encode_batch_fast(list(texts))
    return Encodings(
        ids=[np.array(encoding.ids, dtype=np.int64) for encoding in encodings],
        left_out=np.array([_left_out(tokenizer, each) for each in encodings], dtype=np.int64),
    )


def _left_out(tokenizer: Tokenizer, encoding: Encoding) -> int:
    """Return how many tokens truncation took from a text."""
    if not (pieces := encoding.overflowing):
        return 0
    special_tokens = tokenizer.num_special_tokens_to_add(is_pair=False)  # each piece has its own
    return sum(len(piece.ids) - special_tokens for piece in pieces)


def _chunks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = chars = 0
    for index, text in enumerate(texts):
        if index > start and (index - start == CHUNK_TEXTS or chars + len(text) > CHUNK_CHARS):
            yield texts[start:index]
            start, chars = index, 0
        chars += len(text)
    if start < len(texts):
        yield texts[start:]


def _joined(chunks: Sequence[Encodings]) -> Encodings:
    if len(chunks) == 1:
        return chunks[0]
    return Encodings(
        ids=[ids for chunk in chunks for ids in chunk.ids],
        left_out=np.concatenate([chunk.left_out for chunk in chunks] or [np.zeros(0, np.int64)]),
    )
