"""Drops captions that relate nothing to anything: a name, a list of keywords.

CAT (Radenovic et al. 2023) keeps captions whose parse has at least one relation, and data-juicer those in which a thing
depends on another word. A relation is here "dog on a mat" or "dog chases cat"; "red dog" is none, nor is "the dog
sleeps". How right the count is stands in `curate.grammar`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from curate.grammar.score import LeastGrammar


@dataclass(frozen=True)
class CaptionComplexity(LeastGrammar):
    """Keeps captions with at least `min` relations, included. No caption has none."""

    reads: ClassVar[tuple[str, ...]] = ("caption_relations",)
    reasons: ClassVar[Mapping[str, str]] = {"too_few_relations": "the caption relates too few things, or there is none"}
    unknown: ClassVar[str] = "too_few_relations"
