"""Drops captions that name no thing: "before baking", "after", "2".

COYO-700M keeps captions with at least one noun. A name counts as one, and so does what no list of words knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.grammar.score import LeastGrammar


@dataclass(frozen=True)
class CaptionNouns(LeastGrammar):
    """Keeps captions with at least `min` nouns or names, included. No caption has none."""

    reads: ClassVar[tuple[str, ...]] = ("caption_nouns",)
    reasons: ClassVar[Mapping[str, str]] = {"too_few_nouns": "the caption names too few things, or there is none"}
    unknown: ClassVar[str] = "too_few_nouns"
