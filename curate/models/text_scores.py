"""The scorer of a dual encoder for synthetic captions: the cosine of each with the picture's stored embedding.

The picture is not looked at again: its embedding stands in a column. That is rounded to 16 bits, which moves a cosine
by up to 5e-4; all of a picture's captions by the same embedding, so their order is hardly touched. Repeated captions
are embedded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.lists import aligned_lists
from curate.filter import Batch, Scorer
from curate.models.caption_scores import captions_column
from curate.models.pair_scores import ScorePairs, image_embedding
from curate.models.settings import ModelSettings

__all__ = ["CompareTexts", "captions_similarity"]

MOST_TEXTS = 16_384
"""Texts that are embedded together: 50 MB in 768 dimensions. 2,048 rows with 256 captions each were 1.6 GB."""


def captions_similarity(model: str, captioner: str) -> str:
    """The column with the cosine of each of a captioner's captions, list of float32 in -1 to 1."""
    return f"{model}_{captioner}_similarity"


@dataclass(frozen=True)
class CompareTexts(Scorer):
    """`model` and `captioner` are their names in the config. Null for a row without a picture's embedding or without
    captions; in a list, null for a caption without words."""

    model: str
    settings: ModelSettings
    captioner: str

    version: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return f"{self.model}_{self.captioner}"

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model), captions_column(self.captioner))

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {captions_similarity(self.model, self.captioner): pa.list_(pa.float32())}

    @property
    def gpus(self) -> float:
        return 0.0 if self.settings.device == "cpu" else 1.0

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "model": self._pairs.provenance()["model_fingerprint"]}

    def provenance(self) -> Mapping[str, str]:
        return self._pairs.provenance()

    @property
    def _pairs(self) -> ScorePairs:
        return ScorePairs(self.model, self.settings)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        parts = [self._cosines(part) for part in _parts(batch.columns, self.reads[1])]
        return {captions_similarity(self.model, self.captioner): pa.chunked_array(parts, pa.list_(pa.float32()))}

    def _cosines(self, columns: pa.Table) -> pa.Array:
        """The cosines of some rows, list of float32."""
        from curate.models.clip import open_clip_model

        pictures, captions = (columns[name].to_pylist() for name in self.reads)
        rows = [row for row, (seen, own) in enumerate(zip(pictures, captions, strict=True)) if seen and own]
        texts = [text for row in rows for text in captions[row] if text and not text.isspace()]
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        known = open_clip_model(self.settings).texts(list(place)) if place else None
        of_row: dict[int, Iterator[float]] = {}
        for row in rows:
            picture = np.asarray(pictures[row], np.float32)
            cosines = [known[place[text]] @ picture if text in place else np.nan for text in captions[row]]  # type: ignore[index]
            of_row[row] = iter([float(value) for value in cosines])
        return aligned_lists(captions, of_row)


def _parts(columns: pa.Table, captions: str) -> Iterator[pa.Table]:
    """Rows with so many texts in all, at least one row at a time."""
    lengths = pc.fill_null(pc.list_value_length(columns[captions]), 0)
    part = np.cumsum(np.asarray(lengths, np.int64)) // MOST_TEXTS
    ends = [*(np.flatnonzero(np.diff(part)) + 1), len(part)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield columns.slice(start, end - start)
