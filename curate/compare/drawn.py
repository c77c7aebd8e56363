"""Which rows of each change are shown: as many of every reason as were asked for, the same ones every time.

A row's chance does not depend on where it lies: rows are drawn by a keyed digest of what they are, so the same data in
other shards shows the same samples. Copies of one row have one digest and are shown once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.compare.matching import Pairs
from curate.compare.verdicts import ABSENT, KEPT
from curate.dedup.identity import keyed
from curate.dedup.scatter import Ids

__all__ = ["GAINED", "LOST", "Drawing", "Drawn"]

GAINED, LOST = "gained", "lost"
SEED = 8

Keys: TypeAlias = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Drawn:
    """Rows drawn of one change. `change`: GAINED or LOST; `reason`: the number of the verdict of the side that drops
    them; `rows`: how many there are; `places_a`, `places_b`: of the drawn ones, in order, in A and in B."""

    change: str
    reason: int
    rows: int
    places_a: Ids
    places_b: Ids


@dataclass
class Drawing:
    """Looks at all pairs, and keeps `tiles` rows of each change and reason."""

    tiles: int
    _best: dict[tuple[str, int], tuple[Keys, Ids, Ids]] = field(default_factory=dict)
    _rows: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, pairs: Pairs) -> None:
        """Look at some pairs; they have keys where any row changed."""
        if self.tiles == 0 or pairs.keys is None:
            return
        for change, kept, dropped in ((GAINED, pairs.b, pairs.a), (LOST, pairs.a, pairs.b)):
            rows = np.flatnonzero((kept == KEPT) & (dropped > ABSENT))
            keys = keyed(pairs.keys[rows], SEED)
            for reason in np.unique(dropped[rows]).tolist():
                own = dropped[rows] == reason
                found = keys[own], pairs.places_a[rows[own]], pairs.places_b[rows[own]]
                self._keep((change, reason), *found)

    def take(self) -> tuple[Drawn, ...]:
        """What was drawn: gained before lost, the most frequent reasons first."""
        order = sorted(self._best, key=lambda group: (group[0], -self._rows[group], group[1]))
        return tuple(Drawn(*group, self._rows[group], *self._best[group][1:]) for group in order)

    def _keep(self, group: tuple[str, int], keys: Keys, places_a: Ids, places_b: Ids) -> None:
        self._rows[group] = self._rows.get(group, 0) + len(keys)
        new = keys, places_a, places_b
        joined = [np.concatenate(own) for own in zip(self._best.get(group, new), new, strict=True)]
        _, first = np.unique(joined[0], return_index=True)
        best = first[: self.tiles]
        self._best[group] = joined[0][best], joined[1][best], joined[2][best]
