"""One run over files on one machine, in two passes.

The score pass reads the texts alone and keeps what is computed, window by window, in the journal.
The write pass reads every column and adds what is in the journal. So the output is made from the
same bits in the same way, however often the run was interrupted before.
"""

import csv
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sentiment import __version__
from sentiment.bulk.chunks import Chunk, Reader
from sentiment.bulk.files import InputFile
from sentiment.bulk.inputs import FAULTS_SUFFIX, find_inputs, open_reader
from sentiment.bulk.joining import (
    MODEL_FAILS,
    Fault,
    Joiner,
    Rules,
    ScoreStream,
    checked,
    failure,
)
from sentiment.bulk.journal import Journal
from sentiment.bulk.keys import check_columns
from sentiment.bulk.outputs import open_writer
from sentiment.bulk.progress import SCORING, WRITING, Progress
from sentiment.bulk.report import check_report, write_report
from sentiment.bulk.run_folder import JOURNAL, RunFolder, opened_run, put
from sentiment.bulk.scoring import Scorer
from sentiment.bulk.summary import Speed, Summary
from sentiment.bulk.tally import Tally
from sentiment.bulk.windows import WINDOW_CHARS, WINDOW_ROWS, Window, windows
from sentiment.errors import DataError
from sentiment.models import ModelFiles
from sentiment.settings import Settings
from sentiment.storage import storage_errors

OUTPUT = "output"
FAULTS = "errors.csv"
FAULT_COLUMNS = ("file", "row", "reason")

LIBRARIES = ("numpy", "openvino", "tokenizers", "torch")
"""Whose versions can change the last digits of a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is scored, and where the result goes."""

    inputs: Sequence[str]
    input_format: str | None = None
    output: str
    """A path; on a cluster, a folder's or an address."""
    output_format: str
    output_compression: str | None = None
    report: Path | None = None
    date_column: str | None = None
    ticker_column: str | None = None
    resume: bool = False
    overwrite: bool = False

    @property
    def output_path(self) -> Path:
        """Of a file on this machine."""
        return Path(self.output)

    @property
    def faults(self) -> Path:
        """The side file of bad rows; it is there only if there are any."""
        return self.output_path.with_name(f"{self.output_path.name}{FAULTS_SUFFIX}")


def score_files(job: Job, rules: Rules, settings: Settings) -> Summary | None:
    """Score files into one; `None` if that was done before.

    Raises:
        OptionError: the output or an unfinished run is in the way, or it is another run that was
            begun.
        DataError: the input cannot be read, or a row cannot be scored.
        ModelError: the model cannot be had or loaded.
        StorageError: the disk is full or cannot be written.
    """
    if job.report is not None:
        check_report(job.report)
    with opened_run(job.output_path, resume=job.resume, overwrite=job.overwrite) as folder:
        if folder is None:
            return None
        files = find_inputs(job.inputs, input_format=job.input_format, run_folder=folder.path)
        reader = open_reader(files, text_column=rules.text_column, for_format=job.output_format)
        check_columns(reader.schema, date_column=job.date_column, ticker_column=job.ticker_column)
        with Scorer.open(settings) as scorer:
            joiner = Joiner(rules, labels=scorer.labels, schema=reader.schema)
            folder.agree(rows_record(files, rules) | scorer_record(scorer))
            began_at = time.perf_counter()
            with (
                Journal.open(folder.path / JOURNAL, labels=len(scorer.labels)) as journal,
                Progress() as progress,
            ):
                before = (journal.texts, journal.computed)
                score_pass(reader, scorer, journal, rules, progress)
                tally, bad_rows = write_pass(reader, joiner, journal, job, folder.path, progress)
                see_unchanged(files)
            summary = tally.summary(
                Speed(
                    texts=journal.texts - before[0],
                    computed_texts=journal.computed - before[1],
                    seconds=time.perf_counter() - began_at,
                    engine_seconds=scorer.engine_s,
                    resumed=before[0] > 0,
                ),
                bad_rows=bad_rows,
            )
            _put_in_place(job, folder, summary, scorer)
    return summary


def score_pass(
    reader: Reader, scorer: Scorer, journal: Journal, rules: Rules, progress: Progress
) -> None:
    """Compute what is not in the journal yet, and keep it there.

    Raises:
        DataError: a row cannot be scored, and that is to end the run; or the input is no longer
            what was scored.
    """
    rows = texts = rows_read = 0

    def chunks() -> Iterator[Chunk]:
        nonlocal rows_read
        for chunk in reader.chunks([rules.text_column]):
            rows_read += chunk.columns.num_rows
            yield chunk

    def bytes_of(done: int) -> int:
        # Rows are read ahead, of a small file all at once: no share that is done.
        return reader.bytes_read * done // max(1, rows_read)

    remaining = windows(chunks(), rules.text_column, rules.texts_of)
    for count, known in journal.read():
        window = next(remaining, None)
        if window is None or (len(window.counts), len(window.texts)) != (
            count,
            len(known.truncated),
        ):
            raise DataError("the input has other rows than when the run was begun")
        scorer.recall(window.texts, known)
        rows += count
    if rows:
        progress.say(f"going on behind row {rows:,}")
    progress.begin(SCORING, total_bytes=reader.total_bytes, rows=rows, bytes_read=bytes_of(rows))
    begun: deque[Window] = deque()

    def next_texts() -> Iterator[list[str]]:
        for window in checked(remaining, rules):
            begun.append(window)
            yield window.texts

    def show(share: float) -> None:
        """Tell how far the run is when `share` of the first window begun is computed."""
        window = begun[0]
        done = rows + int(share * len(window.counts))
        progress.update(
            rows=done, bytes_read=bytes_of(done), texts=texts + int(share * len(window.texts))
        )

    for scores in scorer.score_windows(next_texts(), on_batch=show):
        window = begun.popleft()
        if rules.on_error == "fail" and (failed := scores.failed) is not None:
            raise failure(f"{window.place_of(failed)}: {MODEL_FAILS}")
        journal.append(rows=len(window.counts), scores=scores)
        rows, texts = rows + len(window.counts), texts + len(window.texts)
        progress.update(rows=rows, bytes_read=bytes_of(rows), texts=texts)


def write_pass(
    reader: Reader, joiner: Joiner, journal: Journal, job: Job, folder: Path, progress: Progress
) -> tuple[Tally, int]:
    """Write every row with its scores into `folder`, sum them up and count the bad ones.

    Raises:
        DataError: the input is no longer what was scored.
        StorageError: the disk is full.
    """
    tally = Tally(
        labels=joiner.labels, date_column=job.date_column, ticker_column=job.ticker_column
    )
    stream = ScoreStream((scores for _, scores in journal.read()), labels=journal.labels)
    progress.begin(WRITING, total_rows=journal.rows)
    rows = 0
    with (
        open_writer(
            folder / OUTPUT,
            output_format=job.output_format,
            compression=job.output_compression,
            schema=joiner.schema,
        ) as writer,
        FaultFile(folder / FAULTS) as faults,
    ):
        for chunk in reader.chunks():
            joined = joiner.join(chunk, stream.take)
            writer.write(joined.rows)
            faults.write(joined.faults)
            tally.add(
                joined.rows,
                probabilities=joined.scores.probabilities,
                truncated=joined.scores.truncated,
            )
            rows += chunk.columns.num_rows
            progress.update(rows=rows, file=chunk.file)
    if rows != journal.rows:
        raise DataError("the input has other rows than when it was scored")
    return tally, faults.count


class FaultFile:
    """The side file of bad rows."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path

    def __enter__(self) -> Self:
        with storage_errors(self._path):
            self._file = self._path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(FAULT_COLUMNS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with storage_errors(self._path):
            self._file.close()

    def write(self, faults: Sequence[Fault]) -> None:
        """Add rows.

        Raises:
            StorageError: the disk is full.
        """
        with storage_errors(self._path):
            self._rows.writerows((each.file, each.number, each.reason) for each in faults)
        self.count += len(faults)


def rows_record(files: Sequence[InputFile], rules: Rules) -> dict[str, Any]:
    """Return what the texts that are scored depend on; another of it is another run."""
    return {
        "files": [[file.name, file.size_bytes, file.version] for file in files],
        "text_column": rules.text_column,
        "documents": rules.documents and rules.max_sentence_chars,
        "windows": [WINDOW_ROWS, WINDOW_CHARS],
    }


def scorer_record(scorer: Scorer) -> dict[str, Any]:
    """Return what the scores of a text depend on; another of it is another run."""
    return {
        **model_record(scorer.model),
        "engine": [scorer.engine.name, scorer.engine.device, scorer.engine.precision],
        "threads": scorer.threads,
        "token_budget": scorer.token_budget,
    }


def model_record(model: ModelFiles) -> dict[str, Any]:
    """Return the part of it that is known before the weights are loaded."""
    return {
        "model": model.reference,
        "weights_sha256": model.weights_sha256,
        "temperature": model.temperature,
        "versions": {"sentiment": __version__}
        | {name: version(name) for name in LIBRARIES if find_spec(name)},
    }


def see_unchanged(files: Sequence[InputFile]) -> None:
    """Return if the files are those that were found at the beginning.

    Raises:
        DataError: one is another, or gone.
    """
    for file in files:
        if not file.is_unchanged():
            raise DataError(f"{file.name}: has changed while it was read; begin anew")


def _put_in_place(job: Job, folder: RunFolder, summary: Summary, scorer: Scorer) -> None:
    """Let everything appear, the output last."""
    if job.report is not None:
        title = ", ".join(job.inputs)
        write_report(job.report, summary, title=title, model=scorer.model.reference)
    with storage_errors(job.faults):
        if summary.bad_rows:
            put(folder.path / FAULTS, job.faults)
        else:
            job.faults.unlink(missing_ok=True)  # of an output that is replaced
        put(folder.path / OUTPUT, job.output_path)
    folder.discard()
