"""What a file in `curate/caption/rules/` implements: which of a picture's texts are kept, from stored columns alone.

A captioner writes every text once and a matcher every score once; a rule is a bound on them, and so can be changed
without a model running again. What BLIP, BLIP-2, LAION-COCO and their successors do are such rules. A rule's answer is
a *view*: `[views.NAME]` in a config writes the columns `NAME_texts`, `NAME_origins`, `NAME_scores`, `NAME_weights` and
the reasons against what was left out; several stand side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from curate.stage import Work, settings_of

__all__ = ["WEB", "Choice", "Rule"]

WEB = "web"
"""The origin of the caption that came with the picture; that of a synthetic one is its captioner's name."""


@dataclass(frozen=True)
class Choice:
    """What a rule keeps of n rows. All are Arrow arrays of n; the first four have lists of one length in each row.

    `texts` list<string>: what is kept, the best first where the rule has an order; empty where nothing is.
    `origins` list<string>: where each comes from: `web`, a captioner's name, or what the rule calls its own texts.
    `scores` list<float32>: what the rule judged each by; null where by nothing.
    `weights` list<float32>: the probability to be drawn in training; in a row they add to 1.
    `web_reason` string: why the web's caption is not kept; null where it is, or where there is none.
    `synthetic_reasons`: by captioner, list<string>: why each of its captions is not kept, null for one that is; null
    for a row without captions of it.
    """

    texts: pa.Array
    origins: pa.Array
    scores: pa.Array
    weights: pa.Array
    web_reason: pa.Array
    synthetic_reasons: Mapping[str, pa.Array]


class Rule(ABC):
    """A subclass is a frozen dataclass; its fields are a config's keys beside `rule`. Raise `version` when the same
    settings give another choice."""

    version: ClassVar[int] = 1
    source: ClassVar[str]
    """Paper or project that it comes from."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The columns it judges by. A captioner NAME writes `NAME_captions` (list<string>), `NAME_log_probability`
        (list<float32>), `NAME_tokens` (list<int32>), `NAME_finish` (list<string>) and `NAME_faults` (list<string>,
        null for a sound caption); a matcher M writes `M_probability` (float32, of the web's caption) and
        `M_NAME_probability` (list<float32>); a CLIP C likewise `C_similarity` and `C_NAME_similarity`. Any of them may
        be null, in a row or in a list."""

    def identity(self) -> Any:
        """What the fingerprint covers."""
        return {"rule": type(self).__name__, "version": self.version, "settings": settings_of(self)}

    def require(self, models: Mapping[str, Any]) -> None:
        """Raise ConfigError unless the config's models (name to settings) write what the rule reads."""
        return None

    def steps(self, name: str) -> tuple[Work, ...]:
        """Work over all shards, or calls of a language model, that write columns it reads. `name`: the view's.

        Their columns are named by the rule's settings, since `reads` does not know the view."""
        return ()

    @abstractmethod
    def choose(self, columns: pa.Table) -> Choice:
        """`columns` has `self.reads` and `key`, one row a sample."""
