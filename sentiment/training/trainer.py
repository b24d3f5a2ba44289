"""The trainer: `transformers.Trainer` with our batches, loss, optimiser groups and choice of epoch.

What is ours: the target (a distribution, so annotators' labels and a teacher's probabilities
train side by side), batches of similar length, rates by depth, the moving average.

The best epoch is the one with the highest macro-F1 on the annotated texts of the validation part
(on a teacher's where there are none); among equals the one with the lowest validation loss. Its
model lies in the run folder as soon as it is the best.
"""

import math
import tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from sklearn.metrics import accuracy_score, f1_score

from sentiment.errors import Interrupted, ModelError
from sentiment.models import BaseFiles
from sentiment.predictions import LABELS
from sentiment.training.bases import write_model
from sentiment.training.checkpoints import Checkpoints, appearing, storage_errors
from sentiment.training.distillation import SoftTargetLoss
from sentiment.training.features import Collator, LengthBuckets, MaskedTexts
from sentiment.training.flow import Flow, Pace, Signals
from sentiment.training.layers import GradualUnfreezing, parameter_groups
from sentiment.training.progress import EpochLines, JsonLog, TensorBoardLog, tensorboard_wanted
from sentiment.training.recipe import Recipe
from sentiment.training.resumable import ResumableTrainer
from sentiment.training.runs import RunOptions


class _Stopped(Exception):
    """A resumed training finds that it had ended."""


class FineTuning(ResumableTrainer):
    """Trains by a recipe and keeps the model of the best epoch.

    Texts come in `LengthBuckets`. The trainer's own `group_by_length` lays fifty batches out from
    the longest to the shortest, again and again: where length goes with the source of a text, as
    with sentences of articles and headlines, each stretch then trains on one source.
    """

    optimizer: Any  # the base class has no types
    loss_is_scaled_for_ga = True  # `compute_loss` divides by the texts of the whole step

    def __init__(
        self,
        *,
        model: Any,
        base: BaseFiles,
        recipe: Recipe,
        loss: SoftTargetLoss,
        texts: MaskedTexts,
        held_out: list[dict[str, Any]],
        annotated: list[bool],
        folder: Path,
        signals: Signals,
        options: RunOptions,
    ) -> None:
        batches = math.ceil(len(texts) / recipe.batch_texts)
        steps_per_epoch = math.ceil(batches / recipe.accumulation)
        self._base = base
        self._recipe = recipe
        self._loss = loss
        self._folder = folder
        self._signals = signals
        pace = Pace(options.checkpoint_steps)
        self._flow = Flow(signals, pace, steps_per_epoch=steps_per_epoch)
        self._lines = EpochLines()
        self._json_log = JsonLog(folder / "log.jsonl")
        super().__init__(
            checkpoints=Checkpoints(folder / "checkpoints"),
            pace=pace,
            average_decay=recipe.average_decay,
            model=model,
            args=_arguments(recipe, steps_per_epoch=steps_per_epoch, log_steps=options.log_steps),
            train_dataset=texts,
            eval_dataset=held_out,
            data_collator=Collator(pad_id=model.config.pad_token_id or 0),
            compute_metrics=partial(_validation_metrics, annotated=np.array(annotated)),
            callbacks=[self._json_log, self._lines],
        )
        self.model_accepts_loss_kwargs = True  # has the trainer count a step's targets
        self.remove_callback(transformers.PrinterCallback)
        if recipe.unfreeze_every:
            every_steps = recipe.unfreeze_every * steps_per_epoch
            self.add_callback(GradualUnfreezing(self.model, every_steps=every_steps))
        self._tensorboard = None
        if tensorboard_wanted(options.tensorboard):
            self._tensorboard = TensorBoardLog(folder / "tensorboard")
            self.add_callback(self._tensorboard)
        self.add_callback(self._flow)
        self.add_callback(_Begin(self))

    # The run

    def run(self) -> None:
        """Train to the end, from the last whole checkpoint if there is one.

        Raises:
            Interrupted: by a signal, after its checkpoint was written.
            ModelError: the loss is not finite any more.
            StorageError: the disk is full or cannot be written.
        """
        try:
            self.train_or_resume()
        except _Stopped:
            return
        if self.evaluated_step != self.state.global_step:
            self._signals.raise_if_received(self.state.global_step, self.state.max_steps)

    def begin(self) -> None:
        """Take up what lies between steps; called when the trainer has restored the rest.

        Raises:
            _Stopped: no step is left.
        """
        self._json_log.rewind(self.state.global_step, evaluated_step=self.evaluated_step)
        if self.resumed is None:
            return
        self.restore_loss()
        at_evaluation = self._flow.at_evaluation(self.state)
        if at_evaluation and self.evaluated_step != self.state.global_step:
            self.evaluate()  # which a signal had cut short
        if self.state.global_step >= self.state.max_steps or self._out_of_patience():
            raise _Stopped

    def begin_epoch(self) -> None:
        """Hide other tokens. A resumed loader, which skips batches, would not say it itself."""
        self.train_dataset.set_epoch(self._flow.epoch(self.state))

    def close(self) -> None:
        """Take the bar away and write what the logs hold back."""
        self._lines.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    # A step

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBuckets:
        return LengthBuckets(
            self.train_dataset.lengths,
            batch_texts=self._recipe.batch_texts,
            seed=self._recipe.seed,
        )

    def create_optimizer(self, model: Any = None) -> Any:
        """Return AdamW over groups by depth; the trainer knows one rate for all."""
        if self.optimizer is None:
            groups = parameter_groups(
                self.model,
                learning_rate=self._recipe.learning_rate,
                layer_decay=self._recipe.layer_decay,
                weight_decay=self._recipe.weight_decay,
                decayed=self.get_decay_parameter_names(self.model),
            )
            kind, arguments = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = kind(groups, **arguments)
        return self.optimizer

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compare the answers with the targets; in training by the recipe's class weights."""
        targets = inputs["labels"]
        outputs = model(**{name: each for name, each in inputs.items() if name != "labels"})
        # The trainer counts every number of every target of the step.
        texts = len(targets) if num_items_in_batch is None else num_items_in_batch / len(LABELS)
        loss = self._loss(outputs.logits, targets, texts=texts, weighted=model.training)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the gradient of one batch.

        Raises:
            ModelError: the loss is not finite. The weights are as before the step.
        """
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if not math.isfinite(loss.item()):
            raise self._diverged()
        return loss

    def _diverged(self) -> ModelError:
        kept = "nothing was written"
        if self.best is not None:
            model = self.checkpoints.model(self.best)
            kept = f"the model of epoch {self.best['epoch']:.0f}, the best so far, is {model}"
        return ModelError(
            f"the loss is not finite at step {self.state.global_step + 1} of "
            f"{self.state.max_steps}: try a lower learning rate; {kept}"
        )

    # An epoch

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate what would be written, and write it if it is the best.

        Raises:
            Interrupted: a signal came; the checkpoint says that the evaluation is missing.
            ModelError: the loss is not finite.
        """
        average = self.average.in_place() if self.average is not None else nullcontext()
        try:
            # A generator less random numbers are drawn from: a resumed run may evaluate twice.
            with torch.random.fork_rng(), average:
                metrics: dict[str, float] = super().evaluate(*args, **kwargs)
                if not math.isfinite(metrics["eval_loss"]):
                    raise self._diverged()
                self._judge(metrics)
        except Interrupted:
            self._save_checkpoint(self.model, None)
            raise
        self.evaluated_step = self.state.global_step
        if self._out_of_patience():
            self.control.should_training_stop = True
        return metrics

    def _judge(self, metrics: dict[str, float]) -> None:
        rank = (metrics["eval_macro_f1"], -metrics["eval_loss"])
        if self.best is not None and rank <= (self.best["macro_f1"], -self.best["loss"]):
            return
        name = f"best-{self.state.global_step:08}"
        with storage_errors(self._folder), appearing(self.checkpoints.folder / name) as folder:
            write_model(self.model, self._base, folder)
        self.best = {
            "model": name,
            "epoch": self.state.epoch,
            "step": self.state.global_step,
            "macro_f1": metrics["eval_macro_f1"],
            "loss": metrics["eval_loss"],
        }

    def _out_of_patience(self) -> bool:
        if not self._recipe.patience or self.best is None:
            return False
        later = [
            entry
            for entry in self.state.log_history
            if "eval_loss" in entry and entry["step"] > self.best["step"]
        ]
        return len(later) >= self._recipe.patience


class _Begin(transformers.TrainerCallback):
    """Tells the trainer of its own beginnings, when every other callback has begun."""

    def __init__(self, trainer: FineTuning) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._trainer.begin()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._trainer.begin_epoch()


def _validation_metrics(
    prediction: transformers.EvalPrediction, *, annotated: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return figures of the annotated texts; of the teacher's where nobody annotated any."""
    rows = annotated if annotated.any() else ~annotated
    predicted = np.asarray(prediction.predictions)[rows].argmax(axis=-1)
    expected = np.asarray(prediction.label_ids)[rows].argmax(axis=-1)
    return {
        "accuracy": float(accuracy_score(expected, predicted)),
        "macro_f1": float(f1_score(expected, predicted, average="macro")),
    }


def _arguments(
    recipe: Recipe, *, steps_per_epoch: int, log_steps: int
) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        # The trainer makes this folder at once, and writes nothing to it.
        output_dir=tempfile.gettempdir(),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=int(recipe.warmup_share * recipe.epochs * steps_per_epoch),
        weight_decay=recipe.weight_decay,
        adam_epsilon=recipe.adam_epsilon,
        max_grad_norm=recipe.clip_norm,
        per_device_train_batch_size=recipe.batch_texts,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=recipe.accumulation,
        bf16=recipe.bf16,
        fp16=recipe.fp16,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=log_steps,
        logging_nan_inf_filter=False,  # which would hide them
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
