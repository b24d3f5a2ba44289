"""How a training is watched: a bar or plain lines, `log.jsonl`, TensorBoard."""

import json
import logging
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import transformers
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sentiment.errors import LibraryError
from sentiment.storage import write_whole
from sentiment.training.checkpoints import storage_errors

log = logging.getLogger(__name__)

STEP_FIGURES = {"loss": "loss", "learning_rate": "learning_rate", "grad_norm": "gradient_norm"}
"""What the trainer calls a figure of a step -> what the log does."""

EPOCH_FIGURES = {
    "eval_loss": "validation_loss",
    "eval_accuracy": "validation_accuracy",
    "eval_macro_f1": "validation_macro_f1",
}


def figures(logged: dict[str, Any]) -> dict[str, float]:
    """Return what is kept of the trainer's figures, under the log's names."""
    names = STEP_FIGURES | EPOCH_FIGURES
    return {name: float(logged[key]) for key, name in names.items() if key in logged}


class EpochLines(transformers.TrainerCallback):
    """One line an epoch; on a terminal a bar of the steps below them."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Show the bar, where somebody looks."""
        if not sys.stderr.isatty():
            return
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(
            "", total=state.max_steps, completed=state.global_step, epoch="1", loss="-"
        )
        self._bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self._bar is not None:
            epoch = f"{math.ceil(state.epoch)} of {math.ceil(args.num_train_epochs)}"
            self._bar.update(self._task, completed=state.global_step, epoch=epoch)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any], **rest: Any
    ) -> None:
        if self._bar is not None and "loss" in logs:
            self._bar.update(self._task, loss=f"{logs['loss']:.4f}")

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **rest: Any
    ) -> None:
        line = (
            f"epoch {state.epoch:g} of {args.num_train_epochs:g}: "
            f"validation loss {metrics['eval_loss']:.4f}, "
            f"accuracy {metrics['eval_accuracy']:.4f}, macro-F1 {metrics['eval_macro_f1']:.4f}"
        )
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            log.info("%s", line)

    def close(self) -> None:
        """Take the bar away; the lines stay."""
        if self._bar is not None:
            self._bar.stop()


class JsonLog(transformers.TrainerCallback):
    """`log.jsonl`: a row every few steps, and one for each epoch's validation."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rewind(self, step: int, *, evaluated_step: int) -> None:
        """Forget what a lost process logged after what training goes on from.

        Args:
            step: of the checkpoint.
            evaluated_step: of the last validation that it knows of.

        Raises:
            StorageError: the file cannot be written.
        """
        with storage_errors(self._path):
            lines = self._path.read_text().splitlines() if self._path.is_file() else []
            kept = [line for line in lines if _is_known(line, step, evaluated_step)]
            write_whole(self._path, "".join(f"{line}\n" for line in kept))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any], **rest: Any
    ) -> None:
        found = figures(logs)
        if not found:
            return  # the trainer's own summary at the end
        # A gradient that overflowed in fp16, whose step is skipped, has no number in JSON.
        shown = {name: value if math.isfinite(value) else None for name, value in found.items()}
        row = {"step": state.global_step, "epoch": state.epoch, **shown}
        # Opened anew for each row: a row that is said is written.
        with storage_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _is_known(line: str, step: int, evaluated_step: int) -> bool:
    """Whether a checkpoint knows of a row; not of one that a lost process left half-written."""
    try:
        row = json.loads(line)
        return bool(row["step"] <= (evaluated_step if "validation_loss" in row else step))
    except (ValueError, KeyError, TypeError):
        return False


class TensorBoardLog(transformers.TrainerCallback):
    """The same figures as event files for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Open a file that hides what a lost process wrote after this step."""
        from torch.utils.tensorboard import SummaryWriter

        with storage_errors(self._folder):
            purge_step = state.global_step + 1 if state.global_step else None
            self._writer = SummaryWriter(str(self._folder), purge_step=purge_step)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any], **rest: Any
    ) -> None:
        for name, value in figures(logs).items():
            group = "validation/" if name.startswith("validation_") else "training/"
            tag = group + name.removeprefix("validation_")
            self._writer.add_scalar(tag, value, state.global_step)

    def close(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.close()


def tensorboard_wanted(asked: bool | None) -> bool:
    """Whether to write TensorBoard's log: as asked, else where it is installed.

    Raises:
        LibraryError: it was asked for and is not installed.
    """
    installed = find_spec("tensorboard") is not None
    if asked and not installed:
        raise LibraryError("tensorboard not installed: pip install -r requirements-train.txt")
    return installed if asked is None else asked
