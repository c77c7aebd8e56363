"""Histograms, with what would stay if a filter's bound moved.

A row counts as left in its bin when it is kept, or when nothing but this bound speaks against it: it is outside, the
gauge's reason is the only one against it, and no other number of the same filter is out of its bounds (a filter gives
one reason a row, so that one may hide another). So what is left between the present bounds is what is kept, exactly:
the bounds are compared in the column's own precision, as filters do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curate.filter import above, below
from curate.gauge import Gauge, measured
from curate.report.counting.edges import Edges, just_above
from curate.report.counting.verdicts import Reasons, Verdicts
from curate.report.facts import Histogram
from curate.run_record import FilterRecord

__all__ = ["Bars", "Measure", "Numbers", "measures_of", "numbers_of"]

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measure:
    """What one histogram counts. `filter` is empty where nothing bounds the number; `beside`: the same filter's other
    gauges; `own`: reasons that nothing but this gauge gives."""

    gauge: Gauge
    filter: str = ""
    beside: tuple[Gauge, ...] = ()
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Numbers:
    """A gauge's number of each row of a shard: `values`, float64 (n,); `known`, bool (n,): those that have one;
    `outside`: those out of bounds, as a filter sees it, not-a-number too. `kind`: the column's type."""

    values: npt.NDArray[np.float64]
    known: Flags
    outside: Flags
    kind: pa.DataType


def measures_of(filters: Sequence[FilterRecord], plain: Sequence[str]) -> list[Measure]:
    """The gauges of all filters in their order, then a histogram of each of the columns `plain` that no gauge is."""
    givers = Counter(reason for one in filters for reason in one.reasons)
    givers.update(reason for one in filters for gauge in one.gauges for reason in {gauge.too_low, gauge.too_high})
    own = [
        Measure(
            gauge,
            one.name if _bound(gauge) else "",
            tuple(other for other in one.gauges if other != gauge),
            tuple(reason for reason in (gauge.too_low, gauge.too_high) if givers[reason] == 2),
        )
        for one in filters
        for gauge in one.gauges
    ]
    shown = {measure.gauge.columns[0] for measure in own if measure.gauge.measure == "value"}
    return own + [Measure(Gauge(name, (name,))) for name in plain if name not in shown]


def numbers_of(gauge: Gauge, columns: pa.Table) -> Numbers | None:
    """The gauge's numbers; None where the shard has not all of its columns. Raises pa.ArrowException for columns that
    are no numbers."""
    names = [*gauge.columns, *(("kind",) if gauge.kind else ())]
    if not {*names} <= {*columns.column_names}:
        return None
    told = measured(gauge, columns)
    if pt.is_boolean(told.type) or not (pt.is_integer(told.type) or pt.is_floating(told.type)):
        raise pa.ArrowInvalid(f"{gauge.name} is {told.type}, which is no number")
    values = np.asarray(pc.fill_null(told.cast(pa.float64(), safe=False), float("nan")))
    known, outside = ~np.isnan(values), _true(below(told, gauge.min)) | _true(above(told, gauge.max))
    if gauge.kind:
        own = _true(pc.equal(columns["kind"].cast(pa.string()), gauge.kind))
        known, outside = known & own, outside & own
    return Numbers(values, known, outside, told.type)


@dataclass
class Bars:
    """One histogram while it is counted. `stale`: kept rows that are outside the bounds, and `inside`: rows inside them
    that have the reason of those outside; in either case these are not the bounds that rows were judged by. `least`,
    `most`: of the numbers; `bits`: of the least precise column of floats."""

    measure: Measure
    edges: Edges
    rows: npt.NDArray[np.int64] = field(init=False)
    left: npt.NDArray[np.int64] = field(init=False)
    kept: npt.NDArray[np.int64] = field(init=False)
    without: int = 0
    without_kept: int = 0
    stale: int = 0
    inside: int = 0
    least: float = float("inf")
    most: float = float("-inf")
    bits: int = 64
    _exact: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows, self.left, self.kept = (np.zeros(len(self.edges.values) - 1, np.int64) for _ in range(3))

    def add(self, numbers: Mapping[Gauge, Numbers | None], verdicts: Verdicts, reasons: Reasons) -> None:
        """Count a shard: the numbers of each gauge, and the decision."""
        own, kept = numbers[self.measure.gauge], verdicts.keep
        if own is None:
            self.without += len(kept)
            self.without_kept += int(kept.sum())
            return
        left = kept | self._alone(own, numbers, verdicts, reasons) if self.measure.filter else kept
        self.stale += int((kept & own.outside).sum())
        self.inside += self._dropped_inside(own, verdicts, reasons)
        values = own.values[own.known]
        self.bits = min(self.bits, own.kind.bit_width) if pt.is_floating(own.kind) else self.bits
        self.least, self.most = min(self.least, values.min(initial=np.inf)), max(self.most, values.max(initial=-np.inf))
        places = np.searchsorted(self._edges(own.kind), values, side="right") - 1
        places = np.clip(places, 0, len(self.rows) - 1)
        self.rows += np.bincount(places, minlength=len(self.rows))
        self.left += np.bincount(places[left[own.known]], minlength=len(self.rows))
        self.kept += np.bincount(places[kept[own.known]], minlength=len(self.rows))
        self.without += int((~own.known).sum())
        self.without_kept += int((kept & ~own.known).sum())

    def histogram(self) -> Histogram:
        """As it is told. Where rows were judged by other bounds, without them: nobody knows what would stay. Where
        nothing bounds numbers that lie in one bin, that is from the least to the largest of them."""
        gauge, whole = self.measure.gauge, self.fits and bool(self.measure.filter)
        edges, counts = self.edges.values, [self.rows, self.left if whole else self.kept]
        if not self.measure.filter and np.count_nonzero(self.rows) == 1:
            edges, counts = (float(self.least), float(self.most)), [own[self.rows > 0] for own in counts]
        rows, left = (tuple(own.tolist()) for own in counts)
        told = Histogram(gauge.name, edges, rows, left, self.without, self.without_kept, log=self.edges.log)
        least, most = (float(end) if np.isfinite(end) else None for end in (self.least, self.most))
        told = replace(told, bits=self.bits, least=least, most=most)
        if not whole:
            return told
        low = gauge.min_setting if gauge.too_low else ""
        high = gauge.max_setting if gauge.too_high else ""
        return replace(
            told, filter=self.measure.filter, min=gauge.min, max=gauge.max, min_setting=low, max_setting=high
        )

    @property
    def fits(self) -> bool:
        """Whether the bounds can be those that rows were judged by."""
        return not self.stale and not self.inside

    def _dropped_inside(self, own: Numbers, verdicts: Verdicts, reasons: Reasons) -> int:
        numbers = [reasons.numbers[reason] for reason in self.measure.own if reason in reasons.numbers]
        rows = np.unique(verdicts.rows[np.isin(verdicts.reasons, numbers)])
        return int((own.known & ~own.outside)[rows].sum())

    def _alone(
        self, own: Numbers, numbers: Mapping[Gauge, Numbers | None], verdicts: Verdicts, reasons: Reasons
    ) -> Flags:
        """The rows that nothing but this bound drops."""
        gauge = self.measure.gauge
        mine = [reasons.numbers[reason] for reason in (gauge.too_low, gauge.too_high) if reason in reasons.numbers]
        alone: Flags = np.isin(verdicts.only, mine) & own.outside
        for other in (numbers.get(gauge) for gauge in self.measure.beside):
            if other is not None:
                alone &= ~other.outside
        return alone

    def _edges(self, kind: pa.DataType) -> npt.NDArray[np.float64]:
        """The edges in the precision of a column of this type, as a bound would be that moved there."""
        name = str(kind)
        if name not in self._exact:
            self._exact[name] = _in_precision(self.edges, self.measure.gauge, kind)
        return self._exact[name]


def _in_precision(edges: Edges, gauge: Gauge, kind: pa.DataType) -> npt.NDArray[np.float64]:
    told = np.asarray(edges.values, np.float64)
    if not pt.is_floating(kind):
        return told
    of = kind.to_pandas_dtype()
    with np.errstate(over="ignore"):  # a bound beyond what the column can hold is infinity there
        rounded = told.astype(of).astype(np.float64)
        if gauge.max is not None:
            rounded[told == just_above(gauge.max, edges.whole)] = float(np.nextafter(of(gauge.max), of(np.inf)))
    return np.maximum.accumulate(rounded)  # an edge close above the bound may be rounded to below what ends it


def _bound(gauge: Gauge) -> bool:
    return gauge.min is not None or gauge.max is not None


def _true(flags: pa.Array | pa.ChunkedArray) -> Flags:
    """Null is no."""
    flat = flags.combine_chunks() if isinstance(flags, pa.ChunkedArray) else flags
    return np.asarray(pc.fill_null(flat, False))
