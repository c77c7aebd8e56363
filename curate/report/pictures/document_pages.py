"""Interleaved documents as a reader sees them: kept paragraphs and pictures in reading order, pictures as thumbnails.

A page of the web may be a whole book with a thousand pictures, so a document is cut, and says so at its end: at 6,000
letters, 60 parts, 12 pictures, a page or two of print. Only the parts of drawn documents become Python's own values.
`curate.document.read` reads documents whole, with every picture; here those that are withheld are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.document.columns import IMAGE
from curate.document.render import plain
from curate.report.long_texts import rows_of
from curate.report.pictures.drawing import UNREADABLE, Draw, Drawn, Lot, row_numbers
from curate.report.pictures.in_tar import Wanted, pictures_in_tar
from curate.report.pictures.thumbnails import fitted, thumbnail
from curate.report.pictures.tiles import NO_PICTURE, SUCCESS
from curate.report.pictures.withholding import Watch, watch, withheld_keys
from curate.report.pictures.words import texts_of, told
from curate.sample import Document, Part, Picture, Text
from curate.shard import Shard

__all__ = ["WITHHELD", "documents"]

KEPT, DROPPED = 4, 2
"""Documents that are shown."""
MOST_LETTERS, MOST_PARTS, MOST_PICTURES = 6_000, 60, 12
"""Of a document."""
LARGER = 2
"""The pictures of a page are so many times as large as those of a gallery."""
WITHHELD = "withheld"
"""The status of a slot whose picture is not shown."""

ABOUT = ("title", "url", "html_language", "crawl_date", "document_status", "text_language", "drop_reason")
WORDS = ("key", "kind", "text", "block", "separator", "url", "image_member", "fetch_status", "alt", "title", "caption")
SIZES = ("width", "height", "rendered_width_px", "rendered_height_px")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Cut:
    """The parts of a document that are shown, and how many are not."""

    rows: Sequence[Row]
    left_out: int


def documents(shards: Sequence[Shard], draw: Draw, seen: Watch | None = None) -> tuple[Document, ...]:
    """Some kept documents, then one or two dropped ones that had something to read; none where shards have no
    documents. Of a kept one the kept parts are shown. `Picture.image` are thumbnails (WebP); a slot without one keeps
    its place and its status, `withheld` where the picture is not to be shown. Texts are cut, and a document that is cut
    says so at its end. Documents that are withheld are passed over, and shards that cannot be read."""
    with_parts = [shard for shard in shards if shard.storage.exists(shard.parts.table_name())]
    if not with_parts:
        return ()
    seen = seen or watch(with_parts)
    kept, dropped = Lot(KEPT), Lot(DROPPED)
    for number, shard in enumerate(with_parts):
        try:
            _offer(kept, dropped, number, shard, draw.seed, seen)
        except UNREADABLE:  # whoever counts its rows says that it cannot be read
            continue
    found = [one for drawn in (*kept.rows(), *dropped.rows()) for one in _document(with_parts, drawn, draw, seen)]
    return _fitted(found, draw)


def _offer(kept: Lot, dropped: Lot, number: int, shard: Shard, seed: int, seen: Watch) -> None:
    hidden = withheld_keys(shard, seen)
    shown = np.array([key not in hidden for key in texts_of(shard.columns(["key"])[0])], bool)
    owners = np.asarray(shard.parts.columns(["document"])[0].combine_chunks(), np.int64)
    shown &= np.bincount(owners, minlength=len(shown))[: len(shown)] > 0
    keep = _keep(shard, len(shown))
    numbers = row_numbers(shard, seed)
    kept.offer(number, np.flatnonzero(shown & keep), numbers)
    dropped.offer(number, np.flatnonzero(shown & ~keep), numbers)


def _document(shards: Sequence[Shard], drawn: Drawn, draw: Draw, seen: Watch) -> Iterator[Document]:
    shard = shards[drawn.shard]
    try:
        names = [name for name in ABOUT if name in shard.column_files]
        about = rows_of(shard, ["key", *names], [drawn.row])
        columns: dict[str, object] = {name: told(texts_of(about[name])[0]) or None for name in names}
        kept = bool(_keep(shard, shard.rows())[drawn.row])
        cut = _cut(_rows(shard.parts, drawn.row))
        pictures = _pictures(shard, cut.rows, draw, seen)
        key = texts_of(about["key"])[0]
    except UNREADABLE:
        return
    parts = [_part(row, pictures) for row in cut.rows]
    if cut.left_out:
        parts.append(Text(f"… The document goes on: {cut.left_out:,} more parts, or what was left of one."))
    yield Document(told(key), tuple(parts), columns | {"keep": kept})


def _rows(parts: Shard, document: int) -> pa.Table:
    """The parts of a document: those that are kept, if any is."""
    names = [name for name in (*WORDS, *SIZES) if name in parts.column_files]
    owners = parts.columns(["document"])[0]
    own = np.asarray(pc.equal(owners, document), bool)
    kept = own & _keep(parts, len(own))
    return rows_of(parts, names, np.flatnonzero(kept if kept.any() else own))


def _cut(table: pa.Table) -> _Cut:
    """The first rows, as many as are shown, with their texts cut."""
    first = table.slice(0, MOST_PARTS)
    texts = {name: texts_of(first[name]) if name in WORDS else first[name].to_pylist() for name in table.column_names}
    rows: list[Row] = []
    letters, pictures = MOST_LETTERS, MOST_PICTURES
    for place in range(len(first)):
        row = {name: values[place] for name, values in texts.items()}
        is_picture = row["kind"] == IMAGE
        if letters <= 0 or (is_picture and not pictures):
            break
        text = row.get("text") or ""
        rows.append({**row, "text": text[:letters] + " …" if len(text) > letters else text})
        letters, pictures = letters - len(text), pictures - is_picture
    cut_short = letters < 0
    return _Cut(rows, len(table) - len(rows) + cut_short)


def _pictures(shard: Shard, rows: Sequence[Row], draw: Draw, seen: Watch) -> Mapping[str, bytes | None]:
    """The thumbnail of each slot by its key, None where it is withheld."""
    hidden = withheld_keys(shard.parts, seen)
    slots = [row for row in rows if row["kind"] == IMAGE]
    wanted = {row["key"]: Wanted(row["key"].rpartition(".")[0], row["image_member"]) for row in slots if _asked(row)}
    shown = {key: one for key, one in wanted.items() if key not in hidden}
    read = dict(pictures_in_tar(shard, set(shown.values())))
    made = {key: thumbnail(read[one].data if one in read else b"", LARGER * draw.side_px) for key, one in shown.items()}
    return {row["key"]: None if row["key"] in hidden else made.get(row["key"], b"") for row in slots}


def _asked(row: Row) -> bool:
    return bool(row["key"] and row.get("image_member"))


def _part(row: Row, pictures: Mapping[str, bytes | None]) -> Part:
    if row["kind"] != IMAGE:
        separator = "\n" if row.get("separator") == "\n" else "\n\n"
        return Text(plain(row["text"]), told(row.get("block"), 20) or "p", separator)
    columns: dict[str, object] = {name: told(row.get(name)) for name in ("alt", "title", "caption") if row.get(name)}
    columns |= {name: row[name] for name in SIZES if row.get(name)}
    data = pictures[row["key"]]
    status = row.get("fetch_status")
    if data is None:
        status = WITHHELD
    elif not data and status == SUCCESS:
        status = NO_PICTURE
    return Picture(
        told(row.get("url")), data or None, "webp" if data else "", told(status) if status else None, columns
    )


def _keep(table: Shard, rows: int) -> npt.NDArray[np.bool_]:
    """What the last decision keeps; all where nothing was decided."""
    if "keep" not in table.column_files:
        return np.ones(rows, bool)
    return np.asarray(pc.fill_null(table.columns(["keep"])[0], False), bool)


def _fitted(found: Sequence[Document], draw: Draw) -> tuple[Document, ...]:
    slots = [part for one in found for part in one.parts if isinstance(part, Picture) and part.image]
    sizes = fitted([slot.image or b"" for slot in slots], LARGER * draw.side_px, draw.bytes_of("documents"))
    made = {id(slot): image for slot, image in zip(slots, sizes, strict=True)}
    return tuple(replace(one, parts=tuple(_smaller(part, made) for part in one.parts)) for one in found)


def _smaller(part: Part, made: Mapping[int, bytes]) -> Part:
    if not isinstance(part, Picture) or id(part) not in made:
        return part
    return replace(part, image=made[id(part)] or None)
