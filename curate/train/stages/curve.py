"""The losses of a stage as a picture: a line for each, as SVG, which needs no plotting library and shows in a browser.

Each step is thin, and the mean of the steps around it (a fortieth of all) is thick, for a step's loss jumps by more
than training brings in fifty. Of a long stage every n-th point is drawn, 500 in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["curve_svg"]

WIDTH, HEIGHT, LEFT, TOP = 640, 320, 56, 28
MOST_POINTS = 500
COLOURS = ("#0b6e99", "#c4501b", "#3a7d2c", "#7a3e9d", "#8a6d00")
OTHERS = ("step", "rate", "batch")

Numbers = npt.NDArray[np.float64]


def curve_svg(title: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """The picture of the lines of `losses.jsonl`."""
    names = list(dict.fromkeys(name for line in lines for name in line if name not in OTHERS))
    found = {name: np.array([line.get(name, np.nan) for line in lines], np.float64) for name in names}
    every = np.concatenate([values[np.isfinite(values)] for values in found.values()]) if names else np.zeros(0)
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18">{escape(title)}</text>',
        f'<path d="M{LEFT} {TOP}V{HEIGHT - 30}H{WIDTH - 12}" stroke="#888" fill="none"/>',
        f'<text x="4" y="{TOP + 6}">{high:.3g}</text><text x="4" y="{HEIGHT - 30}">{low:.3g}</text>',
        f'<text x="{WIDTH - 12}" y="{HEIGHT - 12}" text-anchor="end">step {len(lines):,}</text>',
    ]
    for number, (name, values) in enumerate(found.items()):
        colour = COLOURS[number % len(COLOURS)]
        for line, width, opacity in ((values, 1, 0.25), (_smooth(values), 2, 1)):
            path = _path(line, low, high)
            parts.append(f'<path d="{path}" stroke="{colour}" stroke-width="{width}" opacity="{opacity}" fill="none"/>')
        parts.append(f'<text x="{LEFT + 110 * number}" y="{HEIGHT - 12}" fill="{colour}">{escape(name)}</text>')
    return "".join([*parts, "</svg>\n"])


def _smooth(values: Numbers) -> Numbers:
    """The mean of what is around each number; what is missing does not count."""
    wide = max(1, len(values) // 40)
    kernel, there = np.ones(2 * wide + 1), np.isfinite(values)
    if not len(values):
        return values
    sums = np.convolve(np.where(there, values, 0.0), kernel)[wide:-wide]
    counts = np.convolve(there.astype(np.float64), kernel)[wide:-wide]
    mean: Numbers = np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
    return mean


def _path(values: Numbers, low: float, high: float) -> str:
    step = -(-len(values) // MOST_POINTS)
    points = [
        f"{LEFT + (WIDTH - 12 - LEFT) * number / max(1, len(values) - 1):.1f} "
        f"{TOP + (HEIGHT - 30 - TOP) * (high - values[number]) / (high - low):.1f}"
        for number in range(0, len(values), step or 1)
        if np.isfinite(values[number])
    ]
    return "M" + "L".join(points) if points else ""
