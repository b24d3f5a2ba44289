"""bf16 and int8 answer nearly fp32's numbers, the same ones in any company, on any CPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sentiment.engines import open_engine
from sentiment.engines.openvino import cpu_precision
from sentiment.engines.quantization import CALIBRATION_FILE
from sentiment.errors import DataError, ModelError, StorageError
from sentiment.manifest import MANIFEST_FILE, verify_manifest, write_manifest
from sentiment.models import COMPACT_FOLDER, TEMPERATURE_FILE, read_model
from sentiment.predictions import softmax
from sentiment.quantize import TEXTS as CALIBRATION_TEXTS
from sentiment.quantize import quantize_model, read_texts
from sentiment.tokenization import Tokenization, load_tokenizer
from tests.texts import MIXED_LENGTHS

BF16 = cpu_precision("auto") == "bf16"
GPU = torch.cuda.is_available()
needs_bf16 = pytest.mark.skipif(not BF16, reason="this CPU has no bf16 of its own")
needs_gpu = pytest.mark.skipif(not GPU, reason="no GPU here")

PRECISIONS = (
    pytest.param(("openvino", "bf16", "cpu"), marks=needs_bf16, id="openvino-bf16"),
    pytest.param(("openvino", "int8", "cpu"), id="openvino-int8"),
    pytest.param(("packed", "bf16", "cpu"), id="packed-bf16"),
    pytest.param(("padded", "bf16", "cpu"), id="padded-bf16", marks=pytest.mark.nightly),
    *(
        pytest.param(("packed", precision, "cuda"), marks=needs_gpu, id=f"packed-{precision}-cuda")
        for precision in ("bf16", "fp16")
    ),
)
"""Engine, precision, device."""


@pytest.fixture(scope="module")
def compact():
    return read_model(COMPACT_FOLDER, name="compact")


@pytest.fixture(scope="module")
def encodings(compact):
    texts = [*MIXED_LENGTHS, *read_texts(CALIBRATION_TEXTS)]
    with Tokenization(
        load_tokenizer(compact.folder), max_tokens=compact.max_tokens, threads=1
    ) as tokenization:
        return tokenization.encode_now(texts).ids


def opened(model, engine="openvino", precision="fp32", device="cpu", **more):
    return open_engine(model, engine=engine, device=device, threads=2, precision=precision, **more)


def scores(engine, encodings):
    return softmax(engine.infer(engine.batch_type.collate(encodings)))


@pytest.fixture(scope="module")
def exact(compact, encodings):
    return scores(opened(compact), encodings)


@pytest.fixture(scope="module", params=PRECISIONS)
def rounded(request, compact):
    """An engine of a lower precision."""
    return opened(compact, *request.param)


def test_a_lower_precision_finds_the_same_labels(rounded, encodings, exact):
    found = scores(rounded, encodings)
    clear = np.sort(exact, axis=1)[:, -1] - np.sort(exact, axis=1)[:, -2] > 0.2
    assert clear.sum() > 100
    assert (found.argmax(axis=1) == exact.argmax(axis=1))[clear].all()
    # These texts are meant to be hard: on PhraseBank the means are a tenth (docs/performance.md).
    assert 0 < np.abs(found - exact).mean() <= (1e-2 if rounded.precision == "int8" else 2e-3)


def test_a_score_of_lower_precision_does_not_depend_on_its_neighbours(rounded, encodings):
    # The very same arithmetic would be equal to the bit; kernels of other shapes round otherwise.
    limit = 1e-3 if rounded.precision == "int8" else 2e-2
    rng = np.random.default_rng(0)
    loud = int(np.argmax([len(ids) for ids in encodings]))
    alone = {}
    for _ in range(8):
        chosen = [loud, *rng.choice(len(encodings), size=6, replace=False)]
        together = scores(rounded, [encodings[index] for index in chosen])
        for index, row in zip(chosen, together, strict=True):
            if index not in alone:
                alone[index] = scores(rounded, [encodings[index]])[0]
            assert np.abs(row - alone[index]).max() <= limit


@needs_gpu
def test_a_gpu_gives_the_same_numbers_in_fp32(compact, encodings, exact):
    found = scores(opened(compact, "packed", "fp32", "cuda"), encodings)
    assert np.abs(found - exact).max() <= 1e-5


def test_auto_is_bf16_where_the_cpu_has_it_and_else_exact(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    for flags, expected in (
        ("fpu avx2 avx512f avx512_bf16 avx512_vnni", "bf16"),
        ("fpu amx_bf16", "bf16"),
        ("fpu avx2 avx512f avx512_vnni", "fp32"),  # a GKE e2 machine at best
    ):
        cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\n")
        assert cpu_precision("auto", cpuinfo) == expected
    assert cpu_precision("auto", tmp_path / "absent") == "fp32"  # macOS, say
    cpuinfo.write_text("processor : 0\nFeatures : fp asimd\n")  # as ARM writes it
    assert cpu_precision("auto", cpuinfo) == "fp32"


def test_what_the_cpu_cannot_compute_is_said_not_replaced(tmp_path):
    with pytest.raises(ModelError, match=r"no bf16 of its own .* SENTIMENT_PRECISION=fp32"):
        cpu_precision("bf16", tmp_path / "absent")


@pytest.mark.parametrize(
    ("engine", "precision", "device", "message"),
    [
        ("openvino", "fp16", "cpu", "fp16 is for GPUs"),
        ("openvino", "fp32", "cuda", "runs on CPUs"),
        ("packed", "fp16", "cpu", "fp16 needs a GPU"),
        ("packed", "int8", "cpu", "int8 needs SENTIMENT_ENGINE=openvino"),
        ("padded", "int8", "cpu", "int8 needs SENTIMENT_ENGINE=openvino"),
    ],
)
def test_an_engine_names_what_computes_the_precision(compact, engine, precision, device, message):
    with pytest.raises(ModelError, match=message):
        opened(compact, engine, precision, device)


ISA_SCRIPT = """
import sys, numpy as np
from pathlib import Path
from sentiment.engines import open_engine
from sentiment.models import COMPACT_FOLDER, read_model
engine, precision, encodings, out = sys.argv[1:]
opened = open_engine(
    read_model(COMPACT_FOLDER, name="m"), engine=engine, device="cpu", threads=1,
    precision=precision,
)
with np.load(encodings) as file:
    ids = [file[str(index)] for index in range(len(file.files))]
np.save(out, opened.infer(opened.batch_type.collate(ids)))
"""


@pytest.mark.parametrize(
    ("engine", "precision", "isa", "tolerance"),
    [
        ("openvino", "fp32", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, 1e-5),
        ("openvino", "int8", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, 0.2),
        ("openvino", "int8", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, 0.2),
        ("packed", "fp32", {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2"}, 1e-5),
    ],
)
def test_an_older_cpu_answers_the_same(
    encodings, exact, repository, tmp_path, engine, precision, isa, tolerance
):
    chosen = encodings[:24]
    np.savez(tmp_path / "ids.npz", **{str(i): ids for i, ids in enumerate(chosen)})
    subprocess.run(
        [sys.executable, "-c", ISA_SCRIPT, engine, precision,
         str(tmp_path / "ids.npz"), str(tmp_path / "logits.npy")],
        cwd=repository, env={**os.environ, **isa}, check=True,
    )  # fmt: skip
    found = softmax(np.load(tmp_path / "logits.npy"))
    assert np.abs(found - exact[:24]).max() <= tolerance
    assert (found.argmax(axis=1) == exact[:24].argmax(axis=1)).mean() > 0.9


class TestCalibration:
    """`python -m sentiment quantize`, and what the server makes of its file."""

    @pytest.fixture
    def folder(self, tmp_path):
        """The compact model without its calibration, and without the manifest that names it."""
        copied = tmp_path / "model"
        shutil.copytree(
            COMPACT_FOLDER, copied, ignore=shutil.ignore_patterns(CALIBRATION_FILE, MANIFEST_FILE)
        )
        return copied

    def test_the_bundled_calibration_is_what_the_command_writes(self, folder, tmp_path, encodings):
        written = quantize_model(
            "compact", texts=None, output=tmp_path / "new", cache=tmp_path, threads=2
        )
        shutil.copy(written, folder / CALIBRATION_FILE)
        bundled = opened(read_model(COMPACT_FOLDER, name="m"), precision="int8")
        anew = opened(read_model(folder, name="m"), precision="int8")
        difference = scores(bundled, encodings[:30]) - scores(anew, encodings[:30])
        assert np.abs(difference).mean() <= 1e-3  # peaks may differ by a kernel's rounding

    def test_without_one_int8_ends_the_start_and_names_the_command(self, folder, tmp_path):
        with pytest.raises(ModelError, match="not calibrated for int8; `python -m sentiment quan"):
            opened(read_model(folder, name="m"), precision="int8", cache=tmp_path)

    def test_the_cache_serves_a_folder_that_cannot_be_written(self, folder, tmp_path):
        cache = tmp_path / "cache"
        quantize_model(str(folder), texts=None, output=None, cache=cache, threads=2)
        found = opened(read_model(folder, name="m"), precision="int8", cache=cache)
        assert found.precision == "int8"

    def test_a_newer_calibration_takes_the_place_of_the_one_beside_the_model(
        self, encodings, tmp_path
    ):
        (tmp_path / "texts").write_text("Profit rose.\nSales fell.\n")
        bundled = opened(read_model(COMPACT_FOLDER, name="m"), precision="int8", cache=tmp_path)
        quantize_model("compact", texts=tmp_path / "texts", output=None, cache=tmp_path, threads=2)
        anew = opened(read_model(COMPACT_FOLDER, name="m"), precision="int8", cache=tmp_path)
        assert (scores(anew, encodings[:9]) != scores(bundled, encodings[:9])).any()

    def test_one_that_cannot_be_used_does_not_hide_one_that_can(self, folder, tmp_path):
        cache = tmp_path / "cache"
        path = quantize_model(str(folder), texts=None, output=None, cache=cache, threads=2)
        shutil.copy(path, folder / CALIBRATION_FILE)
        path.write_bytes(b"damaged")
        found = opened(read_model(folder, name="m"), precision="int8", cache=cache)
        assert found.precision == "int8"

    def test_a_calibration_of_other_weights_is_not_used(self, folder):
        (folder / TEMPERATURE_FILE).unlink()
        calibration = folder / CALIBRATION_FILE
        shutil.copy(COMPACT_FOLDER / CALIBRATION_FILE, calibration)
        weights = folder / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(ModelError, match="not calibrated"):
            opened(read_model(folder, name="m"), precision="int8")

    @pytest.mark.parametrize("size", [0, 7, 1000, 60_000])
    def test_a_damaged_file_is_named(self, folder, size):
        calibration = folder / CALIBRATION_FILE
        content = (COMPACT_FOLDER / CALIBRATION_FILE).read_bytes()
        calibration.write_bytes(content[:size])
        with pytest.raises(ModelError, match=r"int8\.safetensors: cannot be used"):
            opened(read_model(folder, name="m"), precision="int8")

    def test_a_calibration_of_another_shape_is_named(self, folder):
        shutil.copy(COMPACT_FOLDER / CALIBRATION_FILE, folder)
        config = json.loads((folder / "config.json").read_text())
        config |= {"intermediate_size": config["intermediate_size"] // 2}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError, match=r"int8\.safetensors: cannot be used: 0\.widened"):
            opened(read_model(folder, name="m"), precision="int8")

    def test_beside_a_promoted_model_it_becomes_part_of_what_is_promoted(self, folder, tmp_path):
        write_manifest(folder)
        (tmp_path / "texts").write_text("Profit rose.\nSales fell.\n")
        path = quantize_model(
            str(folder),
            texts=tmp_path / "texts",
            output=folder / CALIBRATION_FILE,
            cache=tmp_path,
            threads=2,
        )
        assert CALIBRATION_FILE in verify_manifest(folder)
        assert opened(read_model(folder, name="m"), precision="int8").precision == "int8"
        path.write_bytes(b"damaged")
        with pytest.raises(ModelError, match=r"int8\.safetensors: not the file"):
            read_model(folder, name="m")

    def test_texts_that_cannot_be_read_are_named(self, tmp_path):
        for content, message in ((b"\n \n", "no text in it"), (b"caf\xe9\n", "not UTF-8 at byte")):
            (tmp_path / "texts").write_bytes(content)
            with pytest.raises(DataError, match=message):
                read_texts(tmp_path / "texts")
        with pytest.raises(DataError, match="No such file"):
            read_texts(tmp_path / "absent")

    def test_many_texts_are_thinned_out_evenly(self, tmp_path):
        (tmp_path / "texts").write_text("\n".join(f"text {index}" for index in range(9_000)))
        chosen = read_texts(tmp_path / "texts")
        assert len(chosen) == 1_800
        assert chosen[-1] == "text 8995"

    def test_a_result_that_cannot_be_written_is_said(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="cannot be written"):
            quantize_model(
                "compact", texts=None, output=tmp_path / "file" / "x", cache=tmp_path, threads=2
            )


class TestKeptWeights:
    """A `.bin` is read by torch once; what it held is kept."""

    def test_the_second_start_imports_no_torch(self, finbert_folder, repository, tmp_path):
        script = (
            "import sys; from pathlib import Path\n"
            "from sentiment.engines import open_engine\n"
            "from sentiment.models import read_model\n"
            "model = read_model(Path(sys.argv[1]), name='m')\n"
            "open_engine(model, engine='auto', device='cpu', threads=1, cache=Path(sys.argv[2]))\n"
            "print('torch' in sys.modules)"
        )
        said = [
            subprocess.run(
                [sys.executable, "-c", script, str(finbert_folder), str(tmp_path)],
                cwd=repository, capture_output=True, text=True, check=True,
            ).stdout.strip()
            for _ in range(2)
        ]  # fmt: skip
        assert said == ["True", "False"]

    def test_they_are_the_same_weights(self, finbert_folder, tmp_path):
        model = read_model(finbert_folder, name="m")
        ids = [np.arange(1000, 1020)]
        expected = scores(opened(model), ids)
        for _ in range(2):
            assert (scores(opened(model, cache=tmp_path), ids) == expected).all()

    def test_a_kept_file_that_was_cut_short_is_made_anew(self, finbert_folder, tmp_path):
        model = read_model(finbert_folder, name="m")
        opened(model, cache=tmp_path)
        (kept,) = tmp_path.iterdir()
        size = kept.stat().st_size
        os.truncate(kept, size // 2)
        opened(model, cache=tmp_path)
        assert kept.stat().st_size == size

    def test_another_file_under_the_name_is_made_anew(self, finbert_folder, tmp_path):
        model = read_model(finbert_folder, name="m")
        ids = [np.arange(1000, 1020)]
        expected = scores(opened(model, cache=tmp_path), ids)
        (kept,) = tmp_path.iterdir()
        shutil.copy(COMPACT_FOLDER / "model.safetensors", kept)
        assert (scores(opened(model, cache=tmp_path), ids) == expected).all()

    def test_what_a_killed_process_left_half_written_is_removed(self, finbert_folder, tmp_path):
        model = read_model(finbert_folder, name="m")
        opened(model, cache=tmp_path)
        (kept,) = tmp_path.iterdir()
        kept.unlink()
        left, new = tmp_path / f".{kept.name}.old", tmp_path / f".{kept.name}.new"
        for path in (left, new):
            path.touch()
        os.utime(left, (0, 0))
        opened(model, cache=tmp_path)
        assert {*tmp_path.iterdir()} == {kept, new}  # the new one may be being written

    def test_a_cache_that_cannot_be_written_costs_nothing_but_time(self, finbert_folder, tmp_path):
        (tmp_path / "file").touch()
        model = read_model(finbert_folder, name="m")
        assert opened(model, cache=tmp_path / "file" / "cache").name == "openvino"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_weights_in_bfloat16_are_served(self, finbert_folder, tmp_path):
        from safetensors.torch import save_file

        folder = tmp_path / "model"
        shutil.copytree(finbert_folder, folder)
        weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
        (folder / "pytorch_model.bin").unlink()
        halves = {
            name: tensor.bfloat16() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        }
        save_file(halves, folder / "model.safetensors")
        ids = [np.arange(1000, 1020)]
        expected = scores(opened(read_model(folder, name="m"), "padded"), ids)
        assert np.abs(scores(opened(read_model(folder, name="m")), ids) - expected).max() <= 1e-5


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_every_activation_gives_transformers_numbers(finbert_folder, tmp_path, activation):
    folder = tmp_path / "model"
    shutil.copytree(finbert_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": activation}))
    model = read_model(folder, name="m")
    ids = [np.arange(1000, 1020), np.arange(2000, 2003)]
    expected = scores(opened(model, "padded"), ids)
    for engine in ("openvino", "packed"):
        assert np.abs(scores(opened(model, engine), ids) - expected).max() <= 1e-5


def test_a_calibration_file_is_small():
    assert Path(COMPACT_FOLDER / CALIBRATION_FILE).stat().st_size < 100_000
