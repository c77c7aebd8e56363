"""Whose pictures nobody is shown: hidden and dead rows, copies of hidden ones, and what looks unsafe.

A report goes from hand to hand, so it shows less than a run keeps. What flags a row, the first that does being told:

    on a hash list      by a run or by tombstones: `curate.tombstones.hidden_keys`; of a document all pictures
    tombstone: KIND     taken back by its owner
    copy of a hidden    of any kind of copies that was looked for, in this data set or in the earlier one it names
    a reason            of a filter for safety (SAFETY); `unknown` only where a picture came that nobody could judge
    a column            such as nsfw_probability or LAION's NSFW, above the bound of the filter that reads it, or above
                        the default one where none does: scores are carried along that nobody looked at

Where it cannot be known (tombstones that are damaged) all rows of a shard are withheld. A million rows take 2 s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curate.errors import CurateError
from curate.listing import Listed, listed_shards
from curate.report.pictures.decided import rows_by_value
from curate.report.pictures.drawing import UNREADABLE
from curate.report.pictures.hidden_copies import HiddenCopies, hidden_copies
from curate.report.pictures.words import texts_of
from curate.run_record import FilterRecord, read_record
from curate.shard import PARTS, Shard
from curate.storage import Storage
from curate.tombstones import HASH_LIST_MATCH, dead_rows, hidden_keys

__all__ = ["COLUMNS", "SAFETY", "Watch", "watch", "with_picture", "withheld", "withheld_keys"]

Mask = npt.NDArray[np.bool_]

SAFETY: Mapping[str, tuple[str, ...]] = {
    "hash_list": ("listed_hash",),
    "nsfw": ("not_safe_for_work", "nsfw_unknown"),
    "nsfw_picture": ("pornographic", "pornographic_drawing", "suggestive", "nsfw_picture_unknown"),
    "text_flagged_words": ("too_many_flagged_words",),
}
"""Filters for safety and their reasons; of others whose names have a word of NAMED all reasons count too, and every
reason that has one."""
NAMED = ("nsfw", "unsafe", "porn", "csam")
UNKNOWN = "unknown"
"""In a reason: nobody could judge the row."""

COLUMNS: Mapping[str, float] = {
    "nsfw_probability": 0.1,
    "nsfw_porn_probability": 0.85,
    "nsfw_hentai_probability": 0.9,
    "punsafe": 0.1,
}
"""Columns that say how likely a picture is unsafe, and from above which bound it is withheld: the defaults of the
filters nsfw and nsfw_picture. LAION's `punsafe` is by the same detector as nsfw_probability."""
HARMLESS = ("nsfw_neutral_probability", "nsfw_drawing_probability", "nsfw_sexy_probability")
OTHER_BOUND = 0.5
"""Of columns of others that are called by a word of NAMED: COYO's and LAION's own bound."""
SAFE_WORDS = ("unlikely", "false", "no", "0", "safe", "sfw", "neutral", "")
"""Values of a column of text that flag nothing; LAION's NSFW has UNLIKELY, UNSURE and NSFW. Null flags nothing."""


@dataclass(frozen=True)
class Watch:
    """What flags a picture in one data set."""

    reasons: frozenset[str]
    bounds: Mapping[str, float] = field(default_factory=dict)
    copies: HiddenCopies = field(default_factory=HiddenCopies)


def watch(shards: Sequence[Shard]) -> Watch:
    """What is watched for in the data set of these shards: read once, given to `withheld_keys` of each. Where some
    shards only are given, copies of what is hidden in the others are hidden too."""
    reasons = {reason for own in SAFETY.values() for reason in own}
    bounds: dict[str, float] = {}
    for rule in _filters(shards[0].storage) if shards else ():
        reasons |= _reasons(rule)
        for column, bound in _bounds(rule):
            bounds[column] = min(bound, bounds.get(column, bound))
    return Watch(frozenset(reasons), bounds, hidden_copies(shards))


def withheld(shards: Sequence[Shard], seen: Watch | None = None) -> Mapping[str, int]:
    """How many rows' pictures are shown nowhere, by what flagged them, most first. Of documents their slots count. A
    row without a picture does not, whatever flags its words."""
    seen = seen or watch(shards)
    counts: Counter[str] = Counter()
    for shard in shards:
        table = shard.parts if shard.storage.exists(shard.parts.table_name()) else shard
        try:
            flagged = withheld_keys(table, seen)
            counts.update(flagged[key] for key in (_pictured(table) if flagged else ()) if key in flagged)
        except UNREADABLE:  # nothing of it is shown, and who counts its rows says that it cannot be read
            continue
    return dict(sorted(counts.items(), key=lambda own: (-own[1], own[0])))


def withheld_keys(shard: Shard, seen: Watch | None = None) -> Mapping[str, str]:
    """The keys of this shard whose pictures must not be shown, and what flagged each. Of `shard.parts` these are slots:
    those that are flagged themselves, and all of a document that is. `seen`: what is watched for, where it is known
    already; else the shards of its folder are asked. Raises ShardError where a shard has no keys that can be read."""
    seen = seen or watch(listed_shards(shard.storage))
    keys = shard.columns(["key"])["key"]
    found: dict[str, str] = {}
    try:
        for what, rows in _flagged(shard, keys, seen):
            for key in _texts(keys.take(pa.array(rows, pa.int64()))) if rows else ():
                found.setdefault(key, what)
    except UNREADABLE:
        return dict.fromkeys(_texts(keys), "cannot be checked")
    return found


def _texts(keys: pa.ChunkedArray) -> Sequence[str]:
    return [key or "" for key in texts_of(keys)]


def _flagged(shard: Shard, keys: pa.ChunkedArray, seen: Watch) -> Iterator[tuple[str, Sequence[int]]]:
    """What flags rows, and which, what weighs most first."""
    is_parts = shard.id.endswith(PARTS)
    if is_parts:
        yield from _of_documents(shard, seen)
    yield from _hidden(shard, keys)
    yield "copy of a hidden picture", seen.copies.rows(shard)
    shown = _slots(shard) if is_parts else None
    for what, flags in _suspected(shard, seen):
        yield what, np.flatnonzero(flags if shown is None else flags & shown).tolist()


def _of_documents(shard: Shard, seen: Watch) -> Iterator[tuple[str, Sequence[int]]]:
    """The slots of documents that are flagged, and of those with a slot that is on a hash list."""
    owner = np.asarray(shard.columns(["document"])["document"].combine_chunks(), np.int64)
    listed_owner = shard.owner if isinstance(shard, Listed) else None
    documents = listed_owner or Shard(shard.storage, shard.id.removesuffix(PARTS))
    keys = _texts(documents.columns(["key"])["key"])
    flagged = dict(withheld_keys(documents, seen))
    if HASH_LIST_MATCH in shard.column_files:
        listed = np.asarray(pc.is_valid(shard.columns([HASH_LIST_MATCH])[0]), bool)
        flagged |= {keys[number]: "on a hash list" for number in np.unique(owner[listed]).tolist()}
    slots = _slots(shard)
    for what in dict.fromkeys(flagged.values()):
        numbers = [number for number, key in enumerate(keys) if flagged.get(key) == what]
        yield what, np.flatnonzero(np.isin(owner, numbers) & slots).tolist()


def _hidden(shard: Shard, keys: pa.ChunkedArray) -> Iterator[tuple[str, Sequence[int]]]:
    hidden, dead = hidden_keys(shard), dead_rows(shard)
    told = _texts(keys) if hidden or dead else ()
    yield "on a hash list", [row for row, key in enumerate(told) if key in hidden]
    for kind in dict.fromkeys(dead.values()):
        yield f"tombstone: {kind}", [row for row, key in enumerate(told) if dead.get(key) == kind]


def _suspected(shard: Shard, seen: Watch) -> Iterator[tuple[str, Mask]]:
    came: Mask | None = None
    for name in (name for name in shard.column_files if name.endswith("drop_reasons")):
        for reason, rows in rows_by_value(shard.columns([name])[0]).items():
            if reason not in seen.reasons:
                continue
            flags = np.zeros(shard.rows(), bool)
            flags[rows] = True
            if UNKNOWN in reason:
                came = with_picture(shard) if came is None else came
                flags &= came
            yield reason, flags
    for name in (name for name in shard.column_files if _is_score(name)):
        bound = seen.bounds.get(name, COLUMNS.get(name, OTHER_BOUND))
        yield name, _above(shard.columns([name])[0], bound)


def _above(column: pa.ChunkedArray, bound: float) -> Mask:
    """Numbers above the bound, words that are not harmless, true."""
    kind = column.type.value_type if pt.is_dictionary(column.type) else column.type
    if pt.is_floating(kind) or pt.is_integer(kind) or pt.is_decimal(kind):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64) > bound
    if pt.is_boolean(kind):
        return np.asarray(pc.fill_null(column, False), bool)
    if not (pt.is_string(kind) or pt.is_large_string(kind)):
        return np.zeros(len(column), bool)
    flags = np.zeros(len(column), bool)
    for word, rows in rows_by_value(column).items():
        flags[rows] = word.strip().lower() not in SAFE_WORDS
    return flags


def with_picture(shard: Shard) -> Mask:
    """Rows whose picture came, as far as the shard knows."""
    for name in ("image_member", "fetch_status", "status"):
        if name in shard.column_files:
            column = shard.columns([name])[0]
            there = pc.is_valid(column) if name == "image_member" else pc.equal(column.cast(pa.string()), "success")
            return np.asarray(pc.fill_null(there, False), bool)
    return np.ones(shard.rows(), bool)


def _pictured(table: Shard) -> Iterator[str]:
    """The keys of rows whose picture came; of all, where that cannot be read."""
    keys = texts_of(table.columns(["key"])["key"])
    try:
        came = with_picture(table)
    except UNREADABLE:
        came = np.ones(len(keys), bool)
    return (key or "" for key, own in zip(keys, came.tolist(), strict=True) if own)


def _slots(shard: Shard) -> Mask:
    return np.asarray(pc.fill_null(pc.equal(shard.columns(["kind"])[0].cast(pa.string()), "image"), True), bool)


def _reasons(rule: FilterRecord) -> set[str]:
    whole = rule.name in SAFETY or _named(rule.name.partition("-")[0])
    return {reason for reason in rule.reasons if whole or _named(reason)}


def _bounds(rule: FilterRecord) -> Iterator[tuple[str, float]]:
    for gauge in rule.gauges:
        if gauge.measure == "value" and gauge.max is not None and _is_score(gauge.columns[0]):
            yield gauge.columns[0], float(gauge.max)


@lru_cache(maxsize=4_096)
def _is_score(column: str) -> bool:
    name = column.lower()
    return name not in HARMLESS and (name in COLUMNS or _named(name))


def _named(name: str) -> bool:
    return any(word in name.lower() for word in NAMED)


def _filters(storage: Storage) -> Sequence[FilterRecord]:
    """Every filter of the last run, on whatever."""
    try:
        record = read_record(storage)
    except (CurateError, OSError):
        return ()
    return [rule for decision in record.decisions for rule in decision.filters] if record else ()
