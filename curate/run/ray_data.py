"""Parts of any work as a source of Ray Data: a part is a read task, and the Arrow tables that it makes are its blocks.

For pipelines that are made of Ray Data already. Ray moves blocks through its object store and gives them on as they are
ready: set `preserve_order` in its execution options for the order of the parts. What exact order and exact resume need
is not here (docs/loader.md says where); this only carries tables. Parts and work must be picklable, and the work
importable on the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

__all__ = ["PartsDatasource", "read_parts"]


class PartsDatasource(Datasource):  # type: ignore[misc]  # Ray's types are not looked at
    """For `ray.data.read_datasource`: `work(part)` gives the tables of each part.

    `rows`: how many rows the tables of each part have together, where that is known.
    """

    def __init__(
        self, work: Callable[[Any], Iterable[pa.Table]], parts: Sequence[Any], rows: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self._work, self._parts = work, parts
        self._rows: Sequence[int | None] = rows or [None] * len(parts)

    def estimate_inmemory_data_size(self) -> int | None:
        """Nobody knows before they are read."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """A task for each part, whatever `parallelism` Ray has in mind."""
        return [
            ReadTask(
                partial(self._work, part),
                BlockMetadata(num_rows=rows, size_bytes=None, exec_stats=None, input_files=None),
                per_task_row_limit=per_task_row_limit,
            )
            for part, rows in zip(self._parts, self._rows, strict=True)
        ]


def read_parts(work: Callable[[Any], Iterable[pa.Table]], parts: Sequence[Any]) -> Any:
    """A Ray Data data set whose blocks are the tables that `work(part)` gives for each part."""
    import ray.data

    return ray.data.read_datasource(PartsDatasource(work, parts))
