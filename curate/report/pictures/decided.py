"""Which rows have which value: columns of reasons as numbers of rows, without Python looking at each row."""

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
        for code in np.unique(codes[codes >= 0]).tolist():
            found.setdefault(words[code] or "", []).append(places[codes == code])
        start += len(chunk)
    return {word: np.concatenate(rows) for word, rows in found.items()}
