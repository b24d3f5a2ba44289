"""One run over files on the machines of a cluster: into a folder of parts.

The run's own machine finds the files and cuts them into items; what the machines of the cluster
make of these it puts together at the end: the sums, the list of bad rows, the sign that all is
there. It never holds a row.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sentiment.bulk.cluster import ClusterOptions, score_on_cluster
from sentiment.bulk.columns import ScoredColumns
from sentiment.bulk.files import InputFile
from sentiment.bulk.filesystems import is_address
from sentiment.bulk.inputs import (
    COMPRESSIONS,
    FAULTS_SUFFIX,
    RUN_SUFFIX,
    STANDARD_INPUT,
    find_inputs,
    open_reader,
)
from sentiment.bulk.items import CUT_BYTES, ITEM_ROWS, Item, cut_items
from sentiment.bulk.joining import Rules
from sentiment.bulk.keys import check_columns
from sentiment.bulk.parts import ScoreRows
from sentiment.bulk.places import Facts, Place
from sentiment.bulk.progress import SCORING, Progress
from sentiment.bulk.report import check_report, write_report
from sentiment.bulk.run import Job, model_record, rows_record
from sentiment.bulk.summary import Speed, Summary
from sentiment.bulk.tally import Tally
from sentiment.errors import ClusterError, OptionError
from sentiment.models import COMPACT_FOLDER, ModelFiles, resolve_model
from sentiment.settings import Settings


def score_files_on_cluster(
    job: Job, rules: Rules, settings: Settings, options: ClusterOptions
) -> Summary | None:
    """Score files into a folder of parts; `None` if that was done before.

    Raises:
        OptionError: the output or an unfinished run is in the way, or it is another run that was
            begun.
        ClusterError: the cluster cannot be reached, has no room, or its machines compute in
            different ways.
        DataError: the input cannot be read, or a row cannot be scored.
        LibraryError: Ray is not installed.
        ModelError: the model cannot be had or loaded.
        StorageError: the output cannot be written.
    """
    if job.report is not None:
        check_report(job.report)
    files = _find_files(job)
    # Of the first file alone, where that says enough: each machine sees to the files that it reads.
    looked_at = files if files[0].format == "jsonl" else files[:1]
    reader = open_reader(looked_at, text_column=rules.text_column, for_format=job.output_format)
    check_columns(reader.schema, date_column=job.date_column, ticker_column=job.ticker_column)
    model = resolve_model(settings.model)
    ScoredColumns(model.labels, prefix=rules.prefix, documents=rules.documents).schema(
        reader.schema
    )
    items = cut_items(files, item_rows=ITEM_ROWS, cut_bytes=CUT_BYTES)
    place = Place.at(job.output, suffix=_suffix(job), items=len(items))
    if job.resume and place.is_complete():
        return None
    plan = _plan(job, rules, settings, files=files, model=model, options=options)
    done = place.begin(plan, resume=job.resume, overwrite=job.overwrite)
    work = _work(job, rules, settings, files=files, schema=reader.schema, model=model)
    began_at = time.perf_counter()
    try:
        with Progress() as progress:
            watch = _Watch(progress, items, done)
            facts = score_on_cluster(
                items, work=work, place=place, done=done, options=options, on_done=watch.see
            )
    except BaseException:
        place.abandon()
        raise
    seconds = time.perf_counter() - began_at
    summary = _summary(job, model, place, facts=facts, done=done, seconds=seconds)
    if job.report is not None:
        write_report(job.report, summary, title=", ".join(job.inputs), model=model.reference)
    place.put_faults(number for number in sorted(facts) if facts[number]["bad_rows"])
    place.finish(summary.as_dict())
    return summary


def _summary(
    job: Job,
    model: ModelFiles,
    place: Place,
    *,
    facts: Mapping[int, Facts],
    done: Mapping[int, Facts],
    seconds: float,
) -> Summary:
    """Put together what is told of all items; `done` of them were by an earlier process."""
    tally = Tally(labels=model.labels, date_column=job.date_column, ticker_column=job.ticker_column)
    for sums in place.tallies():
        tally.merge(sums)
    new = [told for number, told in facts.items() if number not in done]
    return tally.summary(
        Speed(
            texts=sum(told["texts"] for told in new),
            computed_texts=sum(told["computed_texts"] for told in new),
            seconds=seconds,
            engine_seconds=sum(told["engine_s"] for told in new),
            resumed=bool(done),
            engines=max(1, len({told["actor"] for told in new})),
        ),
        bad_rows=sum(told["bad_rows"] for told in facts.values()),
    )


@dataclass(slots=True)
class _Watch:
    """Sees items come in: shows how far the run is, and that all were scored in one way."""

    progress: Progress
    items: Sequence[Item]
    done: dict[int, Facts]
    """By an earlier process."""
    rows: int = 0
    texts: int = 0
    bytes_read: int = 0
    made_with: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for number, told in self.done.items():
            self._count(self.items[number], told)
        if self.rows:
            self.progress.say(f"going on: {self.rows:,} rows are done")
        self.texts = 0
        sizes = [item.size_bytes for item in self.items]
        self.progress.begin(
            SCORING,
            total_bytes=None if None in sizes else sum(filter(None, sizes)),
            rows=self.rows,
            bytes_read=self.bytes_read,
        )

    def see(self, item: Item, told: Facts) -> None:
        """Take note of an item that is done.

        Raises:
            ClusterError: it was scored in another way than one before.
        """
        self._count(item, told)
        self.progress.update(
            rows=self.rows, bytes_read=self.bytes_read, texts=self.texts, file=item.file
        )

    def _count(self, item: Item, told: Facts) -> None:
        self.rows += told["rows"]
        self.texts += told["texts"]
        self.bytes_read += item.size_bytes or 0
        before = self.made_with = self.made_with or told["made_with"]
        if differing := [name for name in before if before[name] != told["made_with"].get(name)]:
            name = differing[0]
            raise ClusterError(
                f"the machines score in different ways: {name} is {before[name]!r} and "
                f"{told['made_with'].get(name)!r}; say which with --precision, SENTIMENT_ENGINE or "
                "SENTIMENT_DEVICE, and begin anew with --overwrite"
            )


def _find_files(job: Job) -> list[InputFile]:
    if STANDARD_INPUT in job.inputs:
        raise OptionError("--ray: no other machine can read standard input; name files")
    output = job.output.rstrip("/")
    run = f"{output}{RUN_SUFFIX}"
    files = find_inputs(job.inputs, input_format=job.input_format, run_folder=Path(run))
    if is_address(output):
        # A folder's are left out where it is listed; of an address only this knows.
        own = (f"{output}/", f"{run}/")
        faults = f"{output}{FAULTS_SUFFIX}"
        files = [file for file in files if file.name != faults and not file.name.startswith(own)]
    # An object store may have a file and a folder of one name, and the output's is replaced.
    if not files or any(file.name == output for file in files):
        raise OptionError(f"{job.output}: both input and output")
    return files


def _suffix(job: Job) -> str:
    packed = [end for end, name in COMPRESSIONS.items() if name == job.output_compression]
    return "".join([f".{job.output_format}", *packed])


def _plan(
    job: Job,
    rules: Rules,
    settings: Settings,
    *,
    files: Sequence[InputFile],
    model: ModelFiles,
    options: ClusterOptions,
) -> dict[str, Any]:
    """Return what the parts depend on, as JSON; another of it is another run."""
    return {
        **rows_record(files, rules),
        **model_record(model),
        "engine": [settings.engine, settings.device, settings.precision],
        "threads": options.cpus_per_actor,
        "token_budget": settings.token_budget,
        "output": [job.output_format, job.output_compression],
        "prefix": rules.prefix,
        "on_error": rules.on_error,
        "sums": [job.date_column, job.ticker_column],
        "cut": [ITEM_ROWS, CUT_BYTES],
    }


def _work(
    job: Job,
    rules: Rules,
    settings: Settings,
    *,
    files: Sequence[InputFile],
    schema: pa.Schema,
    model: ModelFiles,
) -> ScoreRows:
    # The keys are those of a server's clients, and nothing for the cluster's memory.
    shared = {"model": _shared_name(settings.model, model), "api_keys": None}
    return ScoreRows(
        files={file.name: file for file in files},
        schema=schema,
        rules=rules,
        settings=settings.model_copy(update=shared),
        model=model_record(model),
        output_format=job.output_format,
        output_compression=job.output_compression,
        date_column=job.date_column,
        ticker_column=job.ticker_column,
    )


def _shared_name(given: str, model: ModelFiles) -> str:
    """Return what names the model on every machine, of the same revision."""
    if model.folder == COMPACT_FOLDER:
        return "compact"
    folder = Path(given).expanduser()
    return os.path.abspath(folder) if folder.is_dir() else f"{model.name}@{model.revision}"
