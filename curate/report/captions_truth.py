"""Texts against the truth, where it is known: on the toy web a caption parses back to its scene, or it is wrong.

For each view: of the web's and of synthetic texts, how many say what the picture shows, before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from curate.caption.choose import view_columns
from curate.caption.rule import WEB
from curate.report.captions import views_of
from curate.shard import Shard
from curate.toyweb.caption import parse

__all__ = ["against_scenes"]

SCENE, CAPTION = "toy_scene", "caption"


def against_scenes(shards: Iterable[Shard], view: str) -> list[dict[str, Any]]:
    """Rows of a table for the web's and for synthetic texts: `texts` and how many are `right`, `kept` and how many of
    these are, as precision and as recall; empty for a data set without scenes. A right text that stands twice counts
    as two before, and as the one that a view keeps of it."""
    total = {kind: [0, 0, 0, 0] for kind in (WEB, "synthetic")}
    for shard in shards:
        if SCENE not in shard.column_files or view not in views_of(shard):
            return []
        there = shard.column_files
        captioners = [c for c in there if c.endswith("_captions") and f"{view}_{_stem(c)}_reasons" in there]
        texts, origins, _, _ = view_columns(view)
        for row in shard.columns([SCENE, "fetch_status", CAPTION, texts, origins, *captioners]).to_pylist():
            if row["fetch_status"] != "success" or not row[SCENE]:
                continue
            made = [text for name in captioners for text in row[name] or () if text is not None]
            kept = list(zip(row[texts] or (), row[origins] or (), strict=True))
            _add(total[WEB], row[SCENE], [row[CAPTION] or ""], [text for text, origin in kept if origin == WEB])
            _add(total["synthetic"], row[SCENE], made, [text for text, origin in kept if origin != WEB])
    return [_line(kind, *numbers) for kind, numbers in total.items()]


def _stem(column: str) -> str:
    return column.removesuffix("_captions")


def _add(numbers: list[int], scene: str, before: Sequence[str], after: Sequence[str]) -> None:
    truth = parse(scene)
    for place, texts in ((0, before), (2, after)):
        numbers[place] += len(texts)
        numbers[place + 1] += sum(truth is not None and parse(text) == truth for text in texts)


def _line(kind: str, texts: int, right: int, kept: int, rightly: int) -> dict[str, Any]:
    return {
        "texts": kind,
        "in": texts,
        "right": right / texts if texts else None,
        "kept": kept,
        "kept_right": rightly / kept if kept else None,
        "right_kept": rightly / right if right else None,
    }
