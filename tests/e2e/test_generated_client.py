"""A client that a program writes from `/openapi.json` works, for every face with a JSON body."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

PACKAGE = "generated_sentiment_client"

OPERATIONS = {
    "classify_texts": "classification",
    "analyze_sentiment": "classification",
    "documents": "documents",
    "predict": "hugging_face_and_tei",
    "infer": "open_inference_protocol",
    "info": "operations",
}
"""Operation -> module of its tag."""


@pytest.fixture(scope="module")
def generated(server, tmp_path_factory):
    """What openapi-python-client has written: models, and a call for each operation."""
    folder = tmp_path_factory.mktemp("client")
    config = folder / "config.yaml"
    config.write_text(f"package_name_override: {PACKAGE}\nproject_name_override: client\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
            *("--url", f"{server.url}/openapi.json", "--config", str(config)),
            *("--output-path", str(folder / PACKAGE)),
        ],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A stream of lines is more than it can write a call for; of the others none is left out.
    assert done.stderr.count("Endpoint will not be generated") == 2, done.stderr
    sys.path.insert(0, str(folder))
    try:
        client = importlib.import_module(f"{PACKAGE}.client").Client(base_url=server.url)
        modules = {
            name: importlib.import_module(f"{PACKAGE}.api.{tag}.{name}")
            for name, tag in OPERATIONS.items()
        }
        with client:
            yield SimpleNamespace(
                models=importlib.import_module(f"{PACKAGE}.models"),
                call=lambda name, *args, **kwargs: modules[name].sync_detailed(
                    *args, client=client, **kwargs
                ),
            )
    finally:
        sys.path.remove(str(folder))


def test_texts_get_labels_and_with_top_k_all_of_them(generated):
    texts = [generated.models.TextItem(text="The economy showed significant growth.")]
    (best,) = generated.call("classify_texts", body=texts).parsed
    assert (best.label, best.score > 0.5) == ("positive", True)
    (ranked,) = generated.call("classify_texts", body=texts, top_k=3).parsed
    assert {each.label for each in ranked} == {"positive", "negative", "neutral"}


def test_one_text_gets_the_flat_answer(generated):
    text = generated.models.TextItem(text="The company announced record profits.")
    answer = generated.call("analyze_sentiment", body=text).parsed
    assert answer.sentiment == "positive"


def test_a_document_comes_back_sentence_by_sentence(generated):
    document = generated.models.Document(id="a", text="Profit rose. Sales fell sharply.")
    (answer,) = generated.call("documents", body=[document]).parsed
    assert answer.id == "a"
    assert [(each.start, each.end) for each in answer.sentences] == [(0, 12), (13, 32)]


def test_hugging_faces_request_is_answered(generated):
    asked = generated.models.PredictRequest(inputs=["Profit rose.", "Sales fell sharply."])
    first, second = generated.call("predict", body=asked).parsed
    assert (first[0].label, second[0].label) == ("positive", "negative")


def test_tensors_are_answered(generated):
    asked = generated.models.InferenceRequest.from_dict(
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Profit rose."]}]}
    )
    answer = generated.call("infer", "sentiment", body=asked).parsed
    label = next(output for output in answer.outputs if output.name == "label")
    assert label.data == ["positive"]


def test_a_refusal_is_a_problem_with_its_items(generated):
    texts = [generated.models.TextItem(text=text) for text in ("Profit rose.", " ")]
    refusal = generated.call("classify_texts", body=texts)
    assert refusal.status_code == 422
    (item,) = refusal.parsed.errors
    assert (refusal.parsed.code, item.pointer) == ("text-empty", "/1/text")
