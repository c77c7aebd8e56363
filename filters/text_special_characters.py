"""Drops texts of too many special characters: prices, tables, code, rows of emoji.

OBELICS counts punctuation, symbols, emoji, digits *and white space* over all characters and keeps at most 0.3 of a
paragraph and 0.275 of a document. As every sixth character of English is a space, that leaves little for the rest: a
sentence with a few sums of money falls. So by default spaces and digits pass for ordinary characters here, and 0.2 of
punctuation and symbols is the bound. Of 37 real articles none has more; of their 2,200 paragraphs, headings and list
items 1.8 % have, all below 60 characters ("Yes." in dialogue, "8.0 MB (-89%)"), so single blocks want 0.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Batch, Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.text import SPACE, SPECIAL


@dataclass(frozen=True)
class CountSpecialCharacters(Scorer):
    """Characters of a text, and how many of them are white space, digits and other special ones; null for no text.

    Digits are 0 to 9; other special ones are `curate.text.SPECIAL` without those two, so further numbers (`½`) too.
    """

    name: ClassVar[str] = "text_special_characters"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[Mapping[str, pa.DataType]] = dict.fromkeys(
        ("text_chars", "text_symbols", "text_digits", "text_spaces"), pa.int32()
    )

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        text = batch.columns["text"]
        left = [text]
        for characters in (f"[{SPACE}]+", "[0-9]+", f"[{SPECIAL}]+"):
            left.append(pc.replace_substring_regex(left[-1], pattern=characters, replacement=""))
        total, unspaced, undigited, plain = map(pc.utf8_length, left)
        counts = (total, pc.subtract(undigited, plain), pc.subtract(unspaced, undigited), pc.subtract(total, unspaced))
        return dict(zip(self.writes, counts, strict=True))


@dataclass(frozen=True)
class TextSpecialCharacters(Bounded):
    """Keeps texts whose share of special characters is at most `max`, included. What has no characters is kept.

    `digits` and `spaces` say whether those count as special; all characters are what the share is of.
    """

    max: float = 0.2
    digits: bool = False
    spaces: bool = False

    reads: ClassVar[tuple[str, ...]] = tuple(CountSpecialCharacters.writes)
    reasons: ClassVar[Mapping[str, str]] = {"too_many_special_characters": "the text has too many special characters"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, most=1)

    def scorer(self) -> Scorer:
        return CountSpecialCharacters()

    @property
    def columns(self) -> tuple[str, ...]:
        return self.reads

    @property
    def gauge(self) -> Gauge:
        more = {"text_digits": self.digits, "text_spaces": self.spaces}
        counted = ("text_symbols", *(name for name, counts in more.items() if counts))
        return Gauge(
            "special_characters_ratio",
            (*counted, "text_chars"),
            max=self.max,
            too_high="too_many_special_characters",
            measure="part",
        )
