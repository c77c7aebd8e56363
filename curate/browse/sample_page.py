"""One row: its picture, all its columns by the file that holds them, what every step said of it, and its copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.browse.cards import STATUSES, WORDS, page_address, picture_address, value_text
from curate.browse.catalog import Column
from curate.browse.find import Event, Finder, Near
from curate.browse.picture_shelf import PictureShelf
from curate.report.cluster import SHOWN

__all__ = ["Family", "families", "sample_context", "verdict_of"]

MOST_LETTERS = 20_000
"""Of a text that is told on the page of its row."""
COPIES = 24
"""Copies of a kind that are shown; how many there are is said."""


@dataclass(frozen=True)
class Family:
    """The columns of one file that have a value here: (name, value, type, what the column says of itself)."""

    name: str
    rows: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True)
class Copy:
    """One row of a cluster. `picture` is empty where `no_picture` says why."""

    key: str
    place: str
    href: str
    picture: str
    no_picture: str
    keep: bool
    here: bool


def sample_context(finder: Finder, shelf: PictureShelf, unit: str, shard: str, key: str) -> dict[str, Any]:
    """What the template `sample.html` shows of a row. Raises ShardError for one that is not there or is hidden."""
    row = finder.row(unit, shard, key)
    events = finder.history(shard, key, unit)
    flagged = shelf.why_not(shard, key)
    there = not flagged and shelf.has(shard, key)
    document = key.rpartition(".")[0] if unit == "parts" else ""
    return {
        "unit": unit,
        "shard": shard,
        "key": key,
        "picture": picture_address(shard, key, large=True) if there else "",
        "no_picture": f"withheld: {flagged}" if flagged else _no_picture(row),
        "words": next((value_text(row[name], MOST_LETTERS) for name in WORDS if row.get(name)), ""),
        "url": str(row.get("url") or ""),
        "document": page_address(shard, document, "documents") if document else "",
        "families": families(unit, finder.catalog.columns(unit), row),
        "events": events,
        **verdict_of(row, events),
        "most_copies": SHOWN,
        "near": _near(finder.near(shard, key, unit), shelf, unit, key),
    }


def verdict_of(row: Mapping[str, Any], events: Sequence[Event]) -> dict[str, Any]:
    """Whether a row is kept, and every reason against it with its words, each once."""
    words: dict[str, str] = {}
    for event in events:
        for reason, meaning in event.reasons:
            words.setdefault(reason, meaning)
    told = [
        str(reason) for reason in row.get("drop_reasons") or ([row["drop_reason"]] if row.get("drop_reason") else [])
    ]
    return {"kept": row.get("keep"), "reasons": [(reason, words.get(reason, "")) for reason in told]}


def families(unit: str, columns: Sequence[Column], row: Mapping[str, Any]) -> list[Family]:
    """The columns that have a value, by the file that holds them."""
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    for column in columns:
        if row.get(column.name) is not None:
            told = (column.name, value_text(row[column.name], MOST_LETTERS), column.type, column.about)
            found.setdefault(column.family, []).append(told)
    return [Family(name or f"the table of {unit}", tuple(rows)) for name, rows in found.items()]


def _near(near: Sequence[Near], shelf: PictureShelf, unit: str, key: str) -> list[tuple[str, int, list[Copy]]]:
    """Copies by kind: how many, and the first of them; a kind of which the row is the only one is left out."""
    kinds: dict[str, list[Near]] = {}
    for one in near:
        kinds.setdefault(one.kind, []).append(one)
    shown = [(kind, len(rows), [_copy(one, shelf, unit, key) for one in rows[:COPIES]]) for kind, rows in kinds.items()]
    return [entry for entry in shown if entry[1] > 1]


def _copy(one: Near, shelf: PictureShelf, unit: str, key: str) -> Copy:
    here, elsewhere = one.key == key, bool(one.data_set)
    flagged = "" if elsewhere else shelf.why_not(one.shard, one.key)
    there = not elsewhere and not flagged and shelf.has(one.shard, one.key)
    why = "in an earlier data set" if elsewhere else f"withheld: {flagged}" if flagged else "no picture"
    return Copy(
        one.key,
        one.data_set or f"shard {one.shard}",
        "" if elsewhere or here else page_address(one.shard, one.key, unit),
        picture_address(one.shard, one.key) if there else "",
        "" if there else why,
        one.keep,
        here,
    )


def _no_picture(row: Mapping[str, Any]) -> str:
    if row.get("kind") == "text":
        return ""
    status = next((str(row[name]) for name in STATUSES if row.get(name) and row[name] not in ("success", "ok")), "")
    return f"no picture: {status}" if status else "no picture"
