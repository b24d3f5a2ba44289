"""Invariant: whatever happens in whatever order, every caller is told exactly once, and rightly.

A Hypothesis state machine on a virtual clock: submissions with and without deadlines, equal and
poisonous texts, callers who leave, engines that die, hang, fail or run out of memory, time that
passes, and a close at any moment.
"""

import asyncio
import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sentiment.batching.batcher import Batcher
from sentiment.engines.batches import PackedBatch, PaddedBatch
from sentiment.errors import RequestError
from sentiment.metrics import Metrics
from sentiment.planning.virtual import VirtualClockLoop
from tests.doubles import POISON, expected_logits
from tests.virtual import VirtualEngine

BUDGET = 64
TOKENS = st.integers(1, 100)
SHARED_TEXTS = 3


class Machine(RuleBasedStateMachine):
    @initialize(pads=st.booleans())
    def open(self, pads):
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.engine = VirtualEngine(batch_type=PaddedBatch if pads else PackedBatch)
        self.metrics = Metrics()
        self.callers = []
        self.fresh = 10_000
        self.runner.run(self._open())

    async def _open(self):
        self.batcher = Batcher(
            self.engine,
            reopen=self.engine.reopen,
            token_budget=BUDGET,
            max_backlog_s=5,
            engine_timeout_s=3,
            metrics=self.metrics,
            open_worker=self.engine.open_worker,
            clock=asyncio.get_running_loop().time,
        )
        await self.batcher.__aenter__()

    async def _call(self, encodings, timeout_s):
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        lengths = np.array([float(len(ids)) for ids in encodings])
        try:
            async with asyncio.timeout(None if math.isinf(timeout_s) else timeout_s):
                with self.batcher.admit(lengths, timeout_s=timeout_s) as entry:
                    await asyncio.sleep(0.01)  # tokenising
                    answer = await self.batcher.submit(entry, encodings)
        except (RequestError, TimeoutError) as error:
            assert loop.time() <= ends_at + 1e-6
            return error
        assert loop.time() <= ends_at + 1e-6
        assert not any(POISON in ids for ids in encodings)
        assert answer.logits.tolist() == [expected_logits(ids).tolist() for ids in encodings]
        return None

    @rule(
        lengths=st.lists(TOKENS, min_size=1, max_size=8),
        timeout_s=st.sampled_from([math.inf, 0.05, 0.5, 5.0]),
    )
    def submit(self, lengths, timeout_s):
        encodings = []
        for length in lengths:
            self.fresh += 1
            encodings.append(np.array([self.fresh] + [1] * (length - 1)))
        self._spawn(encodings, timeout_s)

    @rule(
        which=st.lists(st.integers(0, SHARED_TEXTS - 1), min_size=1, max_size=6),
        timeout_s=st.sampled_from([math.inf, 0.3]),
    )
    def submit_what_others_submit(self, which, timeout_s):
        self._spawn([np.array([index + 1] * (index + 3)) for index in which], timeout_s)

    @rule(position=st.integers(0, 3), copies=st.integers(1, 2))
    def submit_poison(self, position, copies):
        encodings = [np.array([self.fresh, index]) for index in range(4)]
        encodings[position] = np.array([POISON])
        for _ in range(copies):
            self._spawn(encodings, math.inf)

    def _spawn(self, encodings, timeout_s):
        async def spawn():
            return asyncio.create_task(self._call(encodings, timeout_s))

        self.callers.append(self.runner.run(spawn()))

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.05, 0.3, 2.0]))
    def time_passes(self, seconds):
        self.runner.run(asyncio.sleep(seconds))

    @rule(choice=st.integers(0, 1000))
    def a_caller_leaves(self, choice):
        if staying := [caller for caller in self.callers if not caller.done()]:
            leaving = staying[choice % len(staying)]
            leaving.cancel()
            self.runner.run(asyncio.wait([leaving]))

    @rule()
    def the_engine_dies(self):
        self.engine.dies = True

    @rule(hangs=st.booleans())
    def the_engine_hangs(self, hangs):
        self.engine.hangs = hangs

    @rule(broken=st.booleans())
    def the_engine_fails(self, broken):
        self.engine.broken = broken

    @rule(wrong=st.sampled_from(["not a number", "a row too few", None]))
    def the_engine_talks_nonsense(self, wrong):
        self.engine.tamper = {
            "not a number": lambda logits: logits * np.nan,
            "a row too few": lambda logits: logits[1:],
            None: lambda logits: logits,
        }[wrong]

    @rule(tokens=st.sampled_from([10**9, 40, 5]))
    def memory_shrinks(self, tokens):
        self.engine.memory_tokens = tokens

    @invariant()
    def batches_keep_to_the_budget(self):
        for batch in self.engine.batches if hasattr(self, "engine") else ():
            assert len(batch) == 1 or sum(map(len, batch)) <= BUDGET

    @invariant()
    def what_waits_is_counted_right(self):
        if hasattr(self, "batcher"):
            queue = self.batcher._queue
            assert queue.texts >= 0
            assert queue.backlog.tokens >= 0
            assert sum(len(entry.turns) for entry in queue._ring) == queue.texts
            for entry in queue._ring:
                waiting = [entry.encodings[row] for row in entry.turns]
                assert sum(map(len, waiting)) == entry.waiting_tokens
                assert all(queue._claims[ids.tobytes()][0][0] is entry for ids in waiting)

    def teardown(self):
        if not hasattr(self, "runner"):
            return
        self.engine.hangs = self.engine.broken = self.engine.dies = False
        self.engine.memory_tokens = 10**9
        self.engine.tamper = lambda logits: logits
        self.runner.run(self._close())
        self.runner.close()

    async def _close(self):
        outcomes = await asyncio.gather(*self.callers, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, asyncio.CancelledError | RequestError | TimeoutError), (
                    repr(outcome)
                )
        queue = self.batcher._queue
        assert (queue.texts, queue.backlog.tokens) == (0, 0)
        assert not queue._claims or self.batcher._dispatcher is not None
        await self.batcher.__aexit__(None, None, None)
        assert not queue._claims
        assert self.batcher._admission.backlog_s == 0
        assert len(asyncio.all_tasks()) == 1


TestBatcher = Machine.TestCase
TestBatcher.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
