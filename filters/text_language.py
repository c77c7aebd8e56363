"""Drops texts in other languages, by fastText's lid.176 or by py3langid, as `language` does with captions.

OBELICS keeps documents that fastText takes for English with 0.8 or more, after `lower_case`; it asks nothing of single
paragraphs, and rightly: of a line of three words no model can tell. A long text is judged by its first 2,000
characters, which bounds the time (80 us a paragraph of 390 characters by py3langid): of 65 real articles none got
another language by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Batch, Scorer, Verdict, below, verdict
from curate.language import PY3LANGID, UNDETERMINED, ByLanguage, identified, model_name

PREFIX_CHARS = 2_000


@dataclass(frozen=True)
class IdentifyTextLanguage(Scorer):
    """Language of a text (`und` where there is none to see), its probability, and who answered; null for no text."""

    model: str = PY3LANGID
    lower_case: bool = False

    name: ClassVar[str] = "text_language"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {
        "text_language": pa.string(),
        "text_language_probability": pa.float32(),
        "text_language_model": pa.string(),
    }

    def identity(self) -> Any:
        model = {"model": model_name(self.model), "lower_case": self.lower_case}
        return {"scorer": self.name, "version": self.version, **model}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        texts = pc.utf8_slice_codeunits(batch.columns["text"], 0, PREFIX_CHARS).to_pylist()
        if self.lower_case:
            texts = [None if text is None else text.lower() for text in texts]
        language, probability, name = identified(texts, self.model)
        language = pc.if_else(pc.is_valid(name), pc.fill_null(language, UNDETERMINED), language)
        return dict(zip(self.writes, (language, probability, name), strict=True))


@dataclass(frozen=True)
class TextLanguage(ByLanguage):
    """Keeps texts whose language is in `languages`, and as probable as `min_probability` (included) if given.

    With `min_other_probability` another language is a reason to drop only from that probability on (included). What
    has no text is kept; a text without letters has no language and is not.
    """

    lower_case: bool = False

    reads: ClassVar[tuple[str, ...]] = ("text_language", "text_language_probability")
    reasons: ClassVar[Mapping[str, str]] = {
        "text_in_other_language": "the text is in another language",
        "text_language_uncertain": "the text's language is not sure",
        "text_language_unknown": "the text has no language",
    }

    uncertain: ClassVar[str] = "text_language_uncertain"

    def scorer(self) -> Scorer:
        return IdentifyTextLanguage(self.model, self.lower_case)

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(
            len(columns),
            ("text_language_unknown", pc.equal(columns["text_language"], UNDETERMINED)),
            ("text_in_other_language", self.is_other(columns)),
            ("text_language_uncertain", below(columns["text_language_probability"], self.min_probability)),
        )
