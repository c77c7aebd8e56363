"""What every captioner and every matcher answers, whatever model stands behind it. Imports no torch.

A caption depends on the picture, the model and the settings, and on nothing else: not on the batch it was made in, the
worker, the number of workers, or whether a run was killed half-way. Three things see to it. Every random number is
drawn by the seed of its picture, the number of the caption and the place of the token (`uniforms`), never from a
generator that goes on from batch to batch. A model computes in units of one fixed shape, filled up where pictures are
missing, because the last bits of a product of matrices depend on their shapes: in bfloat16 one token in some hundred
would be another. And on a CPU it computes on one thread (`curate.models.device.on_one_thread`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.config import require_range
from curate.dedup.digest import digest_strings
from curate.dedup.identity import finish, keyed
from curate.filter import Pixels

__all__ = ["Captioner", "Finish", "Generated", "Matcher", "Method", "Phrase", "Sampling", "seeds_of", "uniforms"]

Method = Literal["greedy", "nucleus", "top_k", "beam"]
Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """How captions are drawn. Raises ValueError for what is out of range.

    `nucleus`: from the most likely tokens that together have probability `top_p` (Holtzman et al. 2020; BLIP's CapFilt
    uses .9), after a cut to the `top_k` most likely where that is not 0; `top_k`: from the `top_k` most likely;
    `beam`: the `beams` best texts, the best first. Logits are divided by `temperature` before; the `repetition_penalty`
    (Keskar et al. 2019) divides or multiplies those of tokens that the text and the prompt have already.
    `min_tokens` and `max_tokens` count what is generated, without prompt and end. `stop_probability`: a text ends as
    soon as the end has at least this probability (LAION-COCO: .179); 1 is never.
    """

    method: Method = "nucleus"
    top_p: float = 0.9
    top_k: int = 0
    temperature: float = 1.0
    beams: int = 3
    max_tokens: int = 20
    min_tokens: int = 5
    repetition_penalty: float = 1.1
    stop_probability: float = 1.0
    prompt: str = ""

    def __post_init__(self) -> None:
        require_range("top_p", self.top_p, 1e-6, 1)
        require_range("top_k", self.top_k, 0, 1_000_000)
        require_range("temperature", self.temperature, 0.01, 100)
        require_range("beams", self.beams, 1, 64)
        require_range("max_tokens", self.max_tokens, 1, 4_096)
        require_range("min_tokens", self.min_tokens, 0, self.max_tokens)
        require_range("repetition_penalty", self.repetition_penalty, 0.1, 10)
        require_range("stop_probability", self.stop_probability, 1e-6, 1)
        if self.method == "top_k" and self.top_k < 1:
            raise ValueError("method = 'top_k' needs top_k = 1 or more")


@dataclass(frozen=True)
class Phrase:
    """Words of a caption and where they are in the picture: left, top, right, bottom, 0 to 1 of width or height."""

    words: str
    box: tuple[float, float, float, float]
    score: float | None = None


@dataclass(frozen=True)
class Generated:
    """One caption. `text` is whole, never cut; it may be empty. `log_probability`: natural logarithm of the probability
    that the model gives to the generated tokens, and to the end where `finish` is `stop`, before temperature, penalty
    and cuts; not a number where an engine does not tell. `tokens`: how many were generated, without prompt and end.
    `finish`: `stop` at the end token, `length` where `max_tokens` cut it off. `phrases`: of models that give boxes."""

    text: str
    log_probability: float
    tokens: int
    finish: Finish
    phrases: tuple[Phrase, ...] = field(default=(), kw_only=True)


class Captioner(Protocol):
    """Makes captions of pictures. Open one with `curate.models.open_captioner.open_captioner`."""

    @property
    def name(self) -> str:
        """What a person calls the model."""

    def prepare(self, pixels: Pixels) -> Any:
        """What it keeps of a decoded picture, called by the threads that decode: an array, at most some 3 MB."""

    def generate(
        self, images: Sequence[Any], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Generated]]:
        """`n` captions of each prepared picture; those of a picture depend on it, its seed (0 to 2^64 - 1) and the
        settings alone. With `greedy` and `beam` nothing is drawn: greedy needs n = 1, beam n <= beams.

        Raises torch.OutOfMemoryError (`curate.models.memory.is_memory`) when a single picture does not fit; ValueError
        for an `n` or a sampling that the model cannot do.
        """


class Matcher(Protocol):
    """Says how likely texts describe pictures. Open one with `curate.models.open_captioner.open_matcher`."""

    @property
    def name(self) -> str:
        """What a person calls the model."""

    def prepare(self, pixels: Pixels) -> Any:
        """As `Captioner.prepare`."""

    def match(self, images: Sequence[Any], texts: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        """For each prepared picture the probability, 0 to 1, that each of its texts describes it. A picture is read
        once, however many texts it has; one without texts is not read at all. Raises as `Captioner.generate`."""


_STEP = np.uint64(0x9E3779B97F4A7C15)


def seeds_of(names: Sequence[str], seed: int) -> list[int]:
    """A seed, 0 to 2^64 - 1, of each name (the digest of a picture, say) and of a run's own seed."""
    return [int(value) for value in keyed(digest_strings(pa.array(names, pa.large_string())), seed)]


def uniforms(seeds: Sequence[int], n: int, length: int) -> npt.NDArray[np.float64]:
    """Random numbers of [0, 1), float64 (pictures, n, length): one for each caption's each token.

    By SplitMix64 (Steele, Lea, Flood 2014) at the place (seed, caption, token): each is had without those before it, so
    a longer text or one more caption changes none of the others.
    """
    with np.errstate(over="ignore"):
        own = np.array(seeds, np.uint64)[:, None, None]
        caption = np.arange(n, dtype=np.uint64)[None, :, None]
        token = np.arange(length, dtype=np.uint64)[None, None, :]
        stream = finish(own + (caption + np.uint64(1)) * _STEP)
        mixed = finish(stream + (token + np.uint64(1)) * _STEP)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
