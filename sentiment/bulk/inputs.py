"""Which files a command reads: paths, folders, globs, standard input, object stores.

A folder means the files of a known suffix in it and below, in the order of their paths. What
begins with a dot or an underscore is left out there, as `_SUCCESS` of a Spark job is, and so is
what the command itself writes: an earlier output, its list of bad rows and its run folder.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import cast, get_args

from pyarrow import fs

from sentiment.bulk.chunks import Reader
from sentiment.bulk.csv_files import CsvReader
from sentiment.bulk.files import Compression, Format, InputFile, data_errors
from sentiment.bulk.filesystems import find_filesystem, is_address
from sentiment.bulk.json_lines import JsonLinesReader
from sentiment.bulk.parquet_files import ParquetReader
from sentiment.errors import DataError, OptionError
from sentiment.storage import flush, storage_errors

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
PARQUET_MAGIC = b"PAR1"

STANDARD_INPUT = "-"
KEPT_STANDARD_INPUT = "standard-input"
"""Its name in the run folder."""

RUN_SUFFIX = ".run"
FAULTS_SUFFIX = ".errors.csv"
"""What the names of the run folder and of the list of bad rows add to the output's."""

_GLOB = re.compile(r"[*?\[]")


def find_inputs(
    given: Sequence[str], *, input_format: str | None, run_folder: Path
) -> list[InputFile]:
    """Find the files to read, in the order given.

    Args:
        given: paths, folders, globs (`**` too), URLs, or `-` for standard input, which is first
            written to `run_folder`; if it is there from an earlier run it is not read again.
        input_format: of all files, whatever their names say; `None` goes by the names, and for
            standard input by the first bytes.
        run_folder: `OUTPUT.run`. Nothing in it is an input, nor what is in `OUTPUT`, nor its list
            of bad rows.

    Raises:
        DataError: no such file, nothing that matches, or a file that cannot be read.
        OptionError: files of several formats, a file of none, one given twice, or the output.
        LibraryError: a URL needs a library that is not installed.
        StorageError: standard input cannot be kept.
    """
    if input_format is not None and input_format not in get_args(Format):
        raise OptionError(
            f"--input-format {input_format!r} is none of {', '.join(get_args(Format))}"
        )
    wanted = cast("Format | None", input_format)
    files: list[InputFile] = []
    for each in given:
        found = list(_found(each, wanted, run_folder))
        if not found:
            raise DataError(f"{each}: no file of {', '.join(FORMATS)} there")
        files += found
    places: set[tuple[str, str]] = set()
    for file in files:
        if (place := (file.filesystem.type_name, file.path)) in places:
            raise OptionError(f"{file.name}: given twice")
        places.add(place)
        if file.format != files[0].format:
            raise OptionError(
                f"{files[0].name} is {files[0].format} and {file.name} is {file.format}; "
                "score them one after the other"
            )
    return files


def open_reader(files: Sequence[InputFile], *, text_column: str, for_format: str) -> Reader:
    """Open files of one format.

    Args:
        files: at least one.
        text_column: must be there, in each file; in JSON Lines in one row at least.
        for_format: what their rows will be written as.

    Raises:
        DataError: a file cannot be read, or its columns are not those of the others.
    """
    if files[0].format == "parquet":
        return ParquetReader(files, text_column=text_column)
    if files[0].format == "jsonl":
        return JsonLinesReader(files, text_column=text_column, for_format=for_format)
    return CsvReader(files, text_column=text_column)


def _found(given: str, wanted: Format | None, run_folder: Path) -> Iterator[InputFile]:
    if given == STANDARD_INPUT:
        kept = _keep_standard_input(run_folder)
        local = fs.LocalFileSystem()
        with data_errors("standard input"):
            status = local.get_file_info(str(kept))
        yield _input_file(local, status, "standard input", wanted)
        return
    folder, pattern = _split(given)
    with data_errors(given, "cannot be reached"):
        filesystem, path = find_filesystem(folder)
    with data_errors(given):
        start = filesystem.get_file_info(path)
        if start.type == fs.FileType.NotFound:
            raise DataError(f"{given}: no such file or folder")
        if start.type == fs.FileType.File:
            if _is_own(start, filesystem, run_folder):
                raise OptionError(f"{given}: both input and output")
            yield _input_file(filesystem, start, given, wanted)
            return
        if start.type != fs.FileType.Directory:
            raise DataError(f"{given}: neither a file nor a folder; a pipe can be given to -")
        below = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    if pattern is None:
        folder = folder.rstrip("/") + "/"
    for status in sorted(below, key=lambda status: status.path):
        inner = PurePosixPath(status.path).relative_to(path).as_posix()
        if status.type != fs.FileType.File or _is_own(status, filesystem, run_folder):
            continue
        if pattern is not None:
            if pattern.fullmatch(inner):
                yield _input_file(filesystem, status, folder + inner, wanted)
        elif not _is_hidden(inner):
            named = _by_name(inner)
            if named is not None and wanted in (None, named):
                yield _input_file(filesystem, status, folder + inner, wanted)


def _split(given: str) -> tuple[str, re.Pattern[str] | None]:
    """Return the folder of a glob, and the pattern below it; of no glob the path alone."""
    glob = _GLOB.search(given)
    if not glob or (not is_address(given) and os.path.exists(given)):
        return given, None
    cut = given.rfind("/", 0, glob.start()) + 1
    return given[:cut], _glob_pattern(given[cut:])


def _glob_pattern(glob: str) -> re.Pattern[str]:
    """Return what a glob matches: `*` and `?` no slash, `**/` any folders."""
    known = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}
    plain_and_special = re.split(r"(\*\*/|\*|\?|\[[^\]]+\])", glob)
    pattern = "".join(
        (known.get(part) or _character_set(part)) if index % 2 else re.escape(part)
        for index, part in enumerate(plain_and_special)
    )
    try:
        return re.compile(pattern)
    except re.error as error:
        raise OptionError(f"{glob}: no glob: {error}") from error


def _character_set(part: str) -> str:
    """Return the pattern of a glob's `[...]`."""
    characters = part[1:-1].replace("\\", r"\\").replace("[", r"\[")
    return f"[{'^' if characters[0] == '!' else ''}{characters.removeprefix('!')}]"


def _input_file(
    filesystem: fs.FileSystem, status: fs.FileInfo, name: str, wanted: Format | None
) -> InputFile:
    """Describe a file by its name, and by its first bytes where the name says nothing."""
    with data_errors(name), filesystem.open_input_stream(status.path, compression=None) as stream:
        start = stream.read(4)
    suffix = PurePosixPath(status.path).suffix.lower()
    compression = COMPRESSIONS.get(suffix) or next(
        (found for magic, found in MAGIC.items() if start.startswith(magic)), None
    )
    chosen = wanted or _by_name(status.path) or ("parquet" if start == PARQUET_MAGIC else None)
    file = InputFile(
        name=name,
        path=status.path,
        format=chosen or "csv",
        compression=None if chosen == "parquet" else compression,
        size_bytes=status.size,
        version=status.mtime_ns,
        filesystem=filesystem,
    )
    if chosen == "parquet" and compression and start != PARQUET_MAGIC:
        raise DataError(f"{name}: a compressed Parquet file; unpack it: it is packed in itself")
    if chosen is not None:
        return file
    if name != "standard input":
        raise OptionError(
            f"{name}: of what format? Say --input-format {'|'.join(get_args(Format))}"
        )
    with file.open() as unpacked:
        is_json = unpacked.read(2**16).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    return replace(file, format="jsonl") if is_json else file


def _by_name(path: str) -> Format | None:
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def _is_hidden(inner: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(inner).parts)


def _is_own(status: fs.FileInfo, filesystem: fs.FileSystem, run_folder: Path) -> bool:
    """Whether a file is what this command itself writes."""
    if filesystem.type_name != "local":
        return False
    run = os.path.realpath(run_folder)
    output = run.removesuffix(RUN_SUFFIX)
    path = os.path.realpath(str(status.path))
    return path in (output, f"{output}{FAULTS_SUFFIX}") or path.startswith(
        (f"{run}/", f"{output}/")
    )


def _keep_standard_input(run_folder: Path) -> Path:
    """Write standard input to a file, which is whole or not there."""
    path = run_folder / KEPT_STANDARD_INPUT
    if path.exists():
        return path
    writing = path.with_suffix(".writing")
    with storage_errors(writing):
        run_folder.mkdir(parents=True, exist_ok=True)
        with writing.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 2**20)
        flush(writing)
        writing.replace(path)
        flush(run_folder)
    return path
