"""Every engine answers transformers' numbers, whatever shares the batch."""

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from sentiment.engines import open_engine
from sentiment.errors import ModelError
from sentiment.models import COMPACT_FOLDER, read_model
from sentiment.predictions import softmax
from sentiment.tokenization import Tokenization, load_tokenizer
from tests.integration.conftest import SPREAD
from tests.texts import MIXED_LENGTHS

TOLERANCE = 1e-5
"""Of a probability, in fp32."""

HOSTILE_TEXTS = (
    "[CLS] [SEP] [MASK] inside [PAD] a text",
    "ﬁnancial ＦＵＬＬ－ＷＩＤＴＨ ½ ™ İstanbul ẞ",
    "na\u0308ive e\u0301clair \u200bzero\u200dwidth\ufeff \x07bell \x00nul \u00a0space",
    "supercalifragilistic" * 12,
    "株価は3％上昇、한국은행 금리 동결 ภาษาไทย",
)


@pytest.fixture(scope="module", params=["published FinBERT form", "compact"])
def model(request, finbert_folder):
    folder = COMPACT_FOLDER if request.param == "compact" else finbert_folder
    return read_model(folder, name="model")


@pytest.fixture(scope="module")
def encodings(model):
    tokenizer = load_tokenizer(model.folder)
    with Tokenization(tokenizer, max_tokens=model.max_tokens, threads=1) as tokenization:
        return tokenization.encode_now([*MIXED_LENGTHS, *HOSTILE_TEXTS]).ids


@pytest.fixture(scope="module")
def reference(model):
    """Probabilities of each text alone, by transformers from the text on."""
    tokenizer = transformers.BertTokenizer.from_pretrained(model.folder)
    classifier = transformers.AutoModelForSequenceClassification.from_pretrained(
        model.folder, dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        return np.concatenate(
            [
                classifier(
                    **tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
                ).logits.softmax(-1)
                for text in (*MIXED_LENGTHS, *HOSTILE_TEXTS)
            ]
        )


@pytest.fixture(scope="module", params=["openvino", "packed", "padded"])
def engine(request, model):
    return open_engine(model, engine=request.param, device="cpu", threads=2)


def infer(engine, encodings):
    return softmax(engine.infer(engine.batch_type.collate(encodings)))


def test_the_texts_reach_from_one_word_to_truncation(encodings):
    lengths = [len(ids) for ids in encodings]
    assert min(lengths) == 3
    assert max(lengths) == 512


def test_one_batch_of_all_lengths_gives_transformers_numbers(engine, encodings, reference):
    assert np.abs(infer(engine, encodings) - reference).max() <= TOLERANCE


def test_a_text_alone_gives_transformers_numbers(engine, encodings, reference):
    alone = np.concatenate([infer(engine, [ids]) for ids in encodings])
    assert np.abs(alone - reference).max() <= TOLERANCE


def test_neighbours_and_their_order_do_not_change_a_score(engine, encodings, reference):
    rng = np.random.default_rng(0)
    for _ in range(8):
        chosen = rng.choice(len(encodings), size=rng.integers(2, 12), replace=False)
        batch = infer(engine, [encodings[index] for index in chosen])
        assert np.abs(batch - reference[chosen]).max() <= TOLERANCE


def test_the_random_model_tells_texts_apart(reference):
    # Otherwise the comparisons above would compare one number with itself.
    assert reference.std(axis=0).max() > 0.05


TINY = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_labels": 3,
    "id2label": {0: "a", 1: "b", 2: "c"},
    "label2id": {"a": 0, "b": 1, "c": 2},
    "initializer_range": SPREAD,
}
ARCHITECTURES = {
    "roberta": (transformers.RobertaConfig, {"max_position_embeddings": 130, "pad_token_id": 1}),
    "distilbert": (
        transformers.DistilBertConfig,
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    ),
    "modernbert": (transformers.ModernBertConfig, {"pad_token_id": 0, "cls_token_id": 2}),
    # Decoders read a text's last token, which they find by the id of the padding.
    "gpt2": (transformers.GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 2, "pad_token_id": 4}),
    "llama": (transformers.LlamaConfig, {"pad_token_id": 4}),
}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def other(request, tmp_path_factory):
    """A tiny classifier of another architecture: its folder and the model itself."""
    configuration, more = ARCHITECTURES[request.param]
    torch.manual_seed(1)
    config = configuration(**TINY | more)
    classifier = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    folder = tmp_path_factory.mktemp(request.param)
    classifier.save_pretrained(folder)
    return read_model(folder, name=request.param), classifier


def test_auto_runs_other_architectures_through_the_padded_engine(other):
    model, classifier = other
    engine = open_engine(model, engine="auto", device="cpu", threads=1)
    assert engine.name == "padded"
    rng = np.random.default_rng(2)
    encodings = [rng.integers(5, 200, length) for length in (1, 2, 7, 30, 100)]
    with torch.inference_mode():
        alone = [classifier(torch.from_numpy(ids)[None]).logits for ids in encodings]
    expected = softmax(np.concatenate(alone))
    assert np.abs(infer(engine, encodings) - expected).max() <= TOLERANCE


def test_auto_runs_bert_on_a_cpu_through_openvino(finbert_folder):
    model = read_model(finbert_folder, name="m")
    assert open_engine(model, engine="auto", device="cpu", threads=1).name == "openvino"


def test_auto_leaves_a_bert_that_the_packed_engine_does_not_know_to_the_padded_one(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "quick_gelu"}))
    assert opened(folder, "auto").name == "padded"


def test_the_packed_engine_says_that_it_runs_bert_only(other):
    with pytest.raises(ModelError, match="BERT only; SENTIMENT_ENGINE=padded runs"):
        open_engine(other[0], engine="packed", device="cpu", threads=1)


@pytest.fixture
def folder(finbert_folder, tmp_path):
    """A copy that a test may damage, with safetensors in place of the pickle."""
    copied = tmp_path / "model"
    shutil.copytree(finbert_folder, copied)
    weights = torch.load(copied / "pytorch_model.bin", weights_only=True)
    (copied / "pytorch_model.bin").unlink()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()},
              copied / "model.safetensors")  # fmt: skip
    return copied


def opened(folder, engine):
    return open_engine(read_model(folder, name="m"), engine=engine, device="cpu", threads=1)


@pytest.mark.parametrize("engine", ["openvino", "packed", "padded"])
class TestDamage:
    """What the engines refuse: each by one `ModelError` that names the file."""

    def test_a_missing_tensor_is_not_made_up(self, folder, engine):
        weights = load_file(folder / "model.safetensors")
        del weights["classifier.weight"]
        save_file(weights, folder / "model.safetensors")
        with pytest.raises(ModelError, match=r"model\.safetensors: no tensor classifier\.weight"):
            opened(folder, engine)

    def test_a_tensor_of_another_shape_is_refused(self, folder, engine):
        weights = load_file(folder / "model.safetensors")
        weights["classifier.weight"] = torch.zeros(2, 64)
        save_file(weights, folder / "model.safetensors")
        with pytest.raises(ModelError, match=r"model\.safetensors"):
            opened(folder, engine)

    @pytest.mark.parametrize("size", [0, 100, 100_000])
    def test_a_truncated_file_is_refused(self, folder, engine, size):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(ModelError, match=r"model\.safetensors: cannot be loaded"):
            opened(folder, engine)

    def test_a_pickle_that_would_run_code_is_refused_unrun(self, folder, engine, tmp_path):
        (folder / "model.safetensors").unlink()
        canary = tmp_path / "canary"
        with (folder / "pytorch_model.bin").open("wb") as file:
            pickle.dump(Canary(str(canary)), file)
        with pytest.raises(ModelError, match=r"pytorch_model\.bin: cannot be loaded"):
            opened(folder, engine)
        assert not canary.exists()

    def test_no_gpu_is_said_plainly(self, folder, engine):
        if engine == "openvino":
            pytest.skip("runs on CPUs alone, and says so")
        if torch.cuda.is_available():
            pytest.skip("a GPU is here")
        with pytest.raises(ModelError, match="no CUDA device here, but SENTIMENT_DEVICE=cuda"):
            open_engine(read_model(folder, name="m"), engine=engine, device="cuda", threads=1)


class Canary:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "snake"}, "unknown hidden_act snake"),
        ({"num_attention_heads": 5}, "5 heads do not divide 64 dimensions"),
    ],
)
def test_the_packed_engine_refuses_what_it_would_compute_wrongly(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=message):
        opened(folder, "packed")


def test_openvinos_memory_errors_are_told_apart_from_its_other_failures(folder):
    failing = opened(folder, "openvino")
    request, failing._request = failing._request, Failing("std::bad_alloc")
    with pytest.raises(MemoryError):
        infer(failing, [np.arange(1000, 1020)])
    failing._request = Failing("a shape is wrong")
    with pytest.raises(RuntimeError, match="shape"):
        infer(failing, [np.arange(1000, 1020)])
    failing._request = request
    assert infer(failing, [np.arange(1000, 1020)]).shape == (1, 3)


class Failing:
    """A request that fails as OpenVINO does, which has one type for every error."""

    def __init__(self, reason):
        self.reason = reason

    def infer(self, *_, **__):
        raise RuntimeError(f"Exception from src/inference/infer_request.cpp:224: {self.reason}")


@pytest.mark.parametrize("engine", ["packed", "padded"])
def test_memory_that_runs_out_is_told_apart_from_other_failures(folder, engine, monkeypatch):
    failing = opened(folder, engine)

    def run_out_on_a_gpu(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def fail(*_, **__):
        raise RuntimeError("a shape is wrong")

    for forward, expected in (
        (run_out_on_a_gpu, MemoryError),
        (lambda *_, **__: torch.empty(10**15), MemoryError),
        (fail, RuntimeError),
    ):
        monkeypatch.setattr(failing.model, "forward", forward)
        with pytest.raises(expected):
            infer(failing, [np.arange(1000, 1020)])
    monkeypatch.undo()
    assert infer(failing, [np.arange(1000, 1020)]).shape == (1, 3)


def test_layer_norms_may_bear_their_tensorflow_names(folder, finbert_folder):
    weights = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors")
    encodings = [np.arange(1000, 1020)]
    renamed, original = opened(folder, "packed"), opened(finbert_folder, "packed")
    difference = infer(renamed, encodings) - infer(original, encodings)
    assert np.abs(difference).max() <= TOLERANCE


def test_signals_are_handled_after_an_engine_is_gone_whichever_thread_dropped_it():
    program = """
import faulthandler, signal, threading
from sentiment.engines import open_engine
from sentiment.models import resolve_model
faulthandler.enable()  # gives signals a stack of their own
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
engines = [
    open_engine(
        resolve_model("compact"), engine="openvino", device="cpu", threads=1, precision="fp32"
    )
]
thread = threading.Thread(target=engines.clear)
thread.start()
thread.join()
signal.raise_signal(signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
