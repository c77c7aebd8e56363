"""A sentence encoder of 20,000 random weights, in the files that sentence-transformers writes."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import curate.models  # noqa: F401 - lets transformers import torchvision

WORDS = ("a", "an", "the", "dog", "cat", "mat", "red", "on", "sits", "of", "image", "photo", "stock", *"sdogct")


def write_encoder(folder: Path, most_tokens: int | None = None, **settings: Any) -> Path:
    """Save model and tokenizer. `most_tokens` goes into sentence-transformers' settings."""
    model, tokenizer = parts(**settings)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if most_tokens is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": most_tokens}))
    return folder


@cache
def parts(**settings: Any) -> tuple[Any, Any]:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: n for n, word in enumerate([*special, *WORDS, *(f"##{w}" for w in WORDS)])}
    plain = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    plain.normalizer = normalizers.BertNormalizer()
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    plain.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, **names)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **shape | settings)
    return BertModel(config).eval(), tokenizer
