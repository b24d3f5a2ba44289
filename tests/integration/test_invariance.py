"""The real model: a text's scores are transformers' scores, whoever shares the batch."""

import asyncio
import random

import numpy as np
import pytest
import pytest_asyncio
import torch
import transformers

from sentiment import Analyzer, Settings
from sentiment.models import COMPACT_FOLDER
from sentiment.predictions import softmax
from tests.texts import TEXTS

TOLERANCE = 1e-5
"""Of a probability, in fp32."""


def sentences(count, *, seed):
    """Return `count` different texts, from one word to more than the model reads."""
    source = random.Random(seed)
    words = " ".join(TEXTS).split()
    lengths = [400, 250, *(source.choice((1, 5, 10, 15, 20, 30, 40)) for _ in range(count - 2))]
    source.shuffle(lengths)
    return [
        f"{index} {' '.join(source.choices(words, k=length))}"
        for index, length in enumerate(lengths)
    ]


ENGINES = ("openvino", *(pytest.param(e, marks=pytest.mark.nightly) for e in ("packed", "padded")))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def analyzer(request):
    settings = Settings(
        model="compact", threads=2, precision="fp32", cache_texts=0, engine=request.param
    )
    async with Analyzer.open(settings) as analyzer:
        yield analyzer


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def probabilities(analyzer, texts):
    return (await analyzer.classify(texts, timeout_s=3600)).probabilities


async def assert_batches_do_not_matter(analyzer, texts, *, rounds):
    alone = np.concatenate([await probabilities(analyzer, [text]) for text in texts])
    source = random.Random(0)
    for _ in range(rounds):
        order = source.sample(range(len(texts)), len(texts))
        requests = []
        while order:
            size = source.choice((1, 2, 8, 32, len(texts)))
            requests.append(order[:size])
            order = order[size:]
        answers = await asyncio.gather(
            *(probabilities(analyzer, [texts[index] for index in each]) for each in requests)
        )
        for each, answer in zip(requests, answers, strict=True):
            assert np.abs(answer - alone[each]).max() <= TOLERANCE
            assert (answer.argmax(axis=1) == alone[each].argmax(axis=1)).all()


async def test_scores_do_not_depend_on_the_batch(analyzer):
    await assert_batches_do_not_matter(analyzer, sentences(50, seed=1), rounds=5)


@pytest.mark.nightly
async def test_scores_of_five_hundred_texts_do_not_depend_on_twenty_batches(analyzer):
    await assert_batches_do_not_matter(analyzer, sentences(500, seed=2), rounds=20)


@pytest.mark.nightly
async def test_the_same_request_gets_the_same_answer_a_thousand_times_under_load(analyzer):
    wanted, others = sentences(5, seed=3), sentences(2000, seed=4)
    answers = []

    async def load():
        for start in range(0, len(others), 20):
            await probabilities(analyzer, others[start : start + 20])

    async def ask():
        for _ in range(100):
            answers.append(await probabilities(analyzer, wanted))

    await asyncio.gather(load(), *(ask() for _ in range(10)))
    assert len(answers) == 1000
    assert np.ptp(answers, axis=0).max() <= TOLERANCE
    assert len({tuple(answer.argmax(axis=1)) for answer in answers}) == 1


async def test_two_hundred_sentences_get_transformers_scores(analyzer):
    texts = sentences(200, seed=5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(COMPACT_FOLDER)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        COMPACT_FOLDER, dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        expected = np.concatenate(
            [
                model(
                    **tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
                ).logits.numpy()
                for text in texts
            ]
        )
    expected = softmax(expected, analyzer.model.temperature)
    assert np.abs(await probabilities(analyzer, texts) - expected).max() <= TOLERANCE
    labels = [model.config.id2label[index].lower() for index in expected.argmax(axis=1)]
    predictions = await analyzer.classify(texts)
    assert [prediction.label for prediction in predictions] == labels
