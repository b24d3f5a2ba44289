"""Where a run on many machines keeps its parts: a folder that all of them see, or an object store.

A name that stands there is whole: parts are written beside it and renamed, or appear by
themselves where the store knows no half objects. What is written twice is the same twice, so
the last one wins. Nothing here knows what a part holds.

```
news/                 the output; in a folder it appears when all is there, and not before
news/part-00000.parquet ...
news/_SUCCESS         an object store has no rename: there this says that all is there
news.run/plan.json    the items, and what is done with them
news.run/parts/       where a folder's parts wait
news.run/attempts/    how often each item was begun
news.run/faults/      the bad rows of each item that has any
news.run/tally/       the sums of each item
news.run/done/        facts of each item that is done
news.errors.csv       all bad rows
```
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from sentiment.bulk.filesystems import is_address
from sentiment.bulk.inputs import FAULTS_SUFFIX, RUN_SUFFIX
from sentiment.bulk.items import Item
from sentiment.bulk.run_folder import another_run
from sentiment.bulk.stores import Store
from sentiment.errors import OptionError, StorageError
from sentiment.storage import flush

SUCCESS = "_SUCCESS"

READ_AT_A_TIME = 16
"""Of small files: an object store takes its time for each, and bears many at once."""

Facts = dict[str, Any]
"""What is told of an item that is done: members that JSON knows, `rows` among them."""


@dataclass(frozen=True, slots=True)
class Drafts:
    """Where to write what is made of an item; what is not written there is not kept."""

    faults: Path
    """CSV with a header: its bad rows."""
    tally: Path
    """JSON: its sums."""
    part: Path
    """Its rows."""


KINDS = tuple(field.name for field in fields(Drafts))

JOINED_FAULTS = "errors.csv"
"""The list of all bad rows, in the run folder while it is being written."""

_OF_A_RUN = re.compile(
    rf"plan\.json|parts|attempts|faults|tally|done|{re.escape(JOINED_FAULTS)}|\.[0-9a-f]{{32}}"
)
"""All names in a run folder; the last are of files that are being written."""


@dataclass(frozen=True)
class Place:
    """Output and run folder of one run. Goes by pickle to every machine.

    Raises:
        StorageError: from every method, when something cannot be read or written; names it.
    """

    output: str
    """A folder, or an address such as `gs://bucket/news`."""
    suffix: str
    """Of a part, such as `.parquet`."""
    items: int
    """How many; a part's name has as many digits as it takes to sort."""

    @classmethod
    def at(cls, output: str, *, suffix: str, items: int) -> Self:
        """Return the place of an output as it is given; machines have folders of their own."""
        output = output.rstrip("/") if is_address(output) else str(Path(output).absolute())
        return cls(output, suffix, items)

    @property
    def is_folder(self) -> bool:
        """Whether the output is no address."""
        return self.store.is_folder

    @cached_property
    def store(self) -> Store:
        """Where all of this lies."""
        return Store(self.output)

    @property
    def run(self) -> str:
        """Where the run keeps what it needs until it is done."""
        return f"{self.output}{RUN_SUFFIX}"

    def part_name(self, number: int) -> str:
        """Return the name of an item's part by its number; the names sort as the rows do."""
        digits = max(5, len(str(self.items - 1)))
        return f"part-{number:0{digits}d}{self.suffix}"

    def begin(self, plan: Mapping[str, Any], *, resume: bool, overwrite: bool) -> dict[int, Facts]:
        """Make the run folder, or find what an unfinished run has done.

        Args:
            plan: what the parts depend on, as JSON.
            resume: go on with a run of the same plan.
            overwrite: remove an unfinished run, or whatever else stands there; the output, where
                it stands, is replaced.

        Returns:
            Number of each item that is done -> its facts.

        Raises:
            OptionError: the output or a run stands there and may not be touched, or it is the
                run of another plan; says in what they differ.
        """
        with self.store.errors(self.output):
            before = self.store.read(self._plan)
            self._see_output(resume=resume, overwrite=overwrite, begun=before is not None)
            if before is None and not overwrite:
                self._see_run()
            if before is None or (overwrite and not resume):
                self.store.remove(self.run)
                if not self.is_folder:
                    self.store.remove(self.output)
                self.store.write(self._plan, json.dumps(plan))
                return {}
            if not resume:
                raise OptionError(
                    f"{self.run}: an unfinished run; go on with --resume, or --overwrite it"
                )
            if json.loads(before) != plan:
                raise another_run(self.run, json.loads(before), plan)
            self.store.remove(f"{self.run}/attempts")
            names = self.store.names(f"{self.run}/done")
            numbers = [int(name.removesuffix(".json")) for name in names if name[0] != "."]
            with ThreadPoolExecutor(READ_AT_A_TIME, thread_name_prefix="facts") as pool:
                found = zip(numbers, pool.map(self._facts, numbers), strict=True)
                return {number: facts for number, facts in found if facts is not None}

    def facts(self, item: Item) -> Facts | None:
        """Return what is told of an item, or `None` where it is not done."""
        with self.store.errors(self.run):
            return self._facts(item.number)

    def count_attempt(self, item: Item) -> int:
        """Note that an item is begun, and return how often it was since the run was."""
        attempts = f"{self.run}/attempts/{item.number}"
        with self.store.errors(self.run):
            self.store.write(f"{attempts}/{uuid4().hex}", "begun")
            return len(self.store.names(attempts))

    @contextmanager
    def writing(self, item: Item) -> Iterator[Drafts]:
        """Give files to write what is made of an item to, which then stand under their names.

        Where writing fails nothing stands there, and the disk space is free again.
        """
        names = {kind: self._name_of(kind, item.number) for kind in KINDS}
        # Hidden, and of this attempt alone: a node that was given up may still be writing.
        drafts = {
            kind: (Path(name).parent if self.is_folder else Path(tempfile.gettempdir()))
            / f".{uuid4().hex}"
            for kind, name in names.items()
        }
        with self.store.errors(self.output):
            for draft in drafts.values():
                draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield Drafts(**drafts)
            with self.store.errors(self.output):
                for kind, draft in drafts.items():
                    if draft.exists():
                        self.store.keep(draft, names[kind])
        finally:
            with self.store.errors(self.output):
                for draft in drafts.values():
                    draft.unlink(missing_ok=True)

    def finish_item(self, item: Item, facts: Facts) -> None:
        """Say that an item's part stands."""
        with self.store.errors(self.run):
            self.store.write(self._facts_name(item.number), json.dumps(facts))

    def abandon(self) -> None:
        """Remove the run folder where no item is done: then there is nothing to resume."""
        with self.store.errors(self.run):
            if not self.store.names(f"{self.run}/done"):
                self.store.remove(self._plan)
                self.store.remove(self.run)

    def is_complete(self) -> bool:
        """Whether the output is all there, and no run is unfinished."""
        with self.store.errors(self.output):
            return SUCCESS in self.store.names(self.output) and self.store.read(self._plan) is None

    def tallies(self) -> Iterator[dict[str, Any]]:
        """Yield the sums of every item, in the order of their rows."""
        with ThreadPoolExecutor(READ_AT_A_TIME, thread_name_prefix="tallies") as pool:
            for start in range(0, self.items, READ_AT_A_TIME):
                numbers = range(start, min(start + READ_AT_A_TIME, self.items))
                yield from pool.map(self._tally, numbers)

    def put_faults(self, numbers: Iterable[int]) -> None:
        """Write the bad rows of these items to `OUTPUT.errors.csv`, or see that none is there."""
        faults = f"{self.output}{FAULTS_SUFFIX}"
        with self.store.errors(faults):
            self.store.remove(faults)  # of an output that is replaced
            if names := [self._name_of("faults", number) for number in numbers]:
                self.store.join_tables(names, f"{self.run}/{JOINED_FAULTS}", faults)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Let the output appear, with `summary` in `_SUCCESS`, and remove the run folder.

        Raises:
            StorageError: also where a part is missing.
        """
        said = json.dumps(summary, indent=2) + "\n"
        with self.store.errors(self.output):
            self._see_parts()
            if not self.is_folder:
                self.store.write(f"{self.output}/{SUCCESS}", said)
            elif not self.store.names(self.output) or Path(self.run, "parts").exists():
                self._rename(said)
            # First, for a folder is not removed at once: without it there is no unfinished run.
            self.store.remove(self._plan)
            self.store.remove(self.run)

    def _see_parts(self) -> None:
        waiting = self.is_folder and Path(self.run, "parts").exists()
        there = set(self.store.names(f"{self.run}/parts" if waiting else self.output))
        missing = [name for name in map(self.part_name, range(self.items)) if name not in there]
        if missing:
            raise StorageError(
                f"{self.output}: {len(missing)} of {self.items} parts are not there, such as "
                f"{missing[0]}; --output must be a folder or an address that every machine sees"
            )

    def _rename(self, said: str) -> None:
        parts, output = Path(self.run, "parts"), Path(self.output)
        for rest in parts.glob(".*"):  # of a killed process
            rest.unlink()
        self.store.write(str(parts / SUCCESS), said)
        if output.exists():
            shutil.rmtree(output)
        parts.replace(output)
        flush(output.parent)

    def _see_output(self, *, resume: bool, overwrite: bool, begun: bool) -> None:
        """Raise OptionError where something stands at the output that may not be touched."""
        if not (names := self.store.names(self.output)):
            return
        if begun and not self.is_folder:
            return  # what stands there is this run's
        if begun and resume and not Path(self.run, "parts").exists():
            return  # complete: the process ended before it had removed the run folder
        if not overwrite:
            raise OptionError(f"{self.output}: is there already; --overwrite replaces it when done")
        if SUCCESS not in names:
            raise OptionError(
                f"{self.output}: no output of this command, which would hold {SUCCESS}; "
                "not to be overwritten"
            )

    def _see_run(self) -> None:
        """Raise OptionError where a run folder without a plan holds what no run here has made."""
        others = [name for name in self.store.names(self.run) if not _OF_A_RUN.fullmatch(name)]
        if others:
            raise OptionError(
                f"{self.run}: holds {min(others)}, which is not of a run on a cluster; "
                "--overwrite removes it all"
            )

    @property
    def _plan(self) -> str:
        return f"{self.run}/plan.json"

    def _name_of(self, kind: str, number: int) -> str:
        if kind != "part":
            return f"{self.run}/{kind}/{number}"
        folder = f"{self.run}/parts" if self.is_folder else self.output
        return f"{folder}/{self.part_name(number)}"

    def _facts_name(self, number: int) -> str:
        return f"{self.run}/done/{number}.json"

    def _facts(self, number: int) -> Facts | None:
        said = self.store.read(self._facts_name(number))
        facts: Facts | None = None if said is None else json.loads(said)
        return facts

    def _tally(self, number: int) -> dict[str, Any]:
        with self.store.errors(self.run):
            said = self.store.read(self._name_of("tally", number))
        if said is None:
            raise StorageError(f"{self.run}: the sums of item {number} are not there any more")
        tally: dict[str, Any] = json.loads(said)
        return tally
