"""Drawn rows as tiles: their words, their thumbnails, and who of them is not shown.

The rows of all galleries are read together, shard by shard, so a shard is opened once however many galleries it has a
row in. A row that is withheld has no tile: its picture is not read, and neither its caption nor its address is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import pyarrow as pa

from curate.report.facts import Gallery, Tile
from curate.report.long_texts import rows_of
from curate.report.pictures.decided import rows_by_value
from curate.report.pictures.drawing import UNREADABLE, Draw, Drawn
from curate.report.pictures.in_tar import Wanted, pictures_in_tar
from curate.report.pictures.thumbnails import fitted, thumbnail
from curate.report.pictures.withholding import Watch, withheld_keys
from curate.report.pictures.words import texts_of, told
from curate.shard import Shard

__all__ = ["NO_PICTURE", "SUCCESS", "Place", "Tiles", "fitted_galleries", "read_tiles"]

Place: TypeAlias = tuple[int, int]
"""The place of a shard among the shards, and a row of it."""

NO_PICTURE, UNASKED, TEXT, DOCUMENT = "not in the tar", "not fetched", "text", "document"
"""What a tile says as its status: of a picture that was fetched and cannot be shown; of a slot whose picture was never
asked for; of what is no picture."""
SUCCESS = "success"
READ = ("url", "caption", "alt", "title", "fetch_status", "status", "document_status")
OF_PARTS = ("text", "kind", "image_member")
"""What a part has more; a sample may have columns of these names with other meanings."""
SIZES = ("original_width", "original_height")
ALL_REASONS = "drop_reasons"
"""The column with all reasons: of the last round, which has those of all."""
MOST_KEY = 120


@dataclass(frozen=True)
class Tiles:
    """A tile for each row that may be shown and could be read; `withheld`: the rows that may not."""

    shown: Mapping[Place, Tile]
    withheld: frozenset[Place]

    def gallery(self, kind: str, title: str, drawn: Sequence[Drawn], of: int, words: str = "") -> Gallery:
        """The tiles of drawn rows, in their order."""
        places = [(one.shard, one.row) for one in drawn]
        tiles = tuple(self.shown[place] for place in places if place in self.shown)
        return Gallery(kind, title, tiles, of, sum(place in self.withheld for place in places), words)


def read_tiles(shards: Sequence[Shard], drawn: Iterable[Drawn], draw: Draw, seen: Watch, parts: bool = False) -> Tiles:
    """The tiles of these rows (of parts of documents, where `parts`)."""
    rows: dict[int, set[int]] = {}
    for one in drawn:
        rows.setdefault(one.shard, set()).add(one.row)
    shown: dict[Place, Tile] = {}
    withheld: set[Place] = set()
    for number, own in sorted(rows.items()):
        try:
            for row, tile in _of_shard(shards[number], sorted(own), draw, seen, parts):
                if tile is None:
                    withheld.add((number, row))
                else:
                    shown[number, row] = tile
        except UNREADABLE:  # it could be drawn from and cannot be read any more; whoever counts its rows says so
            continue
    return Tiles(shown, frozenset(withheld))


def fitted_galleries(galleries: Sequence[Gallery], draw: Draw, most_bytes: int) -> tuple[Gallery, ...]:
    """The same galleries with `most_bytes` of thumbnails at most."""
    pictures = iter(fitted([tile.picture for one in galleries for tile in one.tiles], draw.side_px, most_bytes))
    return tuple(
        replace(one, tiles=tuple(replace(tile, picture=next(pictures)) for tile in one.tiles)) for one in galleries
    )


def _of_shard(
    shard: Shard, rows: Sequence[int], draw: Draw, seen: Watch, parts: bool
) -> Iterator[tuple[int, Tile | None]]:
    table = shard.parts if parts else shard
    words = ("key", *READ, *(OF_PARTS if parts else ()))
    columns = rows_of(table, [name for name in (*words, *SIZES, ALL_REASONS) if name in table.column_files], rows)
    texts = {name: texts_of(columns[name]) for name in words if name in columns.column_names}
    hidden = withheld_keys(table, seen)
    keys = [key or "" for key in texts["key"]]
    wanted = {place: Wanted(*_member(key, texts, place)) for place, key in enumerate(keys) if key not in hidden}
    read = pictures_in_tar(shard, set(wanted.values()))
    made = {one: (thumbnail(own.data, draw.side_px), own.of) for one, own in read}
    against, sizes = _against(columns, len(rows)), _sizes(columns)
    for place, row in enumerate(rows):
        if place not in wanted:
            yield row, None
            continue
        picture, of = made.get(wanted[place], (b"", 0))
        tile = _tile(shard, {name: values[place] for name, values in texts.items()}, picture)
        several = {"pictures": f"the first of {of:,}"} if of > 1 and not parts else {}
        yield row, replace(tile, reasons=tuple(against[place]), numbers={**sizes[place], **several})


def _member(key: str, texts: Mapping[str, Sequence[str | None]], place: int) -> tuple[str, str]:
    """Where a picture lies: a part's under its document's key."""
    if "kind" not in texts:
        return key, ""
    members = texts.get("image_member")
    return key.rpartition(".")[0], (members[place] if members else None) or "none"


def _tile(shard: Shard, texts: Mapping[str, str | None], picture: bytes) -> Tile:
    is_text = texts.get("kind") == "text"
    caption = texts.get("text") if is_text else texts.get("caption") or texts.get("alt") or texts.get("title")
    alt = texts.get("alt") or texts.get("caption")
    key, url = told(texts["key"], MOST_KEY), told(texts.get("url"))
    status = SUCCESS if picture else told(_status(texts))
    return Tile(told(shard.id, MOST_KEY), key, picture, told(caption), told(alt), url, status=status)


def _status(texts: Mapping[str, str | None]) -> str:
    """Why there is no picture."""
    if texts.get("kind") == "text":
        return TEXT
    if texts.get("document_status") == "ok":
        return DOCUMENT
    known = [texts[name] for name in ("fetch_status", "status", "document_status") if name in texts]
    status = next(filter(None, known), UNASKED if known else NO_PICTURE)
    return NO_PICTURE if status == SUCCESS else status


def _against(columns: pa.Table, rows: int) -> Sequence[Sequence[str]]:
    found: list[list[str]] = [[] for _ in range(rows)]
    if ALL_REASONS in columns.column_names:
        for reason, places in rows_by_value(columns[ALL_REASONS]).items():
            for place in places.tolist():
                found[place].append(told(reason))
    return found


def _sizes(columns: pa.Table) -> Sequence[Mapping[str, str]]:
    """As displayed, before it was scaled to be stored."""
    if not set(SIZES) <= set(columns.column_names):
        return [{}] * len(columns)
    sides = zip(*(columns[name].to_pylist() for name in SIZES), strict=True)
    return [{"size": f"{width} × {height}"} if width and height else {} for width, height in sides]
