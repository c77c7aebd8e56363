"""Scores of texts as list columns, one list a row, as long as that of its texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

__all__ = ["aligned_lists"]


def aligned_lists(texts: Sequence[Sequence[Any] | None], of_row: Mapping[int, Iterator[float]]) -> pa.Array:
    """list<float32> of scores: of row i the next ones of `of_row[i]`, as many as it has texts.

    Null for a row without texts (null) or without scores; a score that is not finite becomes a null in its list.
    """
    lists = [
        None if own is None or row not in of_row else [_finite(next(of_row[row])) for _ in own]
        for row, own in enumerate(texts)
    ]
    return pa.array(lists, pa.list_(pa.float32()))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
