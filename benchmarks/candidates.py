"""Engines to compare, opened, fed and asked alike: this project's, and `transformers` itself."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sentiment.batching.policy import WINDOW_BUDGETS, BatchFill, sorted_batches
from sentiment.engines import open_engine
from sentiment.models import read_model
from sentiment.settings import usable_cores
from sentiment.tokenization import Tokenization, load_tokenizer

Int64 = npt.NDArray[np.int64]

TOKEN_BUDGETS = (512, 1024)
"""What is tried where an engine does not say which budgets may suit it."""

TRIAL_TEXTS = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """What to measure."""

    engine: str
    """Key of `sentiment.engines.ENGINES`, `auto`, or `transformers`."""
    precision: str
    batch_texts: int = 0
    """Texts in a batch, as they come; 0: as many as the token budget takes, as the server does."""

    @property
    def name(self) -> str:
        """As in the result file."""
        batch = {0: "", 1: ", one at a time"}.get(
            self.batch_texts, f", {self.batch_texts} padded, as they come"
        )
        return f"{self.engine} {self.precision}{batch}"


CANDIDATES = (
    Candidate("transformers", "fp32", batch_texts=1),
    Candidate("transformers", "fp32", batch_texts=32),
    Candidate("padded", "fp32"),
    Candidate("packed", "fp32"),
    Candidate("openvino", "fp32"),
    Candidate("packed", "bf16"),
    Candidate("openvino", "bf16"),
    Candidate("openvino", "int8"),
)
"""The first is what the original server does."""


@dataclass(frozen=True, slots=True)
class Laid:
    """A batch in the layout that its engine wants."""

    batch: Any
    tokens: int
    computed_tokens: int
    """With padding."""


class OpenEngine(Protocol):
    """A loaded candidate."""

    facts: dict[str, object]
    """Engine, device, precision and token budget as they turned out."""

    def lay_out(self, encodings: Sequence[Int64]) -> list[Laid]:
        """Cut encodings into batches as a server would, in the order of arrival."""
        ...

    def choose_token_budget(self, encodings: Sequence[Int64], also: Sequence[int] = ()) -> None:
        """Measure on these which size of batch suits best, of the engine's own and `also`."""
        ...

    def infer(self, batch: Any) -> object:
        """Run one batch."""
        ...


def open_candidate(candidate: Candidate, folder: Path, device: str) -> OpenEngine:
    """Load a candidate.

    Raises:
        Exception: it cannot be had here; whatever its library says.
    """
    if candidate.engine == "transformers":
        return Transformers(folder, device, candidate.batch_texts)
    return ProjectEngine(candidate, folder, device)


class ProjectEngine:
    """An engine of this project, with the token budget that suits it best."""

    def __init__(self, candidate: Candidate, folder: Path, device: str) -> None:
        self._engine = open_engine(
            read_model(folder, name=folder.name),
            engine=candidate.engine,
            device=device,
            threads=usable_cores(),
            precision=candidate.precision,
        )
        self._batch_type = self._engine.batch_type
        self.infer = self._engine.infer
        self._budgets: tuple[int, ...] = getattr(self._engine, "token_budgets", TOKEN_BUDGETS)
        self._token_budget = 0
        self.facts: dict[str, object] = {
            "engine": self._engine.name,
            "device": self._engine.device,
            "precision": self._engine.precision,
        }

    def lay_out(self, encodings: Sequence[Int64]) -> list[Laid]:
        if not self._token_budget and len(encodings) >= TRIAL_TEXTS:
            self.choose_token_budget(encodings[:TRIAL_TEXTS])
        return self._laid(encodings, self._token_budget or self._budgets[-1])

    def choose_token_budget(self, encodings: Sequence[Int64], also: Sequence[int] = ()) -> None:
        """Try every budget twice, as the server's warm-up may, and keep the fastest."""
        seconds: dict[int, float] = {}
        for budget in (*self._budgets, *also) * 2:
            batches = self._laid(encodings, budget)
            began_at = time.perf_counter()
            for laid in batches:
                self.infer(laid.batch)
            seconds[budget] = time.perf_counter() - began_at
        self._token_budget = min(seconds, key=seconds.__getitem__)
        self.facts["token_budget"] = self._token_budget

    def _laid(self, encodings: Sequence[Int64], budget: int) -> list[Laid]:
        cut = _sorted_windows if self._batch_type.pads else _arrivals
        batches = [
            self._batch_type.collate([encodings[index] for index in indices])
            for indices in cut([len(encoding) for encoding in encodings], budget)
        ]
        return [Laid(batch, batch.tokens, batch.computed_tokens) for batch in batches]


class Transformers:
    """The model as `transformers` loads and runs it: the reference."""

    def __init__(self, folder: Path, device: str, batch_texts: int) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.set_num_threads(usable_cores())
        model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
        self._device = "cpu" if device == "auto" else device
        self._model = model.to(self._device).eval()
        self._batch_texts = batch_texts
        self._inference_mode: Callable[[], Any] = torch.inference_mode
        self._tensor = torch.from_numpy
        self.facts: dict[str, object] = {
            "engine": "transformers",
            "device": self._device,
            "precision": "fp32",
            "attention": model.config._attn_implementation,
        }

    def lay_out(self, encodings: Sequence[Int64]) -> list[Laid]:
        return [
            self._padded(encodings[first : first + self._batch_texts])
            for first in range(0, len(encodings), self._batch_texts)
        ]

    def choose_token_budget(self, encodings: Sequence[Int64], also: Sequence[int] = ()) -> None:
        """Do nothing: the number of texts in a batch is given."""

    def infer(self, batch: dict[str, Int64]) -> object:
        with self._inference_mode():
            tensors = {name: self._tensor(ids).to(self._device) for name, ids in batch.items()}
            return self._model(**tensors).logits.cpu().numpy()

    def _padded(self, encodings: Sequence[Int64]) -> Laid:
        ids = np.zeros((len(encodings), max(map(len, encodings))), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding
            mask[row, : len(encoding)] = 1
        return Laid({"input_ids": ids, "attention_mask": mask}, int(mask.sum()), mask.size)


class Texts:
    """The model's tokenizer."""

    def __init__(self, folder: Path) -> None:
        model = read_model(folder, name=folder.name)
        self._tokenization = Tokenization(
            load_tokenizer(folder), max_tokens=model.max_tokens, threads=1
        )

    def encode(self, texts: Sequence[str]) -> list[Int64]:
        """Return the token ids of each text, `int64 [tokens]`."""
        return self._tokenization.encode_now(texts).ids


def resident_mib() -> float:
    """Return how much memory this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def _arrivals(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Cut texts into packed batches in their order."""
    batches: list[list[int]] = []
    fill = BatchFill(token_budget, pads=False)
    for index, length in enumerate(lengths):
        if not batches or not fill.fits(length):
            batches.append([])
            fill = BatchFill(token_budget, pads=False)
        batches[-1].append(index)
        fill.add(length)
    return batches


def _sorted_windows(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Cut texts into padded batches, sorted by length a window at a time."""
    batches: list[list[int]] = []
    first = 0
    while first < len(lengths):
        last, tokens = first, 0
        while last < len(lengths) and (last == first or tokens < WINDOW_BUDGETS * token_budget):
            tokens += lengths[last]
            last += 1
        window = sorted_batches(lengths[first:last], token_budget)
        batches += [[first + index for index in batch] for batch in window]
        first = last
    return batches
