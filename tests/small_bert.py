"""A BERT of two small layers, and sentences that it can learn in seconds."""

from itertools import product

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from sentiment.predictions import LABELS
from sentiment.training.datasets import RESERVED_TEXTS

SUBJECTS = ["sales", "profit", "exports", "orders", "dividends"]
COMPANIES = ["nokia", "outotec", "elcoteq", "finnair"]
VERBS = {"positive": "rose", "negative": "fell", "neutral": "stayed"}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["of", "the", "a", ".", *SUBJECTS, *COMPANIES, *VERBS.values()]
POSITIONS = 64


def write_base(path):
    """Write an encoder without a classifier, and a tokenizer that cuts and pads."""
    from transformers import BertConfig, BertModel, set_seed

    set_seed(3)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        initializer_range=0.1,  # BERT's 0.02 would need more epochs at this width
    )
    BertModel(config).save_pretrained(path)
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(length=48)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def write_data(folder):
    """Write sixty sentences with a verb that says it all: half annotated, half by a teacher."""
    rows = [
        (f"{subject} of {company} {verb}", label)
        for (subject, company), (label, verb) in product(
            product(SUBJECTS, COMPANIES), VERBS.items()
        )
    ]
    annotated, taught = folder / "bank.txt", folder / "teacher.csv"
    annotated.write_text("".join(f"{text} .@{label}\n" for text, label in rows[::2]))
    lines = [
        ",".join([text, *("0.8" if label == name else "0.1" for name in LABELS)])
        for text, label in rows[1::2]
    ]
    reserved = f'"{RESERVED_TEXTS[0]}",0.8,0.1,0.1'
    repeated = f"{rows[0][0].upper()},0.1,0.8,0.1"
    header = ",".join(["text", *LABELS])
    taught.write_text("\n".join([header, *lines, reserved, repeated]) + "\n")
    return [annotated, taught]


def write_golden(folder):
    """Write a sentence that nobody doubts for each label; the bundled ones use other words."""
    path = folder / "golden.csv"
    rows = [f"the orders {verb},{label}\n" for label, verb in VERBS.items()]
    path.write_text("text,label\n" + "".join(rows))
    return path
