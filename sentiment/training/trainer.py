"""Fine-tuning: a base encoder and labelled texts become a model folder that the server loads.

Built on `transformers.Trainer`. What is ours is the target (a distribution, so annotators'
labels and a teacher's probabilities train side by side), the split, and the folder written:
fp16 safetensors, a clean tokenizer, and `training.json`, which says how it came about.
"""

import json
import logging
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from sklearn.metrics import accuracy_score, f1_score
from tokenizers import Tokenizer

from sentiment.errors import DataError, ModelError, first_line
from sentiment.models import file_sha256, find_weights
from sentiment.predictions import LABELS
from sentiment.tokenization import load_tokenizer, read_tokenizer_config
from sentiment.training.datasets import Dataset
from sentiment.training.features import Collator, LengthBuckets, MaskedTexts, features
from sentiment.training.splits import Split

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. The defaults are BERT's classic fine-tuning recipe."""

    epochs: float = 3
    learning_rate: float = 2e-5
    batch_texts: int = 16
    warmup_share: float = 0.1
    """Share of the steps in which the learning rate rises to its peak, before it falls
    linearly to zero."""
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    """Share of an annotator's label that is spread over all labels. A teacher's
    probabilities are used as they are."""
    temperature: float = 1.0
    """At which a target and the model's answer are compared. A confident teacher says little
    at 1; at 3 the ratio of its small probabilities counts as well."""
    masked_share: float = 0.0
    """Share of the tokens that training hides behind `[MASK]`, anew each time a text is seen;
    meant against overfitting."""
    max_tokens: int = 128
    """Longer texts are cut for training only. One sentence of PhraseBank is longer."""
    bf16: bool = False
    """Autocast to bfloat16, for processors that have it."""
    seed: int = 7


def train(
    *, base: Path, dataset: Dataset, split: Split, recipe: Recipe, output: Path
) -> dict[str, Any]:
    """Fine-tune the encoder in folder `base` and write the model to folder `output`.

    Returns:
        What `training.json` holds: recipe, data digests, versions, a row of figures per epoch.

    Raises:
        ModelError: `base` holds no model that can be fine-tuned.
        DataError: nothing to train on.
    """
    if not (split.train and split.validation and split.test):
        raise DataError("too few texts: the training, validation or test part is empty")
    transformers.logging.set_verbosity_error()  # a new classifier is no news here
    transformers.logging.disable_progress_bar()
    transformers.set_seed(recipe.seed)
    tokenizer = _load_tokenizer(base, recipe.max_tokens)
    model = _load_classifier(base)
    trainer = _Trainer(
        model=model,
        args=_arguments(recipe, steps_per_epoch=len(split.train) / recipe.batch_texts),
        train_dataset=MaskedTexts(
            features(split.train, tokenizer, recipe.label_smoothing),
            mask_id=_mask_id(tokenizer, base) if recipe.masked_share else 0,
            share=recipe.masked_share,
        ),
        eval_dataset=features(split.validation, tokenizer),
        data_collator=Collator(pad_id=model.config.pad_token_id or 0),
        compute_loss_func=_Distillation(recipe.temperature),
        compute_metrics=_validation_metrics,
        callbacks=[_EpochLine()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    if not all(torch.isfinite(tensor).all() for tensor in model.state_dict().values()):
        raise ModelError("the training diverged: try a lower learning rate; nothing was written")
    record = {
        "base": {"name": base.name, "weights_sha256": weights_sha256(base)},
        "recipe": asdict(recipe),
        "data": {
            "files_sha256": dataset.sha256,
            "rows": dataset.rows,
            "duplicates_merged": dataset.duplicates,
            "label_conflicts": dataset.conflicts,
            "reserved_left_out": dataset.reserved,
            "held_out": split.held_out,
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        },
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "epochs": [entry for entry in trainer.state.log_history if "eval_loss" in entry],
    }
    _write_model(model, base, output, record)
    return record


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of a model folder's weights file.

    Raises:
        ModelError: the folder has no weights.
    """
    return file_sha256(find_weights(folder))


def _load_classifier(base: Path) -> Any:
    try:
        return transformers.AutoModelForSequenceClassification.from_pretrained(
            base,
            num_labels=len(LABELS),
            id2label=dict(enumerate(LABELS)),
            label2id={label: index for index, label in enumerate(LABELS)},
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise ModelError(f"{base}: cannot be fine-tuned: {first_line(error)}") from error


def _load_tokenizer(base: Path, max_tokens: int) -> Tokenizer:
    tokenizer = load_tokenizer(base)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _mask_id(tokenizer: Tokenizer, base: Path) -> int:
    mask_id = tokenizer.token_to_id("[MASK]")
    if mask_id is None:
        raise ModelError(f"{base}: the tokenizer has no [MASK], so no token can be hidden")
    return mask_id


@dataclass(frozen=True, slots=True)
class _Distillation:
    """Divergence of the answer from the target, both at a temperature T, times T squared.

    Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network"; the factor
    keeps the gradient's size. At T = 1 its gradient is that of cross-entropy.
    """

    temperature: float

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        answer = (outputs["logits"].float() / self.temperature).log_softmax(-1)
        # A certain label has infinite logits; 1e-6 is finer than any teacher's float32.
        target = (labels.clamp_min(1e-6).log() / self.temperature).log_softmax(-1)
        divergence = torch.nn.functional.kl_div(
            answer, target, log_target=True, reduction="batchmean"
        )
        return divergence * self.temperature**2


def _validation_metrics(prediction: transformers.EvalPrediction) -> dict[str, float]:
    predicted = np.asarray(prediction.predictions).argmax(axis=-1)
    expected = np.asarray(prediction.label_ids).argmax(axis=-1)
    return {
        "accuracy": float(accuracy_score(expected, predicted)),
        "macro_f1": float(f1_score(expected, predicted, average="macro")),
    }


def _arguments(recipe: Recipe, *, steps_per_epoch: float) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        # The trainer makes this folder at once; ours appears when there is a model for it.
        output_dir=tempfile.gettempdir(),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=int(recipe.warmup_share * recipe.epochs * steps_per_epoch),
        weight_decay=recipe.weight_decay,
        per_device_train_batch_size=recipe.batch_texts,
        per_device_eval_batch_size=64,
        max_grad_norm=1.0,
        bf16=recipe.bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="epoch",
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


class _Trainer(transformers.Trainer):
    """`transformers.Trainer` with batches of similar length in random order.

    Its own `group_by_length` lays fifty batches out from the longest to the shortest, again
    and again. Where length goes with the source of a text, as with sentences of articles
    and headlines, each stretch then trains on one source.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> "LengthBuckets":
        return LengthBuckets(
            [feature["length"] for feature in train_dataset],
            batch_texts=self.args.per_device_train_batch_size,
            seed=self.args.seed,
        )


class _EpochLine(transformers.TrainerCallback):
    """One log line an epoch."""

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **rest: Any
    ) -> None:
        log.info(
            "epoch %.0f of %.0f: validation loss %.4f, accuracy %.4f, macro-F1 %.4f",
            state.epoch,
            args.num_train_epochs,
            metrics["eval_loss"],
            metrics["eval_accuracy"],
            metrics["eval_macro_f1"],
        )


def _write_model(model: Any, base: Path, output: Path, record: dict[str, Any]) -> None:
    """Write a folder in the Hub's form: config, fp16 safetensors, tokenizer, record."""
    output.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(output)
    tokenizer = load_tokenizer(base)
    # The base's file may pad every text to a fixed width; that is for its caller to decide.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(output / "tokenizer.json"), pretty=False)
    # Where the base was trained is nobody's business; how it reads is.
    config = {
        key: value
        for key, value in read_tokenizer_config(base).items()
        if key != "name_or_path" and not key.endswith("_file")
    }
    (output / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    text = json.dumps(record, indent=2, allow_nan=False)
    (output / "training.json").write_text(text + "\n")
