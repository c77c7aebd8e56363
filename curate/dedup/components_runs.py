"""Rows of uint64 sorted by target, in one file per writer: what a step of `curate.dedup.components` reads and writes.

A file is a row of blocks, and a block has its rows in order of targets. The index beside it (`.npy`) says where each
target begins in each block. It is renamed into place after the data, so its presence means that the file is whole.
A reader takes one target out of every file: with 400 targets and blocks of a million rows that is 40 kB at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from curate.dedup.components_kernels import Ids, scatter
from curate.errors import StorageError
from curate.storage import plain_errors

__all__ = ["Runs", "load", "read_runs", "save"]


class Runs:
    """A writer: `path` without a suffix, rows of `width` numbers for `targets` readers, `block` rows in memory.

    As a context it puts the file in its place at the end, or nothing when an error ended it.
    """

    def __init__(self, path: Path, width: int, targets: int, block: int) -> None:
        self.path, self.targets, self.block = path, targets, block
        self._rows, self._to = np.empty((block, width), np.uint64), np.empty(block, np.int64)
        self._held, self._written = 0, 0
        self._index = [np.zeros(targets + 1, np.int64)]
        self._part = path.with_suffix(".part")

    def __enter__(self) -> Self:
        with plain_errors(f"write {self._part}"):
            self._file = open(self._part, "wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with plain_errors(f"write {self.path}"):
            if kind is None:
                self._flush()
            self._file.close()
            if kind is None:
                self._part.replace(self.path.with_suffix(".runs"))
                save(self.path.with_suffix(".npy"), np.stack(self._index))

    def add(self, rows: Ids, targets: npt.NDArray[np.int64]) -> None:
        """Rows (n, width), and which reader each is for."""
        at = 0
        while at < len(rows):
            take = min(len(rows) - at, self.block - self._held)
            self._rows[self._held : self._held + take] = rows[at : at + take]
            self._to[self._held : self._held + take] = targets[at : at + take]
            self._held, at = self._held + take, at + take
            if self._held == self.block:
                self._flush()

    def _flush(self) -> None:
        rows, to = self._rows[: self._held], self._to[: self._held]
        starts = np.zeros(self.targets + 1, np.int64)
        np.cumsum(np.bincount(to, minlength=self.targets), out=starts[1:])
        self._index.append(starts + self._written)
        ordered = np.empty_like(rows)
        scatter(rows, to, starts, ordered)
        with plain_errors(f"write {self._part}"):
            ordered.tofile(self._file)
        self._written, self._held = self._written + len(rows), 0


def read_runs(paths: Iterable[Path], width: int, target: int, block: int) -> Iterator[Ids]:
    """What all files have for a target, in their order, `block` rows at a time. An array is valid until the next.

    Raises StorageError for a file that is missing, or cut short.
    """
    held, rows = 0, np.empty((block, width), np.uint64)
    for path in paths:
        index, data = load(path.with_suffix(".npy")), path.with_suffix(".runs")
        with plain_errors(f"read {data}"), open(data, "rb", buffering=0) as file:
            _check_length(data, int(index[-1, -1]) * width * 8)
            for start, end in index[1:, target : target + 2].tolist():
                file.seek(start * width * 8)
                while start < end:
                    take = min(end - start, block - held)
                    if file.readinto(rows[held : held + take].data.cast("B")) != take * width * 8:
                        raise StorageError(f"{data} ends too early; remove its folder and run again")
                    held, start = held + take, start + take
                    if held == block:
                        yield rows
                        held = 0
    if held:
        yield rows[:held]


def _check_length(path: Path, expected: int) -> None:
    if path.stat().st_size != expected:
        raise StorageError(
            f"{path} has {path.stat().st_size:,} bytes and should have {expected:,}: it was cut short or changed; "
            "remove its folder and run again"
        )


def save(path: Path, rows: npt.NDArray[np.generic]) -> None:
    """A `.npy` file, whole or not at all. Raises StorageError when the disk refuses."""
    part = path.with_suffix(".npy.part")
    with plain_errors(f"write {path}"):
        with open(part, "wb") as file:
            np.save(file, rows, allow_pickle=False)
        part.replace(path)


def load(path: Path) -> npt.NDArray[np.int64]:
    """A `.npy` file of numbers. Raises StorageError when it is missing or not whole."""
    try:
        rows: npt.NDArray[np.int64] = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise StorageError(f"{path} is missing; remove its folder and run again") from error
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path} is not a whole .npy file ({error}); remove its folder and run again") from error
    return rows
