"""Model folders that the tests make, in exactly the forms that are published."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from sentiment.models import COMPACT_FOLDER

SMALL_BERT = {
    "vocab_size": 30522,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
}
# Wide enough that random weights tell texts apart; 0.02 gives every text the same scores.
SPREAD = 0.25


@pytest.fixture(scope="session")
def finbert_folder(tmp_path_factory) -> Path:
    """A folder in ProsusAI/finbert's published form, small and with random weights.

    That is: a configuration of 2020, pickled weights with the `position_ids` buffer that
    models then carried, a vocabulary file, and neither tokenizer.json nor safetensors.
    """
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("published") / "finbert"
    folder.mkdir()
    labels = {"0": "positive", "1": "negative", "2": "neutral"}
    config = {
        "_name_or_path": "/home/ubuntu/finbert/models/language_model/finbertTRC2",
        "architectures": ["BertForSequenceClassification"],
        "attention_probs_dropout_prob": 0.1,
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "id2label": labels,
        "initializer_range": 0.02,
        "label2id": {label: int(index) for index, label in labels.items()},
        "layer_norm_eps": 1e-12,
        "model_type": "bert",
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        **SMALL_BERT,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(**SMALL_BERT, num_labels=3, initializer_range=SPREAD)
    )
    weights = model.state_dict()
    weights["bert.embeddings.position_ids"] = torch.arange(512).unsqueeze(0)
    torch.save(weights, folder / "pytorch_model.bin")
    write_vocabulary(folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "do_lower_case": True,
                "unk_token": "[UNK]",
                "sep_token": "[SEP]",
                "pad_token": "[PAD]",
                "cls_token": "[CLS]",
                "mask_token": "[MASK]",
                "tokenize_chinese_chars": True,
                "strip_accents": None,
                "model_max_length": 512,
                "name_or_path": "/home/ubuntu/finbert/models/language_model/finbertTRC2",
            }
        )
    )
    (folder / "special_tokens_map.json").write_text(
        json.dumps(
            {
                "unk_token": "[UNK]",
                "sep_token": "[SEP]",
                "pad_token": "[PAD]",
                "cls_token": "[CLS]",
                "mask_token": "[MASK]",
            }
        )
    )
    return folder


def write_vocabulary(folder: Path) -> None:
    """Write BERT's own vocabulary, which the bundled model shares, as vocab.txt."""
    vocabulary = Tokenizer.from_file(str(COMPACT_FOLDER / "tokenizer.json")).get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
