"""One training in one folder: from texts to the model of the best epoch, resumed if need be."""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from sentiment.errors import OptionError
from sentiment.models import BaseFiles, ModelFiles, file_sha256, find_weights
from sentiment.storage import write_whole
from sentiment.training.bases import load_classifier, load_training_tokenizer, mask_id
from sentiment.training.checkpoints import is_whole, storage_errors
from sentiment.training.distillation import SoftTargetLoss, label_weights, smoothed, taught
from sentiment.training.features import MaskedTexts, features
from sentiment.training.flow import Signals
from sentiment.training.recipe import Recipe
from sentiment.training.runs import FINISHED, RunOptions
from sentiment.training.splits import Split
from sentiment.training.teachers import ask
from sentiment.training.trainer import FineTuning


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished training."""

    folder: Path
    """The best epoch's model, without a record of its own."""
    best: dict[str, Any]
    """`epoch`, `step`, `macro_f1`, `loss` on the validation part."""
    epochs: list[dict[str, Any]]
    """The trainer's figures of every epoch."""


def fit(
    split: Split,
    *,
    base: BaseFiles,
    teacher: ModelFiles | None,
    recipe: Recipe,
    folder: Path,
    options: RunOptions,
) -> Fitted:
    """Train in `folder`, from its last whole checkpoint if there is one.

    Args:
        teacher: its answers about the training texts are mixed into their labels.

    Raises:
        DataError: a part of `split` that training needs is empty.
        ModelError: `base` cannot be fine-tuned, `teacher` cannot be served, or the loss is not
            finite any more.
        OptionError: the recipe asks for what this machine has not.
        StorageError: the disk is full or cannot be written; what was kept can be resumed.
        Interrupted: by a signal, after its state was written.
    """
    split.check_trainable()
    if (finished := _read_finished(folder)) is not None:
        return finished
    if recipe.fp16 and not torch.cuda.is_available():
        raise OptionError("--fp16 needs a GPU; --bf16 does not")
    if options.threads:
        torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()  # a new classifier is no news here
    transformers.logging.disable_progress_bar()
    transformers.set_seed(recipe.seed)
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
    weights = label_weights(split.train, recipe.class_weights)
    train = smoothed(split.train, recipe)
    if teacher is not None:
        train = taught(train, ask(teacher, train, folder=folder), recipe)
    tokenizer = load_training_tokenizer(base, recipe.max_tokens)
    hidden = mask_id(tokenizer, base) if recipe.masked_share else 0
    texts = MaskedTexts(
        features(train, tokenizer),
        mask_id=hidden,
        share=recipe.masked_share,
        seed=recipe.seed,
    )
    # Sorted: batches of one length pad less, and no figure depends on the order.
    encoded = zip(features(split.validation, tokenizer), split.validation, strict=True)
    held_out = sorted(encoded, key=lambda each: int(each[0]["length"]))
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        trainer = FineTuning(
            model=load_classifier(base),
            base=base,
            recipe=recipe,
            loss=SoftTargetLoss(recipe.temperature, weights),
            texts=texts,
            held_out=[feature for feature, _ in held_out],
            annotated=[not example.soft for _, example in held_out],
            folder=folder,
            signals=signals,
            options=options,
        )
        stack.callback(trainer.close)
        trainer.run()
        fitted = _finish(trainer, folder)
        signals.raise_if_received(trainer.state.global_step, trainer.state.max_steps)
    return fitted


def _read_finished(folder: Path) -> Fitted | None:
    """Return the training that ended in `folder` before, if its model is still whole."""
    try:
        said = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
        model = folder / "checkpoints" / Path(said["model"]).name
        found = Fitted(model, said["best"], said["epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if is_whole(model) else None


def _finish(trainer: FineTuning, folder: Path) -> Fitted:
    """Write down that the training has ended, and return its model."""
    assert trainer.best is not None  # the last step is evaluated, and the first is the best
    best = dict(trainer.best)
    model = best.pop("model")
    epochs = [row for row in trainer.state.log_history if "eval_loss" in row]
    with storage_errors(folder):
        said = {
            "model": model,
            "weights_sha256": file_sha256(find_weights(trainer.checkpoints.folder / model)),
            "best": best,
            "epochs": epochs,
        }
        write_whole(folder / FINISHED, json.dumps(said, indent=2) + "\n")
    return Fitted(trainer.checkpoints.folder / model, best, epochs)
