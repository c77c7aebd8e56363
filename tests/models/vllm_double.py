"""A plain double of vLLM's module: it answers, refuses and dies as vLLM 0.33 does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

WORDS = ["a", "red", "dog", "sits", "on", "the", "blue", "house", "with", "two", "small", "birds", "and", "water"]


class VLLMClientError(Exception):
    """What newer versions raise for a request that cannot be done; no ValueError."""


class EngineDeadError(Exception):
    """What they raise once the engine's process is gone."""


@dataclass
class SamplingParams:
    """The names that are used, and the checks that vLLM makes."""

    n: int = 1
    seed: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    min_tokens: int = 0
    max_tokens: int | None = 16
    logprobs: int | None = None

    def __post_init__(self) -> None:
        ok = 0 <= self.temperature <= 2 and 0 < self.top_p <= 1 and self.top_k >= -1
        ok = ok and self.min_tokens <= (self.max_tokens or 0) and (self.temperature > 0 or self.n == 1)
        if not ok or self.seed is None or not 0 <= self.seed < 2**63 - 16_384:
            raise VLLMClientError(f"cannot draw by {self}")


@dataclass
class Output:
    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    finish_reason: str | None
    stop_reason: int | str | None = None


@dataclass
class Answer:
    request_id: str
    outputs: list[Output]
    finished: bool = True


@dataclass
class Double:
    """The module. `spoil` changes an answer before it is given; `fails` are what the next calls raise."""

    spoil: Callable[[list[Answer]], list[Answer]] = lambda answers: answers
    fails: list[Exception] = field(default_factory=list)
    refuses: list[Exception] = field(default_factory=list)
    opened: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[dict[str, Any], SamplingParams]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    SamplingParams = SamplingParams

    def LLM(self, model: str, **options: Any) -> Any:
        self.opened.append({"model": model, **options})
        if self.refuses:
            raise self.refuses.pop(0)
        return Engine(self)


@dataclass
class Engine:
    """Says words that picture, seed and number of the caption decide, with a log-probability of -1 a token."""

    module: Double
    dead: bool = False

    def generate(
        self, prompts: list[Any], sampling_params: list[SamplingParams], *, use_tqdm: bool, tokenization_kwargs: Any
    ) -> list[Answer]:
        if self.dead:
            raise EngineDeadError("the engine is gone")
        if self.module.fails:
            error = self.module.fails.pop(0)
            self.dead = isinstance(error, EngineDeadError)
            raise error
        assert len(prompts) == len(sampling_params)
        self.module.calls.append({"use_tqdm": use_tqdm, "tokenization_kwargs": tokenization_kwargs})
        self.module.asked += list(zip(prompts, sampling_params, strict=True))
        answers = [
            Answer(str(number), [self.said(prompt, own, index) for index in range(own.n)])
            for number, (prompt, own) in enumerate(zip(prompts, sampling_params, strict=True))
        ]
        return self.module.spoil(answers)

    def said(self, prompt: Any, own: SamplingParams, index: int) -> Output:
        """A child of a request has its seed plus its number, as vLLM's ParentRequest gives it."""
        pixels = np.asarray(prompt["multi_modal_data"]["image"])
        seed = (own.seed + index) if own.temperature else 0
        draw = np.random.default_rng([crc32(pixels.tobytes()), seed, crc32(prompt["prompt"].encode())])
        count = int(draw.integers(own.min_tokens + 1, own.max_tokens + 4))
        tokens = [int(token) for token in draw.integers(0, len(WORDS), min(count, own.max_tokens))]
        text = "".join(f" {WORDS[token]}" for token in tokens)
        if len(tokens) < own.max_tokens:
            return Output(index, text, [*tokens, 3], -1.0 * (len(tokens) + 1), "stop")
        return Output(index, text, tokens, -1.0 * len(tokens), "length")
