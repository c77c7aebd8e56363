"""What a file in `filters/` implements: a filter, and a scorer if it needs a new signal.

A scorer is slow and writes columns, once. A filter is fast and turns columns into *reasons to drop* (null: keep), so
a threshold can be changed without a model or a decoder running again, and every dropped sample can say why.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.gauge import Gauge, measured
from curate.stage import Work, settings_of

__all__ = [
    "Batch",
    "Bounded",
    "Filter",
    "Labelled",
    "Pixels",
    "Rules",
    "Scorer",
    "Verdict",
    "above",
    "below",
    "between",
    "check_bounds",
    "verdict",
]

Pixels = npt.NDArray[np.uint8]
"""A decoded picture: height x width x 3, sRGB."""

MOST_WHOLE = 2**63 - 1
"""The largest whole number that Arrow compares a column with."""

Verdict: TypeAlias = pa.DictionaryArray
"""Reasons per row, null where the row is kept."""


@dataclass(frozen=True)
class Batch:
    """Rows of one shard for a scorer.

    `columns` holds the scorer's `reads`, row by row. `pixels` is aligned with the rows when the scorer reads
    `image`: what its `prepare` made of each picture, None for a row without a readable one.
    """

    columns: pa.Table
    pixels: Sequence[Any | None] = field(default_factory=tuple)

    def __len__(self) -> int:
        return int(self.columns.num_rows)


class Scorer(ABC):
    """Makes columns from columns or pixels. A subclass is a frozen dataclass; its fields are its settings.

    `writes` maps each new column to its Arrow type. Raise `version` when the same input gives another result.
    `gpus` is how many GPUs it wants, 0 or 1; it must do without where there is none.
    """

    version: ClassVar[int] = 1

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def writes(self) -> Mapping[str, pa.DataType]: ...

    @property
    def gpus(self) -> float:
        return 0.0

    @property
    def batch_pictures(self) -> int | None:
        """How many pictures it takes at a time; None for the usual number."""
        return None

    def require(self) -> None:
        """Called once before a run starts: raise ConfigError for what would fail on every shard."""
        return None

    def identity(self) -> Any:
        """What the fingerprint covers: name, version, settings, and (overridden) the digest of a model file."""
        return {"scorer": self.name, "version": self.version, "settings": settings_of(self)}

    def provenance(self) -> Mapping[str, str]:
        """What every written column says of itself in its file: which model made it, by name and fingerprint."""
        return {}

    def made_from(self, told: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        """The same, where it is known what the columns it reads say of themselves, by their names. Overridden where a
        score is made of what another model wrote, so that both stand in one `model_fingerprint`."""
        return self.provenance()

    def prepare(self, pixels: Pixels) -> Any:
        """What this scorer keeps of a decoded picture, e.g. its thumbnail; it stands in `Batch.pixels` for it.

        Called by the threads that decode, so that it costs the scorer's own time nothing.
        """
        return pixels

    @abstractmethod
    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        """One array per written column, as long as the batch; null where the row could not be scored."""

    def start(self, batch: Batch) -> Callable[[], Mapping[str, pa.Array]]:
        """Begin to score; the answer is `score`'s. Overridden where a device can work while the next batch is made."""
        answer = self.score(batch)
        return lambda: answer


class Filter(ABC):
    """Bounds on columns. A subclass is a frozen dataclass in `filters/<name>.py`; its fields are a config's keys.

    `reasons` lists every reason it can give, each with the words that a report shows. A reason says what was wrong
    with the sample (`too_few_words`), and no two filters share one. Raise `version` when the same settings give
    another verdict. `reads` are the columns under the default settings, for people who look for a filter.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]]
    reasons: ClassVar[Mapping[str, str]]

    def identity(self) -> Any:
        """What the fingerprint covers: version, settings, and (overridden) the digest of a list it reads."""
        return {"filter": type(self).__name__, "version": self.version, "settings": settings_of(self)}

    def scorer(self) -> Scorer | None:
        """The scorer that writes the columns this filter reads, if the sample table does not have them."""
        return None

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        """All scorers that write columns this filter reads. `models` are the settings of the config's `[models]`, by
        name: overridden by a filter whose signal needs one of them."""
        own = self.scorer()
        return () if own is None else (own,)

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        """Work that writes columns this filter reads and is no scorer of one shard alone: stages and barriers, in
        order. Each runs once, however many filters name it.

        `earlier` are the filters before this one in the config: a rank may be asked for among what they keep.
        """
        return ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns read under these settings; `reads` unless a subclass says otherwise."""
        return self.reads

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """The numbers that it holds between bounds, for reports; none unless a subclass says so. A row outside one gets
        its reason, unless another reason of this filter goes before: that of another gauge which it is outside of too,
        or one that no gauge gives. After a gauge's reason there are none but those of gauges."""
        return ()

    @abstractmethod
    def judge(self, columns: pa.Table) -> Verdict:
        """A reason per row, null to keep. `columns` has exactly `self.columns`."""


class Bounded(Filter):
    """A filter that holds one number between bounds: `gauge` says which, and what a row outside is told.

    A null, and not-a-number, get the reason `unknown`; where that is None a null is kept, for another filter, such as
    fetch_status, answers for it."""

    unknown: ClassVar[str | None] = None

    @property
    @abstractmethod
    def gauge(self) -> Gauge: ...

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        return (self.gauge,)

    @property
    def columns(self) -> tuple[str, ...]:
        return self.gauge.columns

    def judge(self, columns: pa.Table) -> Verdict:
        own = self.gauge
        return between(measured(own, columns), own.min, own.max, own.too_low, own.too_high, self.unknown)


Rules: TypeAlias = tuple[tuple[str, Filter], ...]
"""Filters in the order of a config, each with its name there."""


@dataclass(frozen=True)
class Labelled(Filter):
    """A filter that stands in a config more than once, as `[filters.NAME-LABEL]`: its reasons carry the label."""

    rule: Filter
    label: str

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.rule.reads

    @property
    def reasons(self) -> Mapping[str, str]:  # type: ignore[override]
        return {f"{reason}_{self.label}": f"{words} ({self.label})" for reason, words in self.rule.reasons.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        return self.rule.columns

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        return tuple(
            replace(
                gauge,
                too_low=gauge.too_low and f"{gauge.too_low}_{self.label}",
                too_high=gauge.too_high and f"{gauge.too_high}_{self.label}",
            )
            for gauge in self.rule.gauges
        )

    def identity(self) -> Any:
        return {"label": self.label, "rule": self.rule.identity()}

    def scorer(self) -> Scorer | None:
        return self.rule.scorer()

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        return self.rule.scorers(models)

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        return self.rule.steps(earlier)

    def judge(self, columns: pa.Table) -> Verdict:
        found = self.rule.judge(columns)
        words = [f"{reason}_{self.label}" for reason in found.dictionary.to_pylist()]
        return pa.DictionaryArray.from_arrays(found.indices, pa.array(words, pa.string()))


def verdict(rows: int, *rules: tuple[str, pa.Array | pa.ChunkedArray]) -> Verdict:
    """Reasons from boolean masks: a row gets the first reason whose mask is true. A null in a mask counts as false."""
    codes = np.full(rows, -1, dtype=np.int8)
    for number in range(len(rules) - 1, -1, -1):
        mask = rules[number][1]
        if mask.null_count == rows:
            continue
        flat = mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask
        np.copyto(codes, np.int8(number), where=np.asarray(pc.fill_null(flat, False)))
    indices = pa.array(codes, mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array([reason for reason, _ in rules], pa.string()))


def between(
    values: pa.ChunkedArray,
    low: float | None,
    high: float | None,
    too_low: str,
    too_high: str,
    unknown: str | None = None,
) -> Verdict:
    """Reasons for a numeric column held between two included bounds; None is no bound.

    A null gets the reason `unknown`, or is kept where that is None (because another filter, such as fetch_status,
    already answers for it). Not-a-number is never inside bounds: it gets `unknown` too, else that of the first bound.
    """
    unsure = pc.is_null(values, nan_is_null=True) if unknown is not None else pa.nulls(len(values), pa.bool_())
    return verdict(len(values), (unknown or "", unsure), (too_low, below(values, low)), (too_high, above(values, high)))


def below(values: pa.ChunkedArray, low: float | None) -> pa.ChunkedArray | pa.Array:
    """True where a value is not at least `low`, so for not-a-number too; null for null. None is no bound."""
    if low is None:
        return pa.nulls(len(values), pa.bool_())
    return pc.invert(pc.greater_equal(*_comparable(values, low)))


def above(values: pa.ChunkedArray, high: float | None) -> pa.ChunkedArray | pa.Array:
    """True where a value is not at most `high`, so for not-a-number too; null for null. None is no bound."""
    if high is None:
        return pa.nulls(len(values), pa.bool_())
    return pc.invert(pc.less_equal(*_comparable(values, high)))


def _comparable(values: pa.ChunkedArray, bound: float) -> tuple[pa.ChunkedArray, pa.Scalar]:
    """A column and a bound in its precision, so that .6 is not above .6 where the column holds it as float32.

    Arrow compares no float16, and no whole number beyond 2^53 with a fraction: these become float32 and float64."""
    kind = values.type
    if pa.types.is_float16(kind):
        return values.cast(pa.float32()), pa.scalar(pa.scalar(bound, kind).as_py(), pa.float32())
    if pa.types.is_floating(kind):
        return values, pa.scalar(bound, kind)
    wide = isinstance(bound, float) and pa.types.is_integer(kind) and kind.bit_width == 64
    return values.cast(pa.float64(), safe=False) if wide else values, pa.scalar(bound)


def check_bounds(
    low: float | None, high: float | None, least: float = 0, most: float = math.inf, name: str = "{}"
) -> None:
    """Raise ValueError unless least <= low <= high <= most; None is no bound. `name` is e.g. `{}_side_px`."""
    for bound, value in (("min", low), ("max", high)):
        if isinstance(value, int) and value > MOST_WHOLE:
            raise ValueError(f"{name.format(bound)} = {value!r} is out of range: at most {MOST_WHOLE}")
        if value is not None and not least <= value <= most:
            limits = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
            raise ValueError(f"{name.format(bound)} = {value!r} is out of range: {limits}")
    if low is not None and high is not None and low > high:
        raise ValueError(
            f"{name.format('min')} = {low!r} is above {name.format('max')} = {high!r}: nothing would be kept"
        )
