"""The records of a hand-over as Croissant has them: a field for each column of the sample tables, typed as Parquet is.

A record is a row of the table, joined by its key with a file of the tar: the picture of a pair, the JSON of another
example. Lists of one level repeat; columns of tables within tables, bytes and the like have no type there and are left
out, which the description tells. The `@id` of a field is its column's name in plain letters, for it is part of a URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from curate.handover.card_words import cleaned
from curate.handover.compose_stage import HANDOVER_COLUMNS
from curate.handover.layout import Kind

__all__ = ["pictures_set", "record_set"]

KEY = r"(?:.*/)?([^./]+)"
"""The key in the name of a file in a tar, and the key itself: `mlcroissant` applies it to both sides of a join."""
WORDS = {
    "key": "The key of the example in this hand-over.",
    "source_key": "Its key in the data set that it comes from.",
    "images": "How many pictures it has.",
    "widths": "Their widths (px).",
    "heights": "Their heights (px).",
    "chars": "Characters of all its text.",
    "caption": "The first caption.",
    "captions": "All captions.",
    "caption_origins": "Who wrote each of the captions.",
    "caption_scores": "How well each of the captions fits, by its judge.",
    "caption_weights": "How often each of the captions is to be drawn.",
    "url": "Where it was found.",
}


def record_set(name: str, kind: Kind, schema: pa.Schema, joined: bool) -> dict[str, Any]:
    """The RecordSet of a source: its table, `joined` with the files in its tars or alone."""
    files, tables = f"{name}_files", f"{name}_tables"
    key = {"fileSet": {"@id": tables}, "extract": {"column": "key"}}
    fields = [_field(f"{name}/key", "sc:Text", WORDS["key"], _joined(files, key) if joined else {"source": key})]
    if joined:
        content = {"source": {"fileSet": {"@id": files}, "extract": {"fileProperty": "content"}}}
        what = ("image", "sc:ImageObject", "The picture.") if kind == "pairs" else ("json", "sc:Text", "All of it.")
        fields.append(_field(f"{name}/{what[0]}", what[1], what[2], content))
    left_out = []
    taken = {own["@id"] for own in fields}
    for column in schema:
        typed = _type_of(column.name, column.type)
        if column.name != "key" and typed is None:
            left_out.append(cleaned(column.name, 100))
        elif column.name != "key" and typed is not None:
            place = _free(f"{name}/{_plain(column.name)}", taken)
            fields.append(_field(place, typed[0], _words(column.name), _column(tables, column.name, typed[1])))
    told = f" Columns without a type here: {', '.join(left_out)}." if left_out else ""
    head = {"@type": "cr:RecordSet", "@id": name, "name": name}
    about = {"description": f"An example of {name} each ({kind}).{told}", "key": {"@id": f"{name}/key"}}
    return {**head, **about, "field": fields}


def pictures_set(name: str) -> dict[str, Any]:
    """The RecordSet of the pictures of a source of pages or conversations."""
    own, files = f"{name}_pictures", f"{name}_pictures_files"
    file, image = (
        {"source": {"fileSet": {"@id": files}, "extract": {"fileProperty": what}}} for what in ("filename", "content")
    )
    fields = [
        _field(f"{own}/file", "sc:Text", "KEY.PLACE.EXTENSION: the key, and the name in the JSON.", file),
        _field(f"{own}/image", "sc:ImageObject", "The picture.", image),
    ]
    head = {"@type": "cr:RecordSet", "@id": own, "name": own, "description": f"A picture of {name} each."}
    return {**head, "key": {"@id": f"{own}/file"}, "field": fields}


def _joined(files: str, key: dict[str, Any]) -> dict[str, Any]:
    """The key of a record by the name of a file, which refers to the table's."""
    name = {"fileSet": {"@id": files}, "extract": {"fileProperty": "filename"}, "transform": {"regex": KEY}}
    return {"source": name, "references": key}


def _field(place: str, kind: str, words: str, more: dict[str, Any]) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": place, "name": place, "description": words, "dataType": kind, **more}


def _column(tables: str, column: str, repeated: bool) -> dict[str, Any]:
    source = {"source": {"fileSet": {"@id": tables}, "extract": {"column": column}}}
    return {"repeated": True, **source} if repeated else source


def _words(column: str) -> str:
    """What a column holds, as far as we know."""
    own = WORDS.get(column) if column in HANDOVER_COLUMNS or column.startswith("caption") or column == "url" else None
    return own or f"The column {cleaned(column, 100)}."


def _type_of(column: str, kind: pa.DataType) -> tuple[str, bool] | None:
    """The data type, and whether there are several; None where Croissant has none."""
    if pt.is_list(kind) or pt.is_large_list(kind):
        own = _type_of(column, kind.value_type)
        return None if own is None or own[1] else (own[0], True)
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_null(kind):
        return ("sc:URL" if column == "url" else "sc:Text"), False
    return next(((name, False) for test, name in TYPES if test(kind)), None)


TYPES = (
    (pt.is_boolean, "sc:Boolean"),
    (pt.is_integer, "sc:Integer"),
    (pt.is_floating, "sc:Float"),
    (pt.is_timestamp, "sc:DateTime"),
    (pt.is_date, "sc:Date"),
)


def _plain(column: str) -> str:
    return re.sub(r"[^0-9A-Za-z_.-]", "_", column)[:100]


def _free(place: str, taken: set[str]) -> str:
    found = next(name for name in _numbered(place) if name not in taken)
    taken.add(found)
    return found


def _numbered(place: str) -> Iterator[str]:
    yield place
    number = 2
    while True:
        yield f"{place}_{number}"
        number += 1
