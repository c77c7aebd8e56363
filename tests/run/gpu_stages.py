"""A stage that says where it ran; in a module of its own so that worker processes can import it."""

import json
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.manifest import Attempt, CommitLog
from curate.run.unit import Engine, Task, Unit
from curate.shard import Shard
from curate.stage import Resources, Runtime, Stage
from curate.storage import Storage


@dataclass(frozen=True)
class Where(Stage):
    """Notes process, GPU, threads and when; `kills` ends the process on that shard, the first time. `behind`: waits
    until so many notes are there, 60 s at the most."""

    notes: str
    gpus: float = 0.0
    sleep_s: float = 0.0
    kills: tuple[str, ...] = ()
    behind: int = 0

    name: ClassVar[str] = "where"

    @property
    def label(self) -> str:
        return f"where_{self.gpus:g}"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return (f"pid_{self.gpus:g}",)

    @property
    def resources(self) -> Resources:
        return Resources(gpus=self.gpus)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        begun = time.monotonic()
        said = Path(self.notes) / f"{shard.id}.{self.gpus:g}.{os.getpid()}.{time.monotonic_ns()}"
        time.sleep(self.sleep_s)
        while len(os.listdir(self.notes)) < self.behind and time.monotonic() < begun + 60:
            time.sleep(0.01)
        if shard.id in self.kills and not list(Path(self.notes).glob(f"{shard.id}.killed")):
            (Path(self.notes) / f"{shard.id}.killed").touch()
            os.kill(os.getpid(), 9)
        told = {"shard": shard.id, "wanted": self.gpus, "pid": os.getpid(), "gpu": runtime.gpu}
        told |= {"threads": runtime.threads, "begun": begun, "ended": time.monotonic()}
        said.write_text(json.dumps(told))
        attempt.write_table(f"{shard.id}.{self.label}.parquet", pa.table({"key": ["0"], self.writes[0]: [os.getpid()]}))


def unit(root: Path, shard: str, stage: Stage, threads: int = 1) -> Unit:
    return Unit(str(root), shard, (Task(stage, "0" * 16),), Runtime(threads=threads))


def all_done(engine: Engine, units: list[Unit], tries: int = 3) -> list[str]:
    """Submit, wait, submit again what was lost; the words of what went wrong."""
    told: list[str] = []
    for one in units:
        engine.submit(one)
    open_units, deadline = len(units), time.monotonic() + 240
    while open_units and time.monotonic() < deadline:
        for done in engine.wait_any(0.5):
            if done.failure is None:
                open_units -= 1
                continue
            told.append(f"{done.failure.kind} {done.unit.shard}")
            if len(told) > tries:
                return told
            engine.submit(done.unit)
    assert not open_units, f"{open_units} never ended"
    return told


def notes(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.iterdir() if not path.name.endswith("killed")]
    return sorted(found, key=lambda note: note["begun"])


def overlap(told: list[dict[str, Any]]) -> bool:
    """Whether two of them ran at the same time."""
    return any(a["ended"] > b["begun"] for a, b in pairwise(told))


def committed(root: Path) -> int:
    log = CommitLog(Storage(str(root)))
    return sum(len(log.names(f"where_{gpus}")) for gpus in (0, 1))
