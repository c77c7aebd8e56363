"""Rows sorted into numbered bins that are read one at a time: in memory while they are few, then in files.

Rows of a bin keep the order in which they came. A bin's file is a row of Arrow streams, one per time that the buffer
was full, so no file stays open and any number of bins will do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.storage import plain_errors

__all__ = ["BUFFER_BYTES", "Bins"]

BUFFER_BYTES = 64 << 20
SORTING_BYTES = 24
"""What a row takes beside its columns while the buffer is sorted: its bin, its place, and its place in order."""


class Bins:
    """Bins whose rows have one schema. `folder` is made when the first file is needed."""

    def __init__(self, folder: Path, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.folder, self.buffer_bytes = folder, buffer_bytes
        self._buffer: list[tuple[npt.NDArray[np.int64], pa.Table]] = []
        self._bytes = 0
        self._sorted: dict[int, pa.Table] | None = None

    def add(self, bins: npt.NDArray[np.int64], rows: pa.Table) -> None:
        """Put each row into the bin that `bins` has for it. Raises StorageError when the disk refuses."""
        self._buffer.append((bins, rows))
        self._bytes += rows.nbytes + SORTING_BYTES * len(rows)
        if self._bytes > self.buffer_bytes:
            self._write()

    def read(self, number: int) -> pa.Table | None:
        """The rows of a bin, once, in the order in which they were added; None when there are none.

        Nothing may be added after the first call.
        """
        tables = list(self.pieces(number))
        return pa.concat_tables(tables) if tables else None

    def pieces(self, number: int) -> Iterator[pa.Table]:
        """The same, as the buffer was full: no more than that is in memory at a time."""
        if self._sorted is None:
            if self.folder.exists():
                self._write()
            self._sorted = self._take()
        path = self._path(number)
        if not path.exists():
            if number in self._sorted:
                yield self._sorted.pop(number)
            return
        with plain_errors(f"read {path}"), open(path, "rb") as file:
            while file.tell() < os.fstat(file.fileno()).st_size:
                yield pa.ipc.open_stream(file).read_all()
        path.unlink()

    def _write(self) -> None:
        bins = self._take()
        with plain_errors(f"write to {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            for number, rows in bins.items():
                with open(self._path(number), "ab") as file, pa.ipc.new_stream(file, rows.schema) as stream:
                    stream.write_table(rows)

    def _take(self) -> dict[int, pa.Table]:
        """Empty the buffer: the rows of each bin that has some."""
        if not self._buffer:
            return {}
        bins = np.concatenate([numbers for numbers, _ in self._buffer])
        order = np.argsort(bins, kind="stable")
        rows = pa.concat_tables([table for _, table in self._buffer]).take(order)
        self._buffer, self._bytes = [], 0
        numbers, starts = np.unique(bins[order], return_index=True)
        ends = np.append(starts, len(order))[1:]
        return {
            int(number): rows.slice(start, end - start)
            for number, start, end in zip(numbers, starts, ends, strict=True)
        }

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.arrows"
