"""`transformers.Trainer` with checkpoints of our own, which continue bit for bit.

Its own checkpoints are pickles; those methods that write and read them are replaced here, and
the files they would look for are never opened. Everything that later steps depend on is kept:
weights, moments, average, schedule, loss scale, random generators, the loss since the last row of
the log, and which epoch was the best. The order of the texts follows from the seed.
"""

import dataclasses
import logging
import shutil
import time
from typing import Any

import torch
import transformers

from sentiment.errors import StorageError, first_line
from sentiment.training.averages import WeightAverage
from sentiment.training.checkpoints import Checkpoint, Checkpoints, is_whole
from sentiment.training.flow import Pace
from sentiment.training.states import (
    optimizer_state,
    random_state,
    restore_optimizer,
    restore_random,
)

log = logging.getLogger(__name__)

UNUSABLE = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)
"""What a checkpoint of another version or model makes the libraries raise."""


class ResumableTrainer(transformers.Trainer):
    """A trainer that writes to, and continues from, `Checkpoints`."""

    def __init__(
        self, *, checkpoints: Checkpoints, pace: Pace, average_decay: float, **arguments: Any
    ) -> None:
        self.checkpoints = checkpoints
        self.pace = pace
        self.best: dict[str, Any] | None = None
        """Of the best epoch so far `model` (its folder's name), `epoch`, `step`, `macro_f1` and
        `loss`."""
        self.evaluated_step = 0
        self.resumed: Checkpoint | None = None
        super().__init__(**arguments)
        self.average: WeightAverage | None = None
        if average_decay:
            self.average = WeightAverage(self.model, decay=average_decay)
            self.add_callback(self.average)

    def train_or_resume(self) -> None:
        """Train from the last whole checkpoint; from the start where there is none."""
        self.resumed = self._newest()
        if self.resumed is None:
            self.train()
        else:
            log.info("going on from step %d", self.resumed.step)
            self.train(resume_from_checkpoint=str(self.resumed.folder))

    def _newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole together with its best model.

        Where none is, the newest one goes on without: hours of training are worth more than an
        early epoch's model.
        """
        newest = None
        for found in self.checkpoints.whole():
            best = found.states.get("ours", {}).get("best")
            if best is None or is_whole(self.checkpoints.model(best)):
                return found
            log.warning("%s is damaged, the best model so far", self.checkpoints.model(best))
            newest = newest or found
        if newest is not None:
            log.warning("the best of the epochs from step %d on will be written", newest.step)
        return newest

    def restore_loss(self) -> None:
        """Take up the loss since the last row of the log, which the trainer begins at zero.

        Of a step that must be evaluated again the earlier figures go.
        """
        self.state.log_history = [
            row
            for row in self.state.log_history
            if "eval_loss" not in row or row["step"] <= self.evaluated_step
        ]
        if self.resumed is not None:
            self._tr_loss += self.resumed.states["ours"]["loss_sum"]
            self._globalstep_last_logged = self.resumed.states["ours"]["logged_step"]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        began_at = time.perf_counter()
        moments, groups = optimizer_state(self.optimizer)
        generators, random_states = random_state()
        buffers = {name: each for name, each in self.model.named_buffers() if each is not None}
        tensors = {
            "weights": dict(self.model.named_parameters()),
            "buffers": buffers,
            "moments": moments,
            "generators": generators,
        }
        if self.average is not None:
            tensors["average"] = self.average.tensors
        scaler = self.accelerator.scaler
        ours = {
            "loss_sum": self._tr_loss.item(),
            "logged_step": self._globalstep_last_logged,
            "evaluated_step": self.evaluated_step,
            "best": self.best,
            "random": random_states,
            "optimizer_groups": groups,
            "scheduler": self.lr_scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        # Rows of steps are in the log already, and a gradient norm that overflowed is no JSON.
        self.state.log_history = [row for row in self.state.log_history if "eval_loss" in row]
        states = {"ours": ours, "trainer_state": dataclasses.asdict(self.state)}
        self.checkpoints.write(self.state.global_step, tensors=tensors, states=states)
        self._forget_bests()
        self.pace.wrote(time.perf_counter() - began_at)

    def _forget_bests(self) -> None:
        """Remove the models that no kept checkpoint calls the best."""
        bests = [ours["best"] for ours in self.checkpoints.states("ours")]
        kept = {best["model"] for best in bests if best}
        for folder in self.checkpoints.folder.glob("best-*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _load_from_checkpoint(self, folder: str, model: Any = None) -> None:
        assert self.resumed is not None
        found, ours = self.resumed, self.resumed.states["ours"]
        try:
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(found.tensors["weights"][name])
                for name, buffer in self.model.named_buffers():
                    buffer.copy_(found.tensors["buffers"][name])
            if self.average is not None:
                self.average.restore(found.tensors["average"])
            self.evaluated_step = ours["evaluated_step"]
            if (best := ours["best"]) and is_whole(self.checkpoints.model(best)):
                self.best = best
            elif best:  # the epoch that ends here, if one does, is the best now
                self.evaluated_step = min(self.evaluated_step, found.step - 1)
        except UNUSABLE as error:
            raise self._unusable(error) from error

    def _load_optimizer_and_scheduler(self, folder: str | None) -> None:
        if self.resumed is None:
            return
        ours = self.resumed.states["ours"]
        try:
            restore_optimizer(
                self.optimizer, self.resumed.tensors["moments"], ours["optimizer_groups"]
            )
            self.lr_scheduler.load_state_dict(ours["scheduler"])
        except UNUSABLE as error:
            raise self._unusable(error) from error

    def _load_scaler(self, folder: str | None) -> None:
        if self.resumed is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(self.resumed.states["ours"]["scaler"])

    def _load_rng_state(self, folder: str | None) -> None:
        if self.resumed is not None:
            try:
                restore_random(
                    self.resumed.tensors["generators"], self.resumed.states["ours"]["random"]
                )
            except UNUSABLE as error:
                raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> StorageError:
        assert self.resumed is not None
        return StorageError(f"{self.resumed.folder}: cannot be resumed: {first_line(error)}")
