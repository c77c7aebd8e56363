"""From drawn examples to the rows of a batch: packing, and how many rows.

A stage has one lane, or where its mixture goes by gradient one for each source, each with its share of the batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import ConfigError
from curate.handover.stages import TrainingStage
from curate.train.data.mixture import Chooser
from curate.train.data.packing import Packer, Row
from curate.train.data.window import Item

__all__ = ["Lane", "Shape", "micro_batches", "shape_of"]


@dataclass(frozen=True)
class Shape:
    """What a batch of one lane is: `rows` rows, or where that is 0 rows until there are `tokens` tokens. With
    `open_rows` above 0 rows are packed, to at most `limit` tokens."""

    rows: int
    tokens: int
    limit: int
    open_rows: int


class Lane:
    """Rows from one chooser."""

    def __init__(self, chooser: Chooser, shape: Shape) -> None:
        self.chooser, self.shape = chooser, shape
        self._packer = Packer(shape.limit, shape.open_rows) if shape.open_rows else None
        self._ready: deque[Row] = deque()

    def take(self) -> list[Row]:
        """The rows of the next batch; fewer, and then none, at the end of the stage."""
        rows: list[Row] = []
        tokens = 0
        while len(rows) < self.shape.rows or (not self.shape.rows and tokens < self.shape.tokens):
            row = self._row()
            if row is None:
                break
            rows.append(row)
            tokens += max(1, sum(item.tokens for item in row))
        return rows

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from, JSON-able: an example as its stream, pass and place."""
        opened = self._packer.open_rows() if self._packer is not None else []
        return {"chooser": self.chooser.state(), "open": _named(opened), "ready": _named(self._ready)}

    def restore(self, state: Mapping[str, Any], item: Callable[[int, int, int], Item]) -> None:
        """Go on where `state` was; `item` finds an example by stream, pass and place."""
        self.chooser.restore(state["chooser"])
        rows = {name: [tuple(item(*place) for place in row) for row in state[name]] for name in ("open", "ready")}
        self._ready = deque(rows["ready"])
        if self._packer is not None:
            self._packer.restore(rows["open"])

    def _row(self) -> Row | None:
        while not self._ready:
            item = self.chooser.draw()
            if item is None:
                self._ready.extend(self._packer.flush() if self._packer is not None else ())
                return self._ready.popleft() if self._ready else None
            if self._packer is None or item.tokens > self.shape.limit:
                return (item,)
            self._ready.extend(self._packer.add(item))
        return self._ready.popleft()


def shape_of(stage: TrainingStage, batch: int, open_rows: int) -> Shape:
    """The batch of a stage with one lane. Raises ConfigError."""
    limit, packed = stage.sequence_tokens, stage.packing
    if packed and not limit:
        raise ConfigError(f"stage {stage.name} packs rows and has no sequence_tokens; say how long a row is")
    if batch < 1:
        raise ConfigError(f"batch = {batch} of stage {stage.name} is out of range: at least 1")
    rows = batch if stage.batch_unit == "samples" else max(1, batch // limit) if packed else 0
    return Shape(rows, batch, limit, open_rows if packed else 0)


def micro_batches(batch: int, weights: Sequence[float]) -> list[int]:
    """A batch dealt out by weights, at least 1 to each: the largest remainders are rounded up. Raises ConfigError."""
    if batch < len(weights):
        raise ConfigError(
            f"batch = {batch} is below the {len(weights)} sources, and by gradient each step has a micro-batch of each"
        )
    exact = [batch * weight / sum(weights) for weight in weights]
    shares = [max(1, int(share)) for share in exact]
    while sum(shares) != batch:
        step = 1 if sum(shares) < batch else -1
        open_to = [n for n, share in enumerate(shares) if share + step >= 1]
        shares[max(open_to, key=lambda n: step * (exact[n] - shares[n]))] += step
    return shares


def _named(rows: Sequence[Row] | deque[Row]) -> list[list[tuple[int, int, int]]]:
    return [[(item.stream, item.run, item.place) for item in row] for row in rows]
