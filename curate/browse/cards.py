"""One row as a card of a list: its picture, its words, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from curate.browse.find import Row
from curate.browse.picture_shelf import PictureShelf

__all__ = ["Card", "card_of", "page_address", "picture_address", "value_text"]

STATUSES = ("document_status", "fetch_status", "status")
"""Columns that say why there is nothing; `ok` and `success` are not told."""
WORDS = ("caption", "title", "text", "alt")
"""Columns that tell what a row is; the first that has a value is shown."""
TOLD = frozenset(
    {*WORDS, *STATUSES, "key", "shard", "keep", "drop_reason", "drop_reasons", "url", "kind", "document", "block"}
)
"""Columns that a card shows in places of their own."""
FACTS = 4
"""Other columns on a card."""


@dataclass(frozen=True)
class Card:
    """`href`: of the row's page; `picture`: the address of its thumbnail, empty where `no_picture` says why there is
    none; `kept`: None where nothing was decided; `facts`: pairs of a column and its value; `about`: a line on top."""

    key: str
    href: str
    picture: str
    no_picture: str
    withheld: bool
    words: str
    kept: bool | None
    reasons: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    about: str = ""


def card_of(row: Row, unit: str, shelf: PictureShelf) -> Card:
    """The card of a row that was found."""
    own = row.columns
    key = shelf.first_of(row.shard, row.key) if unit == "documents" else row.key
    flagged = shelf.why_not(row.shard, key or row.key)
    there = bool(key) and not flagged and shelf.has(row.shard, key)
    reasons = own.get("drop_reasons") or ([own["drop_reason"]] if own.get("drop_reason") else [])
    words = next((str(own[name]) for name in WORDS if own.get(name)), "")
    about = " ".join(str(own[name]) for name in ("kind", "block") if own.get(name))
    return Card(
        key=row.key,
        href=page_address(row.shard, row.key, unit),
        picture=picture_address(row.shard, key) if there else "",
        no_picture="" if there else _no_picture(own, unit, flagged),
        withheld=bool(flagged),
        words=words,
        kept=own.get("keep"),
        reasons=tuple(map(str, reasons)),
        facts=_facts(own),
        about=about,
    )


def page_address(shard: str, key: str, unit: str) -> str:
    """The page of one row."""
    place = f"{quote(shard, safe='')}/{quote(key, safe='')}"
    return f"/document/{place}" if unit == "documents" else f"/sample/{place}" + ("?unit=parts" * (unit == "parts"))


def picture_address(shard: str, key: str, large: bool = False) -> str:
    """A picture, as a thumbnail or large."""
    return f"/picture/{quote(shard, safe='')}/{quote(key, safe='')}" + ("?size=large" if large else "")


def value_text(value: Any, letters: int = 2_000) -> str:
    """A column's value in words: numbers short, lists and records in one line, bytes by their digits; cut."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        from curate.report.page.words import number

        return number(value)
    if isinstance(value, bytes | bytearray):
        return bytes(value[:64]).hex() + ("…" if len(value) > 64 else "")
    if isinstance(value, Mapping):
        return _cut(", ".join(f"{name}: {value_text(one, 200)}" for name, one in list(value.items())[:100]), letters)
    if isinstance(value, list | tuple):
        return _cut(", ".join(value_text(one, 200) for one in value[:100]), letters) or "(none)"
    return _cut(str(value), letters)


def _facts(own: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The other columns; width and height as one, those of the original where they are known, behind what was asked."""
    told = {name: value_text(own[name], 80) for name in own if name not in TOLD and own[name] is not None}
    sizes = [told.pop(name, "") for name in ("width", "height", "original_width", "original_height")]
    for size in (sizes[2:], sizes[:2]):
        if all(size):
            told["size"] = f"{size[0]} × {size[1]} px"
            break
    return tuple(told.items())[-FACTS:]


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[:letters]}… ({len(text):,} letters)"


def _no_picture(own: Mapping[str, Any], unit: str, flagged: str) -> str:
    if flagged:
        return f"withheld: {flagged}"
    if unit == "parts" and own.get("kind") != "image":
        return ""
    status = next((str(own[name]) for name in STATUSES if own.get(name) and own[name] not in ("success", "ok")), "")
    return f"no picture: {status}" if status else "no picture"
