"""Who may import whom: a module imports from its own layer and from lower ones."""

import ast
import subprocess
import sys

import pytest

LAYERS = {
    0: ["errors", "predictions", "visible", "batching.policy", "batching.cost", "engines.batches"],
    1: [
        "sentences",
        "documents",
        "settings",
        "metrics",
        "logs",
        "listeners",
        "signals",
        "storage",
        "cache",
        "calls",
        "tokenization",
        "hub",
        "manifest",
        "origin",
        "models",
    ],
    2: [
        "engines",
        "engines.bert",
        "engines.devices",
        "engines.packed",
        "engines.padded",
        "engines.quantization",
        "engines.graph",
        "engines.openvino",
        "engines.calibration",
        "quantize",
    ],
    3: [
        "batching.queue",
        "batching.admission",
        "batching.tuning",
        "batching.worker",
        "batching.dispatcher",
        "batching.batcher",
    ],
    4: ["analyzer"],
    5: [
        "api.json_bodies",
        "api.identifiers",
        "api.lines",
        "api.texts",
        "api.schemas",
        "api.problems",
        "api.responses",
        "api.clients",
        "api.bodies",
        "api.turns",
        "api.descriptions",
        "api.openapi",
        "api.answering",
        "api.predicting",
        "api.tensors",
        "api.faces.inference_schemas",
        "api.faces.open_inference",
        "api.faces.classification",
        "api.faces.huggingface",
        "api.faces.documents",
        "api.faces.operations",
        "api.faces.playground",
        "api.faces.stream_lines",
        "api.faces.streaming",
        "api.faces.streams",
        "api.lifecycle",
        "api.security_headers",
        "api.auth",
        "api.trace_context",
        "api.trace_variables",
        "api.tracing",
        "api.middleware",
        "api.request_guard",
        "api.connection",
        "api.lasting",
        "api.parsing",
        "api.protocol",
        "api.routes",
        "api.app",
        "bulk.chunks",
        "bulk.files",
        "bulk.filesystems",
        "bulk.csv_rows",
        "bulk.csv_files",
        "bulk.json_lines",
        "bulk.parquet_files",
        "bulk.inputs",
        "bulk.rendering",
        "bulk.sizes",
        "bulk.outputs",
        "training.examples",
        "training.rows",
        "training.phrasebank",
        "training.benchmarks",
        "training.readers",
        "training.datasets",
        "training.splits",
        "training.recipe",
        "training.features",
        "training.distillation",
        "training.layers",
        "training.averages",
        "training.states",
        "training.checkpoints",
        "training.flow",
        "training.progress",
        "training.bases",
        "training.runs",
        "training.resumable",
        "training.trainer",
        "training.teachers",
        "training.fitting",
        "training.folds",
        "training.pipeline",
        "training.classifier",
        "training.intervals",
        "training.measures",
        "training.textsets",
        "training.evaluation",
        "training.thresholds",
        "training.markdown",
        "training.findings",
        "training.page",
        "training.report",
        "training.look",
        "training.plots",
        "training.temperature",
        "training.golden",
        "training.card",
        "training.replacement",
        "training.promotion",
        "training.recalibration",
        "bulk.__init__",
        "bulk.summary",
        "bulk.keys",
        "bulk.tally",
        "bulk.progress",
        "bulk.periods",
        "bulk.report_page",
        "bulk.report_plots",
        "bulk.report",
    ],
    6: [
        "bulk.repeated",
        "bulk.scoring",
        "bulk.windows",
        "bulk.columns",
        "bulk.joining",
        "bulk.table",
        "bulk.journal",
        "bulk.run_folder",
        "bulk.run",
        "bulk.items",
        "bulk.stores",
        "bulk.places",
        "bulk.parts",
        "bulk.cluster",
        "bulk.cluster_run",
        "bulk.command",
        "planning.virtual",
        "planning.costs",
        "planning.workload",
        "planning.replica",
        "planning.autoscaling",
        "planning.simulation",
        "planning.plan",
        "planning.quantities",
        "planning.page",
        "planning.probe",
        "planning.measurement",
        "planning.command",
        "planning.__init__",
        "launcher",
        "workers",
        "options",
        "cli",
        "__main__",
        "__init__",
        "api.__init__",
        "api.faces.__init__",
        "batching.__init__",
        "bulk.__init__",
        "training.__init__",
    ],
}
LAYER = {module: layer for layer, modules in LAYERS.items() for module in modules}

DOORS = {
    "starlette": {"api"},
    "torch": {
        "engines",  # whether there is a GPU
        "engines.bert",  # what numpy cannot read
        "engines.devices",
        "engines.packed",
        "engines.padded",
        "training.features",
        "training.averages",
        "training.bases",
        "training.checkpoints",
        "training.distillation",
        "training.fitting",
        "training.layers",
        "training.progress",  # whose TensorBoard writer it is
        "training.resumable",
        "training.states",
        "training.trainer",
    },
    "transformers": {
        "engines.padded",
        "training.averages",
        "training.bases",
        "training.fitting",
        "training.flow",
        "training.layers",
        "training.progress",
        "training.resumable",
        "training.trainer",
    },
    "openvino": {"engines.graph", "engines.openvino"},
    "safetensors": {
        "engines.bert",
        "engines.quantization",
        "training.checkpoints",
        "training.teachers",
    },
    "huggingface_hub": {"hub"},
    "sentencex": {"sentences"},
    "tokenizers": {"tokenization", "training.features", "training.bases"},
    "pydantic": {"settings", "api"},
    "pydantic_core": {"api.texts", "api.identifiers", "api.faces.stream_lines"},
    "pydantic_settings": {"settings"},
    "prometheus_client": {"metrics"},
    "sklearn": {"training.trainer"},
    "scipy": {"training.measures", "training.temperature"},
    "matplotlib": {"training.look", "training.plots", "bulk.report_plots"},
    "rich": {
        "training.report",
        "training.progress",
        "planning.page",
        "bulk.progress",
    },
    "fsspec": {"bulk.filesystems"},
    "ray": {"bulk.cluster"},
    "pyarrow": {"training.rows", "bulk"},
    "typer": {"cli", "options", "planning.command", "bulk.command"},
    "uvicorn": {"launcher", "api.protocol", "api.parsing", "api.connection", "api.lasting"},
    "httptools": {"api.parsing"},
    "opentelemetry": {"api.tracing"},
}
"""Library -> where alone it may be imported: one door each."""

ALONE = {"training": ("api", "batching", "analyzer")}
"""A room -> what it may not enter, though the layers would let it."""


def modules(repository):
    for path in sorted((repository / "sentiment").rglob("*.py")):
        parts = path.relative_to(repository / "sentiment").with_suffix("").parts
        name = ".".join(parts)
        yield name.removesuffix(".__init__") if name == "engines.__init__" else name, path


def imported(path):
    """Yield the absolute names that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_a_layer(repository):
    assert sorted(name for name, _ in modules(repository)) == sorted(LAYER)


def test_no_module_imports_from_a_higher_layer(repository):
    for name, path in modules(repository):
        for target in imported(path):
            other = target.removeprefix("sentiment.")
            if target.startswith("sentiment.") and other in LAYER:
                assert LAYER[other] <= LAYER[name], f"{name} imports {other}"


def test_each_heavy_library_has_one_door(repository):
    for name, path in modules(repository):
        for target in imported(path):
            library = target.partition(".")[0]
            doors = DOORS.get(library)
            if doors is not None:
                assert name in doors or name.partition(".")[0] in doors - {"engines"}, (
                    f"{name}: {library}"
                )


def test_training_knows_nothing_of_serving(repository):
    for name, path in modules(repository):
        for target in imported(path):
            forbidden = ALONE.get(name.partition(".")[0], ())
            other = target.removeprefix("sentiment.")
            assert not any(other == f or other.startswith(f + ".") for f in forbidden), name


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import sentiment", ("numpy", "pydantic", "starlette", "torch")),
        ("import sentiment.cli", ("pydantic", "starlette", "torch", "transformers")),
        ("import sentiment.workers", ("numpy", "starlette", "torch", "uvicorn")),
        ("import sentiment.api.app", ("torch", "transformers", "huggingface_hub")),
        ("import sentiment.api.app, sentiment.launcher", ("opentelemetry", "google.protobuf")),
        ("import sentiment.cli", ("numpy", "pyarrow", "rich.progress")),
        ("import sentiment.engines.packed", ("transformers",)),
        ("import sentiment.engines.openvino", ("torch", "transformers")),
        ("import sentiment.engines.openvino", ("openvino_telemetry.main",)),
        ("import sentiment.bulk.cluster", ("ray", "torch")),
        ("import sentiment.training.splits", ("torch", "transformers", "sklearn", "pyarrow")),
    ],
)
def test_heavy_libraries_are_imported_only_when_wanted(repository, statement, absent):
    script = f"import sys\n{statement}\nprint(*sorted(set({absent!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
