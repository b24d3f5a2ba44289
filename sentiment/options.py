"""The options of `train` and `evaluate`, with what their help says of them."""

from pathlib import Path
from typing import Annotated

import typer

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
Base = Annotated[str, typer.Option(help="Model to start from: folder, or Hub name@revision.")]
Output = Annotated[Path, typer.Option(help="Folder to write the model to.")]
BaseSha256 = Annotated[
    str | None, typer.Option(help="Refuse a base whose weights have another digest.")
]
Teacher = Annotated[
    str | None, typer.Option(help="Model whose answers are learnt beside the labels.")
]
TeacherShare = Annotated[
    float, typer.Option(min=0, max=1, help="Weight of the teacher against a label.")
]
Epochs = Annotated[float, typer.Option(min=0.01, help="Passes over the data.")]
Patience = Annotated[
    int, typer.Option(min=0, help="Stop after so many epochs without a better macro-F1.")
]
LearningRate = Annotated[float, typer.Option(min=0, help="AdamW's, at its peak.")]
AdamEpsilon = Annotated[float, typer.Option(min=0, help="AdamW's.")]
WeightDecay = Annotated[float, typer.Option(min=0, help="AdamW's.")]
ClipNorm = Annotated[float, typer.Option(min=0, help="Largest norm of a gradient.")]
BatchTexts = Annotated[int, typer.Option(min=1, help="Texts in one batch.")]
Accumulation = Annotated[int, typer.Option(min=1, help="Batches summed into one step.")]
WarmupShare = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the steps until the peak rate.")
]
LayerDecay = Annotated[
    float, typer.Option(min=0, max=1, help="Rate of a layer over that of the one above.")
]
UnfreezeEvery = Annotated[
    float, typer.Option(min=0, help="Epochs until one more layer is trained; 0: all at once.")
]
AverageDecay = Annotated[
    float, typer.Option(min=0, max=1, help="Of the moving average of the weights; 0: none.")
]
ClassWeights = Annotated[str, typer.Option(help="balanced: rare labels weigh more; none.")]
LabelSmoothing = Annotated[
    float, typer.Option(min=0, max=1, help="For annotators' labels; not for a teacher's.")
]
ByAgreement = Annotated[
    bool, typer.Option(help="Smooth PhraseBank's labels by how many annotators agreed.")
]
Temperature = Annotated[
    float,
    typer.Option(
        min=0.1,
        help="Of distillation, at which targets are compared; 3 suits a teacher's. That of "
        "calibration, temperature.json, is another: it is fitted when training is done.",
    ),
]
MaskedShare = Annotated[
    float, typer.Option(min=0, max=0.9, help="Share of tokens hidden while training.")
]
MaxTokens = Annotated[int, typer.Option(min=8, max=512, help="Cut longer texts.")]
Folds = Annotated[
    int, typer.Option(min=0, help="Measure by so many folds instead of writing a model.")
]
Golden = Annotated[
    Path | None, typer.Option(help="CSV that the model must get right, for other domains.")
]
Bf16 = Annotated[bool, typer.Option(help="Autocast to bfloat16.")]
Fp16 = Annotated[bool, typer.Option(help="Autocast to float16; needs a GPU.")]
Seed = Annotated[int, typer.Option(help="Of weights, order and dropout.")]
Threads = Annotated[int, typer.Option(min=0, help="Of torch; 0: as it chooses.")]
Resume = Annotated[bool, typer.Option(help="Go on where the same training stopped.")]
Overwrite = Annotated[
    bool, typer.Option(help="Replace the output when done, and an unfinished training.")
]
CheckpointSteps = Annotated[
    int, typer.Option(min=0, help="Steps between checkpoints; 0: at 2 % of the time.")
]
LogSteps = Annotated[int, typer.Option(min=1, help="Steps between rows of the log.")]
Tensorboard = Annotated[
    bool | None, typer.Option(help="Write its log; else wherever it is installed.")
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="As SENTIMENT_MODEL: Hub name, folder, compact.")
]
OverwriteModel = Annotated[bool, typer.Option(help="Replace a model at the output when done.")]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        help="As SENTIMENT_MODEL: Hub name, folder, compact. The first is judged, the others "
        "are what it is compared with.",
    ),
]
Benchmark = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]FILE",
        help="Texts of another kind, measured whole: FiQA, Twitter Financial News, SEntFiN as "
        "published. Files of one name are one set.",
    ),
]
EvaluationOutput = Annotated[
    Path | None,
    typer.Option(help="Folder for report.md, report.json and plots; else JSON is printed."),
]
Precision = Annotated[
    str, typer.Option(help="As SENTIMENT_PRECISION: auto, fp32, bf16, fp16, int8.")
]
EvaluationHeldOut = Annotated[
    float | None,
    typer.Option(min=0.01, max=0.4, help="Share of validation and of test; 0.1 if not given."),
]
Everything = Annotated[
    bool, typer.Option("--all", help="Measure all texts of --data: for models trained on none.")
]
FailBelow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIGURE=VALUE",
        help="End with 1 if accuracy, macro_f1 or weighted_f1 on the test part's annotated "
        "texts is less; benchmark:NAME.FIGURE=VALUE looks at a benchmark.",
    ),
]
FailAbove = Annotated[
    list[str] | None,
    typer.Option(metavar="FIGURE=VALUE", help="The same for ece, brier and log_loss."),
]
