"""Files that all machines of a run see: a folder's, or an object store's.

What appears under a name is whole. In a folder it is written beside it and renamed; an object store
knows no half objects. Names begin with the store's own, which is a path or an address.
"""

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from pyarrow import fs

from sentiment.bulk.filesystems import find_filesystem, is_address
from sentiment.errors import StorageError, first_line
from sentiment.storage import flush

COPIED_AT_A_TIME = 2**22


@dataclass(frozen=True)
class Store:
    """What lies at a path or an address, or begins with it. Goes by pickle to every machine.

    Raises:
        OSError: from every method that writes; `errors` makes it a StorageError.
        StorageError: the store cannot be reached, or something in it cannot be read.
    """

    base: str

    @property
    def is_folder(self) -> bool:
        """Whether it is a path, and no address."""
        return not is_address(self.base)

    @contextmanager
    def errors(self, place: str) -> Iterator[None]:
        """Say in one line what is refused.

        Raises:
            StorageError: something cannot be written.
        """
        with _storage_errors(place, "cannot be written"):
            yield

    def names(self, folder: str) -> list[str]:
        """Return what lies in a folder, or nothing where there is none."""
        filesystem, path = self._found(folder)
        with _storage_errors(folder, "cannot be read"):
            found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return [Path(each.path).name for each in found]

    def read(self, name: str) -> str | None:
        """Return a file's text, `None` where there is no such file."""
        filesystem, path = self._found(name)
        with _storage_errors(name, "cannot be read"):
            try:
                with filesystem.open_input_stream(path) as stream:
                    return bytes(stream.read()).decode()
            except FileNotFoundError:
                return None

    def write(self, name: str, text: str) -> None:
        """Write a file, and the folders around it."""
        filesystem, path = self._found(name)
        filesystem.create_dir(str(Path(path).parent), recursive=True)
        if self.is_folder:
            _write_whole(Path(path), text)
        else:
            with filesystem.open_output_stream(path) as stream:
                stream.write(text.encode())

    def keep(self, draft: Path, name: str) -> None:
        """Give a file of this machine, in a folder of the store if that is one, a name there."""
        if self.is_folder:
            flush(draft)
            draft.replace(name)
            flush(Path(name).parent)
            return
        filesystem, path = self._found(name)
        filesystem.create_dir(str(Path(path).parent), recursive=True)
        with draft.open("rb") as source, filesystem.open_output_stream(path) as sink:
            shutil.copyfileobj(source, sink, COPIED_AT_A_TIME)

    def join_tables(self, names: Sequence[str], draft: str, name: str) -> None:
        """Write CSV files, of which each has the same header, one behind the other.

        Args:
            names: of the files; at least one.
            draft: where to write before it stands under `name`.
        """
        filesystem, path = self._found(draft)
        with filesystem.open_output_stream(path) as sink:
            for at, each in enumerate(names):
                with _storage_errors(each, "cannot be read"):
                    stream = filesystem.open_input_stream(self._found(each)[1])
                with io.BufferedReader(stream) as source:
                    header = source.readline()
                    sink.write(header if at == 0 else b"")
                    shutil.copyfileobj(source, sink, COPIED_AT_A_TIME)
        filesystem.move(path, self._found(name)[1])

    def remove(self, name: str) -> None:
        """Remove a file, or a folder and what is in it; what is not there is passed over."""
        filesystem, path = self._found(name)
        found = filesystem.get_file_info(path).type
        if found == fs.FileType.Directory:
            filesystem.delete_dir(path)
        elif found == fs.FileType.File:
            filesystem.delete_file(path)

    def _found(self, name: str) -> tuple[fs.FileSystem, str]:
        filesystem, path = self._filesystem
        return filesystem, path + name.removeprefix(self.base)

    @cached_property
    def _filesystem(self) -> tuple[fs.FileSystem, str]:
        with _storage_errors(self.base, "cannot be reached"):
            return find_filesystem(self.base)

    def __getstate__(self) -> dict[str, Any]:
        # A connection does not travel.
        return {"base": self.base}


@contextmanager
def _storage_errors(place: str, trouble: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        file = error.filename2 or error.filename or place  # of two the one that is written
        reason = error.strerror or first_line(error)
        raise StorageError(f"{file}: {trouble}: {reason}") from error


def _write_whole(path: Path, text: str) -> None:
    # Under a name of its own: of a node that was given up another process may be writing the same.
    temporary = path.with_name(f".{uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)
