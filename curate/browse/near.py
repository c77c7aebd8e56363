"""The copies of one row, of every kind that was looked for: rows whose `<kind>_duplicate_of` is the same, and the kept.

A cluster may lie anywhere, so two columns of every shard are read, 0.3 s a million rows the first time; a row that says
itself that it is alone in its cluster costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from time import monotonic

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.column_files import ColumnFiles
from curate.errors import ShardError
from curate.hidden_rows import Hidden
from curate.report.cluster import SHOWN, SUFFIX, WITHIN

__all__ = ["Near", "near"]

SIZE = "_cluster_size"


@dataclass(frozen=True)
class Near:
    """A row that is a copy of another, itself included. `kind`: by what (bytes, near_image ...); `keep`: whether it is
    the one that is kept of its cluster; `data_set`: of an earlier data set where it lies, else empty."""

    kind: str
    shard: str
    key: str
    keep: bool
    data_set: str = ""


def near(files: ColumnFiles, hidden: Hidden, place: tuple[str, str], timeout_s: float) -> tuple[Near, ...]:
    """The copies of a row (its shard and key), itself included, the kept one first, kind by kind, at most `SHOWN` of
    each; none of a kind without copies. What is not found in `timeout_s` is not told."""
    until = monotonic() + timeout_s
    texts = (name for name, field in files.fields.items() if pa.types.is_string(field.type))
    kinds = sorted(name.removesuffix(SUFFIX) for name in texts if name.endswith(SUFFIX))
    return tuple(one for kind in kinds for one in _of_kind(files, hidden, place, kind, until))


def _of_kind(files: ColumnFiles, hidden: Hidden, place: tuple[str, str], kind: str, until: float) -> list[Near]:
    names = [f"{kind}{end}" for end in (SUFFIX, WITHIN, SIZE) if f"{kind}{end}" in files.fields]
    id, key = place
    table = files.table(id, ["key", *names])
    own = table.filter(pc.equal(table["key"], key)).slice(0, 1).to_pylist()[0]
    if own.get(f"{kind}{SIZE}") == 1:
        return []
    kept, data_set = own[f"{kind}{SUFFIX}"] or key, own.get(f"{kind}{WITHIN}") or ""
    first = [Near(kind, "", kept, True, data_set)] if data_set else []
    rows = _rows(files, kind, kept, data_set, until)
    copies = (Near(kind, shard, one, one == kept and not data_set) for shard, one in rows)
    shown = (one for one in copies if not _hidden(files, hidden, one))
    found = sorted(islice(shown, SHOWN), key=lambda one: (not one.keep, one.shard, one.key))
    return [*first, *found] if len(found) + len(first) > 1 else []


def _rows(files: ColumnFiles, kind: str, kept: str, data_set: str, until: float) -> Iterator[tuple[str, str]]:
    """Shard and key of the rows of a cluster, of this data set, as far as there is time."""
    within = f"{kind}{WITHIN}"
    for id in files.shards:
        if monotonic() > until:
            return
        try:
            table = files.table(id, ["key", f"{kind}{SUFFIX}", *((within,) if within in files.fields else ())])
        except ShardError:
            continue
        inside = pc.fill_null(pc.equal(table[f"{kind}{SUFFIX}"], kept), False)
        if within in table.column_names:
            inside = pc.and_(inside, pc.equal(pc.fill_null(table[within], ""), data_set))
        if not data_set:
            inside = pc.or_(inside, pc.equal(table["key"], kept))
        yield from ((id, str(one)) for one in table["key"].filter(inside).to_pylist())


def _hidden(files: ColumnFiles, hidden: Hidden, one: Near) -> bool:
    rows = hidden.rows(one.shard)
    keys = files.table(one.shard, ["key"])["key"] if rows else None
    return keys is not None and bool(pc.any(pc.equal(keys.take(pa.array(np.array(sorted(rows)))), one.key)).as_py())
