"""The temperature: how it is fitted, read and applied."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sentiment.errors import DataError, ModelError
from sentiment.manifest import file_sha256
from sentiment.models import TEMPERATURES, read_model
from sentiment.predictions import softmax
from sentiment.training.temperature import fit_temperature, log_loss

STEP = 1 / 256
"""Between logits, so that a difference is none of rounding, and at no temperature becomes one."""

logits_of_texts = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 20), st.just(3)),
    elements=st.integers(-5000, 5000).map(lambda steps: steps * STEP),
)
temperatures = st.floats(*TEMPERATURES)


def drawn(texts, seed=0):
    """Return logits of a calibrated model, and labels that come true as often as they say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(texts, 3)).astype(np.float32)
    # The largest of logits with Gumbel noise is distributed as their softmax.
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, np.eye(3)[labels]


# Fitting


@pytest.mark.parametrize("temperature", [0.4, 1.0, 1.7, 5.0])
def test_a_known_temperature_is_found_again(temperature):
    logits, targets = drawn(20_000)
    assert fit_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.03)


@given(logits=logits_of_texts, seed=st.integers(0, 99))
def test_the_likelihood_is_never_worse_than_without(logits, seed):
    targets = np.random.default_rng(seed).dirichlet(np.ones(3), size=len(logits))
    temperature = fit_temperature(logits, targets)
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[1]
    without = log_loss(logits, targets)
    # The search ends within a millionth of the minimum.
    assert log_loss(logits, targets, temperature) <= without + 1e-5 * (1 + abs(without))


def test_a_model_that_is_right_on_a_few_texts_is_not_taken_for_one_that_is_never_wrong():
    logits = np.array([[3, 0, 0], [0, 3, 0], [0, 0, 3]] * 4, np.float32)
    few = fit_temperature(logits, np.tile(np.eye(3), (4, 1)))
    assert 0.3 < few < 1


def test_a_teachers_probabilities_count_as_they_are():
    logits, _ = drawn(500)
    assert fit_temperature(3 * logits, softmax(logits)) == pytest.approx(3, rel=0.02)


def test_logits_that_overflow_an_exponential_have_a_temperature():
    logits, targets = drawn(500)
    assert fit_temperature(logits * 1e6, targets) == pytest.approx(TEMPERATURES[1], rel=1e-3)


def test_without_texts_or_with_logits_that_are_no_numbers_there_is_none():
    with pytest.raises(DataError, match="no validation text"):
        fit_temperature(np.zeros((0, 3), np.float32), np.zeros((0, 3)))
    with pytest.raises(ModelError, match="not a finite number"):
        fit_temperature(np.array([[0, np.nan, 0]], np.float32), [[1, 0, 0]])


# Applying


@given(logits=logits_of_texts, temperature=temperatures)
def test_no_label_changes_by_a_temperature(logits, temperature):
    calibrated = softmax(logits, temperature)
    assert (calibrated.argmax(axis=1) == softmax(logits).argmax(axis=1)).all()
    assert calibrated.dtype == np.float32
    assert np.abs(calibrated.sum(axis=1) - 1).max() <= 1e-6


@given(logits=logits_of_texts)
def test_a_temperature_of_one_changes_no_bit(logits):
    assert softmax(logits, 1.0).tobytes() == softmax(logits).tobytes()


def test_probabilities_are_those_of_the_divided_logits():
    logits = np.array([[2.0, 1.0, -1.0]], np.float32)
    expected = np.exp([[1.0, 0.5, -0.5]])
    assert softmax(logits, 2.0) == pytest.approx(expected / expected.sum(), abs=1e-6)


# Reading


@pytest.fixture
def folder(tmp_path):
    config = {"id2label": {"0": "positive", "1": "negative", "2": "neutral"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def write(folder, **content):
    digest = file_sha256(folder / "model.safetensors")
    content = {"temperature": 1.5, "weights_sha256": digest} | content
    (folder / "temperature.json").write_text(json.dumps(content))


def test_a_folder_without_the_file_has_a_temperature_of_one(folder):
    assert read_model(folder, name="m").temperature == 1.0


@pytest.mark.parametrize("revision", [None, "main"])
def test_the_temperature_is_read_with_the_model(folder, revision):
    write(folder, fitted_on={"texts": 3})
    assert read_model(folder, name="m", revision=revision).temperature == 1.5


@pytest.mark.parametrize(
    "temperature", [None, "1.5", [], 0, -1, 0.04, 21, float("nan"), float("inf"), 10**400]
)
def test_a_temperature_that_is_none_is_refused(folder, temperature):
    write(folder, temperature=temperature)
    with pytest.raises(ModelError, match=r'temperature\.json: expected a "temperature" from 0\.05'):
        read_model(folder, name="m")


@pytest.mark.parametrize("content", ["", "[1.5]", "1.5"])
def test_a_file_that_is_no_object_is_refused(folder, content):
    (folder / "temperature.json").write_text(content)
    with pytest.raises(ModelError, match=r"temperature\.json: (not JSON|expected a JSON object)"):
        read_model(folder, name="m")


@pytest.mark.parametrize("digest", [None, "0" * 64])
@pytest.mark.parametrize("revision", [None, "main"])
def test_a_temperature_of_other_weights_is_refused(folder, digest, revision):
    write(folder, weights_sha256=digest)
    with pytest.raises(ModelError, match=r"temperature\.json: fitted for other weights"):
        read_model(folder, name="m", revision=revision)
