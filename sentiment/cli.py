"""The command line: `python -m sentiment serve | prepare | quantize | train | evaluate`.

Every failure that has a name ends in one line on standard error and an exit code:
1 a figure misses what `evaluate` was asked for, 2 settings or usage, 3 model or port, 4 data,
5 disk; a signal that ends a training its own, such as 143.
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

from sentiment.errors import (
    DataError,
    Interrupted,
    ListenError,
    ModelError,
    SentimentError,
    SettingsError,
    StorageError,
)

EXIT_CODES: dict[type[SentimentError], int] = {
    SettingsError: 2,
    ModelError: 3,
    ListenError: 3,
    DataError: 4,
    StorageError: 5,
}

app = typer.Typer(
    help="Financial sentiment: serve a model, train one, evaluate it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataFiles = Annotated[
    list[Path],
    typer.Option(
        help="Labelled texts: Financial PhraseBank as published (.txt), or .csv, .tsv, .jsonl, "
        ".parquet with a text and a label or positive, negative, neutral. May be given several "
        "times; of a text that occurs twice the first row counts."
    ),
]
TextColumn = Annotated[str | None, typer.Option(help="Column of the text; else text, or sentence.")]
LabelColumn = Annotated[
    str | None, typer.Option(help="Column of the label; else label, or sentiment.")
]
SeenFiles = Annotated[
    list[Path] | None,
    typer.Option(help="Labelled texts that the base or a teacher has seen; never evaluated."),
]
HeldOut = Annotated[
    float, typer.Option(min=0.01, max=0.4, help="Share of the texts for each of validation, test.")
]


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
    work(settings, number=number, lifeline=lifeline, listeners=listeners)


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
    data: DataFiles,
    base: Annotated[str, typer.Option(help="Model to start from: folder, or Hub name@revision.")],
    output: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    base_sha256: Annotated[
        str | None, typer.Option(help="Refuse a base whose weights have another digest.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Model whose answers are learnt beside the labels.")
    ] = None,
    teacher_share: Annotated[
        float, typer.Option(min=0, max=1, help="Weight of the teacher against a label.")
    ] = 0.5,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the data.")] = 3,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop after so many epochs without a better macro-F1.")
    ] = 0,
    learning_rate: Annotated[float, typer.Option(min=0, help="AdamW's, at its peak.")] = 2e-5,
    adam_epsilon: Annotated[float, typer.Option(min=0, help="AdamW's.")] = 1e-8,
    weight_decay: Annotated[float, typer.Option(min=0, help="AdamW's.")] = 0.01,
    clip_norm: Annotated[float, typer.Option(min=0, help="Largest norm of a gradient.")] = 1.0,
    batch_texts: Annotated[int, typer.Option(min=1, help="Texts in one batch.")] = 16,
    accumulation: Annotated[int, typer.Option(min=1, help="Batches summed into one step.")] = 1,
    warmup_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps until the peak rate.")
    ] = 0.1,
    layer_decay: Annotated[
        float, typer.Option(min=0, max=1, help="Rate of a layer over that of the one above.")
    ] = 1.0,
    unfreeze_every: Annotated[
        float, typer.Option(min=0, help="Epochs until one more layer is trained; 0: all at once.")
    ] = 0.0,
    average_decay: Annotated[
        float, typer.Option(min=0, max=1, help="Of the moving average of the weights; 0: none.")
    ] = 0.0,
    class_weights: Annotated[
        str, typer.Option(help="balanced: rare labels weigh more; none.")
    ] = "none",
    label_smoothing: Annotated[
        float, typer.Option(min=0, max=1, help="For annotators' labels; not for a teacher's.")
    ] = 0.0,
    by_agreement: Annotated[
        bool, typer.Option(help="Smooth PhraseBank's labels by how many annotators agreed.")
    ] = False,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.1,
            help="Of distillation, at which targets are compared; 3 suits a teacher's. That of "
            "calibration, temperature.json, is another: it is fitted when training is done.",
        ),
    ] = 1.0,
    masked_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of tokens hidden while training.")
    ] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=8, max=512, help="Cut longer texts.")] = 128,
    held_out: HeldOut = 0.1,
    folds: Annotated[
        int, typer.Option(min=0, help="Measure by so many folds instead of writing a model.")
    ] = 0,
    golden: Annotated[
        Path | None, typer.Option(help="CSV that the model must get right, for other domains.")
    ] = None,
    bf16: Annotated[bool, typer.Option(help="Autocast to bfloat16.")] = False,
    fp16: Annotated[bool, typer.Option(help="Autocast to float16; needs a GPU.")] = False,
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.")] = 7,
    threads: Annotated[int, typer.Option(min=0, help="Of torch; 0: as it chooses.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on where the same training stopped.")] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace the output when done, and an unfinished training.")
    ] = False,
    checkpoint_steps: Annotated[
        int, typer.Option(min=0, help="Steps between checkpoints; 0: at 2 % of the time.")
    ] = 0,
    log_steps: Annotated[int, typer.Option(min=1, help="Steps between rows of the log.")] = 10,
    tensorboard: Annotated[
        bool | None, typer.Option(help="Write its log; else wherever it is installed.")
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    seen: SeenFiles = None,
) -> None:
    """Fine-tune a model on labelled texts and evaluate it on held-out ones.

    Checkpoints and logs are in OUTPUT.run; the same command with --resume continues.
    """
    options = locals()
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
        recipe=Recipe(**_those_of(Recipe, options)),
        options=RunOptions(**_those_of(RunOptions, options)),
    )
    print(json.dumps(made, indent=2))


def _refuse_own_folder(output: Path) -> None:
    """See that a folder of that name may come and go.

    Raises:
        SettingsError: it is the folder that the command runs in, or holds that.
    """
    place = Path(os.path.realpath(output))
    if output.name in ("", "..") or Path.cwd().is_relative_to(place):
        raise SettingsError(f"--output {output} is no name of a new folder, but {place}")


def _those_of(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are fields of the dataclass `kind`, every one of them."""
    return {field.name: options[field.name] for field in fields(kind)}


@app.command()
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="As SENTIMENT_MODEL: Hub name, folder, compact. The first is judged, the others "
            "are what it is compared with.",
        ),
    ],
    data: DataFiles,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Texts of another kind, measured whole: FiQA, Twitter Financial News, SEntFiN as "
            "published. Files of one name are one set.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for report.md, report.json and plots; else JSON is printed."),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="As SENTIMENT_PRECISION: auto, fp32, bf16, fp16, int8.")
    ] = "fp32",
    held_out: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.4, help="Share of validation and of test; 0.1 if not given."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Measure all texts of --data: for models trained on none.")
    ] = False,
    fail_below: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE=VALUE",
            help="End with 1 if accuracy, macro_f1 or weighted_f1 on the test part's annotated "
            "texts is less; benchmark:NAME.FIGURE=VALUE looks at a benchmark.",
        ),
    ] = None,
    fail_above: Annotated[
        list[str] | None,
        typer.Option(metavar="FIGURE=VALUE", help="The same for ece, brier and log_loss."),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    seen: SeenFiles = None,
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
        raise SettingsError(f"--precision {precision} is none of {', '.join(known)}")
    if everything and (held_out is not None or seen):
        raise SettingsError("--all measures every text: it goes with neither --held-out nor --seen")
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


def _log_to_terminal() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def _need_training_libraries() -> None:
    from importlib.util import find_spec

    if missing := [
        name for name in ("accelerate", "matplotlib", "sklearn") if find_spec(name) is None
    ]:
        raise SettingsError(
            f"{', '.join(missing)} not installed: pip install -r requirements-train.txt"
        )
