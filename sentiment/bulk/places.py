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

import io
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from pyarrow import fs

from sentiment.bulk.filesystems import find_filesystem, is_address
from sentiment.bulk.items import Item
from sentiment.bulk.run_folder import another_run
from sentiment.errors import OptionError, StorageError, first_line
from sentiment.storage import flush

SUCCESS = "_SUCCESS"
PLAN = "plan.json"
COPIED_AT_A_TIME = 2**22

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
        return not is_address(self.output)

    @property
    def run(self) -> str:
        """Where the run keeps what it needs until it is done."""
        return f"{self.output}.run"

    def part_name(self, number: int) -> str:
        """Return the name of an item's part by its number; the names sort as the rows do."""
        digits = max(5, len(str(self.items - 1)))
        return f"part-{number:0{digits}d}{self.suffix}"

    def begin(self, plan: Mapping[str, Any], *, resume: bool, overwrite: bool) -> dict[int, Facts]:
        """Make the run folder, or find what an unfinished run has done.

        Args:
            plan: what the parts depend on, as JSON.
            resume: go on with a run of the same plan.
            overwrite: remove an unfinished run; the output, where it stands, is replaced.

        Returns:
            Number of each item that is done -> its facts.

        Raises:
            OptionError: the output or a run stands there and may not be touched, or it is the
                run of another plan; says in what they differ.
        """
        with self._errors(self.output):
            before = self._read(PLAN)
            self._see_output(resume=resume, overwrite=overwrite, begun=before is not None)
            if before is None or (overwrite and not resume):
                self._remove(self.run)
                if not self.is_folder:
                    self._remove(self.output)
                self._write(PLAN, json.dumps(plan))
                return {}
            if not resume:
                raise OptionError(
                    f"{self.run}: an unfinished run; go on with --resume, or --overwrite it"
                )
            if json.loads(before) != plan:
                raise another_run(self.run, json.loads(before), plan)
            self._remove(f"{self.run}/attempts")
            done = {int(name.removesuffix(".json")): self._facts(name) for name in self._done()}
            return {number: facts for number, facts in done.items() if facts is not None}

    def facts(self, item: Item) -> Facts | None:
        """Return what is told of an item, or `None` where it is not done."""
        with self._errors(self.run):
            return self._facts(_facts_name(item))

    def count_attempt(self, item: Item) -> int:
        """Note that an item is begun, and return how often it was since the run was."""
        attempts = f"attempts/{item.number}"
        with self._errors(self.run):
            self._write(f"{attempts}/{uuid4().hex}", "begun")
            return len(self._names(f"{self.run}/{attempts}"))

    @contextmanager
    def writing(self, item: Item) -> Iterator[Drafts]:
        """Give files to write what is made of an item to, which then stand under their names.

        Where writing fails nothing stands there, and the disk space is free again.
        """
        folders = {kind: self._folder_of(kind) for kind in KINDS}
        here = {
            kind: Path(folder) if self.is_folder else Path(tempfile.gettempdir())
            for kind, folder in folders.items()
        }
        with self._errors(self.output):
            for folder in here.values():
                folder.mkdir(parents=True, exist_ok=True)
        # Hidden, and of this attempt alone: a node that was given up may still be writing.
        drafts = {kind: folder / f".{uuid4().hex}" for kind, folder in here.items()}
        try:
            yield Drafts(**drafts)
            with self._errors(self.output):
                for kind, draft in drafts.items():
                    if draft.exists():
                        self._keep(draft, folders[kind], self._name_of(kind, item.number))
        finally:
            with self._errors(self.output):
                for draft in drafts.values():
                    draft.unlink(missing_ok=True)

    def finish_item(self, item: Item, facts: Facts) -> None:
        """Say that an item's part stands."""
        with self._errors(self.run):
            self._write(f"done/{_facts_name(item)}", json.dumps(facts))

    def is_complete(self) -> bool:
        """Whether the output is all there, and no run is unfinished."""
        with self._errors(self.output):
            return SUCCESS in self._names(self.output) and self._read(PLAN) is None

    def tallies(self) -> Iterator[dict[str, Any]]:
        """Yield the sums of every item, in the order of their rows."""
        with ThreadPoolExecutor(READ_AT_A_TIME, thread_name_prefix="tallies") as pool:
            for start in range(0, self.items, READ_AT_A_TIME):
                numbers = range(start, min(start + READ_AT_A_TIME, self.items))
                yield from pool.map(self._tally, numbers)

    def put_faults(self, numbers: Iterable[int]) -> None:
        """Write the bad rows of these items to `OUTPUT.errors.csv`, or see that none is there."""
        filesystem, path = self._found
        name = f"{path}.errors.csv"
        with self._errors(f"{self.output}.errors.csv"):
            if filesystem.get_file_info(name).type == fs.FileType.File:
                filesystem.delete_file(name)  # of an output that is replaced
            kept = [f"{path}.run/faults/{self._name_of('faults', number)}" for number in numbers]
            if not kept:
                return
            with filesystem.open_output_stream(f"{path}.run/errors.csv") as sink:
                for at, faults in enumerate(kept):
                    with io.BufferedReader(filesystem.open_input_stream(faults)) as source:
                        header = source.readline()
                        sink.write(header if at == 0 else b"")
                        shutil.copyfileobj(source, sink, COPIED_AT_A_TIME)
            filesystem.move(f"{path}.run/errors.csv", name)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Let the output appear, with `summary` in `_SUCCESS`, and remove the run folder.

        Raises:
            StorageError: also where a part is missing.
        """
        said = json.dumps(summary, indent=2) + "\n"
        with self._errors(self.output):
            self._see_parts()
            if not self.is_folder:
                filesystem, path = self._found
                with filesystem.open_output_stream(f"{path}/{SUCCESS}") as stream:
                    stream.write(said.encode())
            elif not self._names(self.output) or Path(self.run, "parts").exists():
                self._rename(said)
            # First, for a folder is not removed at once: without it there is no unfinished run.
            filesystem, path = self._found
            filesystem.delete_file(f"{path}.run/{PLAN}")
            self._remove(self.run)

    def _see_parts(self) -> None:
        waiting = self.is_folder and Path(self.run, "parts").exists()
        there = set(self._names(f"{self.run}/parts" if waiting else self.output))
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
        _write_whole(parts / SUCCESS, said)
        if output.exists():
            shutil.rmtree(output)
        parts.replace(output)
        flush(output.parent)

    @cached_property
    def _found(self) -> tuple[fs.FileSystem, str]:
        return find_filesystem(self.output)

    def __getstate__(self) -> dict[str, Any]:
        # A connection does not travel.
        return {name: value for name, value in vars(self).items() if name != "_found"}

    def _see_output(self, *, resume: bool, overwrite: bool, begun: bool) -> None:
        """Raise OptionError where something stands at the output that may not be touched."""
        if not (names := self._names(self.output)):
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

    def _folder_of(self, kind: str) -> str:
        if kind == "part":
            return f"{self.run}/parts" if self.is_folder else self.output
        return f"{self.run}/{kind}"

    def _name_of(self, kind: str, number: int) -> str:
        return self.part_name(number) if kind == "part" else str(number)

    def _tally(self, number: int) -> dict[str, Any]:
        with self._errors(self.run):
            said = self._read(f"tally/{self._name_of('tally', number)}")
        if said is None:
            raise StorageError(f"{self.run}: the sums of item {number} are not there any more")
        tally: dict[str, Any] = json.loads(said)
        return tally

    def _facts(self, name: str) -> Facts | None:
        said = self._read(f"done/{name}")
        facts: Facts | None = None if said is None else json.loads(said)
        return facts

    def _done(self) -> Sequence[str]:
        return [name for name in self._names(f"{self.run}/done") if name.endswith(".json")]

    def _names(self, folder: str) -> list[str]:
        """Return what lies in a folder, or nothing where there is none."""
        filesystem, path = self._found
        path += folder.removeprefix(self.output)
        found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return [Path(each.path).name for each in found]

    def _read(self, name: str) -> str | None:
        filesystem, path = self._found
        try:
            with filesystem.open_input_stream(f"{path}.run/{name}") as stream:
                return bytes(stream.read()).decode()
        except FileNotFoundError:
            return None

    def _write(self, name: str, text: str) -> None:
        filesystem, path = self._found
        place = Path(f"{path}.run", name)
        filesystem.create_dir(str(place.parent), recursive=True)
        if self.is_folder:
            _write_whole(place, text)
        else:
            with filesystem.open_output_stream(str(place)) as stream:
                stream.write(text.encode())

    def _keep(self, draft: Path, folder: str, name: str) -> None:
        if self.is_folder:
            flush(draft)
            draft.replace(Path(folder, name))
            flush(Path(folder))
            return
        filesystem, path = self._found
        path += folder.removeprefix(self.output)
        filesystem.create_dir(path, recursive=True)
        with draft.open("rb") as source, filesystem.open_output_stream(f"{path}/{name}") as sink:
            shutil.copyfileobj(source, sink, COPIED_AT_A_TIME)

    def _remove(self, address: str) -> None:
        filesystem, path = self._found
        path += address.removeprefix(self.output)
        if filesystem.get_file_info(path).type == fs.FileType.Directory:
            filesystem.delete_dir(path)

    @contextmanager
    def _errors(self, place: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            file = error.filename2 or error.filename or place
            reason = error.strerror or first_line(error)
            raise StorageError(f"{file}: cannot be written: {reason}") from error


def _facts_name(item: Item) -> str:
    return f"{item.number}.json"


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)
