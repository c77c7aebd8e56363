"""Drops rows of which a view of the captions keeps no text, or too few.

A view (`[views.NAME]`) says which of a picture's texts are good; a picture without one cannot be trained on. Where a
rule keeps a text of every picture (`topk_rank`) it drops only pictures that have none at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.errors import ShardError
from curate.filter import Filter, Verdict, verdict
from curate.models.settings import check_model_name


@dataclass(frozen=True)
class CaptionChoice(Filter):
    """`view`: of the config; `min_texts`: the least number of texts that a row must keep, included."""

    view: str = "capfilt"
    min_texts: int = 1

    reads: ClassVar[tuple[str, ...]] = ("capfilt_texts",)
    reasons: ClassVar[Mapping[str, str]] = {
        "no_text_kept": "none of its texts was good enough",
        "too_few_texts_kept": "too few of its texts were good enough",
    }

    def __post_init__(self) -> None:
        check_model_name(self.view)
        require_range("min_texts", self.min_texts, 1, 1_000)

    @property
    def columns(self) -> tuple[str, ...]:
        return (f"{self.view}_texts",)

    def judge(self, columns: pa.Table) -> Verdict:
        try:
            texts = pc.fill_null(pc.list_value_length(columns[0]), 0)
        except pa.ArrowNotImplementedError:
            kind = columns[0].type
            raise ShardError(f"{self.columns[0]} is a column of {kind}, and no view's; name a view as `view`") from None
        few = pc.less(texts, self.min_texts)
        return verdict(len(columns), ("no_text_kept", pc.equal(texts, 0)), ("too_few_texts_kept", few))
