"""What a filter holds between bounds, as data: the number of each row, and the settings that bound it.

A report draws a histogram of the number with the bound on it and says what would stay if the bound moved; so it must
measure exactly what `judge` compares. A gauge is data and no code, for it is kept in a data set's `run.json`: a report
of ten years from now measures without the filter being installed. That is why there are a few measures with names and
not one function per filter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["MEASURES", "Gauge", "elongation", "measured", "part_of"]


@dataclass(frozen=True)
class Gauge:
    """One number that is held between included bounds, None for no bound.

    `name`: what is measured, for people: a column, or e.g. `elongation`. `measure` makes it of `columns` (a name in
    MEASURES). A row below `min` gets the reason `too_low`, one above `max` `too_high`. `min_setting`, `max_setting`:
    what the bounds are called in the filter's table, to be changed there. `kind`: only rows whose column `kind` says
    so are measured (parts of documents); empty for all.
    """

    name: str
    columns: tuple[str, ...]
    min: float | None = None
    max: float | None = None
    too_low: str = ""
    too_high: str = ""
    measure: str = "value"
    min_setting: str = "min"
    max_setting: str = "max"
    kind: str = ""

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ValueError(f"measure = {self.measure!r} is none of {', '.join(MEASURES)}")
        if not self.columns:
            raise ValueError(f"gauge {self.name!r} measures no column")


def measured(gauge: Gauge, columns: pa.Table) -> pa.ChunkedArray:
    """The number of each row, of the type that `judge` compares; null where there is none, not-a-number where a filter
    sees one. `columns` has `gauge.columns` at least."""
    return MEASURES[gauge.measure]([columns[name] for name in gauge.columns])


def elongation(width: pa.ChunkedArray, height: pa.ChunkedArray) -> pa.ChunkedArray:
    """The longer side over the shorter, float64, at least 1; null where a side is, not-a-number where both are 0."""
    sides = (width.cast(pa.float64()), height.cast(pa.float64()))
    longer = pc.max_element_wise(*sides, skip_nulls=False)
    return pc.divide(longer, pc.min_element_wise(*sides, skip_nulls=False))


def part_of(columns: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """The sum of all columns but the last, over the last or 1, float64."""
    part, *more = columns[:-1]
    for one in more:
        part = pc.add(part, one)
    return pc.divide(part.cast(pa.float64()), pc.max_element_wise(columns[-1], 1, skip_nulls=False))


MEASURES: Mapping[str, Callable[[Sequence[pa.ChunkedArray]], pa.ChunkedArray]] = {
    "value": lambda columns: columns[0],
    "elongation": lambda columns: elongation(*columns),
    "least": lambda columns: pc.min_element_wise(*columns, skip_nulls=False),
    "most": lambda columns: pc.max_element_wise(*columns, skip_nulls=False),
    "least_known": lambda columns: pc.min_element_wise(*columns),
    "most_known": lambda columns: pc.max_element_wise(*columns),
    "part": part_of,
}
"""How a gauge's number is made of its columns; those that are `known` pass over a null where another column has one."""
