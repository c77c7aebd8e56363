"""BLIP, as transformers has it, as captioner and matcher to be trained, and written so that transformers loads it.

The two kinds share the picture tower and, under other names, all text layers but the heads; a start of one kind is so
a start of the other, as BLIP's common pretraining was. The matching head reads a text that begins with [ENC], as it
was trained; transformers' own forward pass gives it [CLS] (its issue 25629), which is for ITC.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import ConfigError
from curate.models.hf_config import told_config
from curate.models.hf_folder import (
    folder_digest,
    load_config,
    load_model,
    load_tokenizer,
    model_folder,
)
from curate.models.hf_pictures import square_preprocess
from curate.models.match_units import plain_tokens, pre_caption
from curate.train.caption_start import Recipe, Trainee
from curate.train.caption_start_toy import Pictures
from curate.train.momentum import FIRST_TEMPERATURE

__all__ = ["captioner", "matcher"]

CAPTIONER, MATCHER = "BlipForConditionalGeneration", "BlipForImageTextRetrieval"
TEXT = {CAPTIONER: "text_decoder.bert.", MATCHER: "text_encoder."}
"""What the names of the common text layers begin with."""
BESIDE = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "generation_config.json",
)
"""Files that go along unchanged."""
WORDS = 30
"""What BLIP reads of a text."""
LARGE = 1024
"""Width of the picture tower of BLIP-large."""


def _recipe(rate: float) -> Recipe:
    """BLIP's fine-tuning, a cosine to nothing without a warm-up; gradients are not cut."""
    return Recipe(rate, 0.05, (0.9, 0.999), 0, 0.0, 0.0, 0.1, 0.5)


class BlipCaptionerModule(nn.Module):
    """A BLIP that captions, as `curate.train.caption_start.Trainee` wants it."""

    def __init__(self, model: Any, pictures: nn.Module, padding: int) -> None:
        super().__init__()
        self.model, self.pictures, self._padding = model, pictures, padding

    def logits(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        seen = self.model.vision_model(pixel_values=self.pictures(pixels)).last_hidden_state
        found: Tensor = self.model.text_decoder(
            input_ids=tokens, attention_mask=(tokens != self._padding).long(), encoder_hidden_states=seen
        ).logits
        return found


class BlipMatcherModule(nn.Module):
    """A BLIP that matches, likewise."""

    def __init__(self, model: Any, pictures: nn.Module, padding: int, encoder: int) -> None:
        super().__init__()
        self.model, self.pictures = model, pictures
        self._padding, self._encoder = padding, encoder
        self.temperature = nn.Parameter(torch.tensor(FIRST_TEMPERATURE))

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        seen: Tensor = self.model.vision_model(pixel_values=self.pictures(pixels)).last_hidden_state
        return seen, functional.normalize(self.model.vision_proj(seen[:, 0]).float(), dim=-1)

    def embed(self, tokens: Tensor) -> Tensor:
        read = self.model.text_encoder(input_ids=tokens, attention_mask=(tokens != self._padding).long())
        return functional.normalize(self.model.text_proj(read.last_hidden_state[:, 0]).float(), dim=-1)

    def judge(self, seen: Tensor, tokens: Tensor) -> Tensor:
        asked = tokens.clone()
        asked[:, 0] = self._encoder
        read = self.model.text_encoder(
            input_ids=asked, attention_mask=(tokens != self._padding).long(), encoder_hidden_states=seen
        )
        both = self.model.itm_head(read.last_hidden_state[:, 0])
        return both[:, 1] - both[:, 0]


def captioner(start: str, seed: int, prompt: str, max_tokens: int) -> Trainee:
    """A BLIP captioner from a folder of either kind. Raises ConfigError."""
    path, model, fresh = _opened(start, CAPTIONER, seed)
    tokenizer = load_tokenizer(path)
    vocabulary = int(model.config.text_config.vocab_size)
    ends = int(model.config.text_config.bos_token_id), int(tokenizer.sep_token_id)
    padding = int(tokenizer.pad_token_id)
    prompt_tokens = len(plain_tokens(tokenizer, [prompt], max_tokens, vocabulary)[0])
    if prompt_tokens + 3 > max_tokens:
        raise ConfigError(f"prompt = {prompt!r} has {prompt_tokens} tokens, which leave no room below {max_tokens}")
    ready = square_preprocess(path, model.config.vision_config.image_size)
    module = BlipCaptionerModule(model, Pictures(ready.mean, ready.std), padding)
    rate = 2e-6 if model.config.vision_config.hidden_size >= LARGE else 1e-5
    return Trainee(
        f"BLIP captioner from {path.name}",
        module,
        ready,
        lambda texts: _tokens(
            tokenizer, [f"{prompt} {pre_caption(t, WORDS)}" for t in texts], ends, max_tokens, vocabulary
        ),
        padding,
        prompt_tokens,
        _recipe(rate),
        fresh,
        folder_digest(path),
        lambda folder: _write(model, path, folder),
        lambda: _recompute(model),
    )


def matcher(start: str, seed: int, max_tokens: int) -> Trainee:
    """A BLIP matcher from a folder of either kind. Raises ConfigError."""
    path, model, fresh = _opened(start, MATCHER, seed)
    tokenizer = load_tokenizer(path)
    vocabulary = int(model.config.text_config.vocab_size)
    ends = int(tokenizer.cls_token_id), int(tokenizer.sep_token_id)
    padding = int(tokenizer.pad_token_id)
    ready = square_preprocess(path, model.config.vision_config.image_size)
    encoder = _encoder_token(tokenizer, model, path)
    module = BlipMatcherModule(model, Pictures(ready.mean, ready.std), padding, encoder)
    rate = 5e-6 if model.config.vision_config.hidden_size >= LARGE else 1e-5
    return Trainee(
        f"BLIP matcher from {path.name}",
        module,
        ready,
        lambda texts: _tokens(tokenizer, [pre_caption(t, WORDS) for t in texts], ends, max_tokens, vocabulary),
        padding,
        0,
        _recipe(rate),
        fresh,
        folder_digest(path),
        lambda folder: _write(model, path, folder),
        lambda: _recompute(model),
    )


def _opened(start: str, wanted: str, seed: int) -> tuple[Path, Any, str]:
    """The folder, a model of the class that is wanted, and what of it the start lacks."""
    path = model_folder(start)
    told = told_config(path)
    names = told.get("architectures")
    found = names[0] if isinstance(names, list) and names else None
    if told["model_type"] != "blip" or found not in TEXT:
        raise ConfigError(
            f"{path} holds {found or told['model_type']}, and a start is a {CAPTIONER} or a {MATCHER} of transformers, "
            "or a toy"
        )
    own = load_model(path, found, may_lack=("text_decoder.cls.predictions.decoder.*",), may_have=("*.position_ids",))
    return (path, own, "") if found == wanted else (path, *_other(own, path, found, wanted, seed))


def _other(own: Any, path: Path, found: str, wanted: str, seed: int) -> tuple[Any, str]:
    """A model of the other class with all that both have."""
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, wanted)(load_config(path)).eval()
    given = {name.replace(TEXT[found], TEXT[wanted]): tensor for name, tensor in own.state_dict().items()}
    kept = {name: given[name] for name in model.state_dict().keys() & given.keys()}
    model.load_state_dict(kept, strict=False)
    tied = {tensor.data_ptr() for name, tensor in model.state_dict().items() if name in kept}
    lacking = [n for n, t in model.state_dict().items() if n not in kept and t.data_ptr() not in tied]
    return model, f"{len(lacking)} of {len(model.state_dict())} tensors, such as {lacking[0]}"


def _encoder_token(tokenizer: Any, model: Any, path: Path) -> int:
    """The number of [ENC], which stands behind [DEC] in BLIP's vocabulary where the tokenizer does not name it."""
    text = model.config.text_config
    number = tokenizer.get_vocab().get("[ENC]", int(text.bos_token_id) + 1)
    if number >= text.vocab_size:
        raise ConfigError(f"{path} has no row for the token [ENC] ({number} of {text.vocab_size}); it is no matcher")
    return int(number)


def _tokens(tokenizer: Any, texts: Sequence[str], ends: tuple[int, int], most: int, vocabulary: int) -> Tensor:
    """int64 (n, length of the longest), between the two `ends`; at most `most` with them."""
    rows = [(ends[0], *own, ends[1]) for own in plain_tokens(tokenizer, texts, most - 2, vocabulary)]
    found = torch.full((len(rows), max(map(len, rows))), int(tokenizer.pad_token_id), dtype=torch.int64)
    for row, numbers in enumerate(rows):
        found[row, : len(numbers)] = torch.tensor(numbers)
    return found


def _recompute(model: Any) -> None:
    """Under the name of today's transformers, or the one before."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _write(model: Any, start: Path, folder: Path) -> None:
    for name in BESIDE:
        if (start / name).is_file():
            shutil.copyfile(start / name, folder / name)
    with _without_bars():
        model.save_pretrained(folder)


@contextmanager
def _without_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
