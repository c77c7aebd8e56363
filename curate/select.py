"""Applies filters: which rows stay, and for the others the first reason and all of them.

Every filter judges every row, also those that another has dropped, so that a report can say what each one would drop
alone and how they overlap. Nothing but the declared columns is read, and no row is looked at by Python: 12.8 M rows
take seconds (`bench/selection.py`), so a threshold is changed by running this again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import StageError
from curate.filter import Filter, Rules
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Runtime, Stage

__all__ = ["DECISION", "Decision", "Rules", "Select", "columns_of", "count_reasons", "decide", "kept_rows"]

CHUNK_ROWS = 1 << 18

DECISION = pa.schema(
    {
        "keep": pa.bool_(),
        "drop_reason": pa.dictionary(pa.int16(), pa.string()),
        "drop_reasons": pa.list_(pa.dictionary(pa.int16(), pa.string())),
    }
)
"""`drop_reason` is that of the first filter in the config's order, null where the row is kept; `drop_reasons` one per
filter that would drop the row, in that order, empty where it is kept."""

Codes = npt.NDArray[np.int16]
"""Numbers of reasons, or KEPT."""
KEPT, UNDECLARED = -1, -2


class Decision(Stage):
    """A stage that lets filters decide. `unit` says on what, in the plural; the funnel is drawn from its commits."""

    unit: ClassVar[str]

    @property
    @abstractmethod
    def rules(self) -> Rules:
        """The filters, in the order in which a row gets its first reason."""

    @property
    def story(self) -> dict[str, tuple[str, ...]]:
        """Every filter that had a say up to here, and the reasons it can give."""
        return {name: tuple(rule.reasons) for name, rule in self.rules}

    def identity(self) -> Any:
        settings = [[name, rule.identity()] for name, rule in self.rules]
        return {"stage": self.label, "version": self.version, "filters": settings}


@dataclass(frozen=True)
class Select(Decision):
    """The filters of a config on samples."""

    filters: Rules

    name: ClassVar[str] = "select"
    unit: ClassVar[str] = "samples"

    @property
    def rules(self) -> Rules:
        return self.filters

    @property
    def reads(self) -> tuple[str, ...]:
        return columns_of(self.filters)

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(DECISION.names)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        columns = shard.columns(["key", *(c for c in self.reads if c != "key")])
        decided = decide(columns, self.filters)
        attempt.write_table(shard.table_name(self.name), decided.add_column(0, "key", columns["key"]))
        attempt.counts.update(count_reasons(decided))


def kept_rows(shard: Shard, filters: Rules) -> npt.NDArray[np.bool_]:
    """Which rows of a shard these filters keep, bool (n,); all, where there are none."""
    if not filters:
        return np.ones(shard.rows(), bool)
    return np.asarray(decide(shard.columns(list(columns_of(filters))), filters)["keep"], bool)


def columns_of(filters: Rules) -> tuple[str, ...]:
    """All columns that these filters read, each once."""
    return tuple(dict.fromkeys(column for _, rule in filters for column in rule.columns))


def decide(columns: pa.Table, filters: Rules) -> pa.Table:
    """The decision on each row of a table of any length, with the schema DECISION.

    `columns` has at least `columns_of(filters)`. Raises StageError when a filter answers with another length.
    """
    reasons = pa.array(dict.fromkeys(reason for _, rule in filters for reason in rule.reasons), pa.string())
    return pa.Table.from_batches([_decide(part, filters, reasons) for part in _parts(columns)], DECISION)


def count_reasons(decided: pa.Table) -> Mapping[str, int]:
    """Rows `in` and `kept`, `dropped.<reason>` by first reason, `flagged.<reason>` by all of them."""
    counts = Counter({"in": decided.num_rows, "kept": pc.sum(decided["keep"]).as_py() or 0})
    for prefix, values in (("dropped", decided["drop_reason"]), ("flagged", pc.list_flatten(decided["drop_reasons"]))):
        for entry in pc.value_counts(values.drop_null()).to_pylist():
            counts[f"{prefix}.{entry['values']}"] += entry["counts"]
    return counts


def _parts(columns: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, columns.num_rows, CHUNK_ROWS):
        yield columns.slice(start, CHUNK_ROWS)


def _decide(columns: pa.Table, filters: Rules, reasons: pa.StringArray) -> pa.RecordBatch:
    number = {reason: i for i, reason in enumerate(reasons.to_pylist())}
    codes: Codes = np.full((len(columns), len(filters)), KEPT, dtype=np.int16)
    first = np.full(len(columns), KEPT, dtype=np.int16)
    for place in range(len(filters) - 1, -1, -1):
        name, rule = filters[place]
        own = codes[:, place] = _codes(name, rule, columns.select(rule.columns), number)
        np.copyto(first, own, where=own != KEPT)
    flagged = codes != KEPT
    offsets = np.concatenate([[0], np.cumsum(flagged.sum(axis=1))]).astype(np.int32)
    kept = first == KEPT
    return pa.record_batch(
        [
            pa.array(kept),
            pa.DictionaryArray.from_arrays(pa.array(first, mask=kept), reasons),
            pa.ListArray.from_arrays(offsets, pa.DictionaryArray.from_arrays(pa.array(codes[flagged]), reasons)),
        ],
        schema=DECISION,
    )


def _codes(name: str, rule: Filter, columns: pa.Table, number: Mapping[str, int]) -> Codes:
    """One filter's verdict as numbers of reasons."""
    verdict = rule.judge(columns)
    if len(verdict) != len(columns):
        raise StageError(f"filter {name} gave {len(verdict)} verdicts for {len(columns)} rows")
    words = verdict.dictionary.to_pylist()
    own = np.array([*(number.get(reason, UNDECLARED) for reason in words), KEPT], dtype=np.int16)
    found: Codes = own[np.asarray(pc.fill_null(verdict.indices, len(words)))]
    if (found == UNDECLARED).any():
        given = sorted({*pc.unique(verdict.drop_null()).to_pylist()} - {*rule.reasons})
        raise StageError(f"filter {name} gave the reason {given[0]!r}; declare it in `reasons`")
    return found
