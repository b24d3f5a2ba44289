"""The command line: `python -m sentiment serve | prepare | quantize | train | calibrate |
evaluate | plan | score`.

Every failure that has a name ends in one line on standard error and an exit code:
1 a figure misses what `evaluate` or `plan` was asked for, 2 usage, 3 settings, model, port or a
library that is not installed, 4 data, 5 disk; a signal that ends what can be resumed its own,
such as 143.
"""

import json
import logging
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from sentiment import options
from sentiment.bulk.command import score
from sentiment.errors import (
    ClusterError,
    DataError,
    Interrupted,
    LibraryError,
    ListenError,
    ModelError,
    OptionError,
    SentimentError,
    SettingsError,
    StorageError,
)
from sentiment.planning.command import plan

EXIT_CODES: dict[type[SentimentError], int] = {
    OptionError: 2,
    SettingsError: 3,
    ModelError: 3,
    ListenError: 3,
    ClusterError: 3,
    LibraryError: 3,
    DataError: 4,
    StorageError: 5,
}

app = typer.Typer(
    help="Financial sentiment: serve a model, score files with it, train one, evaluate it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; the one place where an error becomes an exit code."""
    try:
        sys.exit(app(standalone_mode=False))
    except Interrupted as error:
        _end(str(error), 128 + error.signal_number)
    except SentimentError as error:
        _end(str(error), EXIT_CODES.get(type(error), 1))
    except TyperException as error:
        # No message where the help was asked for by giving no command: it is printed already.
        _end(error.format_message(), error.exit_code)
    except typer.Abort:
        _end("interrupted", 130)


def _end(message: str, exit_code: int) -> NoReturn:
    if message:
        print(f"error: {message}", file=sys.stderr)
    sys.exit(exit_code)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with its own model and share of the cores.")
    ] = 1,
) -> None:
    """Start the server.

    Settings come from environment variables, such as SENTIMENT_MODEL, SENTIMENT_DEVICE and
    SENTIMENT_LOG_LEVEL; docs/settings.md has them all.
    """
    from sentiment.logs import configure_logging
    from sentiment.settings import Settings

    settings = Settings.from_env()
    configure_logging(settings.log_level)
    if workers > 1:
        from sentiment.workers import supervise

        supervise(settings, host=host, port=port, count=workers)
    else:
        from sentiment.launcher import serve as run_server
        from sentiment.listeners import Listeners

        listeners = Listeners.take(host=host, port=port, metrics_port=settings.metrics_port)
        run_server(settings, listeners)


@app.command(hidden=True)
def worker(
    number: Annotated[int, typer.Option()],
    count: Annotated[int, typer.Option()],
    lifeline: Annotated[int, typer.Option()],
    api: Annotated[list[int], typer.Option()],
    operations: Annotated[list[int] | None, typer.Option()] = None,
) -> None:
    """Be one of `serve --workers`, which starts it with descriptors of its own."""
    from sentiment.listeners import Listeners
    from sentiment.logs import configure_logging
    from sentiment.settings import Settings
    from sentiment.workers import work

    settings = Settings.from_env()
    configure_logging(settings.log_level, worker=number)
    listeners = Listeners.inherited(api=api, operations=operations or ())
    work(settings, number=number, count=count, lifeline=lifeline, listeners=listeners)


app.command()(score)


@app.command()
def prepare(
    model: Annotated[str, typer.Argument(help="As SENTIMENT_MODEL: Hub name, folder, auto.")],
) -> None:
    """Fetch a model and keep what makes its next start quick.

    A checkpoint without safetensors, such as ProsusAI/finbert's, is read by torch once, here, and
    kept in SENTIMENT_CACHE_FOLDER. Image builds run it: no GPU is needed, whatever will serve.
    """
    _log_to_terminal()
    from sentiment.engines import keep_weights
    from sentiment.models import resolve_model
    from sentiment.settings import Settings

    settings = Settings.from_env()
    found = resolve_model(model)
    keep_weights(found, cache=settings.cache_path)
    print(f"{found.reference} is ready in {found.folder}")


@app.command()
def quantize(
    model: Annotated[str, typer.Argument(help="As SENTIMENT_MODEL: Hub name, folder, compact.")],
    texts: Annotated[
        Path | None,
        typer.Option(help="Calibrate on these, one a line, UTF-8; else on texts of the project."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write; else the server's cache, for any folder of the model."),
    ] = None,
) -> None:
    """Calibrate a model for SENTIMENT_PRECISION=int8.

    The result, a few hundred kilobytes, holds for exactly these weights. The server takes it from
    its cache, or as int8.safetensors from the model's own folder.
    """
    _log_to_terminal()
    from sentiment.quantize import quantize_model
    from sentiment.settings import Settings

    settings = Settings.from_env()
    written = quantize_model(
        model,
        texts=texts,
        output=output,
        cache=settings.cache_path,
        threads=settings.thread_count,
    )
    print(f"written to {written}")


@app.command()
def train(
    data: options.DataFiles,
    base: options.Base,
    output: options.Output,
    base_sha256: options.BaseSha256 = None,
    teacher: options.Teacher = None,
    teacher_share: options.TeacherShare = 0.5,
    epochs: options.Epochs = 3,
    patience: options.Patience = 0,
    learning_rate: options.LearningRate = 2e-5,
    adam_epsilon: options.AdamEpsilon = 1e-8,
    weight_decay: options.WeightDecay = 0.01,
    clip_norm: options.ClipNorm = 1.0,
    batch_texts: options.BatchTexts = 16,
    accumulation: options.Accumulation = 1,
    warmup_share: options.WarmupShare = 0.1,
    layer_decay: options.LayerDecay = 1.0,
    unfreeze_every: options.UnfreezeEvery = 0.0,
    average_decay: options.AverageDecay = 0.0,
    class_weights: options.ClassWeights = "none",
    label_smoothing: options.LabelSmoothing = 0.0,
    by_agreement: options.ByAgreement = False,
    temperature: options.Temperature = 1.0,
    masked_share: options.MaskedShare = 0.0,
    max_tokens: options.MaxTokens = 128,
    held_out: options.HeldOut = 0.1,
    folds: options.Folds = 0,
    golden: options.Golden = None,
    bf16: options.Bf16 = False,
    fp16: options.Fp16 = False,
    seed: options.Seed = 7,
    threads: options.Threads = 0,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    checkpoint_steps: options.CheckpointSteps = 0,
    log_steps: options.LogSteps = 10,
    tensorboard: options.Tensorboard = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seen: options.SeenFiles = None,
) -> None:
    """Fine-tune a model on labelled texts and evaluate it on held-out ones.

    Checkpoints and logs are in OUTPUT.run; the same command with --resume continues.
    """
    given = locals()
    _refuse_own_folder(output)
    _log_to_terminal()
    _need_training_libraries()
    from sentiment.training.pipeline import train as train_model
    from sentiment.training.readers import Columns
    from sentiment.training.recipe import Recipe
    from sentiment.training.runs import RunOptions

    made = train_model(
        data,
        columns=Columns(text=text_column, label=label_column),
        seen=seen or (),
        base=base,
        base_sha256=base_sha256,
        teacher=teacher,
        held_out=held_out,
        folds=folds,
        golden=golden,
        recipe=Recipe(**_those_of(Recipe, given)),
        options=RunOptions(**_those_of(RunOptions, given)),
    )
    print(json.dumps(made, indent=2))


@app.command()
def calibrate(
    model: options.Model,
    data: options.DataFiles,
    output: options.Output,
    held_out: options.HeldOut = 0.1,
    golden: options.Golden = None,
    overwrite: options.OverwriteModel = False,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seen: options.SeenFiles = None,
) -> None:
    """Give a finished model scores that come true as often as they claim.

    A temperature is fitted on the validation part of the data; no label changes by it.
    """
    _refuse_own_folder(output)
    _log_to_terminal()
    _need_training_libraries()
    from sentiment.training.readers import Columns
    from sentiment.training.recalibration import calibrate as calibrate_model

    made = calibrate_model(
        model,
        data=data,
        columns=Columns(text=text_column, label=label_column),
        seen=seen or (),
        held_out=held_out,
        golden=golden,
        output=output,
        overwrite=overwrite,
    )
    print(json.dumps(made, indent=2))


def _refuse_own_folder(output: Path) -> None:
    """See that a folder of that name may come and go.

    Raises:
        OptionError: it is the folder that the command runs in, or holds that.
    """
    place = Path(os.path.realpath(output))
    if output.name in ("", "..") or Path.cwd().is_relative_to(place):
        raise OptionError(f"--output {output} is no name of a new folder, but {place}")


def _those_of(kind: type, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are fields of the dataclass `kind`, every one of them."""
    return {field.name: given[field.name] for field in fields(kind)}


@app.command()
def evaluate(
    models: options.Models,
    data: options.DataFiles,
    benchmark: options.Benchmark = None,
    output: options.EvaluationOutput = None,
    precision: options.Precision = "fp32",
    held_out: options.EvaluationHeldOut = None,
    everything: options.Everything = False,
    fail_below: options.FailBelow = None,
    fail_above: options.FailAbove = None,
    text_column: options.TextColumn = None,
    label_column: options.LabelColumn = None,
    seen: options.SeenFiles = None,
) -> None:
    """Measure models with the serving engine on texts that were held out, and compare them."""
    _log_to_terminal()
    _need_training_libraries()
    from sentiment.settings import Settings
    from sentiment.training.evaluation import evaluate_models
    from sentiment.training.readers import Columns
    from sentiment.training.report import check_folder, print_summary, write_report
    from sentiment.training.textsets import name_benchmarks
    from sentiment.training.thresholds import check_thresholds, parse_thresholds

    if precision not in (known := ("auto", "fp32", "bf16", "fp16", "int8")):
        raise OptionError(f"--precision {precision} is none of {', '.join(known)}")
    if everything and (held_out is not None or seen):
        raise OptionError("--all measures every text: it goes with neither --held-out nor --seen")
    benchmarks = name_benchmarks(benchmark or ())
    thresholds = parse_thresholds(fail_below or (), fail_above or (), benchmarks=benchmarks)
    if output is not None:
        check_folder(output)
    evaluation = evaluate_models(
        models,
        data=data,
        held_out=held_out or 0.1,
        everything=everything,
        columns=Columns(text=text_column, label=label_column),
        seen=seen or (),
        benchmarks=benchmarks,
        precision=precision,
        cache=Settings.from_env().cache_path,
    )
    if output is None:
        print(json.dumps(evaluation, indent=2))
    else:
        write_report(output, evaluation)
        print_summary(evaluation)
    check_thresholds(thresholds, evaluation)


app.command()(plan)


def _log_to_terminal() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def _need_training_libraries() -> None:
    from importlib.util import find_spec

    if missing := [
        name for name in ("accelerate", "matplotlib", "sklearn") if find_spec(name) is None
    ]:
        raise LibraryError(
            f"{', '.join(missing)} not installed: pip install -r requirements-train.txt"
        )
