"""The command line: `python -m sentiment serve | prepare | quantize | train | evaluate`.

Every failure that has a name ends in one line on standard error and an exit code:
1 a figure misses what `evaluate` was asked for, 2 settings or usage, 3 model or port, 4 data.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from sentiment.errors import DataError, ListenError, ModelError, SentimentError, SettingsError

EXIT_CODES: dict[type[SentimentError], int] = {
    SettingsError: 2,
    ModelError: 3,
    ListenError: 3,
    DataError: 4,
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
    base: Annotated[Path, typer.Option(help="Folder of the model to start from.")],
    output: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    base_sha256: Annotated[
        str | None, typer.Option(help="Refuse a base whose weights have another digest.")
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the data.")] = 3,
    learning_rate: Annotated[float, typer.Option(min=0, help="AdamW's, at its peak.")] = 2e-5,
    batch_texts: Annotated[int, typer.Option(min=1, help="Texts in one step.")] = 16,
    warmup_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the steps until the peak rate.")
    ] = 0.1,
    weight_decay: Annotated[float, typer.Option(min=0, help="AdamW's.")] = 0.01,
    label_smoothing: Annotated[
        float, typer.Option(min=0, max=1, help="For annotators' labels; not for a teacher's.")
    ] = 0.0,
    temperature: Annotated[
        float, typer.Option(min=0.1, help="At which targets are compared; 3 suits a teacher's.")
    ] = 1.0,
    masked_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of tokens hidden while training.")
    ] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=8, max=512, help="Cut longer texts.")] = 128,
    held_out: HeldOut = 0.1,
    bf16: Annotated[bool, typer.Option(help="Autocast to bfloat16.")] = False,
    golden: Annotated[
        Path | None,
        typer.Option(
            help="CSV of text,label with sentences that the model must get right, for another "
            "domain or language than English financial news."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.")] = 7,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    seen: SeenFiles = None,
) -> None:
    """Fine-tune a model on labelled texts and evaluate it on held-out ones."""
    _log_to_terminal()
    _need_training_libraries()
    from sentiment.training.golden import read_golden
    from sentiment.training.promotion import promote
    from sentiment.training.readers import Columns
    from sentiment.training.replacement import check_replaceable
    from sentiment.training.splits import read_split
    from sentiment.training.trainer import Recipe, weights_sha256
    from sentiment.training.trainer import train as train_model

    check_replaceable(output)
    if base_sha256 and (found := weights_sha256(base)) != base_sha256:
        raise ModelError(f"{base}: the weights have SHA-256 {found}, not {base_sha256}")
    recipe = Recipe(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_texts=batch_texts,
        warmup_share=warmup_share,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        temperature=temperature,
        masked_share=masked_share,
        max_tokens=max_tokens,
        bf16=bf16,
        seed=seed,
    )
    columns = Columns(text=text_column, label=label_column)
    dataset, split = read_split(data, held_out=held_out, columns=columns, seen=seen or ())
    split.check_trainable()
    read_golden(golden, trained_on=split.train)  # what is wrong there is told before hours of work
    work = output.with_name(f"{output.name}.work")
    record = train_model(base=base, dataset=dataset, split=split, recipe=recipe, output=work)
    evaluation = promote(work, output, split=split, record=record, golden=golden)
    print(json.dumps(evaluation, indent=2))


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
