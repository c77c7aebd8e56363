"""What the CapFilt experiment has found, a line a result in a file, and the table of it.

A line is written at once and never changed, so that what was killed goes on where it was and several processes may
share the file. Results of other plans in it are left alone; a plan that lacks a field is one of before the field came.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.capfilt_data import Plan

__all__ = ["Notes", "result_name", "table"]

Found = Mapping[int, Mapping[str, Mapping[str, Any]]]
"""Results by seed and name."""


class Notes:
    """The lines of a file, one a result; results of other plans in it are left alone."""

    def __init__(self, path: Path, plan: Plan, say: Callable[[str], None] = print) -> None:
        self.path, self.plan, self._say = path, asdict(plan), say

    def add(self, seed: int, what: str, found: Mapping[str, Any]) -> None:
        """Put a result down, once."""
        if what in self.all().get(seed, {}):
            return
        line = json.dumps({"seed": seed, "what": what, **found, "plan": self.plan}) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+") as file:
            file.write(b"\n" * _is_cut(file) + line.encode())
        self._say(line.partition(', "plan"')[0])

    def all(self) -> dict[int, dict[str, dict[str, Any]]]:
        """Results by seed and name. A line that was cut off in a kill is none."""
        found: dict[int, dict[str, dict[str, Any]]] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if {**asdict(Plan()), **row.pop("plan")} == self.plan:
                found.setdefault(row.pop("seed"), {})[row.pop("what")] = row
        return found


def result_name(variant: str, steps: int) -> str:
    """What the result of a new captioner is called."""
    return f"{variant} {steps}"


def table(found: Found, variants: Sequence[str], steps: Sequence[int]) -> str:
    """The results as Markdown: mean, least and most over the seeds, and how far each is above `web`."""
    lines = ["| steps | trained on | texts | exact: mean | min | max | above web: mean | min | max | AUC | CPU s |"]
    lines.append("|---" * 11 + "|")
    for budget in steps:
        base = _values(found, result_name("web", budget), "exact")
        for variant in variants:
            name = result_name(variant, budget)
            own = _values(found, name, "exact")
            if not own:
                continue
            above = [own[seed] - base[seed] for seed in own if seed in base]
            cells = [str(budget), variant, _mean(_values(found, name, "texts"), "{:,.0f}")]
            cells += [*_spread(list(own.values())), *_spread(above), _mean(_values(found, name, "auc"), "{:.3f}")]
            lines.append("| " + " | ".join([*cells, _mean(_values(found, name, "cpu_s"), "{:.0f}")]) + " |")
    lines += ["", "| seed | " + " | ".join(_ASIDE) + " |", "|---" * (len(_ASIDE) + 1) + "|"]
    for seed, rows in sorted(found.items()):
        cells = [f"{rows[what][key]:.3f}" if what in rows else "" for what, key in _ASIDE.values()]
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_ASIDE = {
    "captioner exact": ("captioner", "exact"),
    "filter AUC, one attribute": ("filter", "auc"),
    "calibration accuracy": ("threshold", "accuracy"),
    "web right": ("filtered web", "right"),
    "kept": ("filtered web", "kept"),
    "precision": ("filtered web", "precision"),
    "recall": ("filtered web", "recall"),
    "synthetic right": ("filtered synthetic", "right"),
    "kept ": ("filtered synthetic", "kept"),
    "precision ": ("filtered synthetic", "precision"),
    "recall ": ("filtered synthetic", "recall"),
}


def _values(found: Found, what: str, key: str) -> dict[int, float]:
    return {seed: rows[what][key] for seed, rows in found.items() if what in rows}


def _mean(values: Mapping[int, float], form: str) -> str:
    return form.format(np.mean(list(values.values())))


def _spread(values: Sequence[float]) -> list[str]:
    return [f"{f(values):.3f}" if values else "" for f in (np.mean, min, max)]


def _is_cut(file: BinaryIO) -> bool:
    """Whether the last line has no end, because its writer was killed."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
