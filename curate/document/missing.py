"""Slots whose picture was wanted and did not come: the last round drops them, and a reader may still want their place.

A slot is missing when it was kept in the round before the fetch, so that it was asked for, and has no picture. One that
arrived and was dropped for what it is (too small, unsafe) is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from curate.document.columns import IMAGE
from curate.document.read import IMAGE_MEMBER, document_row, documents_at, kept_rows
from curate.document.select import prefix
from curate.sample import Document
from curate.shard import Shard

__all__ = ["kept_and_missing", "read_with_missing"]

ASKED_FOR = "unique"
"""The round of decisions after which pictures are fetched."""


def kept_and_missing(shard: Shard) -> npt.NDArray[Any]:
    """Numbers of the parts that are kept or missing, int64, rising. Raises ShardError."""
    parts = shard.parts
    kept = kept_rows(parts)
    wanted = f"{prefix(ASKED_FOR)}keep"
    if not {wanted, IMAGE_MEMBER} <= set(parts.column_files):
        return kept
    rows = parts.columns(["kind", wanted, IMAGE_MEMBER])
    slot = pc.and_(pc.equal(rows["kind"], IMAGE), pc.is_null(rows[IMAGE_MEMBER]))
    missing = np.flatnonzero(np.asarray(pc.fill_null(pc.and_(slot, rows[wanted]), False)))
    return np.union1d(kept, missing)


def read_with_missing(shard: Shard, key: str) -> Document:
    """One document, kept or not, with its kept parts and its missing slots. Raises ShardError."""
    return next(documents_at(shard, np.array([document_row(shard, key)]), kept_and_missing(shard)))
