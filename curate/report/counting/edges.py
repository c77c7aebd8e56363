"""Round numbers to count between: people move a threshold to .25, not to .2473.

Where a column spans decades (areas, bytes, variances) edges grow by a factor, in the preferred numbers of engineering
(Renard's series, ISO 3): 10, 12.5, 16, 20 ... Otherwise they are a round step apart. At most 60 bins, of whole numbers
twice as many, so that words can be told one by one; and a filter's bounds between them. What lies beyond the first or
last edge is counted in the bin there, so that one row in a thousand of outliers does not press all others into one bin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_BINS", "Edges", "edges_of", "just_above"]

MOST_BINS = 60
TAIL = 0.001
"""Of the rows at either end that may lie beyond the edges."""
CLOSE = 0.1
"""Of the least bin: how near to a bound another edge may be."""
HUGE = 1e300
"""Beyond that a difference of two numbers may be none."""
DECADES_RATIO = 50.0
MOST_RATIO = 1e15
"""Largest over least: from the one to the other edges may grow by a factor."""
R40 = (
    *(1, 1.06, 1.12, 1.18, 1.25, 1.32, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 2.12, 2.24, 2.36, 2.5, 2.65, 2.8, 3),
    *(3.15, 3.35, 3.55, 3.75, 4, 4.25, 4.5, 4.75, 5, 5.3, 5.6, 6, 6.3, 6.7, 7.1, 7.5, 8, 8.5, 9, 9.5),
)
SERIES = (R40, R40[::2], R40[::4], R40[::8], R40[::20], (1,))
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
POSITIVE = 0.95
RATIOS = ("aspect_ratio", "elongation")
LINEAR = ("_ratio", "_probability", "_similarity", "_score")
"""What has a scale of its own, and is never counted by factors."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Edges:
    """`values` ascend strictly, at least 2; `log`: they grow by a factor; `whole`: they are for whole numbers."""

    values: tuple[float, ...]
    log: bool = False
    whole: bool = False


def edges_of(name: str, sample: Numbers, whole: bool, low: float | None, high: float | None) -> Edges:
    """Edges for a column of which `sample` are some finite numbers (n,), none perhaps. `whole`: it holds whole numbers
    only. `low` is an edge, and what is just above `high` another: the next whole number, or the next float64. Ratios of
    sides, named `aspect_ratio` or `elongation`, grow by a factor."""
    bounds = [] if low is None or not math.isfinite(low) else [float(low)]
    if high is not None and math.isfinite(high):
        bounds.append(just_above(high, whole))
    log = all(bound is None or bound > 0 for bound in (low, high)) and _spans(name, sample, bounds, whole)
    least, most = _range(sample[sample > 0] if log else sample, bounds)
    drawn = _by_factor(least, most, whole) if log else _by_step(least, most, whole)
    return Edges(_with_bounds(drawn, bounds), log, whole)


def just_above(high: float, whole: bool) -> float:
    """The edge that ends what a `max` lets in."""
    return float(math.floor(high) + 1) if whole else math.nextafter(high, math.inf)


def _range(sample: Numbers, bounds: Sequence[float]) -> tuple[float, float]:
    ends = [*np.quantile(np.clip(sample, -HUGE, HUGE), (TAIL, 1 - TAIL), method="nearest")] if len(sample) else []
    ends += bounds
    return (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)


def _spans(name: str, sample: Numbers, bounds: Sequence[float], whole: bool) -> bool:
    """Whether a column's numbers lie on several scales: nearly all are positive, and half of them, or a bound, in the
    lowest fifth. Rows of 0 are then counted in the first bin. Whole numbers up to 120 have room on one scale."""
    positive = sample[sample > 0]
    if not len(positive) or len(positive) < POSITIVE * len(sample):
        return False
    least, most = _range(positive, bounds)
    few = whole and most <= 2 * MOST_BINS
    if name in RATIOS or name.endswith(LINEAR) or few or not DECADES_RATIO <= most / least <= MOST_RATIO:
        return name in RATIOS and most / least <= MOST_RATIO
    return min(float(np.median(positive)), *bounds, most) < least + (most - least) / 5


def _by_step(least: float, most: float, whole: bool) -> list[float]:
    spread = most - least
    if not math.isfinite(spread):
        return [least, most]
    bins = (2 * MOST_BINS if whole else MOST_BINS) - 2
    wanted = max(spread / bins if spread else max(abs(most), 1) / 10, abs(most) * 1e-9, 1e-12)
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(own * power for own in STEPS if own * power >= wanted * (1 - 1e-9))
    step = float(max(1, math.ceil(step))) if whole else step
    first, last = math.floor(least / step), math.floor(most / step) + 1
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def _by_factor(least: float, most: float, whole: bool) -> list[float]:
    first, last = math.floor(math.log10(least)), math.floor(math.log10(most))
    for series in SERIES:
        values = [float(f"{own * 10.0**power:.6g}") for power in range(first, last + 1) for own in series]
        values.append(10.0 ** (last + 1))
        if whole:
            values = _widening(float(math.ceil(value)) for value in values)
        inner = [value for value in values if least < value <= most]
        if len(inner) <= MOST_BINS - 2 or series is SERIES[-1]:
            break
    below = [value for value in values if value <= least][-1:]
    above = [value for value in values if value > most][:1]
    return [*below, *inner, *above]


def _widening(values: Iterable[float]) -> list[float]:
    """Whole numbers of which none is nearer to the one before than that is to its own: else bars would jump."""
    found: list[float] = []
    for value in values:
        width = found[-1] - found[-2] if len(found) > 1 else 1.0
        if not found or value - found[-1] >= width:
            found.append(value)
    return found


def _with_bounds(edges: list[float], bounds: Sequence[float]) -> tuple[float, ...]:
    """With the bounds among them in place of edges close by, and an edge beyond each, so that what a bound drops is in
    bins of its own."""
    widths = np.diff(edges)
    near = float(widths.min()) * CLOSE
    found = {*(edge for edge in edges if all(abs(edge - bound) > near for bound in bounds)), *bounds}
    for outermost, step in ((min(found), -float(widths[0])), (max(found), float(widths[-1]))):
        if outermost in bounds:
            further = [edge for edge in edges if (edge - outermost) * step > 0]
            found.add(further[-1 if step < 0 else 0] if further else _beyond(outermost, step))
    return tuple(sorted(found))


def _beyond(edge: float, step: float) -> float:
    """An edge further out, finite and not the same however large the numbers are."""
    told = edge + step
    return told if told != edge and math.isfinite(told) else math.nextafter(edge, math.copysign(math.inf, step))
