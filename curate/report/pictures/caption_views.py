"""Views of captions: the web's texts against synthetic ones, counted and shown with their pictures.

What became of every text is counted in Arrow, column by column; only the drawn rows become Python's own values, as
`curate.report.captions` tells them. A million rows with one caption each take 4 s of one core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.rule import WEB
from curate.report.captions import FATES, caption_rows, made_anew, told_columns, views_of
from curate.report.facts import Captions, Gallery, Tile
from curate.report.long_texts import batches
from curate.report.pictures.decided import rows_by_value
from curate.report.pictures.drawing import UNREADABLE, Draw, Drawn, Lot, row_numbers
from curate.report.pictures.tiles import Tiles, fitted_galleries, read_tiles
from curate.report.pictures.withholding import Watch, watch, with_picture
from curate.report.pictures.word_counts import WordCounts
from curate.report.pictures.words import told
from curate.shard import Shard

__all__ = ["captions"]

EXAMPLES = 6
"""Of each fate."""
MOST_REASONS, MOST_VIEWS = 40, 20
"""More than there are; columns of strangers may have as many as rows."""
SYNTHETIC = "synthetic"
Mask = npt.NDArray[np.bool_]
Row = Mapping[str, Any]


def captions(
    shards: Sequence[Shard], draw: Draw, tell: Callable[[str], None], seen: Watch | None = None
) -> tuple[Captions, ...]:
    """Every view, by name. Fates count rows, those without a picture too; lengths count texts, and `left` are those
    that the view keeps; reasons count texts, most frequent first. An example's `numbers` hold its `web` and `synthetic`
    texts, `SCORE` and `refused` of each, where there are some. Shards that cannot be read are passed over; so are those
    whose captions were made anew since, and `tell` is told how many."""
    found: dict[str, _View] = {}
    for place, shard in enumerate(shards):
        try:
            for name in views_of(shard):
                view = found.setdefault(name, _View(name, draw))
                if made_anew(shard, name):
                    view.stale += 1
                else:
                    _look(view, place, shard)
        except UNREADABLE:  # whoever counts its rows says that it cannot be read
            continue
    for view in found.values():
        if view.stale:
            others = f"was made of other captions than are there now in {view.stale:,} shards, which are not counted"
            tell(f"view {view.name!r} {others}; run a config with its table again")
    views = [found[name] for name in sorted(found) if found[name].rows][:MOST_VIEWS]
    drawn = [row for view in views for lot in view.lots.values() for row in lot.rows()]
    tiles = read_tiles(shards, drawn, draw, seen or watch(shards)) if drawn else Tiles({}, frozenset())
    galleries = [one for view in views for one in _examples(view, shards, tiles)]
    shown = iter(fitted_galleries(galleries, draw, draw.bytes_of("captions")))
    return tuple(view.told(tuple(next(shown) for _ in view.lots)) for view in views)


class _View:
    """What was counted of one view so far, and its examples."""

    def __init__(self, name: str, draw: Draw) -> None:
        self.name, self.seed, self.rows, self.stale = name, draw.seed, 0, 0
        self.fates: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.web, self.synthetic = (
            WordCounts("words of a caption of the web"),
            WordCounts("words of a synthetic caption"),
        )
        self.lots = {fate: Lot(min(EXAMPLES, draw.tiles)) for fate in FATES}

    def told(self, examples: tuple[Gallery, ...]) -> Captions:
        given = sorted(self.reasons.items(), key=lambda own: (-own[1], own[0]))[:MOST_REASONS]
        reasons = tuple((told(reason), texts) for reason, texts in given)
        fates = {fate: self.fates[fate] for fate in FATES}
        lengths = self.web.histogram(), self.synthetic.histogram()
        return Captions(self.name, fates, *lengths, reasons, tuple(one for one in examples if one.of))


def _look(view: _View, place: int, shard: Shard) -> None:
    names = told_columns(shard, view.name)
    columns = shard.columns(list(dict.fromkeys(own for name, own in names.items() if name != WEB)))
    rows = len(columns)
    web_kept, other_kept = _kept(columns[names["origins"]], rows)
    has_text = _count_texts(view, columns, names)
    if WEB in names:
        has_text |= _count_web(view, shard, names[WEB], web_kept)
    masks = (web_kept & other_kept, web_kept & ~other_kept, ~web_kept & other_kept, ~web_kept & ~other_kept)
    shown = has_text & with_picture(shard)
    numbers = row_numbers(shard, view.seed)
    view.rows += rows
    for fate, mask in zip(FATES, masks, strict=True):
        view.fates[fate] += int(mask.sum())
        view.lots[fate].offer(place, np.flatnonzero(mask & shown), numbers)


def _kept(origins: pa.ChunkedArray, rows: int) -> tuple[Mask, Mask]:
    """Which rows have the web's text in the view, and which another one."""
    web, other = np.zeros(rows, bool), np.zeros(rows, bool)
    for origin, places in rows_by_value(origins).items():
        (web if origin == WEB else other)[places] = True
    return web, other


def _count_web(view: _View, shard: Shard, column: str, kept: Mask) -> Mask:
    """Count lengths of the web's texts; which rows have one."""
    found = [np.zeros(0, bool)]
    start = 0
    for batch in batches(shard, shard.column_files[column], [column]):
        texts = batch.column(0)
        view.web.add(texts, kept[start : start + len(texts)])
        found.append(np.asarray(pc.is_valid(texts), bool))
        start += len(texts)
    return np.concatenate(found)


def _count_texts(view: _View, columns: pa.Table, names: Mapping[str, str]) -> Mask:
    """Count reasons, and lengths of synthetic texts; which rows have one."""
    has_text = np.zeros(len(columns), bool)
    _count_reasons(view, columns[names["web_reason"]])
    for name in (name for name in names if name.endswith(f"/{SYNTHETIC}")):
        texts, reasons = columns[names[name]], columns[names[f"{name}_reason"]]
        kept = np.asarray(pc.is_null(pc.list_flatten(reasons)), bool)
        view.synthetic.add(pc.list_flatten(texts), kept)
        _count_reasons(view, reasons)
        has_text |= np.asarray(pc.fill_null(pc.greater(pc.list_value_length(texts), 0), False), bool)
    return has_text


def _count_reasons(view: _View, reasons: pa.ChunkedArray) -> None:
    view.reasons.update({reason: len(rows) for reason, rows in rows_by_value(reasons).items()})


def _examples(view: _View, shards: Sequence[Shard], tiles: Tiles) -> list[Gallery]:
    rows: dict[int, set[int]] = {}
    for one in (one for lot in view.lots.values() for one in lot.rows()):
        rows.setdefault(one.shard, set()).add(one.row)
    told_rows: dict[tuple[str, str], Row] = {}
    for place, own in sorted(rows.items()):
        try:
            found = list(caption_rows(shards[place], view.name, sorted(own)))
        except UNREADABLE:
            continue
        told_rows |= {(told(shards[place].id), told(row["key"])): row for row in found}
    return [_gallery(fate, lot.rows(), lot.seen, tiles, told_rows) for fate, lot in view.lots.items()]


def _gallery(fate: str, drawn: Sequence[Drawn], of: int, tiles: Tiles, rows: Mapping[tuple[str, str], Row]) -> Gallery:
    found = tiles.gallery("captions", fate, drawn, of)
    return replace(found, tiles=tuple(_with_texts(tile, rows.get((tile.shard, tile.key), {})) for tile in found.tiles))


def _with_texts(tile: Tile, row: Row) -> Tile:
    numbers: dict[str, str] = {}
    for name in (WEB, SYNTHETIC):
        if row.get(name) is None:
            continue
        score, reason = row.get(f"{name}_score"), row.get(f"{name}_reason")
        numbers[name] = told(row[name])
        numbers |= {f"{name} score": f"{score:.3f}"} if score is not None else {}
        numbers |= {f"{name} refused": told(reason)} if reason else {}
    return replace(tile, numbers=numbers)
