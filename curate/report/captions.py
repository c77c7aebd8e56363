"""Web and synthetic texts of pictures side by side, with what they were judged by and why one was refused.

A rule is understood by looking at what it keeps and what it does not, so rows of each fate are told: both kinds kept,
one of them, none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from curate.caption.choose import reasons_column, view_columns, view_family, web_reason_column
from curate.caption.rule import WEB
from curate.errors import ShardError
from curate.report.long_texts import rows_of
from curate.sample import Document, Part, Picture
from curate.shard import Shard
from curate.tombstones import refuse_hidden, unshown_keys

__all__ = [
    "FATES",
    "MOST_ROWS",
    "caption_examples",
    "caption_rows",
    "captions_document",
    "made_anew",
    "told_columns",
    "views_of",
]

FATES = ("both", "web only", "synthetic only", "none")
"""What a view keeps of a picture's texts."""
MOST_ROWS = 100
"""Rows of a shard that are told and shown."""
MOST_CHARS, EXAMPLE_CHARS = 1_000, 160
"""Of a text that are told, and of one that stands in a table; some captions of the web are whole books."""
AT_ONCE = 256
"""Rows as Python's own values at a time; each may have as many captions."""
EACH = 3
"""Examples of each fate."""
MOST_SHARDS = 8
"""Shards that examples are looked for in."""
MARK = ":model_fingerprint"

Row = dict[str, Any]


def views_of(shard: Shard) -> list[str]:
    """The views that a shard has columns of."""
    prefix = view_family("")
    return sorted({family.removeprefix(prefix) for family in shard.column_files.values() if family.startswith(prefix)})


def caption_rows(shard: Shard, view: str, only: Sequence[int] | None = None) -> Iterator[Row]:
    """Every row (of the rising numbers in `only`) that has a text and may be shown, in order: `fate`, `web` with its
    score and the reason against it, `synthetic` likewise (the first one that is kept, else the best), each text cut at
    1,000 characters. Rows that are tombstoned, or on a hash list, are passed over. Raises ShardError for a view that is
    not there, or was made of captions that are not there any more."""
    if view not in views_of(shard):
        there = ", ".join(views_of(shard)) or "none"
        raise ShardError(f"shard {shard.id} has no view {view!r}; its views: {there}")
    if anew := made_anew(shard, view):
        raise ShardError(
            f"view {view!r} of shard {shard.id} was made of other {anew[0]} than are there now; run a config with "
            "its table again"
        )
    names = told_columns(shard, view)
    captioners = _captioners(names)
    unshown = unshown_keys(shard)
    for row in _rows(shard, names, only):
        if row["key"] in unshown:
            continue
        own = [one for one in (_synthetic(row, captioner) for captioner in captioners) if one]
        kept = set(row["origins"] or ())
        web, others = WEB in kept, bool(kept - {WEB})
        if not (row.get("web") or own):
            continue
        best = max(own, key=lambda one: (one["synthetic_reason"] is None, one["synthetic_score"] or 0), default={})
        fate = FATES[0 if web and others else 1 if web else 2 if others else 3]
        told = {"key": row["key"], "fate": fate, "web": _cut(row.get("web")), "web_score": row.get("web_score")}
        yield {**told, "web_reason": row["web_reason"], **best}


def caption_examples(shards: Sequence[Shard], view: str) -> list[Row]:
    """Some rows of each fate, the first that are found; long texts by their beginnings."""
    found: dict[str, list[Row]] = {fate: [] for fate in FATES}
    for shard in shards[:MOST_SHARDS]:
        for row in caption_rows(shard, view):
            if len(found[row["fate"]]) < EACH and row.get("web") and row.get("synthetic"):
                texts = {name: _cut(row[name], EXAMPLE_CHARS) for name in (WEB, "synthetic")}
                found[row["fate"]].append({**row, **texts})
    return [row for rows in found.values() for row in rows]


def captions_document(shard: Shard, view: str, rows: Iterable[Row]) -> Document:
    """Rows as a page: each picture, and below it its texts with their scores and fates. Raises ShardError for a row
    that must not be shown."""
    rows, parts = list(rows), list[Part]()
    refuse_hidden(shard, [row["key"] for row in rows])
    for row in rows:
        try:
            sample = shard.sample(row["key"])
        except ShardError:
            continue
        columns: dict[str, object] = {"caption": _words(row), "alt": str(row.get("web") or "")}
        parts.append(Picture("", sample.image, sample.extension, "success", columns))
    return Document(shard.id, tuple(parts), {"title": f"view {view} of shard {shard.id}"})


def _words(row: Row) -> str:
    texts = [
        f"{name}: {row[name]}{_score(row.get(f'{name}_score'))} {row.get(f'{name}_reason') or ''}".strip()
        for name in (WEB, "synthetic")
        if row.get(name)
    ]
    return " · ".join([row["key"], f"kept: {row['fate']}", *texts])


def _score(value: float | None) -> str:
    return "" if value is None else f" ({value:.3f})"


def made_anew(shard: Shard, view: str) -> list[str]:
    """The columns that the view was made of and that are by another model now: a run without this view, after it, wrote
    other captions."""
    about = shard.provenance(view_columns(view)[0])
    marks = {n.removesuffix(MARK): mark for n, mark in about.items() if n.endswith(MARK)}
    there = [column for column in marks if column in shard.column_files]
    return [column for column in there if shard.provenance(column).get(MARK[1:]) != marks[column]]


def _cut(text: str | None, most: int = MOST_CHARS) -> str | None:
    return text if text is None or len(text) <= most else text[:most] + " …"


def _rows(shard: Shard, names: Mapping[str, str], only: Sequence[int] | None) -> Iterator[Row]:
    """The columns under the names that they have here."""
    asked = list(dict.fromkeys(names.values()))
    columns = shard.columns(asked) if only is None else rows_of(shard, asked, only)
    table = pa.table([columns[column] for column in names.values()], list(names))
    for batch in table.to_batches(AT_ONCE):
        yield from batch.to_pylist()


def told_columns(shard: Shard, view: str) -> dict[str, str]:
    """What is read, by what it is called here: `key origins web_reason web web_score`, where they are there, and for
    each captioner `NAME/synthetic`, `NAME/synthetic_reason` and `NAME/synthetic_score`, columns of lists."""
    texts, origins, _, _ = view_columns(view)
    schema = shard.schema(view_family(view))
    listed = [c for c in schema.names if c.startswith(f"{view}_") and c.endswith("_reasons")]
    captioners = [c.removeprefix(f"{view}_").removesuffix("_reasons") for c in listed]
    judges = _judges(shard, schema.field(texts).metadata or {})
    names = {"key": "key", "origins": origins, "web_reason": web_reason_column(view)}
    if "caption" in shard.column_files:
        names["web"] = "caption"
    of_web = [name for name, kind in judges.items() if not pt.is_list(kind)]
    names |= {"web_score": of_web[0]} if of_web else {}
    for name in captioners:
        names |= {f"{name}/synthetic": f"{name}_captions", f"{name}/synthetic_reason": reasons_column(view, name)}
    lists = [(_captioner_of(judge, captioners), judge) for judge, kind in judges.items() if pt.is_list(kind)]
    return names | {f"{name}/synthetic_score": judge for name, judge in lists if name is not None}


def _captioner_of(judge: str, captioners: Iterable[str]) -> str | None:
    """Whose captions a column `MODEL_CAPTIONER_similarity` or `MODEL_CAPTIONER_probability` judges: the longest name
    that it ends with, as one captioner may be called `b` and another `a_b`."""
    fitting = [name for name in captioners if judge.rpartition("_")[0].endswith(f"_{name}")]
    return max(fitting, key=len, default=None)


def _judges(shard: Shard, about: Mapping[bytes, bytes]) -> dict[str, pa.DataType]:
    """The columns of scores that the view was made of, which its own columns name."""
    told = dict.fromkeys(name.decode().partition(":")[0] for name in about if b":" in name)
    family = shard.column_files
    kinds = {name: shard.schema(family[name]).field(name).type for name in told if name in family}
    return {n: k for n, k in kinds.items() if pt.is_floating(k.value_type if pt.is_list(k) else k) and "log_" not in n}


def _captioners(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.partition("/")[0] for name in names if "/" in name))


def _synthetic(row: Row, captioner: str) -> Row:
    """The first text that is kept, else the one with the best score; empty where there is none."""
    texts = row.get(f"{captioner}/synthetic") or []
    scores = row.get(f"{captioner}/synthetic_score") or [None] * len(texts)
    reasons = row.get(f"{captioner}/synthetic_reason") or [None] * len(texts)
    listed = sorted(
        zip(texts, scores, reasons, range(len(texts)), strict=True),
        key=lambda one: (one[2] is not None, -(one[1] if one[1] is not None else -9), one[3]),
    )
    if not listed:
        return {}
    text, score, reason, _ = listed[0]
    return {"synthetic": _cut(text), "synthetic_score": score, "synthetic_reason": reason, "captioner": captioner}
