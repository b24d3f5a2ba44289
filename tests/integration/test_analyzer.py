"""The façade in process, with the bundled model."""

import asyncio
import json
import shutil

import numpy as np
import pytest
import pytest_asyncio

from sentiment import Analyzer, Settings
from sentiment.errors import DeadlineExceeded, ModelError, TooManyTokens, Unavailable
from sentiment.tokenization import Truncation
from tests.doubles import GatedEngine
from tests.texts import MIXED_LENGTHS, TEXTS, text_of

# Without the cache, or what is to be computed twice would be computed once.
COMPACT = Settings(model="compact", threads=2, precision="fp32", cache_texts=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def analyzer():
    async with Analyzer.open(COMPACT) as analyzer:
        yield analyzer


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_texts_in_predictions_out(analyzer):
    predictions = await analyzer.classify(list(TEXTS))
    assert len(predictions) == len(TEXTS)
    first = predictions[0]
    assert first.label == "positive"
    assert first.score == max(first.probabilities.values())
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert not first.truncated


async def test_a_score_does_not_depend_on_who_shares_the_batch(analyzer):
    together = (await analyzer.classify(MIXED_LENGTHS)).probabilities
    alone = [(await analyzer.classify([text])).probabilities for text in MIXED_LENGTHS]
    assert np.abs(together - np.concatenate(alone)).max() <= 1e-5


async def test_many_callers_share_passes_and_each_gets_its_own(analyzer):
    expected = (await analyzer.classify(TEXTS)).probabilities

    async def call(index):
        predictions = await analyzer.classify([TEXTS[index], TEXTS[-index]])
        wanted = expected[[index, -index]]
        assert np.abs(predictions.probabilities - wanted).max() <= 1e-5

    await asyncio.gather(*(call(index % len(TEXTS)) for index in range(200)))


async def test_truncation_is_reported_text_by_text(analyzer):
    predictions = await analyzer.classify(["short", text_of(600)])
    assert [each.truncated for each in predictions] == [False, True]
    assert predictions.truncated_count == 1


@pytest.mark.parametrize("cache_texts", [0, 100])
async def test_a_text_that_may_not_be_truncated_is_named_with_its_tokens(cache_texts):
    engine = GatedEngine()
    settings = COMPACT.model_copy(update={"cache_texts": cache_texts})
    async with Analyzer.open(settings, open_engine=lambda *_: engine) as analyzer:
        # What the cache knows of them says neither how long they are nor where they stand.
        await analyzer.classify(["short", "word " * 600])
        before = len(engine.batches)
        texts = ["short", "word " * 510, "word " * 600, "new", "word " * 511]
        with pytest.raises(TooManyTokens) as caught:
            await analyzer.classify(texts, truncation=Truncation.REFUSE)
        assert caught.value.tokens == {2: 602, 4: 513}
        assert caught.value.max_tokens == 512
        assert len(engine.batches) == before  # nothing of them ran
        whole = await analyzer.classify(texts[:2], truncation=Truncation.REFUSE)
        assert whole.truncated_count == 0


@pytest.mark.parametrize("cache_texts", [0, 100])
async def test_both_ends_of_a_long_text_have_answers_of_their_own(cache_texts):
    text = f"{TEXTS[3]} " * 60 + f"{TEXTS[0]} " * 60
    settings = COMPACT.model_copy(update={"cache_texts": cache_texts})
    async with Analyzer.open(settings) as analyzer:

        async def ask(truncation):
            (prediction,) = await analyzer.classify([text], truncation=truncation)
            assert prediction.truncated
            return prediction.label

        calls = [Truncation.RIGHT, Truncation.LEFT] * 3
        assert [await ask(each) for each in calls] == ["negative", "positive"] * 3
        # And while they are in flight together.
        assert await asyncio.gather(*map(ask, calls)) == ["negative", "positive"] * 3


async def test_no_texts_need_no_pass(analyzer):
    predictions = await analyzer.classify([])
    assert list(predictions) == []


async def test_the_time_is_accounted_for(analyzer):
    timing = (await analyzer.classify(["Timing is a text of its own."])).timing
    assert timing.tokenize_s > 0
    assert timing.queue_s >= 0
    assert timing.infer_s > 0


async def test_a_closed_analyzer_refuses():
    async with Analyzer.open(COMPACT) as closed:
        assert closed.running
    assert not closed.running
    for texts in ([], ["a"]):
        with pytest.raises(Unavailable):
            await closed.classify(texts)


async def test_closing_waits_for_callers_whose_texts_are_still_being_tokenised():
    # On a busy machine the fourth call would have too much before it.
    opened = Analyzer.open(COMPACT.model_copy(update={"max_backlog_s": 1000.0}))
    analyzer = await opened.__aenter__()
    calls = [
        asyncio.create_task(
            analyzer.classify(
                [text_of(300)] * 20,
            )
        )
        for _ in range(4)
    ]
    await asyncio.sleep(0)  # each has handed its texts to the tokenizer's threads
    await opened.__aexit__(None, None, None)
    assert [len(await call) for call in calls] == [20] * 4


async def test_one_text_in_place_of_a_list_is_refused(analyzer):
    with pytest.raises(TypeError, match="a sequence of texts"):
        await analyzer.classify("up")


async def test_a_passed_deadline_takes_the_texts_out_of_the_queue():
    engine = GatedEngine()
    settings = Settings(model="compact", deadline_s=0.1)
    async with Analyzer.open(settings, open_engine=lambda *_: engine) as analyzer:
        warm_up = len(engine.batches)
        async with engine.held():
            first = asyncio.create_task(analyzer.classify(["runs, though nobody waits for it"]))
            await engine.entered()
            with pytest.raises(DeadlineExceeded, match=r"not answered within 0\.1 s"):
                await analyzer.classify(["never runs"])
            with pytest.raises(DeadlineExceeded):
                await first
        await analyzer.classify(["runs"])
    assert len(engine.batches) - warm_up == 2


async def test_a_model_that_reads_less_than_it_claims_does_not_start(finbert_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(finbert_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 600}))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 600}))
    broken = GatedEngine()
    broken.tamper = lambda logits: logits * np.nan
    with pytest.raises(ModelError, match="fails on a text of"):
        async with Analyzer.open(Settings(model=str(folder)), open_engine=lambda *_: broken):
            pass
    with pytest.raises(ModelError, match="position_embeddings"):
        async with Analyzer.open(Settings(model=str(folder))):
            pass


async def test_a_tokenizer_larger_than_its_model_does_not_start(finbert_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(finbert_folder, folder)
    with (folder / "vocab.txt").open("a") as file:
        file.write("onetoomany\n")
    with pytest.raises(ModelError, match="30523 tokens, the model only 30522"):
        async with Analyzer.open(Settings(model=str(folder))):
            pass


async def test_a_model_that_cannot_be_loaded_is_an_error_at_the_door(tmp_path):
    with pytest.raises(ModelError):
        async with Analyzer.open(Settings(model=str(tmp_path))):
            pass


async def test_a_text_that_comes_again_is_answered_from_the_cache():
    engine = GatedEngine()
    settings = Settings(model="compact", cache_texts=2)
    async with Analyzer.open(settings, open_engine=lambda *_: engine) as analyzer:
        first = await analyzer.classify(["up", text_of(600)])
        assert first.truncated.tolist() == [False, True]
        passes = len(engine.batches)
        again = await analyzer.classify([text_of(600), "up", "up"])
        assert len(engine.batches) == passes
        assert again.probabilities.tolist() == first.probabilities[[1, 0, 0]].tolist()
        assert again.truncated.tolist() == [True, False, False]
        mixed = await analyzer.classify(["up", "down"])
        assert len(engine.batches) == passes + 1
        assert mixed.probabilities[0].tolist() == first.probabilities[0].tolist()
        assert analyzer._metrics.registry.get_sample_value("sentiment_cache_hits_total") == 4


async def test_what_was_cut_teaches_nothing_of_how_many_tokens_texts_have(analyzer):
    def guess():
        return analyzer._estimate.lengths(np.array([90.0]))[0]

    before = guess()
    await analyzer.classify([text_of(3000)])
    assert guess() == before
    await analyzer.classify(["央行下调存款准备金率" * 20])  # a token for each character
    assert guess() > before


async def test_without_a_cache_every_text_is_computed():
    engine = GatedEngine()
    settings = Settings(model="compact", cache_texts=0)
    async with Analyzer.open(settings, open_engine=lambda *_: engine) as analyzer:
        passes = len(engine.batches)
        for _ in range(3):
            await analyzer.classify(["up"])
        assert len(engine.batches) == passes + 3


async def test_a_caller_may_shorten_the_deadline_and_never_lengthen_it():
    engine = GatedEngine()
    settings = Settings(model="compact", deadline_s=0.2)
    opened = Analyzer.open(settings, open_engine=lambda *_: engine)
    async with opened as analyzer, engine.held():
        with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
            await analyzer.classify(["a"], timeout_s=0.05)
        with pytest.raises(DeadlineExceeded, match=r"within 0 s"):
            await analyzer.classify(["a"], timeout_s=0)
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            await analyzer.classify(["b"], timeout_s=1000)


async def test_a_model_that_cannot_answer_at_all_does_not_start():
    def die(logits):
        raise SystemExit(1)

    broken = GatedEngine()
    broken.tamper = die
    with pytest.raises(ModelError, match="fails on a text of"):
        async with Analyzer.open(COMPACT, open_engine=lambda *_: broken):
            pass


async def test_how_many_texts_fit_counts_those_that_are_known_already():
    async with Analyzer.open(Settings(model="compact")) as analyzer:
        known = [f"known {index}" for index in range(90)]
        await analyzer.classify(known)
        fresh = [f"{text} {index}" for index, text in enumerate(TEXTS * 10)]
        with pytest.raises(DeadlineExceeded) as refusal:
            await analyzer.classify([*known, *fresh], timeout_s=0.05)
        assert 90 <= refusal.value.texts_that_fit < 330
