"""What a composition asks of a source, and what it gets: slices of rows first, then one example after the other.

The plan of a source holds numbers or files on disk, never a list of examples; a worker holds one example at a time.
What cannot be used does not leave: it is a `LeftOut` with a reason, where it stood in the input, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeAlias

import pyarrow as pa

from curate.config import require_range
from curate.handover.layout import Kind

__all__ = ["ComposedSource", "Facts", "Item", "LeftOut", "Packed", "ShardSettings", "Size"]

Size: TypeAlias = tuple[int, int]
"""Width and height of a picture, px, as it is shown (turned by its EXIF)."""
Facts: TypeAlias = MutableMapping[str, Any]
"""What a cut finds out about a source: JSON-like, kept in the plan."""


@dataclass(frozen=True)
class ShardSettings:
    """The `[shards]` table. `samples` rows per shard, the last of a source has the rest; each source is shuffled by
    itself, by `seed`."""

    samples: int = 10_000
    shuffle: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        require_range("samples", self.samples, 1, 10_000_000)


@dataclass(frozen=True)
class Packed:
    """One example as it goes into a tar. `members` are extensions and bytes in the tar's order; `sizes` those of the
    pictures that are there; `texts` all its texts; `row` columns of its own for the sample table."""

    source_key: str
    members: Sequence[tuple[str, bytes]]
    sizes: Sequence[Size]
    texts: Sequence[str]
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """An example that cannot be used. `reason` is counted; `place` says where it stands in the input, for people."""

    source_key: str
    place: str
    reason: str
    detail: str = ""


Item: TypeAlias = Packed | LeftOut
"""What becomes of one row of a slice."""


class ComposedSource(Protocol):
    """A frozen dataclass, built from a `[sources.NAME]` table. `samples`: how many examples leave, drawn by the seed,
    0 for all; `licence` and `about` are free text for the manifest."""

    @property
    def path(self) -> str: ...
    @property
    def samples(self) -> int: ...
    @property
    def licence(self) -> str: ...
    @property
    def about(self) -> str: ...

    def example_kind(self) -> Kind:
        """What its examples are; of a data set as its files tell. Raises ShardError, ConfigError."""
        ...

    def identity(self) -> Any:
        """JSON-like: settings that change examples, and marks of the input that change with it, cheaply."""
        ...

    def tables(self, shards: ShardSettings, facts: Facts) -> Iterator[pa.Table]:
        """A table per output shard, with all that its bytes depend on; told facts go into `facts`. Raises
        CurateError."""
        ...

    def examples(self, plan: pa.Table, counts: Counter[str]) -> Iterator[Item]:
        """An item per row of such a table, in its order. What is more to tell is counted. Raises ShardError where the
        input has changed since."""
        ...

    def columns(self, plan: pa.Table) -> Mapping[str, pa.DataType]:
        """Columns of its own for the sample table of this shard."""
        ...

    def located(self) -> Self:
        """The same with absolute paths: workers have working directories of their own."""
        ...

    def drawn(self, samples: int) -> Self:
        """The same with no more than so many examples."""
        ...
