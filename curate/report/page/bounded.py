"""Facts made small enough for one file: a page stays under 5 MB whatever is asked to be on it.

Facts are bounded already where `collect` makes them; this holds for anybody's. Lists are cut to stated lengths, and a
picture above 150 kB, which is no thumbnail, is left out. What then grows is tiles: `thinned` takes evenly spaced ones
of each gallery, so every gallery loses the same share and none its beginning only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from curate.report.facts import Captions, Copies, Facts, Gallery, Tile, Unit
from curate.sample import Document, Part, Picture, Text

__all__ = ["bounded", "largest_share", "pictures_left_out", "thinned", "tiles_of"]

PICTURE_BYTES = 150_000
"""Of one thumbnail; a larger picture is not shown."""
HISTOGRAMS, COUNTED, GALLERIES = 60, 40, 60
"""Of a unit."""
UNITS, DOCUMENTS, KINDS, EXAMPLES, ROWS = 4, 8, 20, 12, 200
"""Of the report: units, documents, kinds of copies and views of captions; examples of each; rows of any table."""
DOCUMENT_LETTERS, DOCUMENT_PARTS = 12_000, 120
"""Of a document as a reader sees it."""
TILE_BYTES = 2_600
"""What a tile takes without its picture, at most of the usual."""

Item = TypeVar("Item")


def bounded(facts: Facts, lists: float = 1.0) -> Facts:
    """The facts with their lists cut and pictures that are no thumbnails left out. `lists`: the share of the stated
    lengths that is allowed, at least one entry."""
    caps = _Caps(lists)
    small = replace(
        facts,
        units=tuple(_unit(unit, caps) for unit in facts.units[: caps(UNITS)]),
        copies=tuple(_copies(one, caps) for one in facts.copies[: caps(KINDS)]),
        captions=tuple(_captions(one, caps) for one in facts.captions[: caps(KINDS)]),
        shown=tuple(map(_document, facts.shown[: caps(DOCUMENTS)])),
        costs=facts.costs[: caps(ROWS)],
        troubles=facts.troubles[: caps(ROWS)],
        withheld=caps.items(facts.withheld),
        about=caps.items(facts.about),
    )
    if facts.downloads is not None:
        statuses, hosts = facts.downloads.statuses[: caps(ROWS)], facts.downloads.hosts[: caps(ROWS)]
        small = replace(small, downloads=replace(facts.downloads, statuses=statuses, hosts=hosts))
    return _with_galleries(small, lambda gallery: replace(gallery, tiles=tuple(map(_tile, gallery.tiles))))


@dataclass(frozen=True)
class _Caps:
    """How many entries of a list are allowed."""

    share: float

    def __call__(self, most: int) -> int:
        return max(1, int(most * self.share))

    def items(self, pairs: Mapping[str, Item]) -> dict[str, Item]:
        return dict(list(pairs.items())[: self(ROWS)])


def tiles_of(facts: Facts) -> int:
    """Tiles of all galleries, and documents that are shown."""
    return sum(len(gallery.tiles) for gallery in _galleries(facts)) + len(facts.shown)


def pictures_left_out(facts: Facts) -> int:
    """Pictures of tiles that `bounded` leaves out because they are too large."""
    return sum(len(tile.picture) > PICTURE_BYTES for gallery in _galleries(facts) for tile in gallery.tiles)


def largest_share(facts: Facts, budget: int) -> float:
    """The share of all tiles that takes about `budget` bytes of a page, at most 1."""
    weights = [TILE_BYTES + len(tile.picture) * 4 / 3 for gallery in _galleries(facts) for tile in gallery.tiles]
    weights += [
        len(part.image or b"") * 4 / 3 for one in facts.shown for part in one.parts if isinstance(part, Picture)
    ]
    total = sum(weights)
    return 1.0 if total <= budget else budget / total


def thinned(facts: Facts, share: float) -> Facts:
    """Facts with this share of each gallery's tiles, and of the documents, evenly spaced; all of them with 1."""
    if share >= 1:
        return facts
    less = _with_galleries(facts, lambda gallery: replace(gallery, tiles=_evenly(gallery.tiles, share)))
    return replace(less, shown=_evenly(facts.shown, share))


def _evenly(items: Sequence[Item], share: float) -> tuple[Item, ...]:
    left = int(len(items) * share)
    return tuple(items[place * len(items) // left] for place in range(left))


def _galleries(facts: Facts) -> list[Gallery]:
    groups = [unit.galleries for unit in facts.units]
    groups += [copies.examples for copies in facts.copies]
    groups += [captions.examples for captions in facts.captions]
    return [gallery for group in groups for gallery in group]


def _with_galleries(facts: Facts, change: Callable[[Gallery], Gallery]) -> Facts:
    return replace(
        facts,
        units=tuple(replace(one, galleries=tuple(map(change, one.galleries))) for one in facts.units),
        copies=tuple(replace(one, examples=tuple(map(change, one.examples))) for one in facts.copies),
        captions=tuple(replace(one, examples=tuple(map(change, one.examples))) for one in facts.captions),
    )


def _unit(unit: Unit, caps: _Caps) -> Unit:
    return replace(
        unit,
        funnel=unit.funnel[: caps(ROWS)],
        histograms=unit.histograms[: caps(HISTOGRAMS)],
        counted=unit.counted[: caps(COUNTED)],
        galleries=unit.galleries[: caps(GALLERIES)],
    )


def _copies(copies: Copies, caps: _Caps) -> Copies:
    return replace(copies, sizes=copies.sizes[-caps(ROWS) :], examples=copies.examples[: caps(EXAMPLES)])


def _captions(captions: Captions, caps: _Caps) -> Captions:
    reasons, examples = captions.reasons[: caps(ROWS)], captions.examples[: caps(EXAMPLES)]
    return replace(captions, counts=caps.items(captions.counts), reasons=reasons, examples=examples)


def _tile(tile: Tile) -> Tile:
    numbers = dict(list(tile.numbers.items())[:12])
    picture = tile.picture if len(tile.picture) <= PICTURE_BYTES else b""
    return replace(tile, picture=picture, numbers=numbers, reasons=tile.reasons[:20])


def _document(document: Document) -> Document:
    """The beginning of a document; that it was cut is said at its end."""
    parts: list[Part] = []
    left = DOCUMENT_LETTERS
    for part in document.parts[:DOCUMENT_PARTS]:
        if left <= 0:
            break
        if isinstance(part, Text):
            parts.append(replace(part, text=part.text[:left]))
            left -= len(part.text)
        else:
            too_large = part.image is not None and len(part.image) > PICTURE_BYTES
            parts.append(replace(part, image=None, status="picture too large to show") if too_large else part)
    if left < 0 or len(parts) < len(document.parts):
        parts.append(Text(f"[cut here; the document has {len(document.parts):,} parts]"))
    return replace(document, parts=tuple(parts))
