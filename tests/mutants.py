"""Breaks the scheduler and its neighbours on purpose, one line at a time: do the tests notice?

`python -m tests.mutants` applies each mutant of the table below to a copy of the repository,
runs the tests named beside it, and prints which of them noticed, as a Markdown table. It ends
with 1 if a mutant survived, if a line that is to be broken is no longer there, or if those tests
fail without any mutant. Arguments select mutants by a part of their name or file.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.conftest import REPOSITORY

TIMEOUT_S = 60
"""A mutant whose tests take longer has made something wait for ever: that is noticed, too."""

JOBS = 2

BATCHER = "unit/test_batcher.py"
QUEUE = "unit/test_queue.py"
SCHEDULING = "unit/test_scheduling.py"
POLICY = "unit/test_policy.py"
COST = "unit/test_cost.py"
CACHE = "unit/test_cache.py"
CLIENTS = "unit/test_clients.py"
TOKENIZATION = "unit/test_tokenization.py"
ANALYZER = "integration/test_analyzer.py"
API = "integration/test_api.py"
FAULTS = "integration/test_faults.py"
LEDGER = "integration/test_ledger.py"
OVERLOAD = "integration/test_overload.py"
HANG_UPS = "e2e/test_hang_ups.py"
LIFECYCLE = "e2e/test_lifecycle.py"
UNANSWERED = f"{LIFECYCLE}::test_what_is_unanswered_when_the_drain_is_over_gets_503"
POLLED = f"{LIFECYCLE}::test_a_drain_may_wait_for_a_load_balancer_that_polls"


class Mutant(NamedTuple):
    name: str
    """What is broken, as a reviewer would say it."""
    file: str
    """Under `sentiment/`."""
    line: str
    """What stands there, in one place only."""
    broken: str
    tests: str
    """Under `tests/`."""


MUTANTS = [
    Mutant(*row)
    for row in [
        # batcher
        ("a closed batcher takes submissions", "batching/batcher.py",
         "        if self._stopped:\n", "        if False:\n", BATCHER),
        ("who waits for a lost engine is not told", "batching/batcher.py",
         "            entry.fail(error)\n", "            pass\n", BATCHER),
        ("closing forgets what waits", "batching/batcher.py",
         "if self._closing.is_set() and dispatcher.idle and not self._queue.texts:",
         "if self._closing.is_set():", BATCHER),
        ("who leaves stays in the queue", "batching/batcher.py",
         "            self._queue.remove(entry)\n", "            pass\n", BATCHER),
        ("hung engines are not counted", "batching/batcher.py",
         "self._hung_engines += isinstance(error, EngineHung)", "pass", SCHEDULING),
        ("failures in a row are not counted", "batching/batcher.py",
         "self._failures = 1 if healthy else self._failures + 1",
         "self._failures = 1", SCHEDULING),
        ("a hang is not noticed while a batch stands ready", "batching/batcher.py",
         "wait_s = min(room_in_s, wait_s)", "wait_s = room_in_s", SCHEDULING),
        ("a hang is not noticed while nothing waits", "batching/batcher.py",
         "await _within(wait_s, self._arrive())", "await self._arrive()", SCHEDULING),
        ("a process that stood still blames its engine", "batching/batcher.py",
         "dispatcher.forgive(self._clock())", "pass", SCHEDULING),
        ("an engine that came back counts as hung for ever", "batching/batcher.py",
         "self._hung_engines -= 1", "pass", SCHEDULING),
        ("restarts are not counted", "batching/batcher.py",
         "self._metrics.worker_restarts.inc()", "pass", BATCHER),
        ("who left while being tokenised is queued", "batching/batcher.py",
         "if entry is not None and not entry.left:", "if entry is not None:", BATCHER),
        ("a waiting text that was shared is not counted", "batching/batcher.py",
         "self._metrics.coalesced.inc(self._queue.put(entry))", "self._queue.put(entry)",
         LEDGER),
        # dispatcher
        ("a row too few is answered", "batching/dispatcher.py",
         "if len(result) != texts:", "if False:", BATCHER),
        ("NaN is answered", "batching/dispatcher.py",
         "elif not np.isfinite(result).all():", "elif False:", BATCHER),
        ("a culprit is searched one by one", "batching/dispatcher.py",
         "middle = len(job.rows) // 2", "middle = 1", SCHEDULING),
        ("the budget stays when memory runs out", "batching/dispatcher.py",
         "max(1, job.tokens // 2)", "job.tokens", SCHEDULING),
        ("the budget never recovers", "batching/dispatcher.py",
         "self._admission.token_budget * 2", "self._admission.token_budget", SCHEDULING),
        ("an engine opened again need not prove itself", "batching/dispatcher.py",
         "self.verified = proven is None", "self.verified = True", SCHEDULING),
        ("what nobody wants runs", "batching/dispatcher.py",
         "wanted=lambda: not rows or self._queue.anybody_wants(rows)",
         "wanted=lambda: True", HANG_UPS),
        ("what was skipped is lost though somebody wants it now", "batching/dispatcher.py",
         "self._planned.appendleft(list(job.rows))", "pass", BATCHER),
        ("a free engine is still predicted to be busy", "batching/dispatcher.py",
         "        self._admission.busy_until = now\n", "", SCHEDULING),
        ("an engine that fails on everything is kept", "batching/dispatcher.py",
         "self._failures_in_a_row >= SUSPICIOUS_FAILURES", "False", SCHEDULING),
        ("a failed probe proves nothing", "batching/dispatcher.py",
         'self._lose("the engine fails on a text that it has read before", error)', "pass",
         SCHEDULING),
        ("planned batches are no backlog", "batching/dispatcher.py",
         "len(entry.encodings[row]) for rows in self._planned for entry, row in rows",
         "0 for rows in self._planned for entry, row in rows", SCHEDULING),
        ("every batch of a request counts as its start", "batching/dispatcher.py",
         "if entry.started_at is None:", "if True:", BATCHER),
        ("late answers of a lost engine are heeded", "batching/dispatcher.py",
         "        self._jobs.clear()\n", "", BATCHER),
        ("a thread that died is not noticed", "batching/dispatcher.py",
         'self._lose("the engine\'s thread died", error)', "pass", SCHEDULING),
        ("an undeliverable answer is swallowed", "batching/dispatcher.py",
         'self._lose("an answer could not be delivered", error)', "pass", BATCHER),
        # queue
        ("what has expired runs", "batching/queue.py",
         "            if entry.deadline_at <= now:\n", "            if False:\n", QUEUE),
        ("what has expired runs once it was taken", "batching/queue.py",
         "if claimant.deadline_at <= now:", "if False:", QUEUE),
        ("a cancelled future runs", "batching/queue.py",
         "elif entry.future.done():", "elif False:", QUEUE),
        ("first come, first served", "batching/queue.py",
         "entry.deficit += QUANTUM_TOKENS", "entry.deficit += 10**9", QUEUE),
        ("a turn costs nothing", "batching/queue.py",
         "entry.deficit -= length", "pass", QUEUE),
        ("a single text waits for a large request that holds it", "batching/queue.py",
         "if holder.waiting_tokens > size and holder is not entry:", "if False:", QUEUE),
        ("what a batch has taken is taken over", "batching/queue.py",
         "        rows &= set(holder.turns)\n", "", QUEUE),
        ("any heir will do", "batching/queue.py",
         "min(others, key=lambda claim: claim[0].waiting_tokens)", "others[0]", SCHEDULING),
        ("what nobody wants any more is kept", "batching/queue.py",
         "            if claims:\n                kept",
         "            if True:\n                kept", QUEUE),
        ("the rest of a failed request runs", "batching/queue.py",
         "            claimant.fail(error)\n            self.remove(claimant)\n",
         "            claimant.fail(error)\n", QUEUE),
        ("who leaves stays in the backlog", "batching/queue.py",
         "        self._set_waiting(entry, 0)\n        if entry.left",
         "        if entry.left", QUEUE),
        ("a shared answer is somebody else's", "batching/queue.py",
         "claimant.fill([claimed], logits[index : index + 1])",
         "claimant.fill([claimed], logits[start : start + 1])", QUEUE),
        ("texts that begin alike are equal", "batching/queue.py",
         "ids.tobytes() for ids in entry.encodings", "ids[:3].tobytes() for ids in entry.encodings",
         LEDGER),
        ("an answer for who has left", "batching/queue.py",
         "if self.future.done():  # its caller may have left", "if False:", QUEUE),
        ("an error for who has left is never retrieved", "batching/queue.py",
         "            self.future.exception()  # seen", "            # seen", BATCHER),
        ("what is being tokenised is no backlog", "batching/queue.py",
         "self.backlog.change(0, entry.waiting_tokens)", "pass", QUEUE),
        # policy, admission, cost
        ("refused callers come back together", "batching/policy.py",
         "return wait_s * (1 + jitter)", "return wait_s", POLICY),
        ("the pause before a restart overflows", "batching/policy.py",
         "min(failures - 1, 30)", "failures - 1", POLICY),
        ("large requests do not lie ahead", "batching/policy.py",
         "min(waiting, entries * share) for", "0 for", POLICY),
        ("small requests do not lie ahead", "batching/policy.py",
         "return sum(self._tokens[:whole]) + sum(", "return sum(", POLICY),
        ("a small request ignores the turns before it", "batching/policy.py",
         "share = max(tokens, QUANTUM_TOKENS)", "share = tokens", POLICY),
        ("small requests are cut into turns", "batching/queue.py",
         "if entry.waiting_tokens < WHOLE_TOKENS:", "if False:", QUEUE),
        ("nothing is too much", "batching/admission.py",
         "if ahead_s > self._max_backlog_s:", "if False:", OVERLOAD),
        ("what cannot be done in time is taken", "batching/admission.py",
         "if self._done_in_s(tokens) > timeout_s:", "if False:", SCHEDULING),
        ("a wrong prediction is never corrected", "batching/admission.py",
         "if self.backlog_s or (count and not stale):", "if True:", SCHEDULING),
        ("long texts are guessed without a limit", "tokenization.py",
         "return np.minimum(guess, self._max_tokens)", "return guess", TOKENIZATION),
        ("one request decides what tokens are expected", "tokenization.py",
         "weight = 0.1 * total", "weight = total", TOKENIZATION),
        ("the past is never forgotten", "batching/cost.py",
         "FORGETTING = 0.8", "FORGETTING = 0.999", COST),
        # worker
        ("a thread dies in silence", "batching/worker.py",
         "        except BaseException as error:\n", "        except ZeroDivisionError as error:\n",
         BATCHER),
        ("a failing batch ends the thread", "batching/worker.py",
         "        except Exception as error:\n            result",
         "        except ZeroDivisionError as error:\n            result", BATCHER),
        ("a hung thread keeps the process alive", "batching/worker.py",
         "daemon=True", "daemon=False", UNANSWERED),
        # analyzer
        ("a client lengthens the deadline", "analyzer.py",
         "timeout_s = min(math.inf if timeout_s is None else timeout_s, self._deadline_s)",
         "timeout_s = timeout_s or self._deadline_s", OVERLOAD),
        ("nothing is remembered", "analyzer.py",
         "self._cache.put([keys[index] for index in missing], answer.logits, encodings.truncated)",
         "pass", ANALYZER),
        ("truncation of what is computed is lost beside what is remembered", "analyzer.py",
         "            found.truncated[missing] = encodings.truncated\n", "", ANALYZER),
        ("a drain does not wait", "analyzer.py",
         "        await self._idle.wait()\n", "", ANALYZER),
        ("a label too few is answered", "analyzer.py",
         "if answer.logits.shape[1] != len(self.model.labels):", "if False:", FAULTS),
        ("truncation is not counted", "analyzer.py",
         "        self._metrics.truncated.inc(predictions.truncated_count)\n", "", LEDGER),
        ("what is cut teaches how many tokens a character has", "analyzer.py",
         "whole = ~encodings.truncated", "whole = np.ones(len(texts), bool)", ANALYZER),
        # cache
        ("what is used is forgotten first", "cache.py",
         "            if slot >= 0:\n                self._slots.move_to_end(key)\n",
         "            pass\n", CACHE),
        ("the newest is forgotten first", "cache.py", "last=False", "last=True", CACHE),
        ("models share their answers", "cache.py", ", key=self._model", "", CACHE),
        # tokenization
        ("a large request takes every turn of the tokenizer", "tokenization.py",
         "if len(begun) == self._threads:", "if False:", TOKENIZATION),
        ("who leaves is tokenised to the end", "tokenization.py",
         "                future.cancel()\n", "                pass\n", TOKENIZATION),
        ("chunks come back in another order", "tokenization.py",
         "            while begun:\n                parts.append(await begun.popleft())",
         "            while begun:\n                parts.append(await begun.pop())", TOKENIZATION),
        ("a file's own padding counts", "tokenization.py",
         "        tokenizer.no_padding()\n", "", TOKENIZATION),
        # clients
        ("a hang-up goes unnoticed", "api/clients.py",
         "        self._watched.cancel()\n", "        pass\n", CLIENTS),
        ("a hang-up looks like a drain", "api/clients.py",
         "        self._gone = True\n", "", CLIENTS),
        ("a drain looks like a hang-up", "api/clients.py",
         "self._watched.uncancel() == 0", "self._watched.uncancel() >= 0", CLIENTS),
        ("watchers outlive their requests", "api/clients.py",
         "        self._watcher.cancel()\n", "", CLIENTS),
        ("a deadline of nothing", "api/clients.py",
         "int(value[:12]) > 0", "int(value[:12]) >= 0", API),
        ("of two deadlines the first counts", "api/clients.py",
         "if others or not", "if not", CLIENTS),
        # routes
        ("a body is read though there is no room", "api/routes.py",
         "    _analyzer(request).check_admission()\n", "", OVERLOAD),
        ("nobody watches for hang-ups", "api/routes.py",
         "async with WhileConnected(request):", "if True:", HANG_UPS),
        ("a dead batcher looks alive", "api/routes.py",
         "    _analyzer(request).check_running()\n", "    pass\n", FAULTS),
        ("many slow bodies fill the memory", "api/bodies.py",
         "if len(chunk) > self._free_bytes:", "if False:", "unit/test_bodies.py"),
        ("a draining server looks ready", "api/routes.py",
         "if request.state.lifecycle.draining:", "if False:", POLLED),
        ("truncation is not said", "api/routes.py",
         "if truncated := predictions.truncated_count:", "if truncated := 0:", API),
    ]
]  # fmt: skip


def main(wanted: list[str]) -> int:
    chosen = [
        mutant
        for mutant in MUTANTS
        if not wanted or any(word in f"{mutant.name} {mutant.file}" for word in wanted)
    ]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(JOBS) as jobs:
        copies: SimpleQueue[Path] = SimpleQueue()
        for job in range(JOBS):
            copies.put(copy_repository(Path(folder) / str(job)))
        targets = {mutant.tests for mutant in chosen}
        if failures := list(filter(None, jobs.map(lambda each: unbroken(each, copies), targets))):
            sys.exit(f"fails though nothing is broken: {failures}")
        print("| Mutant | File | Noticed by |\n|---|---|---|", flush=True)
        all_noticed = jobs.map(lambda mutant: noticed_by(mutant, copies), chosen)
        for mutant, noticed in zip(chosen, all_noticed, strict=True):
            survivors += noticed is None
            shown = f"`{noticed}`" if noticed else "**nobody**"
            print(f"| {mutant.name} | `{mutant.file}` | {shown} |", flush=True)
    print(f"\n{len(chosen) - survivors} of {len(chosen)} mutants are noticed.")
    return 1 if survivors else 0


def copy_repository(to: Path) -> Path:
    to.mkdir()
    for name in ("sentiment", "tests", "docs"):
        shutil.copytree(REPOSITORY / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, to)
    (to / "models").symlink_to(REPOSITORY / "models")
    return to


def noticed_by(mutant: Mutant, copies: SimpleQueue[Path]) -> str | None:
    """Return the first test that fails on `mutant` in one of `copies`; `None` if none does."""
    copy = copies.get()
    path = copy / "sentiment" / mutant.file
    original = path.read_text()
    if original.count(mutant.line) != 1:
        raise LookupError(f"{mutant.file}: not there, or more than once: {mutant.line.strip()}")
    path.write_text(original.replace(mutant.line, mutant.broken))
    try:
        return failing(mutant.tests, copy)
    finally:
        path.write_text(original)
        copies.put(copy)


def unbroken(tests: str, copies: SimpleQueue[Path]) -> str | None:
    copy = copies.get()
    try:
        return failing(tests, copy)
    finally:
        copies.put(copy)


def failing(tests: str, copy: Path) -> str | None:
    """Return the first of `tests` that fails in `copy`; `None` if all pass."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{tests}"],
        cwd=copy,
        # Two mutants of one second and one size would share their bytecode.
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the servers that it had started
        process.communicate()
        return f"{tests}, which never ends"
    if process.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) tests/(.+?)(?: - |$)", output, re.MULTILINE)
    return found[1] if found else f"{tests}, which ends with {process.returncode}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
