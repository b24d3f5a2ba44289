"""Several processes behind one listening socket: `python -m sentiment serve --workers N`.

The parent takes the ports, starts the workers and watches them. It loads no model and answers
nobody, so that little can happen to it. Each worker is a fresh interpreter, not a fork: it shares
no thread, lock or signal handler with anybody, and holds of the parent's descriptors only those
that it was given.

All workers accept from one queue, the kernel's for that socket. With a queue for each
(SO_REUSEPORT) a worker that ends would reset the connections in its own, and a port that another
server has would not be seen to be taken. Here a worker that loads has not begun to accept, one
that drains has stopped, and what none of them has accepted waits for the next. When all end, each
takes what it finds there, for then nobody comes after it.
"""

import asyncio
import contextlib
import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sentiment.batching.policy import restart_delay_s
from sentiment.errors import SettingsError
from sentiment.listeners import Listeners
from sentiment.metrics import SHARED_FOLDER, forget_gauges, share_as
from sentiment.settings import ENV_PREFIX, Settings, usable_cores
from sentiment.signals import end_by, is_first_process

log = logging.getLogger(__name__)

Result = TypeVar("Result")

WORKER_COMMAND = (sys.executable, "-m", "sentiment", "worker")

CANNOT_START = (2, 3)
"""Exit codes of a worker that has said why it cannot start, and would say it again: 3 for settings,
model or port, 2 for a command line that it does not know, as where another version has been
installed under a parent that runs."""

SILENT_SECONDS = 30
"""A worker that has not been heard of for so long is killed and replaced. It sends a sign of life
every second, unless its event loop hangs or its engine is lost: what Kubernetes would see by
`/livez`, if it could ask each worker."""

END_OF_ALL = b"."
"""What a worker hears before SIGTERM if the port closes with it; else its signal is its own."""

HEALTHY_S = 60.0
"""A worker that ran so long owes nothing to the failures before it."""

OVERTIME_S = 10.0
"""What a worker that drains may take beyond its own bounds before it is killed."""


def supervise(settings: Settings, *, host: str, port: int, count: int) -> None:
    """Keep `count` workers running until a signal comes, then end as a single server would.

    Each has its own model, queue and cache, and its share of the cores. They are not pinned to
    any: a container's quota names none, so that the workers of several containers would all sit
    on the machine's first ones while others idle.

    Raises:
        ListenError: a port is taken, or the host is none of this machine's.
        SettingsError: there is nowhere to put the metrics that the workers share.
        SystemExit: with the code of a worker that cannot start, which has said why.
    """
    listeners = Listeners.take(host=host, port=port, metrics_port=settings.metrics_port)
    with _metrics_folder() as folder:
        supervisor = Supervisor(
            count,
            listeners=listeners,
            environment=worker_environment(settings, count, folder),
            metrics_folder=folder,
            drain_limit_s=settings.drain_delay_s + settings.drain_s + OVERTIME_S,
        )
        end = asyncio.run(supervisor.run())
    if end.by is not None and not is_first_process():
        end_by(end.by)
    sys.exit(end.code)


def worker_environment(settings: Settings, count: int, metrics_folder: str) -> dict[str, str]:
    """Return the environment of each of `count` workers: the parent's, with the cores divided."""
    threads_name = f"{ENV_PREFIX}THREADS"
    environment = {n: value for n, value in os.environ.items() if n.upper() != threads_name}
    threads = max(1, usable_cores() // count) if settings.threads == "auto" else settings.threads
    return {**environment, threads_name: str(threads), SHARED_FOLDER: metrics_folder}


def work(
    settings: Settings, *, number: int, count: int, lifeline: int, listeners: Listeners
) -> None:
    """Be worker `number` of `count` until a signal comes or the parent is gone.

    Args:
        lifeline: descriptor of a socket to the parent. Signs of life go out by it. A byte that
            comes by it says that all end; that it ends says that the parent did, however it did.

    Raises:
        ListenError, SystemExit: as `sentiment.launcher.serve`.
    """
    share_as(number)  # before the server is imported
    from sentiment.launcher import serve

    parent = socket.socket(fileno=lifeline)
    threading.Thread(target=_end_with, args=(parent,), name="lifeline", daemon=True).start()

    def beat() -> None:
        with contextlib.suppress(OSError):  # it is gone, or too busy to listen
            parent.send(b".", socket.MSG_DONTWAIT)

    serve(
        settings,
        listeners,
        processes=count,
        beat=beat,
        port_stays_open=partial(others_stay, parent),
    )


def others_stay(parent: socket.socket) -> bool:
    """Whether a worker that drains ends alone: its parent has not said otherwise, nor hung up."""
    try:
        parent.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:  # reset: the parent never read the last sign of life
        pass
    return False


def _end_with(parent: socket.socket) -> None:
    hang_up = select.poll()
    hang_up.register(parent, 0)
    hang_up.poll()
    log.warning("the parent process is gone")
    try:
        # It would have removed the folder; those who still answer need the open files only.
        shutil.rmtree(os.environ[SHARED_FOLDER], ignore_errors=True)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _metrics_folder() -> Iterator[str]:
    """Make a private folder for the workers' metrics, if possible in memory.

    On a disk whoever writes to a page that is just being stored has to wait: the event loop.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
    try:
        folder = tempfile.TemporaryDirectory(
            prefix="sentiment-", dir=memory, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise SettingsError(
            f"no folder for the workers' metrics: {error.strerror}; TMPDIR may name a writable one"
        ) from error
    with folder as path:
        yield path


@dataclass(frozen=True, slots=True)
class End:
    """How the parent is to end."""

    code: int = 0
    """0 after a drain, 128 and the signal's number where a signal ended all at once."""
    by: signal.Signals | None = None
    """The signal that ends it, unless it is the first process of a container."""


class Supervisor:
    """Starts workers, replaces those that die, and ends them all."""

    def __init__(
        self,
        count: int,
        *,
        listeners: Listeners,
        environment: Mapping[str, str],
        metrics_folder: str,
        drain_limit_s: float,
        command: Sequence[str] = WORKER_COMMAND,
        silent_seconds: int = SILENT_SECONDS,
        restart_delay_s: Callable[[int], float] = restart_delay_s,
    ) -> None:
        """Keep `count` workers that inherit `listeners`.

        Args:
            environment: of each worker.
            metrics_folder: where they share their metrics.
            drain_limit_s: after which a worker that was told to end is killed.
            command: runs `work` with what its options say.
            silent_seconds: after which a worker without a sign of life is killed.
            restart_delay_s: pause before a worker that failed so often in a row is replaced.
        """
        self._count = count
        self._listeners = listeners
        self._environment = environment
        self._metrics_folder = metrics_folder
        self._drain_limit_s = drain_limit_s
        self._command = command
        self._silent_seconds = silent_seconds
        self._restart_delay_s = restart_delay_s
        self._processes: dict[int, Process] = {}
        self._lifelines: dict[int, socket.socket] = {}
        self._ready: set[int] = set()
        self._one_was_ready = asyncio.Event()
        self._all_were_ready = False
        self._ending = asyncio.Event()
        self._ended = End()

    async def run(self) -> End:
        """Run until the end; return how to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        # The first alone: what it fetches or fails on need not be fetched or said by all.
        await asyncio.gather(*(self._keep(number) for number in range(1, self._count + 1)))
        return self._ended

    def _on_signal(self, number: signal.Signals) -> None:
        """Let the workers drain. Before there is anything to drain, and at a second SIGINT, end."""
        at_once = self._ending.is_set() and number == signal.SIGINT
        if at_once or not self._one_was_ready.is_set():
            self._ended = End(128 + number, number)
        elif not self._ending.is_set():
            # As uvicorn: an interrupt that it was given time for is no failure.
            self._ended = End() if number == signal.SIGINT else End(by=number)
        if at_once:
            self._kill_all()
        elif not self._ending.is_set():
            log.info("draining", extra={"workers": len(self._processes)})
            self._end()

    def _end(self) -> None:
        self._ending.set()
        self._one_was_ready.set()  # nobody has to wait for that any more
        self._listeners.close()
        for number in self._processes:
            self._end_worker(number)
        asyncio.get_running_loop().call_later(self._drain_limit_s, self._kill_all)

    def _end_worker(self, number: int) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self._lifelines[number].send(END_OF_ALL)  # first, so that it is there when it drains
        _send(self._processes[number], signal.SIGTERM)

    def _kill_all(self) -> None:
        for number, process in self._processes.items():
            log.warning("killing a worker", extra={"number": number, "pid": process.pid})
            _send(process, signal.SIGKILL)

    async def _keep(self, number: int) -> None:
        """Have a worker `number` until the end, however often it must be replaced."""
        if number > 1:
            await self._one_was_ready.wait()
        failures = 0
        while not self._ending.is_set():
            began_at = time.monotonic()
            code = await self._run(number)
            self._ready.discard(number)
            forget_gauges(number, self._metrics_folder)
            if self._ending.is_set():
                return
            if self._is_final(code):
                self._ended = End(code if code > 0 else 128 - code)  # as a shell says it
                self._end()
                return
            healthy = time.monotonic() - began_at > HEALTHY_S
            failures = 1 if healthy else failures + 1
            delay_s = self._restart_delay_s(failures)
            ended = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
            log.error(
                "a worker ended and will be replaced",
                extra={"number": number, **ended, "failures": failures, "in_s": delay_s},
            )
            await _within(delay_s, self._ending.wait())

    def _is_final(self, code: int) -> bool:
        """Whether the end of a worker is the end of all."""
        if not self._one_was_ready.is_set():
            if code not in CANNOT_START:
                log.critical("the first worker ended before it was ready", extra={"code": code})
            return True
        # Once all have run, the model may be out of reach for a while: then those that run go on.
        return code in CANNOT_START and not (self._all_were_ready and self._ready)

    async def _run(self, number: int) -> int:
        """Run worker `number` once; return its exit code, negative for a signal."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                try:
                    process = await self._start(number, theirs.fileno())
                except OSError as error:  # no memory, or too many processes: that may pass
                    log.error("cannot start a worker", extra={"error": error.strerror})
                    return os.EX_OSERR
            ours.setblocking(False)
            self._processes[number], self._lifelines[number] = process, ours
            if self._ending.is_set():  # meanwhile
                self._end_worker(number)
            try:
                await self._listen(number, process, ours)
                return await process.wait()
            finally:
                del self._processes[number], self._lifelines[number]

    async def _start(self, number: int, lifeline: int) -> Process:
        arguments = [f"--number={number}", f"--count={self._count}", f"--lifeline={lifeline}"]
        descriptors = [lifeline]
        for option, sockets in (
            ("--api", self._listeners.api),
            ("--operations", self._listeners.operations),
        ):
            arguments += [f"{option}={listener.fileno()}" for listener in sockets]
            descriptors += [listener.fileno() for listener in sockets]
        return await asyncio.create_subprocess_exec(
            *self._command,
            *arguments,
            stdin=DEVNULL,
            env=self._environment,
            pass_fds=descriptors,
            # Ctrl-C is for the parent alone: two interrupts would end a worker at once.
            process_group=0,
        )

    async def _listen(self, number: int, process: Process, lifeline: socket.socket) -> None:
        """Return when the worker has ended; kill it if it is silent for too long."""
        missed = 0
        while missed < self._silent_seconds:
            try:
                heard = await _within(1.0, asyncio.get_running_loop().sock_recv(lifeline, 4096))
            except ConnectionResetError:  # it never read that all end
                return
            if heard == b"":
                return
            # Second by second, because time in which this process stood still does not count. A
            # worker that was never ready may take as long as it needs to fetch its model.
            missed = 0 if heard or number not in self._ready else missed + 1
            if heard and number not in self._ready:
                self._note_ready(number)
        log.error("a worker gives no sign of life", extra={"number": number, "pid": process.pid})
        _send(process, signal.SIGKILL)

    def _note_ready(self, number: int) -> None:
        self._ready.add(number)
        self._one_was_ready.set()
        if len(self._ready) == self._count:
            log.info("all workers are ready", extra={"workers": self._count})
            self._all_were_ready = True


def _send(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        process.send_signal(number)


async def _within(seconds: float, awaitable: Awaitable[Result]) -> Result | None:
    """Return what `awaitable` does, or `None` if that takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError:
        return None
