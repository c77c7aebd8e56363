"""Drops paragraphs that are mostly lines which a site has on many pages: bars of links, share buttons, notices.

A paragraph of such lines and one of its own equals no other, so counting whole paragraphs does not find it. Counting
lines is the step `line_frequency`; what it did not count is kept, and no line is ever cut out of a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, above, check_bounds, verdict


@dataclass(frozen=True)
class LineFrequency(Filter):
    """Keeps paragraphs of whose characters at most `max_ratio` stand in lines that more than `max_documents` documents
    of the domain have. Both are included."""

    max_documents: int = 2
    max_ratio: float = 0.5

    reads: ClassVar[tuple[str, ...]] = ("line_documents", "line_chars")
    reasons: ClassVar[Mapping[str, str]] = {
        "lines_on_many_pages": "the site has most of the paragraph's lines on too many pages"
    }

    def __post_init__(self) -> None:
        check_bounds(None, self.max_documents, least=1, name="{}_documents")
        check_bounds(None, self.max_ratio, most=1, name="{}_ratio")

    def judge(self, columns: pa.Table) -> Verdict:
        documents, chars = (columns[name].combine_chunks() for name in self.reads)
        owner = np.asarray(pc.list_parent_indices(chars), np.int64)
        often = np.asarray(pc.fill_null(pc.greater(documents.flatten(), self.max_documents), False), bool)
        lengths = np.asarray(chars.flatten(), np.float64)
        total = np.bincount(owner, lengths, len(columns))
        ratio = np.bincount(owner, lengths * often, len(columns)) / np.maximum(total, 1)
        return verdict(len(columns), ("lines_on_many_pages", above(pa.chunked_array([ratio]), self.max_ratio)))
