"""Which rows have which value: columns of reasons as numbers of rows, without Python looking at each row.

A column of strangers may have as many values as rows, so rows are sorted by their value and cut, once for all values.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curate.report.pictures.drawing import Rows
from curate.report.pictures.words import texts_of

__all__ = ["rows_by_value"]


def rows_by_value(column: pa.ChunkedArray) -> Mapping[str, Rows]:
    """The rows that have each value, rising: of a column of text, or of lists of it (a row then has several)."""
    found: dict[str, list[Rows]] = {}
    start = 0
    for chunk in column.chunks:
        listed = pt.is_list(chunk.type) or pt.is_large_list(chunk.type)
        values = pc.list_flatten(chunk) if listed else chunk
        rows = pc.list_parent_indices(chunk) if listed else pa.array(np.arange(len(chunk)))
        encoded = values if pt.is_dictionary(values.type) else values.dictionary_encode()
        codes = np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int64)
        places = np.asarray(rows, np.int64) + start
        words = texts_of(encoded.dictionary)
        order = np.argsort(codes, kind="stable")
        given, starts = np.unique(codes[order], return_index=True)
        pieces = np.split(places[order], starts[1:]) if len(given) else []
        for code, own in zip(given.tolist(), pieces, strict=True):
            if code >= 0:
                found.setdefault(words[code] or "", []).append(own)
        start += len(chunk)
    return {word: np.concatenate(rows) for word, rows in found.items()}
