"""`python -m sentiment score`: files in, a file with sentiment out."""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sentiment.errors import Interrupted, LibraryError, OptionError, StorageError

if TYPE_CHECKING:
    from sentiment.bulk.cluster import ClusterOptions


def score(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="CSV, TSV, JSON Lines or Parquet, also .gz and .zst: files, folders, globs, "
            "gs:// and s3:// addresses, or - for standard input.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            help="File to write: .csv, .tsv, .jsonl or .parquet, also .gz and .zst; with --ray the "
            "folder or address of its parts."
        ),
    ],
    text_column: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    documents: Annotated[
        bool, typer.Option("--documents", help="Score each sentence of a text, and sum up.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="As SENTIMENT_MODEL: Hub name, folder, compact, auto.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="As SENTIMENT_PRECISION: auto, fp32, bf16, fp16, int8.")
    ] = None,
    input_format: Annotated[
        str | None, typer.Option(help="csv, tsv, jsonl or parquet, where no name says it.")
    ] = None,
    output_format: Annotated[
        str | None,
        typer.Option(
            help="parquet, csv, csv.gz and so on, where the name of the output does not say it."
        ),
    ] = None,
    on_error: Annotated[
        str,
        typer.Option(
            help="Of rows without a text and the like: fail; skip, leave them out; null, keep "
            "them without a score. OUTPUT.errors.csv says which, and why."
        ),
    ] = "fail",
    prefix: Annotated[str, typer.Option(help="Of the names of the columns that are added.")] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what was interrupted, or begin.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output, and what was interrupted.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder to write a page with plots to.")
    ] = None,
    date_column: Annotated[
        str | None, typer.Option(help="Of the report: net sentiment by day.")
    ] = None,
    ticker_column: Annotated[
        str | None, typer.Option(help="Of the report: net sentiment by ticker.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="auto|local|HOST:PORT",
            help="On a Ray cluster: the one that RAY_ADDRESS names or that runs here; one made "
            "here for the run; or the one with this head.",
        ),
    ] = None,
    ray_actors: Annotated[
        int | None, typer.Option(min=1, help="With --ray: most models at a time.")
    ] = None,
    cpus_per_actor: Annotated[
        int | None, typer.Option(min=1, help="With --ray: threads of each model; 1.")
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(min=0, help="With --ray: of each model; 0.5 is half of one.")
    ] = None,
) -> None:
    """Score every row of a file, or of many, with the server's own engine.

    All columns are kept; label, score, the probability of each label and truncated are added. The
    output appears when it is complete. docs/bulk.md has more, and how to do it on a cluster.
    """
    _open_standard_streams()
    _need_pyarrow()
    from sentiment.bulk.filesystems import is_address
    from sentiment.bulk.joining import OnError, Rules
    from sentiment.bulk.run import Job, score_files
    from sentiment.bulk.summary import print_summary

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if resume and overwrite:
        raise OptionError("--resume and --overwrite: one goes on, the other begins anew")
    settings = _settings(model, precision)
    form, compression = _format_of(output, output_format)
    job = Job(
        inputs=inputs,
        input_format=input_format,
        output=output,
        output_format=form,
        output_compression=compression,
        report=report,
        date_column=date_column,
        ticker_column=ticker_column,
        resume=resume,
        overwrite=overwrite,
    )
    rules = Rules(
        text_column=text_column,
        documents=documents,
        max_sentence_chars=settings.max_text_chars,
        prefix=prefix,
        on_error=cast(OnError, on_error),
    )
    cluster = _cluster_options(
        ray, actors=ray_actors, cpus_per_actor=cpus_per_actor, gpus_per_actor=gpus_per_actor
    )
    if cluster is None and is_address(output):
        raise OptionError(f"--output {output}: an address needs --ray; name a file")
    with _resumable():
        if cluster is None:
            summary = score_files(job, rules, settings)
        else:
            from sentiment.bulk.cluster_run import score_files_on_cluster

            summary = score_files_on_cluster(job, rules, settings, cluster)
    if summary is None:
        print(f"{output} is complete: nothing is left to do", file=sys.stderr)
    elif as_json:
        _print_result(json.dumps(summary.as_dict(), indent=2))
    else:
        print_summary(summary)


def _settings(model: str | None, precision: str | None) -> Any:
    """Return the settings of the environment, but for what the options say."""
    from sentiment.settings import ENV_PREFIX, Settings

    for name, value in (("MODEL", model), ("PRECISION", precision)):
        if value is not None:
            os.environ[ENV_PREFIX + name] = value
    return Settings.from_env()


def _cluster_options(
    address: str | None,
    *,
    actors: int | None,
    cpus_per_actor: int | None,
    gpus_per_actor: float | None,
) -> "ClusterOptions | None":
    """Return how a cluster is used, or `None` where none is."""
    from sentiment.bulk.cluster import ClusterOptions

    if address is not None:
        return ClusterOptions(
            address=address,
            actors=actors,
            cpus_per_actor=cpus_per_actor or 1,
            gpus_per_actor=gpus_per_actor or 0.0,
        )
    if (actors, cpus_per_actor, gpus_per_actor) != (None, None, None):
        raise OptionError("--ray-actors, --cpus-per-actor and --gpus-per-actor go with --ray")
    return None


def _format_of(output: str, output_format: str | None) -> tuple[str, str | None]:
    """Return format and compression, by the name of the output where the option is not given."""
    from sentiment.bulk.inputs import COMPRESSIONS, FORMATS

    if output_format is None:
        said, suffixes = f"--output {output}", Path(output).suffixes
        expected = f"a name that ends in {', '.join(FORMATS)}"
    else:
        said, suffixes = f"--output-format {output_format}", Path(f"_.{output_format}").suffixes
        expected = ", ".join(name.removeprefix(".") for name in FORMATS)
    suffixes = [suffix.lower() for suffix in suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    found = FORMATS.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise OptionError(
            f"{said}: expected {expected}, with {' or '.join(COMPRESSIONS)} behind it or not"
            + ("; or --output-format" if output_format is None else "")
        )
    if found == "parquet" and compression:
        raise OptionError(f"{said}: Parquet is compressed inside; leave the ending out")
    return found, compression


def _open_standard_streams() -> None:
    """Lead to nowhere what was closed before: else a file of ours would take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _print_result(text: str) -> None:
    """Print to standard output.

    Raises:
        StorageError: it takes nothing.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        raise StorageError(
            f"standard output: cannot be written: {error.strerror}; the output is complete"
        ) from error


def _need_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise LibraryError("pyarrow not installed: pip install -r requirements-bulk.txt")


@contextmanager
def _resumable() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an end that says how to go on.

    Raises:
        Interrupted: one of them came. The second ends the process at once.
    """

    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt  # which nobody on the way takes for a failure of the model

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted: the same command with --resume goes on", signal_number=came[0]
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
