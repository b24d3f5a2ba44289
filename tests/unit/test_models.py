import hashlib
import json

import pytest

from sentiment.errors import ModelError
from sentiment.manifest import write_manifest
from sentiment.models import read_model, resolve_base, resolve_model
from sentiment.origin import Origin, write_origin

CONFIG = {
    "model_type": "bert",
    "id2label": {"0": "Positive", "1": "negative", "2": "neutral"},
    "max_position_embeddings": 512,
}


@pytest.fixture
def make_model(tmp_path):
    def make(config=CONFIG, *, weights="model.safetensors", **files):
        folder = tmp_path / "my-model"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(
            config if isinstance(config, str) else json.dumps(config)
        )
        if weights:
            (folder / weights).write_bytes(b"weights")
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        return folder

    return make


def test_labels_come_from_id2label_in_its_order_and_lower_case(make_model):
    config = CONFIG | {"id2label": {"2": "Neutral", "0": "NEGATIVE", "1": "positive "}}
    assert read_model(make_model(config), name="m").labels == ("negative", "positive", "neutral")


def test_a_folder_is_named_by_itself_and_its_weights(make_model):
    model = resolve_model(str(make_model()))
    assert model.reference == "my-model@9a129038d9a0"  # sha256(b"weights")


WEIGHTS_SHA256 = hashlib.sha256(b"weights").hexdigest()


def test_a_folder_that_knows_its_origin_is_called_as_it_was_published(make_model):
    folder, commit = make_model(), "ab" * 20
    write_origin(folder, Origin("acme/model", commit, "0" * 64, WEIGHTS_SHA256))
    assert resolve_model(str(folder)).reference == f"acme/model@{commit}"
    base = resolve_base(str(folder))
    assert (base.name, base.revision) == ("acme/model", commit)


@pytest.mark.parametrize("resolve", [resolve_model, resolve_base])
def test_other_weights_are_not_served_under_a_published_name(resolve, make_model):
    folder = make_model()
    write_origin(folder, Origin("acme/model", "ab" * 20, WEIGHTS_SHA256, "0" * 64))
    with pytest.raises(ModelError, match=r"origin\.json: of other weights than those"):
        resolve(str(folder))


def test_an_origin_of_somebody_elses_is_passed_over(make_model):
    folder = make_model(origin={"model": "acme/model", "url": "https://example.com"})
    assert resolve_model(str(folder)).name == "my-model"


@pytest.mark.parametrize("resolve", [resolve_model, resolve_base])
@pytest.mark.parametrize(
    "damage",
    [{"sentiment_origin": 2}, {"model": ""}, {"revision": "main\r\nX: y"}, {"weights_sha256": 1}],
)
def test_a_damaged_origin_is_refused(resolve, make_model, damage):
    folder = make_model()
    write_origin(folder, Origin("acme/model", "ab" * 20, "0" * 64, WEIGHTS_SHA256))
    path = folder / "origin.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(ModelError, match=r"origin\.json: "):
        resolve(str(folder))


@pytest.mark.parametrize("resolve", [resolve_model, resolve_base])
def test_an_origin_that_is_cut_short_is_refused(resolve, make_model):
    folder = make_model()
    (folder / "origin.json").write_text("{")
    with pytest.raises(ModelError, match=r"origin\.json: not JSON"):
        resolve(str(folder))


def test_safetensors_are_preferred_to_pickles(make_model):
    folder = make_model(weights="pytorch_model.bin")
    assert read_model(folder, name="m").weights.name == "pytorch_model.bin"
    (folder / "model.safetensors").write_bytes(b"weights")
    assert read_model(folder, name="m").weights.name == "model.safetensors"


@pytest.mark.parametrize(
    ("config", "tokenizer_config", "max_tokens"),
    [
        ({}, {}, 512),
        ({}, {"model_max_length": 128}, 128),
        ({}, {"model_max_length": int(1e30)}, 512),
        ({"max_position_embeddings": 256}, {"model_max_length": 512}, 256),
        ({"max_position_embeddings": 514, "model_type": "mpnet", "pad_token_id": 1}, {}, 512),
        ({"max_position_embeddings": 514, "model_type": "data2vec-text"}, {}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, {}, 512),
    ],
)
def test_the_smaller_limit_of_model_and_tokenizer_counts(
    make_model, config, tokenizer_config, max_tokens
):
    folder = make_model(CONFIG | config, tokenizer_config=tokenizer_config)
    assert read_model(folder, name="m").max_tokens == max_tokens


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json: not JSON"),
        ("[]", "expected a JSON object"),
        ({"model_type": "bert"}, "no id2label"),
        (CONFIG | {"id2label": {"0": "score"}}, "no id2label with two labels"),
        (CONFIG | {"id2label": {"1": "a", "2": "b"}}, "count from 0 to 1"),
        (CONFIG | {"id2label": {"0": "a", "1": "A"}}, "names a label twice"),
        (CONFIG | {"problem_type": "regression"}, "problem_type regression is not served"),
        (CONFIG | {"problem_type": "multi_label_classification"}, "is not served"),
        (CONFIG | {"auto_map": {"AutoModel": "evil.py"}}, "auto_map names code"),
        (CONFIG | {"_attn_implementation_internal": "evil/repo"}, "names code"),
        (CONFIG | {"attn_implementation": "evil/repo"}, "names code"),
        (CONFIG | {"attn_implementation": {"": "evil/repo"}}, "names code"),
        (CONFIG | {"text_config": {"_attn_implementation": "evil/repo"}}, "names code"),
        (CONFIG | {"parts": [{"auto_map": {}}]}, "names code"),
        (CONFIG | {"use_kernels": True}, "names code"),
        (CONFIG | {"position_embedding_type": "relative_key"}, "relative_key positions"),
        (CONFIG | {"model_type": "xlnet"}, "xlnet is not served"),
        (CONFIG | {"max_position_embeddings": None}, "maximum length is not a number"),
        (CONFIG | {"max_position_embeddings": 2}, "leaves no room"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused(make_model, config, message):
    with pytest.raises(ModelError, match=message):
        read_model(make_model(config), name="m")


@pytest.mark.parametrize(
    "config", [{"auto_map": {"AutoTokenizer": ["evil.py", None]}}, {"parts": [{"auto_map": {}}]}]
)
def test_a_tokenizer_that_names_code_is_refused(make_model, config):
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: auto_map names code"):
        read_model(make_model(tokenizer_config=config), name="m")


def test_weights_of_which_one_bit_changed_have_another_name(make_model):
    folder = make_model()
    before = resolve_model(str(folder)).reference
    (folder / "model.safetensors").write_bytes(b"weightr")
    assert resolve_model(str(folder)).reference != before


def test_a_configuration_may_name_the_kernels_that_torch_brings(make_model):
    config = {"_attn_implementation_autoset": True, "_attn_implementation": "sdpa"}
    assert read_model(make_model(CONFIG | config), name="m").labels


@pytest.mark.parametrize("model", ["~nobody-of-this-name/x", "x" * 300, "a\0b"])
@pytest.mark.parametrize("resolve", [resolve_model, resolve_base])
def test_a_path_that_the_system_refuses_is_an_error_in_words(resolve, model):
    with pytest.raises(ModelError):
        resolve(model)


@pytest.mark.parametrize("resolve", [resolve_model, resolve_base])
def test_a_configuration_of_endless_depth_is_an_error_in_words(resolve, make_model):
    with pytest.raises(ModelError):
        resolve(str(make_model('{"a":' * 100_000)))


def test_a_base_need_not_be_a_classifier_but_says_how_much_it_reads(make_model):
    base = resolve_base(str(make_model({"model_type": "bert", "max_position_embeddings": 64})))
    assert (base.name, base.revision, base.max_tokens) == ("my-model", "9a129038d9a0", 64)


@pytest.mark.parametrize("resolve", [resolve_model, resolve_base])
def test_a_folder_that_is_not_what_its_manifest_says_is_refused(resolve, make_model):
    folder = make_model()
    write_manifest(folder)
    assert resolve(str(folder)).weights_sha256.startswith("9a129038d9a0")
    (folder / "model.safetensors").write_bytes(b"weightr")
    with pytest.raises(ModelError, match=r"model\.safetensors: not the file that manifest\.json"):
        resolve(str(folder))


def test_a_name_that_no_header_can_carry_is_escaped(make_model, tmp_path):
    folder = make_model().rename(tmp_path / "模型 1")
    assert resolve_model(str(folder)).reference == "%E6%A8%A1%E5%9E%8B%201@9a129038d9a0"


def test_missing_files_are_named(make_model, tmp_path):
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        read_model(make_model(weights=None), name="m")
    with pytest.raises(ModelError, match=r"config\.json: No such file"):
        read_model(tmp_path, name="m")


@pytest.mark.parametrize(
    "model",
    [
        *("./missing", "../missing", "../../missing", "a/..", "a/.b", "a/b/c", "a//b", "/missing"),
        *("http://169.254.169.254/latest", "file:///etc", "http://a/b", "a\\b", "a%2fb"),
        *("", "a b", "@x", "a\nb", "a/b\n", "a/b@main\n", "a/b@", "а/b"),
        *("a/b@..", "a/b@../x", "a/b@x/../../y", "a/b@/etc/x", "a/b@.x", "a/b@main@v2"),
    ],
    ids=ascii,
)
def test_what_is_neither_folder_nor_hub_name_is_refused(model):
    with pytest.raises(ModelError, match="neither a folder nor a Hub name"):
        resolve_model(model)


def test_the_bundled_model_is_a_plain_folder_in_finberts_label_order():
    model = resolve_model("compact")
    assert model.labels == ("positive", "negative", "neutral")
    assert model.name == "compact"
    assert model.max_tokens == 512
    assert 40e6 < model.weights.stat().st_size < 50e6
