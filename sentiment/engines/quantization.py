"""int8 whose scores do not depend on a text's neighbours.

Weights have one step per output channel. What a linear layer reads has steps too, fixed
beforehand from texts (static), so that no other text of a batch moves them; channels that swing
far are first divided by a factor of their own, and their weights multiplied by it
(SmoothQuant, Xiao et al. 2023, https://arxiv.org/abs/2211.10438).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from sentiment.engines.bert import BertShape, Float32, write_safetensors
from sentiment.errors import ModelError

CALIBRATION_FILE = "int8.safetensors"
"""In a model's folder: what `python -m sentiment quantize` has measured."""

SMOOTHING = 0.9
"""How much of a channel's range goes over to its weights. 0.5, the paper's value, lost more: |dp|
4.2e-3 on the bundled model's scores against 1.2e-3 (see docs/performance.md)."""

CLIPS = (1, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Shares of the observed range that are tried: cutting a rare peak makes all other steps finer."""

FORMAT = "1"


@dataclass(frozen=True, slots=True)
class InputScale:
    """How one linear layer's input is rounded."""

    smooth: Float32
    """`[channels]`: by what each channel is divided first."""
    low: float
    high: float
    """The range, after smoothing, that 256 steps cover."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The scales of a model's linear layers."""

    scales: Mapping[str, InputScale]
    """By the names of `readers`."""
    weights_sha256: str
    """Of the checkpoint that they belong to."""

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        tensors = {name: scale.smooth for name, scale in self.scales.items()}
        ranges = {name: (scale.low, scale.high) for name, scale in self.scales.items()}
        write_safetensors(
            path,
            tensors,
            {"format": FORMAT, "weights": self.weights_sha256, "ranges": json.dumps(ranges)},
        )

    @classmethod
    def read(cls, path: Path, shape: BertShape) -> Self:
        """Read what `write` has written.

        Raises:
            ModelError: the file is damaged, of another version, or for another shape of model.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError("of another version")
                ranges = json.loads(metadata["ranges"])
                scales = {
                    name: InputScale(file.get_tensor(name), *map(float, ranges[name]))
                    for name in readers(shape)
                }
                _check(scales, shape)
                return cls(scales, metadata["weights"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: cannot be used: {error}") from error


def readers(shape: BertShape) -> dict[str, list[str]]:
    """Return the linear layers of the encoder by the name of what they read."""
    found = {}
    for index in range(shape.layers):
        prefix = f"bert.encoder.layer.{index}."
        asking = [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")]
        found[f"{index}.x"] = asking
        found[f"{index}.mixed"] = [f"{prefix}attention.output.dense"]
        found[f"{index}.attended"] = [f"{prefix}intermediate.dense"]
        found[f"{index}.widened"] = [f"{prefix}output.dense"]
    return found


def channels(name: str, shape: BertShape) -> int:
    """Return how wide the input `name` of `readers` is."""
    return shape.intermediate if name.endswith(".widened") else shape.hidden


def quantize_weight(weight: Float32, smooth: Float32) -> tuple[npt.NDArray[np.int8], Float32]:
    """Smooth and round `weight [outputs, inputs]`.

    Returns:
        `int8 [outputs, inputs]`, and the step of each output, `[outputs]`.
    """
    scaled = weight * smooth
    reach = np.maximum(scaled.max(axis=1), -scaled.min(axis=1))
    steps = np.maximum(reach, np.finfo(np.float32).tiny) / 127
    scaled /= steps[:, None]
    return np.rint(scaled, out=scaled).astype(np.int8), steps


class InputObserver:
    """Collects what one linear layer's input looks like, batch by batch."""

    KEPT_TOKENS = 4096
    """Of which the clipping is chosen."""

    def __init__(self) -> None:
        self._low: Float32 | None = None
        self._high: Float32 | None = None
        self._samples: list[Float32] = []
        self._kept = 0

    def observe(self, x: Float32) -> None:
        """Take another batch, `[tokens, channels]`."""
        low, high = x.min(axis=0), x.max(axis=0)
        self._low = low if self._low is None else np.minimum(self._low, low)
        self._high = high if self._high is None else np.maximum(self._high, high)
        if self._kept < self.KEPT_TOKENS:
            sample = x[:: max(1, len(x) // 128)].copy()
            self._samples.append(sample)
            self._kept += len(sample)

    def scale(self, weights: Float32) -> InputScale:
        """Choose the scale for what was observed.

        Args:
            weights: of all layers that read the input, `[outputs, channels]`.
        """
        if self._low is None or self._high is None:
            raise ValueError("nothing was observed")
        tiny = np.float32(1e-6)
        reach = np.maximum(np.maximum(-self._low, self._high), tiny)
        largest = np.maximum(np.abs(weights).max(axis=0), tiny)
        smooth = reach**SMOOTHING / largest ** (1 - SMOOTHING)
        smooth = (smooth / np.exp(np.log(smooth).mean())).astype(np.float32)
        low = min(0.0, float((self._low / smooth).min()))  # zero must be one of the steps
        high = max(float(tiny), float((self._high / smooth).max()))
        samples = np.concatenate(self._samples) / smooth
        # A channel's rounding reaches the output through its weights.
        importance = ((weights * smooth) ** 2).sum(axis=0)
        clip = min(CLIPS, key=lambda c: _rounding_error(samples, c * low, c * high, importance))
        return InputScale(smooth, clip * low, clip * high)


def load_calibration(
    model_folder: Path, *, weights_sha256: str, shape: BertShape, cache: Path | None
) -> Calibration:
    """Return the calibration that lies in the cache, which is newer, or beside the model.

    Raises:
        ModelError: there is none for these weights, or it cannot be used.
    """
    paths = [] if cache is None else [calibration_in_cache(cache, weights_sha256)]
    failure = ModelError(
        f"{model_folder}: not calibrated for int8; `python -m sentiment quantize` does it once"
    )
    for path in (*paths, model_folder / CALIBRATION_FILE):
        if not path.is_file():
            continue
        try:
            calibration = Calibration.read(path, shape)
        except ModelError as error:
            failure = error
            continue
        if calibration.weights_sha256 == weights_sha256:
            return calibration
    raise failure


def calibration_in_cache(cache: Path, weights_sha256: str) -> Path:
    """Return where the cache keeps the calibration of these weights."""
    return cache / f"{weights_sha256}.{CALIBRATION_FILE}"


def _check(scales: Mapping[str, InputScale], shape: BertShape) -> None:
    for name, scale in scales.items():
        if scale.smooth.shape != (channels(name, shape),) or scale.smooth.dtype != np.float32:
            raise ValueError(f"{name} has shape {list(scale.smooth.shape)}")
        finite = np.isfinite(scale.smooth).all() and (scale.smooth > 0).all()
        if not (finite and -np.inf < scale.low <= 0 < scale.high < np.inf):
            raise ValueError(f"{name} is out of range")


def _rounding_error(samples: Float32, low: float, high: float, importance: Float32) -> float:
    step = (high - low) / 255
    zero = round(-low / step)
    rounded = (np.clip(np.rint(samples / step) + zero, 0, 255) - zero) * step
    return float((((rounded - samples) ** 2) * importance).sum())
