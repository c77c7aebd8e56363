"""Extracted documents against the truth, where the truth is known: on the toy web's pages.

Each page says which texts and pictures belong to it, in which order. A found part is right when the same text or URL
stands in the same order among the expected ones (a longest common subsequence), so a part in the wrong place is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import pyarrow.compute as pc

from curate.document.columns import IMAGE, TEXT
from curate.shard import Shard

__all__ = ["against_page_truth", "in_order"]

LABEL = "toy_parts"

Piece: TypeAlias = tuple[str, str]
"""Kind and value: a text with its white space made single, or a picture's URL."""


def against_page_truth(shards: Iterable[Shard]) -> list[dict[str, Any]]:
    """Precision and recall of texts and of pictures, rows of a table; empty for a data set without the label."""
    expected, found, right = Counter[str](), Counter[str](), Counter[str]()
    for wanted, given in _pages(shards):
        expected.update(kind for kind, _ in wanted)
        found.update(kind for kind, _ in given)
        right.update(kind for kind, _ in in_order(wanted, given))
    return [
        {
            "part": kind,
            "expected": expected[kind],
            "found": found[kind],
            "right": right[kind],
            "precision": round(right[kind] / found[kind], 3) if found[kind] else None,
            "recall": round(right[kind] / expected[kind], 3),
        }
        for kind in (TEXT, IMAGE)
        if expected[kind]
    ]


def in_order(wanted: Sequence[Piece], given: Sequence[Piece]) -> list[Piece]:
    """The longest list of pieces that both have in the same order."""
    best: list[list[list[Piece]]] = [[[] for _ in range(len(given) + 1)] for _ in range(len(wanted) + 1)]
    for i in range(len(wanted) - 1, -1, -1):
        for j in range(len(given) - 1, -1, -1):
            if wanted[i] == given[j]:
                best[i][j] = [wanted[i], *best[i + 1][j + 1]]
            else:
                best[i][j] = max(best[i + 1][j], best[i][j + 1], key=len)
    return best[0][0]


def _pages(shards: Iterable[Shard]) -> Iterator[tuple[list[Piece], list[Piece]]]:
    """For every page: what belongs to it, and what extraction counted as content."""
    for shard in shards:
        if LABEL not in shard.column_files:
            return
        truth = shard.columns([LABEL])[LABEL].to_pylist()
        parts = shard.parts.columns(["document", "kind", "text", "url", "region_reason"])
        content = parts.filter(pc.is_null(parts["region_reason"])).to_pylist()
        given = {row: list(map(_piece, own)) for row, own in groupby(content, key=lambda part: part["document"])}
        for row, pieces in enumerate(truth):
            yield [(p["kind"], _plain(p["value"])) for p in pieces or ()], given.get(row, [])


def _piece(part: dict[str, Any]) -> Piece:
    return part["kind"], _plain(part["text"] if part["kind"] == TEXT else part["url"])


def _plain(value: str) -> str:
    return " ".join(value.split())
