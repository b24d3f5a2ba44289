import asyncio
import json
import threading

import numpy as np
import pytest

from sentiment.errors import ModelError
from sentiment.tokenization import (
    CHUNK_TEXTS,
    TokenEstimate,
    Tokenization,
    Truncation,
    load_tokenizer,
)
from tests.doubles import until

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "economy", "grew", "##s", ".", "$"]
CLS, SEP, UNK = VOCAB.index("[CLS]"), VOCAB.index("[SEP]"), VOCAB.index("[UNK]")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    return tmp_path


def tokenization(folder, max_tokens=512, threads=2):
    return Tokenization(load_tokenizer(folder), max_tokens=max_tokens, threads=threads)


def ids(folder, text, **options):
    with tokenization(folder, **options) as opened:
        return opened.encode_now([text]).ids[0].tolist()


def test_a_text_becomes_its_word_pieces_between_two_special_tokens(folder):
    expected = [VOCAB.index(token) for token in ("the", "economy", "##s", "grew", ".")]
    assert ids(folder, "The ECONOMYs grew.") == [CLS, *expected, SEP]


def test_a_vocabulary_file_is_read_by_its_tokenizer_config(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert ids(folder, "The") == [CLS, UNK, SEP]
    assert ids(folder, "the") == [CLS, VOCAB.index("the"), SEP]


def test_special_tokens_may_be_written_as_objects(folder):
    config = {"unk_token": {"content": "[UNK]", "lstrip": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert ids(folder, "unheard-of") == [CLS, UNK, UNK, UNK, SEP]


def test_truncation_and_padding_of_a_tokenizer_file_do_not_count(folder):
    tokenizer = load_tokenizer(folder)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert len(ids(folder, "the economy grew the economy grew")) == 8


def test_a_long_text_is_cut_and_said_to_be(folder):
    with tokenization(folder, max_tokens=6) as opened:
        encodings = opened.encode_now(["the " * 4, "the " * 5])
    assert [len(each) for each in encodings.ids] == [6, 6]
    assert encodings.truncated.tolist() == [False, True]


def test_a_cut_text_keeps_its_last_special_token(folder):
    assert ids(folder, "the economy grew . " * 9, max_tokens=4)[-1] == SEP


def words(encoding):
    """Return the tokens of an encoding without [CLS] and [SEP], which it must have."""
    first, *inner, last = encoding.tolist()
    assert (first, last) == (CLS, SEP)
    return " ".join(VOCAB[token] for token in inner)


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [
        (Truncation.RIGHT, "the economy"),
        (Truncation.LEFT, "grew ."),
        (Truncation.REFUSE, "the economy"),  # whoever asked for that looks at `left_out`
    ],
)
async def test_a_long_text_loses_the_end_or_the_beginning(folder, truncation, kept):
    with tokenization(folder, max_tokens=4) as opened:
        encodings = await opened.encode(["the economy grew .", "grew"], truncation)
    assert [words(each) for each in encodings.ids] == [kept, "grew"]
    assert encodings.truncated.tolist() == [True, False]


@pytest.mark.parametrize("truncation", Truncation)
async def test_it_is_known_how_many_tokens_were_left_out(folder, truncation):
    texts = ["the " * count for count in range(1, 40)]
    with tokenization(folder, max_tokens=6) as opened:
        encodings = await opened.encode(texts, truncation)
    assert encodings.left_out.tolist() == [max(0, count - 4) for count in range(1, 40)]


def second_tokenizers(opened):
    """Return how many threads have one; there is one thread."""
    return opened._pool.submit(lambda: int(opened._local.left is not None)).result()


async def test_a_second_tokenizer_is_made_when_it_is_first_wanted(folder):
    with tokenization(folder, threads=1) as opened:
        await opened.encode([LONG, "the"], Truncation.REFUSE)
        assert second_tokenizers(opened) == 0
        await opened.encode(["the"], Truncation.LEFT)
        assert second_tokenizers(opened) == 1


async def test_callers_who_truncate_in_other_ways_do_not_disturb_each_other(folder):
    with tokenization(folder, max_tokens=4, threads=4) as opened:

        async def call(truncation, kept):
            encodings = await opened.encode(["the economy grew ."] * 50, truncation)
            assert {words(each) for each in encodings.ids} == {kept}

        await asyncio.gather(
            *(call(Truncation.LEFT, "grew .") for _ in range(30)),
            *(call(Truncation.RIGHT, "the economy") for _ in range(30)),
        )


async def test_many_texts_come_back_in_order_whatever_the_threads(folder):
    texts = ["the " * (index % 50 + 1) for index in range(3 * CHUNK_TEXTS + 7)]
    with tokenization(folder, threads=3) as opened:
        encodings = await opened.encode(texts)
    assert [len(each) for each in encodings.ids] == [index % 50 + 3 for index in range(len(texts))]
    assert len(encodings.truncated) == len(texts)


async def test_the_loop_turns_while_texts_are_tokenised(folder):
    with tokenization(folder, threads=1) as opened:
        encoding = asyncio.create_task(opened.encode(["the economy grew. " * 200] * 200))
        turns = 0
        while not encoding.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 10


class Begun:
    """Records the chunks that threads begin, and holds them until `go` is set."""

    def __init__(self, monkeypatch):
        self.first_texts = []
        self.go = threading.Event()
        encode = Tokenization._encode_chunk

        def held(tokenization, texts, *arguments):
            self.first_texts.append(texts[0])
            assert self.go.wait(timeout=30)
            return encode(tokenization, texts, *arguments)

        monkeypatch.setattr(Tokenization, "_encode_chunk", held)


LONG = "grew " * 200
"""Longer than what is tokenised on the event loop."""


async def test_a_headline_waits_for_no_thread(folder, monkeypatch):
    begun = Begun(monkeypatch)
    with tokenization(folder, threads=1) as opened:
        large = asyncio.create_task(opened.encode(["the"] * 10 * CHUNK_TEXTS))
        await until(lambda: begun.first_texts == ["the"])
        assert len((await opened.encode(["grew"])).ids) == 1
        assert begun.first_texts == ["the"]
        begun.go.set()
        await large


async def test_a_single_text_does_not_wait_for_the_end_of_a_large_request(folder, monkeypatch):
    begun = Begun(monkeypatch)
    with tokenization(folder, threads=1) as opened:
        large = asyncio.create_task(opened.encode(["the"] * 10 * CHUNK_TEXTS))
        await until(lambda: begun.first_texts == ["the"])
        single = asyncio.create_task(opened.encode([LONG]))
        await asyncio.sleep(0)
        begun.go.set()
        await asyncio.gather(large, single)
    assert begun.first_texts.index(LONG) == 1


async def test_of_a_request_that_was_cancelled_no_more_chunks_begin(folder, monkeypatch):
    begun = Begun(monkeypatch)
    with tokenization(folder, threads=2) as opened:
        first = asyncio.create_task(opened.encode(["the"] * 2 * CHUNK_TEXTS))
        await until(lambda: len(begun.first_texts) == 2)
        abandoned = asyncio.create_task(opened.encode(["economy"] * 10 * CHUNK_TEXTS))
        await asyncio.sleep(0)
        abandoned.cancel()
        await until(abandoned.done)
        await asyncio.sleep(0)  # the pool is told one turn later
        begun.go.set()
        assert len((await first).ids) == 2 * CHUNK_TEXTS
        assert len((await opened.encode([LONG])).ids) == 1
    assert begun.first_texts == ["the", "the", LONG]


async def test_no_texts_make_no_encodings(folder):
    with tokenization(folder) as opened:
        encodings = await opened.encode([])
    assert encodings.ids == []
    assert encodings.truncated.tolist() == []


async def test_concurrent_callers_do_not_disturb_each_other(folder):
    with tokenization(folder, max_tokens=20, threads=4) as opened:

        async def call(words):
            encodings = await opened.encode(["the " * words] * 50)
            assert {len(each) for each in encodings.ids} == {min(words + 2, 20)}

        await asyncio.gather(*(call(words) for words in range(1, 60)))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither tokenizer.json nor vocab.txt"),
        ({"tokenizer.json": "{"}, "tokenizer.json: not a tokenizer file"),
        ({"vocab.txt": "the\n"}, r"no \[UNK\]"),
        (
            {
                "vocab.txt": "\n".join(VOCAB),
                "tokenizer_config.json": '{"tokenizer_class": "BertJapaneseTokenizer"}',
            },
            "a BertJapaneseTokenizer needs a tokenizer.json",
        ),
        ({"vocab.txt": "\n".join(VOCAB), "tokenizer_config.json": "{"}, "not JSON"),
        ({"vocab.txt": "\n".join(VOCAB), "tokenizer_config.json": "[]"}, "JSON object"),
    ],
)
def test_a_folder_without_a_usable_tokenizer_is_refused(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=message):
        load_tokenizer(tmp_path)


def estimate(*, special_tokens=2):
    return TokenEstimate(max_tokens=512, special_tokens=special_tokens)


def guess(estimate, chars):
    return estimate.lengths(np.array([float(chars)]))[0]


def test_tokens_are_guessed_from_characters_and_learned():
    learning = estimate()
    assert guess(learning, 90) == pytest.approx(22)
    for _ in range(100):
        learning.observe(chars=np.full(50, 100.0), tokens=np.full(50, 102.0))  # as in Chinese
    assert guess(learning, 90) == pytest.approx(92, rel=0.01)


def test_no_text_is_guessed_longer_than_the_model_reads():
    assert guess(estimate(), 20_000) == 512


@pytest.mark.parametrize("tokens", [22.0, 30_000.0])
def test_one_strange_request_does_not_decide_what_is_guessed_of_the_next(tokens):
    learning = estimate()
    before = guess(learning, 90)
    learning.observe(chars=np.array([20_000.0]), tokens=np.array([tokens]))
    assert guess(learning, 90) == pytest.approx(before, rel=0.65)


def test_no_guess_is_less_than_the_special_tokens_and_a_little():
    learning = estimate(special_tokens=0)
    for _ in range(1000):
        learning.observe(chars=np.array([100.0]), tokens=np.array([0.0]))
    assert guess(learning, 100) > 1


def test_a_request_without_whole_texts_teaches_nothing():
    learning = estimate()
    before = guess(learning, 90)
    learning.observe(chars=np.zeros(0), tokens=np.zeros(0))
    assert guess(learning, 90) == before
