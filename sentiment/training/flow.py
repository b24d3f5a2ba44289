"""When a training writes a checkpoint, and how it ends before its time.

A signal is only noted when it arrives: the step is finished, its state written, and the process
ends by `Interrupted`. A second signal ends it where it stands.
"""

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

import transformers

from sentiment.errors import Interrupted

SHORTEST_PAUSE_S = 30.0
"""Between checkpoints that are paced by time: what a lost machine costs at most, where writing
is quick."""

LARGEST_SHARE = 0.02
"""Of the time that writing checkpoints may take, where they are paced by time."""


class Signals:
    """Notes SIGINT and SIGTERM while it is entered."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()  # so that a second one is not noted but obeyed

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def raise_if_received(self, step: int, max_steps: int) -> None:
        """End the training if a signal has arrived.

        Raises:
            Interrupted: it has.
        """
        if self.received is not None:
            raise Interrupted(
                f"stopped by {signal.Signals(self.received).name} at step {step} of {max_steps}; "
                "the same command with --resume continues",
                signal_number=self.received,
            )


class Pace:
    """Says when the next checkpoint is due: every `steps`, or with 0 by what one costs."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._pause_s = SHORTEST_PAUSE_S
        self._written_at = time.perf_counter()

    def due(self, step: int) -> bool:
        """Whether to write a checkpoint after this step."""
        if self._steps:
            return step % self._steps == 0
        return time.perf_counter() - self._written_at >= self._pause_s

    def wrote(self, took_s: float) -> None:
        """Learn what a checkpoint costs."""
        self._pause_s = max(SHORTEST_PAUSE_S, took_s / LARGEST_SHARE)
        self._written_at = time.perf_counter()


class Flow(transformers.TrainerCallback):
    """Asks the trainer for a checkpoint when one is due, and to stop when a signal came.

    Stands behind the trainer's own `DefaultFlowCallback` and corrects it: that one evaluates
    after every stop, even one in the middle of an epoch.
    """

    def __init__(self, signals: Signals, pace: Pace, *, steps_per_epoch: int) -> None:
        self._signals = signals
        self._pace = pace
        self._steps_per_epoch = steps_per_epoch

    def epoch(self, state: Any) -> int:
        """Return the epoch that the next step belongs to, from 0."""
        return int(state.global_step // self._steps_per_epoch)

    def at_evaluation(self, state: Any) -> bool:
        """Whether this step ends an epoch or the training, and is evaluated therefore."""
        ends_epoch = state.global_step % self._steps_per_epoch == 0
        return bool(state.global_step and (ends_epoch or state.global_step >= state.max_steps))

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        # At an epoch's end the checkpoint is written after the evaluation, and includes it.
        if self.at_evaluation(state):
            return
        if self._signals.received is not None:
            control.should_training_stop = True
        control.should_save = control.should_training_stop or self._pace.due(state.global_step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Evaluate and write at an epoch's end, not where a signal stopped it in the middle."""
        control.should_evaluate = self.at_evaluation(state)
        # After the last step the model itself is written: a checkpoint would be no use.
        control.should_save = control.should_evaluate and state.global_step < state.max_steps

    def on_prediction_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Leave a long evaluation: it is repeated when the training is resumed."""
        self._signals.raise_if_received(state.global_step, state.max_steps)
