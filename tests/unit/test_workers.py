"""The parent of several workers, around processes that do what a test says and nothing else."""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager

import pytest

from sentiment.listeners import Listeners
from sentiment.settings import Settings
from sentiment.workers import END_OF_ALL, End, Supervisor, others_stay, worker_environment

WORKER = """
import os, pathlib, signal, sys, time
plan, starts, *options = sys.argv[1:]
options = dict(option.removeprefix("--").split("=") for option in options)
number = options["number"]
with open(starts, "a") as file:
    file.write(f"{number} {os.getpid()}\\n")
lines = pathlib.Path(starts).read_text().splitlines()
start = sum(line.split()[0] == number for line in lines)
plans = dict(part.split(":") for part in plan.split(";") if part).get(number, "live").split(",")
todo = plans[min(start, len(plans)) - 1]
if todo.startswith("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if todo == "told":
    def say(*_):
        heard = os.read(int(options["lifeline"]), 1)
        pathlib.Path(starts).with_name("heard").write_bytes(heard)
        sys.exit()
    signal.signal(signal.SIGTERM, say)
if todo.startswith("ready "):
    os.write(int(options["lifeline"]), b".")
    todo = todo.removeprefix("ready ")
if todo.startswith("exit "):
    sys.exit(int(todo.removeprefix("exit ")))
if todo == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if todo == "late":
    time.sleep(2.5)
while True:
    if todo != "silent":
        os.write(int(options["lifeline"]), b".")
    time.sleep(0.02)
"""
"""Follows a plan such as `2:exit 7,live`: worker 2 exits with 7 at its first start and lives from
its second on; workers without a plan live until they are told to end."""


@pytest.fixture(autouse=True)
def signals_of_pytest():
    saved = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    for number, handler in saved.items():
        signal.signal(number, handler)


class Run:
    """A supervisor that runs, and what it says."""

    def __init__(self, starts, said):
        self.failures = []
        """How many in a row the supervisor counted, each time that it replaced a worker."""
        self._starts = starts
        self._said = said
        self.task = None

    @property
    def starts(self):
        """The workers' numbers in the order of their starts."""
        return [int(line.split()[0]) for line in self._starts.read_text().splitlines()]

    @property
    def process_ids(self):
        """Of every worker that was started, in that order."""
        return [int(line.split()[1]) for line in self._starts.read_text().splitlines()]

    async def hear(self, message):
        async with asyncio.timeout(30):
            while not (await self._said.get()).getMessage().startswith(message):
                pass

    async def end(self, number):
        """Send this process a signal; return what the supervisor makes of it."""
        signal.raise_signal(number)
        return await self.over()

    async def over(self):
        """Return what the supervisor ends with."""
        async with asyncio.timeout(30):
            return await self.task


@pytest.fixture
def supervised(tmp_path):
    @asynccontextmanager
    async def run(plan, *, count=2, command=None, **options):
        said = asyncio.Queue()
        handler = logging.Handler(logging.INFO)
        handler.emit = said.put_nowait
        starts = tmp_path / "starts"
        starts.touch()
        run = Run(starts, said)

        def restart_delay_s(failures):
            run.failures.append(failures)
            return 0

        supervisor = Supervisor(
            count,
            listeners=options.pop("listeners", Listeners(api=[])),
            environment={},
            metrics_folder=str(tmp_path),
            drain_limit_s=options.pop("drain_limit_s", 60),
            command=command or (sys.executable, "-S", "-c", WORKER, plan, str(starts)),
            restart_delay_s=restart_delay_s,
            **options,
        )
        log = logging.getLogger("sentiment.workers")
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        run.task = asyncio.create_task(supervisor.run())
        try:
            yield run
        finally:
            log.removeHandler(handler)
            log.setLevel(logging.NOTSET)
            supervisor._kill_all()
            run.task.cancel()

    return run


async def test_a_worker_that_dies_again_and_again_is_replaced_ever_more_rarely(supervised):
    async with supervised("2:exit 7,kill,exit 0,live") as run:
        await run.hear("all workers are ready")
        assert run.failures == [1, 2, 3]
        assert run.starts == [1, 2, 2, 2, 2]
        assert await run.end(signal.SIGTERM) == End(by=signal.SIGTERM)


async def test_the_others_are_not_started_when_the_first_cannot(supervised):
    async with supervised("1:exit 3", count=4) as run:
        assert await run.over() == End(3)
        assert run.starts == [1]


@pytest.mark.parametrize(("plan", "code"), [("1:exit 1", 1), ("1:kill", 128 + signal.SIGKILL)])
async def test_a_start_that_crashes_is_not_tried_again(supervised, plan, code):
    async with supervised(plan) as run:
        assert await run.over() == End(code)
        assert run.starts == [1]


async def test_a_program_that_cannot_be_run_is_a_failed_start(supervised):
    async with supervised("", command=("/no/such/program",)) as run:
        assert await run.over() == End(71)


async def test_a_start_at_which_one_of_several_cannot_is_given_up(supervised):
    # As when the memory of a GPU holds one model and not two.
    async with supervised("2:exit 3") as run:
        assert await run.over() == End(3)
        assert run.starts == [1, 2]


async def test_a_model_that_is_out_of_reach_later_costs_only_the_worker_that_wants_it(supervised):
    async with supervised("2:ready exit 1,exit 3,exit 3,live") as run:
        await run.hear("all workers are ready")
        await run.hear("all workers are ready")
        assert run.failures == [1, 2, 3]
        assert run.starts.count(1) == 1
        assert await run.end(signal.SIGTERM) == End(by=signal.SIGTERM)


async def test_a_model_that_is_out_of_reach_ends_a_server_of_which_nothing_runs(supervised):
    async with supervised("1:live,exit 3;2:live,exit 3") as run:
        await run.hear("all workers are ready")
        for process_id in run.process_ids:
            os.kill(process_id, signal.SIGKILL)
        assert await run.over() == End(3)


async def test_a_worker_without_a_sign_of_life_is_replaced(supervised):
    async with supervised("2:ready silent,live", silent_seconds=2) as run:
        await run.hear("a worker gives no sign of life")
        await run.hear("all workers are ready")
        assert run.starts == [1, 2, 2]
        assert await run.end(signal.SIGTERM) == End(by=signal.SIGTERM)


async def test_a_worker_that_loads_may_be_silent(supervised):
    async with supervised("2:late", silent_seconds=1) as run:
        await run.hear("all workers are ready")
        assert run.starts == [1, 2]
        assert await run.end(signal.SIGTERM) == End(by=signal.SIGTERM)


async def test_a_worker_that_does_not_end_is_killed_when_the_drain_is_over(supervised):
    async with supervised("1:deaf", drain_limit_s=0.1) as run:
        await run.hear("all workers are ready")
        assert await run.end(signal.SIGTERM) == End(by=signal.SIGTERM)


async def test_workers_hear_that_all_end_before_the_signal_comes(supervised, tmp_path):
    async with supervised("1:told") as run:
        await run.hear("all workers are ready")
        assert await run.end(signal.SIGTERM) == End(by=signal.SIGTERM)
    assert (tmp_path / "heard").read_bytes() == END_OF_ALL


def test_a_worker_ends_alone_until_its_parent_says_otherwise_or_hangs_up():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert others_stay(theirs)
        ours.send(END_OF_ALL)
        assert not others_stay(theirs)
        assert others_stay(theirs)
        ours.close()
        assert not others_stay(theirs)


def test_a_parent_that_is_killed_with_signs_of_life_unread_has_hung_up():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b".")
        ours.close()
        assert not others_stay(theirs)


async def test_a_parent_that_ends_keeps_no_port_open_that_nobody_accepts_from(supervised):
    listeners = Listeners.take(host="127.0.0.1", port=0, metrics_port=0)
    async with supervised("1:deaf", listeners=listeners) as run:
        await run.hear("all workers are ready")
        signal.raise_signal(signal.SIGTERM)
        await run.hear("draining")
        assert {each.fileno() for each in (*listeners.api, *listeners.operations)} == {-1}
        assert await run.end(signal.SIGINT) == End(128 + signal.SIGINT, signal.SIGINT)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_during_the_drain_kills_all_workers(supervised, first):
    async with supervised("1:deaf;2:deaf") as run:
        await run.hear("all workers are ready")
        signal.raise_signal(first)
        await run.hear("draining")
        assert await run.end(signal.SIGINT) == End(128 + signal.SIGINT, signal.SIGINT)


async def test_an_interrupt_that_was_given_time_is_no_failure(supervised):
    async with supervised("") as run:
        await run.hear("all workers are ready")
        assert await run.end(signal.SIGINT) == End()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_before_a_worker_is_ready_ends_by_it(supervised, number):
    async with supervised("1:silent") as run:
        while not run.starts:
            await asyncio.sleep(0.01)
        assert await run.end(number) == End(128 + number, number)


def test_the_cores_are_divided_among_the_workers(monkeypatch):
    monkeypatch.setattr("sentiment.workers.usable_cores", lambda: 7)
    threads = {
        count: worker_environment(Settings(), count, "folder")["SENTIMENT_THREADS"]
        for count in (2, 3, 7, 8)
    }
    assert threads == {2: "3", 3: "2", 7: "1", 8: "1"}


def test_threads_that_were_asked_for_are_each_workers(monkeypatch):
    monkeypatch.setenv("sentiment_threads", "5")
    environment = worker_environment(Settings.from_env(), 2, "folder")
    assert environment["SENTIMENT_THREADS"] == "5"
    assert "sentiment_threads" not in environment
