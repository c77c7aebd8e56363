"""Stages small enough to read at a glance; in a module of their own so that worker processes can import them."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from curate.manifest import Attempt
from curate.plan import Job
from curate.shard import Shard, Slice
from curate.stage import Barrier, Part, Resources, Runtime, Spread, Stage, Step
from curate.storage import Storage

ROWS = 4


@dataclass(frozen=True)
class Rows(Stage):
    """Writes the sample table: key and number. `base` is added to every number."""

    name: ClassVar[str] = "rows"
    base: int = 0
    retry: int = 0

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("key", "number")

    def supersedes(self) -> Stage | None:
        return Rows(self.base, self.retry - 1) if self.retry else None

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        first = int(shard.id) * ROWS + self.base
        keys = [f"{shard.id}{row}" for row in range(ROWS)]
        attempt.write_table(f"{shard.id}.parquet", pa.table({"key": keys, "number": range(first, first + ROWS)}))
        attempt.counts["in"] = ROWS
        attempt.counts["retried"] = int(attempt.previous is not None)


@dataclass(frozen=True)
class Times(Stage):
    """Writes `product` = number times `factor`; misbehaves on chosen shards, a chosen number of times."""

    name: ClassVar[str] = "times"
    factor: int = 2
    fails: tuple[str, ...] = ()
    kills: tuple[str, ...] = ()
    misbehaves: int = 1_000
    notes: str = ""
    gpus: float = 0.0
    sleep_s: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        return ("number",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("product",)

    @property
    def resources(self) -> Resources:
        return Resources(gpus=self.gpus)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        time.sleep(self.sleep_s)
        attempt.counts["workers"] = runtime.workers
        if self.notes:
            note(self.notes, shard.id)
        if tries(self.notes, shard.id) <= self.misbehaves:
            if shard.id in self.fails:
                raise ValueError(f"no good: {shard.id}")
            if shard.id in self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
        numbers = shard.columns(["number"])["number"].to_pylist()
        attempt.write_table(f"{shard.id}.times.parquet", pa.table({"product": [n * self.factor for n in numbers]}))


@dataclass(frozen=True)
class Sum(Barrier):
    """Writes the sum of all products."""

    name: ClassVar[str] = "sum"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("product",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("sum",)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        total = sum(sum(s.columns(["product"])["product"].to_pylist()) for s in shards)
        attempt.write_bytes("sum.txt", str(total).encode())


@dataclass(frozen=True)
class Share(Stage):
    """Reads what the barrier wrote."""

    name: ClassVar[str] = "share"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("product", "sum")

    @property
    def writes(self) -> tuple[str, ...]:
        return ("share",)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        total = int(shard.storage.read("sum.txt"))
        products = shard.columns(["product"])["product"].to_pylist()
        attempt.write_table(f"{shard.id}.share.parquet", pa.table({"share": [p / total for p in products]}))


@dataclass(frozen=True)
class Remainders(Spread):
    """Part p of n writes the sum of all products that leave the remainder p; misbehaves on chosen parts."""

    name: ClassVar[str] = "remainders"
    shards_per_part: int = 2
    fails: tuple[str, ...] = ()
    kills: tuple[str, ...] = ()
    misbehaves: int = 1_000
    notes: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("product",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("remainders",)

    def identity(self) -> list[object]:
        return [self.name, self.shards_per_part]

    def parts(self, shards: int) -> int:
        return max(1, -(-shards // self.shards_per_part))

    def run(self, part: Part, shards: Sequence[Shard], attempt: Attempt, runtime: Runtime) -> None:
        if self.notes:
            note(self.notes, part.id)
        if tries(self.notes, part.id) <= self.misbehaves:
            if part.id in self.fails:
                raise ValueError(f"no good: {part.id}")
            if part.id in self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
        products = [n for s in shards for n in s.columns(["product"])["product"].to_pylist()]
        attempt.write_bytes(f"sums/{part.id}.txt", str(sum(n for n in products if n % part.of == part.number)).encode())
        attempt.counts["looked_at"] = len(products)


def note(folder: str, shard: str) -> None:
    with open(Path(folder) / shard, "a") as file:
        file.write("x")


def tries(folder: str, shard: str) -> int:
    path = Path(folder) / shard
    return len(path.read_text()) if folder and path.exists() else 1


def slices(count: int) -> list[Slice]:
    return [Slice(f"{number:05d}", ROWS, f"digest{number}") for number in range(count)]


def job(*steps: Step, shards: int = 5) -> Job:
    def cut(storage: Storage) -> Iterator[Slice]:
        yield from slices(shards)

    return Job(steps, cut, lambda storage: slices(shards))
