"""Decisions on documents and on their parts, in rounds: on what the page says, on what is unique, on what arrived.

    round     parts are judged by                   documents are judged by
    read      text and image filters                filters of their text and their number of pictures
    unique    how often they occur elsewhere        whether they are copies, and what is left in them
    (final)   what became of the pictures           what is left in them

A round starts from the verdict of the one before, so the last one tells the whole story: `keep`, the first reason ever
given, and all reasons of all rounds. Each round keeps columns of its own (`read_keep`, `unique_keep`, `keep`), on
documents and on parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.document.columns import IMAGE, PART, TEXT, part_names
from curate.filter import Filter, Verdict
from curate.gauge import Gauge
from curate.manifest import Attempt
from curate.select import DECISION, Decision, Rules, columns_of, count_reasons, decide
from curate.shard import Shard
from curate.stage import Runtime

__all__ = ["COUNTS", "Earlier", "OfKind", "SelectDocuments", "SelectParts", "prefix", "rounded"]

EARLIER = "earlier"
COUNTS = ("image_count", "text_count")
"""Columns of documents that every round writes anew: kept slots, kept blocks of text."""


def prefix(round: str) -> str:
    """What a round's columns begin with; the last round has no name and no prefix."""
    return f"{round}_" if round else ""


def rounded(columns: Iterable[str], round: str) -> tuple[str, ...]:
    """Names of columns as this round's filters read them: the counts are those of the round."""
    return tuple(prefix(round) + c if c in COUNTS else c for c in columns)


@dataclass(frozen=True)
class Earlier(Filter):
    """The verdict of the round before, as the first filter of this one."""

    column: str
    given: Mapping[str, str]

    reads: ClassVar[tuple[str, ...]] = ()

    @property
    def reasons(self) -> Mapping[str, str]:  # type: ignore[override]
        """What the rounds before could say."""
        return self.given

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def judge(self, columns: pa.Table) -> Verdict:
        return columns[self.column].combine_chunks().cast(pa.string()).dictionary_encode()


@dataclass(frozen=True)
class OfKind(Filter):
    """A filter that sees parts of one kind only, text or image, and keeps the others."""

    kind: str
    rule: Filter

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the filter, and the kind."""
        return ("kind", *self.rule.reads)

    @property
    def reasons(self) -> Mapping[str, str]:  # type: ignore[override]
        """Those of the filter."""
        return self.rule.reasons

    @property
    def columns(self) -> tuple[str, ...]:
        return ("kind", *self.rule.columns)

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        return tuple(replace(gauge, kind=self.kind) for gauge in self.rule.gauges)

    def judge(self, columns: pa.Table) -> Verdict:
        rows = np.flatnonzero(np.asarray(pc.equal(columns["kind"], self.kind).combine_chunks()))
        own = self.rule.judge(columns.select(self.rule.columns).take(rows))
        places = np.full(len(columns), -1, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        indices = own.indices.take(pa.array(places, mask=places < 0))
        return pa.DictionaryArray.from_arrays(indices, own.dictionary)


class Round(Decision):
    """A decision that starts from the one of the round before."""

    version: ClassVar[int] = 2

    round: str
    after: Round | None

    @property
    def told(self) -> tuple[str, ...]:
        """The column with all reasons of the round before; none at the first."""
        return (f"{prefix(self.after.round)}drop_reasons",) if self.after else ()

    def decided(self, columns: pa.Table) -> pa.Table:
        """The verdict on rows with the columns of `rules` and `told`, all reasons so far in it."""
        own = decide(columns, self.rules)
        for before in self.told:
            every = _each_once(columns[before], own["drop_reasons"])
            own = own.set_column(own.schema.get_field_index("drop_reasons"), DECISION.field("drop_reasons"), every)
        return own

    @property
    def story(self) -> dict[str, tuple[str, ...]]:
        before = self.after.story if self.after else {}
        return before | {name: reasons for name, reasons in super().story.items() if name != EARLIER}


@dataclass(frozen=True)
class SelectParts(Round):
    """One round on the parts: which blocks and slots stay. `after` is the round before, None at the first."""

    unit: ClassVar[str] = "parts"

    text_filters: Rules = ()
    image_filters: Rules = ()
    round: str = ""
    after: SelectParts | None = None

    @property
    def label(self) -> str:
        return f"select_parts_{self.round}" if self.round else "select_parts"

    @property
    def rules(self) -> Rules:
        of_text = tuple((name, OfKind(TEXT, rule)) for name, rule in self.text_filters)
        of_image = tuple((name, OfKind(IMAGE, rule)) for name, rule in self.image_filters)
        return (*_earlier(self.after), *of_text, *of_image)

    @property
    def reads(self) -> tuple[str, ...]:
        return part_names(dict.fromkeys(("key", "document", "kind", *columns_of(self.rules), *self.told)))

    @property
    def writes(self) -> tuple[str, ...]:
        names = [prefix(self.round) + name for name in DECISION.names]
        return (*part_names(names), *rounded(COUNTS, self.round))

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        columns = shard.parts.columns([name.removeprefix(PART) for name in self.reads])
        decided = self.decided(columns)
        write_decision(shard.parts, columns["key"], decided, self.round, attempt)
        counts = _counted(columns.append_column("keep", decided["keep"]), shard.rows())
        table = {prefix(self.round) + name: counts[name] for name in COUNTS}
        key = shard.columns(["key"])["key"]
        attempt.write_table(shard.table_name(f"{prefix(self.round)}counts"), pa.table({"key": key, **table}))
        attempt.counts.update(count_reasons(decided))


@dataclass(frozen=True)
class SelectDocuments(Round):
    """One round on the documents. `after` is the round before, None at the first."""

    unit: ClassVar[str] = "documents"

    filters: Rules = ()
    round: str = ""
    after: SelectDocuments | None = None

    @property
    def label(self) -> str:
        return f"select_documents_{self.round}" if self.round else "select_documents"

    @property
    def rules(self) -> Rules:
        return (*_earlier(self.after), *self.filters)

    @property
    def reads(self) -> tuple[str, ...]:
        return rounded((*columns_of(self.rules), *self.told), self.round)

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(prefix(self.round) + name for name in DECISION.names)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        names = (*columns_of(self.rules), *self.told)
        columns = shard.columns(["key", *rounded(names, self.round)]).rename_columns(["key", *names])
        decided = self.decided(columns)
        write_decision(shard, columns["key"], decided, self.round, attempt)
        attempt.counts.update(count_reasons(decided))


def write_decision(rows: Shard, key: pa.ChunkedArray, decided: pa.Table, round: str, attempt: Attempt) -> None:
    """Write a round's decision beside the rows it was made on, under the round's names."""
    named = decided.rename_columns([prefix(round) + name for name in DECISION.names])
    attempt.write_table(rows.table_name(f"{prefix(round)}select"), named.add_column(0, "key", key))


def _earlier(step: Round | None) -> Rules:
    if step is None:
        return ()
    column = next(name for name in step.writes if name.endswith("drop_reason")).removeprefix(PART)
    given = {reason: words for _, rule in step.rules for reason, words in rule.reasons.items()}
    return ((EARLIER, Earlier(column, given)),)


def _each_once(earlier: pa.ChunkedArray, own: pa.ChunkedArray) -> pa.Array:
    """Lists of reasons joined row by row, the earlier ones first, none of them twice."""
    lists = [column.combine_chunks() for column in (earlier, own)]
    rows = np.concatenate([np.asarray(pc.list_parent_indices(some), dtype=np.int64) for some in lists])
    words = pa.concat_arrays([pc.list_flatten(some).cast(pa.string()) for some in lists]).dictionary_encode()
    _, first = np.unique(rows * (len(words.dictionary) + 1) + np.asarray(words.indices), return_index=True)
    first = first[np.lexsort((first, rows[first]))]
    offsets = np.searchsorted(rows[first], np.arange(len(own) + 1))
    joined = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), words.take(pa.array(first)))
    return joined.cast(DECISION.field("drop_reasons").type)


def _counted(parts: pa.Table, documents: int) -> dict[str, Any]:
    """Kept slots and kept blocks of text per document: int32 arrays, one entry per document."""
    row, keep = np.asarray(parts["document"]), np.asarray(parts["keep"])
    of = {"image_count": IMAGE, "text_count": TEXT}
    return {
        name: pa.array(
            np.bincount(row[keep & np.asarray(pc.equal(parts["kind"], kind))], minlength=documents), pa.int32()
        )
        for name, kind in of.items()
    }
