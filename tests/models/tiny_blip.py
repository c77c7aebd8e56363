"""Random BLIP and BLIP-2 models of the real architectures in the files that transformers writes, and pictures for them.

A tokenizer of some hundred pieces of words goes with them. Weights are drawn wide enough for texts and pictures to
make a difference: as transformers draws them, every answer is the same to three digits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import curate.models  # noqa: F401 - lets transformers import torchvision

NOUNS = "dog cat bird house tree man woman street water sky picture photo"
OTHERS = "a an the red blue green two three on in of with and small large sits runs arafed"
WORDS = (*NOUNS.split(), *OTHERS.split())
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = ("##s", "##ing", "##ed", *"abcdefghijklmnopqrstuvwxyz0123456789", *(f"##{c}" for c in "abcdefghijklmnopqrstu"))
SIDE = 32
"""Of a picture, in pixels; as the tiny models take it."""
BASE = {
    "vision": {"image_size": 384, "patch_size": 16, "num_hidden_layers": 3},
    "text": {"encoder_hidden_size": 768},
}
"""BLIP with ViT-B/16: what transformers has for default, at 384 px, but for 9 of 12 layers that see the picture."""


def vocabulary() -> list[str]:
    """Tokens in the order of their numbers; [PAD] is 0, [CLS] is 2 and [SEP] is 3."""
    return list(dict.fromkeys([*SPECIAL, *WORDS, ".", ",", "<", ">", "[", "]", "/", *PIECES]))


def tokenizer(*more: str, **names: str) -> Any:
    """A BERT tokenizer with that vocabulary; `more` are special tokens behind it, such as [DEC] and [ENC]."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordPiece({token: n for n, token in enumerate(vocabulary())}, unk_token="[UNK]"))
    plain.normalizer = normalizers.BertNormalizer()
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    plain.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    parts = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    made = PreTrainedTokenizerFast(tokenizer_object=plain, **parts | names)
    if more:
        made.add_special_tokens({"additional_special_tokens": list(more)})
    return made


def write_blip(folder: Path, kind: str = "itm", seed: int = 0, size: str = "tiny", own_tokens: bool = False) -> Path:
    """`kind`: `itm` (BlipForImageTextRetrieval) or `caption` (BlipForConditionalGeneration). As on the hub the
    vocabulary of the model has two tokens more than the tokenizer, [DEC] and [ENC], unless it has them of its `own`."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipForImageTextRetrieval

    words = tokenizer(*(("[DEC]", "[ENC]") if own_tokens else ()))
    count = len(vocabulary())
    text = {"vocab_size": count + 2, "pad_token_id": 0, "bos_token_id": count, "sep_token_id": 3, "eos_token_id": 3}
    text |= BASE["text"] if size == "base" else _tiny_text() | {"encoder_hidden_size": 32}
    vision = BASE["vision"] if size == "base" else _tiny_vision()
    config = BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=16)
    kinds = {"itm": BlipForImageTextRetrieval, "caption": BlipForConditionalGeneration}
    _save(folder, kinds[kind], config, seed)
    words.save_pretrained(folder)
    write_preprocessor(folder, "BlipImageProcessor", vision.get("image_size", SIDE))
    return folder


def write_blip2(folder: Path, kind: str = "itm", seed: int = 0, image_token: bool = True) -> Path:
    """`kind`: `itm` (Blip2ForImageTextRetrieval) or `caption` (Blip2ForConditionalGeneration with an OPT).
    `image_token`: whether the config knows the token that stands for the picture, as newer ones do."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval

    words = tokenizer(*(["<image>"] if image_token else []), bos_token="[CLS]", eos_token="[SEP]")
    former = _tiny_text() | {"encoder_hidden_size": 32, "vocab_size": len(words), "cross_attention_frequency": 2}
    opt = {
        "model_type": "opt",
        "vocab_size": len(words),
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 96,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    config = Blip2Config(
        vision_config=_tiny_vision(),
        qformer_config=former | {"use_qformer_text_input": kind == "itm"},
        text_config=opt,
        num_query_tokens=4,
        image_text_hidden_size=16,
        image_token_index=len(words) - 1 if image_token else None,
    )
    kinds = {"itm": Blip2ForImageTextRetrieval, "caption": Blip2ForConditionalGeneration}
    _save(folder, kinds[kind], config, seed)
    words.save_pretrained(folder)
    write_preprocessor(folder, "BlipImageProcessor", SIDE)
    about = {"processor_class": "Blip2Processor", "num_query_tokens": 4}
    (folder / "processor_config.json").write_text(json.dumps(about))
    return folder


def write_preprocessor(folder: Path, kind: str, side: int) -> None:
    """The file about pictures, as the hub's models have it."""
    about = {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(about))


def picture(seed: int, width: int = 48, height: int = 40) -> np.ndarray:
    """A decoded picture of coloured noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((9, 9, 1), np.uint8))[:height, :width])


def _tiny_vision() -> dict[str, int]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": 8,
    }


def _tiny_text() -> dict[str, int]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }


def _save(folder: Path, kind: Any, config: Any, seed: int) -> None:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                else:
                    parameter.normal_(0, parameter[0].numel() ** -0.5)
    model.save_pretrained(folder)
