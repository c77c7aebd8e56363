"""Drops captions in other languages, by fastText's lid.176 (DataComp's choice) or by py3langid.

`model` is as in `curate.language`; the column `language_model` says who answered.

DataComp's rule is the first label, equal to `en`, at any probability; newlines become spaces, letter case stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Batch, Scorer, Verdict, below, verdict
from curate.language import PY3LANGID, UNDETERMINED, ByLanguage, identified, model_name


@dataclass(frozen=True)
class IdentifyLanguage(Scorer):
    """Language code and its probability per caption, and the model's name; null where there is no caption."""

    model: str = PY3LANGID

    name: ClassVar[str] = "language"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {
        "language": pa.string(),
        "language_probability": pa.float32(),
        "language_model": pa.string(),
    }

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "model": model_name(self.model)}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return dict(zip(self.writes, identified(batch.columns["caption"].to_pylist(), self.model), strict=True))


@dataclass(frozen=True)
class Language(ByLanguage):
    """Keeps captions whose first label is in `languages`, and as probable as `min_probability` (included) if given.

    With `min_other_probability` another language is a reason to drop only from that probability on (included): of 65
    English alt texts of recipes and portraits that the rule without it dropped, py3langid gave 57 less than 0.5.
    """

    reads: ClassVar[tuple[str, ...]] = ("language", "language_probability")
    reasons: ClassVar[Mapping[str, str]] = {
        "wrong_language": "the caption is in another language",
        "language_uncertain": "the caption's language is not sure",
        "language_unknown": "the caption has no language, or there is none",
    }

    uncertain: ClassVar[str] = "language_uncertain"

    def scorer(self) -> Scorer:
        return IdentifyLanguage(self.model)

    @property
    def columns(self) -> tuple[str, ...]:
        bounds = (self.min_probability, self.min_other_probability)
        return self.reads if any(bound is not None for bound in bounds) else ("language",)

    def judge(self, columns: pa.Table) -> Verdict:
        unknown = pc.fill_null(pc.equal(columns["language"], UNDETERMINED), True)
        rules = [("language_unknown", unknown), ("wrong_language", self.is_other(columns))]
        if self.min_probability is not None:
            rules.append(("language_uncertain", below(columns["language_probability"], self.min_probability)))
        return verdict(len(columns), *rules)
