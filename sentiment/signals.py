"""Ends by a signal, also where this is the first process of a container.

The kernel keeps from the first process of a PID namespace every signal that it has no handler
for, even its own: there the usual way, the default handler and the signal once more, does nothing,
and the process would run on until it is killed. It knows no libraries, so that it is imported
before them.
"""

import os
import signal
from types import FrameType
from typing import NoReturn


def is_first_process() -> bool:
    """Whether this is a container's first process, whose end is that of the container."""
    return os.getpid() == 1


def end_by(number: int) -> NoReturn:
    """End the process at once by the signal, or with the exit code that a shell gives it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # only the first process comes so far


def heed_signals_from_the_start() -> None:
    """Let SIGTERM end the first process while the libraries are still being imported.

    Any other process ends by it anyway. What serves or trains has a handler of its own later.
    """
    if is_first_process():
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> None:
    end_by(number)
