"""Pairs of pictures and texts in units of one fixed shape: what the matchers share.

The last bits of a product of matrices depend on its shape, and in bfloat16 the last bits are 1e-2 of a logit. So
pictures go through in units of so many, texts in units of so many rows, each padded to one of a few lengths, and what
is missing is filled up with what is there: then a score does not depend on what was judged beside it. A picture is
read once for all its texts, a text that comes twice for a picture is judged once. Where memory runs out, units are
halved and stay so; a score may then move in its last bits.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curate.filter import Pixels
from curate.models.device import on_one_thread
from curate.models.memory import is_memory
from curate.models.preprocess import Preprocess

__all__ = [
    "ItmMatcher",
    "Look",
    "PairUnits",
    "Tokens",
    "pair_logits",
    "places_of",
    "plain_tokens",
    "pre_caption",
    "second_of_two",
]

Tokens = tuple[int, ...]
"""A text as the model reads it; it stands for the text."""
MAX_CHARS = 20_000
"""What is read of a text at all: 35 tokens of words that have at most 100 letters are less."""
READ_TOGETHER = 128
"""Texts that a tokenizer is given at a time: of 20,000 signs each, all of them tokens, they take .3 GB there."""
_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")


class Look(Protocol):
    """The two halves of a matcher. What `see` gives holds one picture at each place of its first dimension."""

    def see(self, images: Sequence[Any]) -> Any:
        """Prepared pictures to what `judge` needs of them, on the device."""

    def judge(self, seen: Any, pictures: Sequence[int], texts: Sequence[Tokens], length: int) -> Any:
        """Rows of (place in `seen`, text) to numbers (rows, k) on the device; texts are padded to `length`."""


@dataclass
class PairUnits:
    """Runs a matcher over pictures and their texts. `lengths`: what texts are padded to, rising; `pictures`, `rows`: of
    a unit; `free`: called when memory ran out."""

    look: Look
    lengths: tuple[int, ...]
    pictures: int
    rows: int
    free: Callable[[], None] = field(default=lambda: None)

    def run(
        self, images: Sequence[Any], texts: Sequence[Sequence[Tokens | None]]
    ) -> dict[tuple[int, Tokens], npt.NDArray[np.float32]]:
        """The numbers of each (number of the picture, text), float32 (k,). A text that is None is left out. Raises
        torch.OutOfMemoryError and its like when one picture with one text does not fit. A GPU that failed answers
        nothing more in this process, so the process ends: else each picture to come would fail."""
        import torch

        try:
            return self._all(images, texts)
        except torch.AcceleratorError as error:
            if is_memory(error):
                raise
            raise SystemExit(f"curate: the GPU of this worker failed: {error}") from error

    def _all(
        self, images: Sequence[Any], texts: Sequence[Sequence[Tokens | None]]
    ) -> dict[tuple[int, Tokens], npt.NDArray[np.float32]]:
        wanted = [row for row, own in enumerate(texts) if any(text is not None for text in own)]
        begun: list[tuple[list[tuple[int, Tokens]], Any]] = []
        start = 0
        while start < len(wanted):
            part = wanted[start : start + self.pictures]
            done = self._tried(lambda part=part: self._unit(images, texts, part), self.pictures)  # type: ignore[misc]
            if done is None:
                self.pictures //= 2
                continue
            begun += done
            start += len(part)
        found: dict[tuple[int, Tokens], npt.NDArray[np.float32]] = {}
        for pairs, values in begun:
            found |= zip(pairs, values.float().cpu().numpy(), strict=False)
        return found

    def _unit(
        self, images: Sequence[Any], texts: Sequence[Sequence[Tokens | None]], part: Sequence[int]
    ) -> list[tuple[list[tuple[int, Tokens]], Any]]:
        """Some pictures and all their texts. Answers stay on the device, so that nothing waits for them here."""
        views = [images[row] for row in part]
        seen = self.look.see(views + views[:1] * (self.pictures - len(views)))
        place = {row: number for number, row in enumerate(part)}
        begun: list[tuple[list[tuple[int, Tokens]], Any]] = []
        for length, pairs in self._by_length(texts, part).items():
            start = 0
            while start < len(pairs):
                own = pairs[start : start + self.rows]
                filled = own + own[:1] * (self.rows - len(own))
                values = self._tried(
                    lambda filled=filled, length=length: self.look.judge(  # type: ignore[misc]
                        seen, [place[row] for row, _ in filled], [text for _, text in filled], length
                    ),
                    self.rows,
                )
                if values is None:
                    self.rows //= 2
                    continue
                begun.append((own, values))
                start += len(own)
        return begun

    def _by_length(
        self, texts: Sequence[Sequence[Tokens | None]], part: Sequence[int]
    ) -> dict[int, list[tuple[int, Tokens]]]:
        pairs = [(row, text) for row in part for text in dict.fromkeys(texts[row]) if text is not None]
        groups: dict[int, list[tuple[int, Tokens]]] = {length: [] for length in self.lengths}
        for row, text in pairs:
            groups[places_of(len(text), self.lengths)].append((row, text))
        return groups

    def _tried(self, call: Callable[[], Any], size: int) -> Any:
        """None where memory ran out and less may fit. The exception ends here: while it lives, so does all that filled
        the memory."""
        try:
            return call()
        except (RuntimeError, MemoryError) as error:
            if size <= 1 or not is_memory(error):
                raise
        self.free()
        return None


class ItmMatcher(ABC):
    """What the matchers with two logits have in common. One model on one device; not for two threads at once, but for
    `prepare`."""

    prepare_picture: Preprocess
    _units: PairUnits

    def prepare(self, pixels: Pixels) -> npt.NDArray[np.uint8]:
        """uint8 (side, side, 3)."""
        return self.prepare_picture(pixels)

    def match(self, images: Sequence[Any], texts: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        """As `curate.models.captioner.Matcher`. A text without a word (empty, white space, `!!!`) has no probability:
        not a number."""
        return [second_of_two(own) for own in self.logits(images, texts)]

    @on_one_thread
    def logits(self, images: Sequence[Any], texts: Sequence[Sequence[str]]) -> list[npt.NDArray[np.float32]]:
        """As `pair_logits`."""
        known = self._read(list(dict.fromkeys(text for own in texts for text in own)))
        return pair_logits(self._units, images, texts, known)

    @abstractmethod
    def _read(self, texts: Sequence[str]) -> dict[str, Tokens | None]:
        """Each text as tokens with both their ends; None where no word is left."""


def pair_logits(
    units: PairUnits, images: Sequence[Any], texts: Sequence[Sequence[str]], known: Mapping[str, Tokens | None]
) -> list[npt.NDArray[np.float32]]:
    """For each picture the two logits of each of its texts, float32 (texts, 2): that it does not match, and that it
    does; not a number for a text that `known` has no tokens of."""
    rows = [[known[text] for text in own] for own in texts]
    found = units.run(images, rows)
    nothing = np.full(2, np.nan, np.float32)
    return [
        np.array([nothing if text is None else found[row, text] for text in own], np.float32).reshape(-1, 2)
        for row, own in enumerate(rows)
    ]


def second_of_two(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The softmax of two logits, (n, 2), its second number, (n,)."""
    with np.errstate(over="ignore"):
        found: npt.NDArray[np.float32] = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    return found.astype(np.float32)


def places_of(count: int, lengths: Sequence[int]) -> int:
    """The first of `lengths` that holds so many tokens."""
    return next(length for length in lengths if length >= count)


def pre_caption(text: str, words: int) -> str:
    """A text as BLIP reads it (salesforce/BLIP, data/utils.py): small letters, each of `.!"()*#:;~` a space, the first
    `words` words. Of a text 20,000 characters are read."""
    plain = _PUNCTUATION.sub(" ", text.lstrip()[:MAX_CHARS].lower())
    return " ".join(plain.split()[:words])


def plain_tokens(tokenizer: Any, texts: Sequence[str], most: int, vocabulary: int) -> list[Tokens]:
    """The first `most` tokens of each text, without a start or an end. A special token that is written out in a text is
    taken for the characters it is written with, and what is special all the same is left out."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    found: list[Tokens] = []
    for start in range(0, len(texts), READ_TOGETHER):
        sound = [text.encode("utf-8", "replace").decode() for text in texts[start : start + READ_TOGETHER]]
        read = tokenizer(sound, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        firsts = [own[:most] for own in read]  # a tokenizer that is told to cut may cut at the other end
        found += [tuple(token for token in own if token not in special and token < vocabulary) for own in firsts]
    return found
