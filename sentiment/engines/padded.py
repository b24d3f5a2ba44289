"""Any Hugging Face sequence classifier, padded, through `transformers`: the reference."""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import transformers

from sentiment.engines.batches import PaddedBatch
from sentiment.engines.devices import TORCH_TYPES, memory_errors, torch_device, torch_precision
from sentiment.errors import ModelError
from sentiment.models import ModelFiles
from sentiment.predictions import Logits


class PaddedEngine:
    """A `transformers` model behind the `Engine` protocol."""

    name: ClassVar[str] = "padded"
    batch_type: ClassVar[type[PaddedBatch]] = PaddedBatch
    token_budgets: ClassVar[tuple[int, ...]] = (1024,)

    def __init__(self, model: Any, device: torch.device, precision: str) -> None:
        self.precision = precision
        self.model = model.to(device).eval()
        # Decoders pool at the last id that is not this one, so it matters though it is masked.
        self._pad_id = model.config.pad_token_id or 0
        self.device = str(device)

    @classmethod
    def open(
        cls, model: ModelFiles, *, device: str, threads: int, precision: str, cache: Path | None
    ) -> Self:
        """Load the model and move it to `device`.

        Raises:
            ModelError: weights are missing, which `transformers` alone would make up, or the
                device does not compute the precision.
        """
        found = torch_device(device)
        precision = torch_precision(precision, found)
        torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        loaded, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            model.folder,
            dtype=TORCH_TYPES[precision],
            use_safetensors=model.weights.suffix == ".safetensors",
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        if missing := sorted(report["missing_keys"]):
            raise ModelError(f"{model.weights}: no tensor {missing[0]}")
        return cls(loaded, found, precision)

    def infer(self, batch: PaddedBatch) -> Logits:
        """Classify one batch; see `Engine.infer`."""
        with torch.inference_mode(), memory_errors():
            output = self.model(
                input_ids=torch.from_numpy(batch.filled(self._pad_id)).to(self.device),
                attention_mask=torch.from_numpy(batch.mask).to(self.device),
            )
        return np.asarray(output.logits.float().cpu().numpy(), dtype=np.float32)
