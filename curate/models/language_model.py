"""A language model of a local folder that answers prompts, such as those to fuse captions: an endpoint with no server.

Any causal or sequence-to-sequence model that transformers has itself, by its `generate`, tokens picked by
`curate.models.keyed_picks`. An answer depends on its prompt, seed and settings alone: a prompt is filled up to the next
multiple of 64 tokens of its own, and goes with others of that length in batches of one size, where prompts are missing
filled up with the first, and on a CPU on one thread. That costs a fifth more arithmetic than packing by content, and
saves what a changed batch costs: other last bits, and so other words. CapsFusion's own script made 1.04 texts a second
and A100; for a data set of millions serve the model by vLLM and name the address.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from curate.errors import ConfigError
from curate.models.captioner import Finish, Sampling, uniforms
from curate.models.chat_template import chat_prompt, require_chat
from curate.models.device import computes, device, on_one_thread, work_number
from curate.models.hf_folder import (
    folder_digest,
    load_config,
    load_model,
    load_tokenizer,
    model_folder,
    require_model_files,
)
from curate.models.kept_models import KeptModels
from curate.models.keyed_picks import KeyedPicks
from curate.models.memory import is_memory
from curate.models.settings import Precision

__all__ = [
    "Decoding",
    "LanguageModel",
    "Said",
    "language_model_digest",
    "opened_language_model",
    "require_language_model",
]

STEP_TOKENS = 64
MOST_PROMPT_TOKENS = 8_192
MOST_TOKEN_CHARS = 16
"""A prompt with more characters than this for each token is not looked at."""
CPU_BATCH, GPU_BATCH, MOST_BATCH = 4, 64, 65_536
_opening = threading.Lock()
_opened: KeptModels[LanguageModel] = KeptModels()


@dataclass(frozen=True)
class Decoding:
    """How an answer is drawn: `temperature` 0 takes the likeliest token; `top_p` as `Sampling`."""

    max_tokens: int = 200
    temperature: float = 0.0
    top_p: float = 1.0

    @property
    def sampling(self) -> Sampling:
        method: Literal["greedy", "nucleus"] = "nucleus" if self.temperature else "greedy"
        return Sampling(
            method,
            self.top_p,
            temperature=max(self.temperature, 0.01) if self.temperature else 1.0,
            max_tokens=self.max_tokens,
            min_tokens=0,
            repetition_penalty=1.0,
        )


@dataclass(frozen=True)
class Said:
    """An answer, without the prompt and without special tokens."""

    text: str
    tokens: int
    finish: Finish


class LanguageModel:
    """The model of a folder, on a GPU where there is one. Raises ConfigError for what is none."""

    def __init__(self, folder: Path, precision: Precision, where: Literal["auto", "cpu", "cuda"] = "auto") -> None:
        self._where = device(where)
        self._encodes = _is_encoder_decoder(folder)
        self._tokenizer = load_tokenizer(folder)
        kind = computes(precision, self._where)
        self._model = load_model(folder, _class_name(self._encodes), dtype=kind).to(self._where)
        self._ends = _ends(self._model, self._tokenizer)
        self._fill = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._ends[0]
        self._special = _special_tokens(self._tokenizer)
        self._forced = _settle(self._model, self._ends, self._fill)
        self._fits = self._most = MOST_BATCH

    def answer(
        self, prompts: Sequence[str], seeds: Sequence[int], decoding: Decoding, batch: int = 0
    ) -> Iterator[tuple[int, Said | None]]:
        """What is said to each prompt: its place among them, and the answer; in any order. None for a prompt that is
        longer than the model can read, or than 8,192 tokens. `seeds` count where the temperature is not 0; `batch`:
        prompts at once, 0 for 4 on a CPU and 64 on a GPU; halved for good where memory runs out.

        Raises torch.OutOfMemoryError where a single prompt does not fit.
        """
        tokens = [self._tokens(prompt) for prompt in prompts]
        room = self._room(decoding.max_tokens)
        self._most = min(self._fits, batch or (GPU_BATCH if self._where.type == "cuda" else CPU_BATCH))
        lengths: dict[int, list[int]] = {}
        for row, own in enumerate(tokens):
            if not 0 < len(own) <= room:
                yield row, None
                continue
            lengths.setdefault(min(room, -(-len(own) // STEP_TOKENS) * STEP_TOKENS), []).append(row)
        for length, rows in sorted(lengths.items()):
            yield from self._of_length(length, [(row, tokens[row], seeds[row]) for row in rows], decoding)

    def _of_length(
        self, length: int, rows: Sequence[tuple[int, list[int], int]], decoding: Decoding
    ) -> Iterator[tuple[int, Said]]:
        start = 0
        while start < len(rows):
            part = rows[start : start + self._most]
            try:
                said = self._batch(length, part, decoding)
            except (RuntimeError, MemoryError) as error:
                if self._most == 1 or not is_memory(error):
                    raise
                self._fits = self._most = self._most // 2
                continue
            yield from zip((row for row, _, _ in part), said, strict=True)
            start += len(part)

    @on_one_thread
    def _batch(self, length: int, part: Sequence[tuple[int, list[int], int]], decoding: Decoding) -> list[Said]:
        full = [*part, *[part[0]] * (self._most - len(part))]
        ids = torch.full((len(full), length), self._fill, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, (_, own, _) in enumerate(full):
            span = slice(0, len(own)) if self._encodes else slice(length - len(own), length)
            ids[place, span], mask[place, span] = torch.tensor(own), 1
        sampling = decoding.sampling
        draws = None
        if sampling.method != "greedy":
            draws = uniforms([seed for _, _, seed in full], 1, sampling.max_tokens)[:, 0]
        picks = KeyedPicks(sampling, draws, self._ends, self._forced)
        self._generate(ids, mask, picks, sampling.max_tokens)
        found = picks.texts(None)[: len(part)]
        texts = self._tokenizer.batch_decode([decoded.tokens for decoded in found], skip_special_tokens=True)
        return [Said(text, len(decoded.tokens), decoded.finish) for text, decoded in zip(texts, found, strict=True)]

    def _generate(self, ids: Any, mask: Any, picks: KeyedPicks, max_tokens: int) -> None:
        from transformers import LogitsProcessorList

        with torch.inference_mode():
            self._model.generate(
                input_ids=ids.to(self._where),
                attention_mask=mask.to(self._where),
                logits_processor=LogitsProcessorList([picks]),
                max_new_tokens=max_tokens + self._forced,
            )

    def _tokens(self, prompt: str) -> list[int]:
        """As a chat's first message where the model has a template for chats; none for a prompt that is far too long.
        Special tokens in a prompt are words."""
        if len(prompt) > MOST_TOKEN_CHARS * MOST_PROMPT_TOKENS:
            return []
        words = prompt
        for token in self._special:
            words = words.replace(token, f"{token[0]} {token[1:]}")
        if getattr(self._tokenizer, "chat_template", None):
            asked = chat_prompt(self._tokenizer, words)
            return list(self._tokenizer(asked, add_special_tokens=False)["input_ids"])
        return list(self._tokenizer(words)["input_ids"])

    def _room(self, max_tokens: int) -> int:
        """Tokens that a prompt may have."""
        config = self._model.config.get_text_config()
        most = getattr(config, "max_position_embeddings", None)
        if not isinstance(most, int) or most <= 0:
            return MOST_PROMPT_TOKENS
        left = most - max_tokens
        return min(MOST_PROMPT_TOKENS, most if self._encodes and left > 0 else left)


def opened_language_model(
    weights: str, revision: str, precision: Precision, where: Literal["auto", "cpu", "cuda"]
) -> LanguageModel:
    """The model of a folder or an id of the hub, loaded once per process. Raises ConfigError."""
    with _opening:
        folder = model_folder(weights, revision)
        return _opened.get(
            (weights, revision, precision, where),
            folder_digest(folder),
            work_number(),
            lambda: LanguageModel(folder, precision, where),
        )


def language_model_digest(weights: str, revision: str = "") -> str:
    """Digest of the files that decide what it says. Raises ConfigError."""
    return folder_digest(model_folder(weights, revision))


def require_language_model(weights: str, revision: str = "") -> None:
    """Raise ConfigError for what would fail on every shard: files missing, tensors of other shapes, no such class, a
    tokenizer that cannot be read, a template for chats that fails."""
    folder = model_folder(weights, revision)
    require_model_files(folder, (), _class_name(_is_encoder_decoder(folder)))
    require_chat(load_tokenizer(folder))


def _settle(model: Any, ends: Sequence[int], fill: int) -> int:
    """Leave of the model's own settings for `generate` the tokens that it begins and ends with, and answer how many
    every text is forced to begin with. Others would have a say in what is picked: a penalty for repetition, or an end
    that is forced on a text which was cut off."""
    from transformers import GenerationConfig

    own = model.generation_config
    kept = {
        name: getattr(own, name, None) for name in ("bos_token_id", "decoder_start_token_id", "forced_bos_token_id")
    }
    model.generation_config = GenerationConfig(
        do_sample=False, num_beams=1, pad_token_id=fill, eos_token_id=list(ends), **kept
    )
    return int(kept["forced_bos_token_id"] is not None)


def _special_tokens(tokenizer: Any) -> list[str]:
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return sorted({token for token in (*tokenizer.all_special_tokens, *added) if len(token) > 1})


def _is_encoder_decoder(folder: Path) -> bool:
    return bool(getattr(load_config(folder), "is_encoder_decoder", False))


def _class_name(encodes: bool) -> str:
    return "AutoModelForSeq2SeqLM" if encodes else "AutoModelForCausalLM"


def _ends(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a text. Raises ConfigError where there is none."""
    told = model.generation_config.eos_token_id
    found = [told] if isinstance(told, int) else list(told or ())
    ends = tuple(dict.fromkeys([*found, *[tokenizer.eos_token_id] * (tokenizer.eos_token_id is not None)]))
    if not ends:
        raise ConfigError(f"{model.name_or_path} names no token that ends a text; add eos_token_id to its config")
    return ends
