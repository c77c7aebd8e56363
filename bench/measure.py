"""CPU seconds, wall time and memory of a command with everything that it starts.

The command runs under a small process that makes itself the "subreaper" of all its descendants (prctl, Linux): a
worker whose parent was killed comes to it rather than to init, so the kernel's own account of waited-for children is
complete, also for grandchildren that were killed or detached. Polling would miss what dies between two looks. Memory
is polled, ten times a second: `VmHWM` of each process (its own high-water mark), and the sum over the tree.

    python -m bench.measure RESULT.json COMMAND...
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Usage", "measure"]

PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.1


@dataclass(frozen=True)
class Usage:
    """What a command cost. `worker_mb` is the highest resident set of any process but the first, `tree_mb` the highest
    sum of resident sets (shared pages counted in each), `tree_pss_mb` the same with shared pages divided."""

    cpu_s: float
    wall_s: float
    worker_mb: float
    root_mb: float
    tree_mb: float
    tree_pss_mb: float
    exit_code: int


def measure(command: Sequence[str], result: Path, env: Mapping[str, str] | None = None) -> Usage:
    """Run `command` to its end and that of all it started; its output goes to `result` with `.log` for a suffix."""
    result.parent.mkdir(parents=True, exist_ok=True)
    helper = [sys.executable, "-m", "bench.measure", str(result), *command]
    with open(result.with_suffix(".log"), "wb") as log:
        subprocess.run(helper, stdout=log, stderr=log, env={**os.environ, **(env or {})}, check=True)
    return Usage(**json.loads(result.read_text()))


def _parents() -> dict[int, int]:
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
    return found


def _descendants(root: int) -> list[int]:
    parents = _parents()
    chosen, grown = {root}, True
    while grown:
        new = {p for p, parent in parents.items() if parent in chosen and p not in chosen}
        chosen |= new
        grown = bool(new)
    return sorted(chosen - {root})


def _status_kb(pid: int, file: str, names: Sequence[str]) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return {}
    return {n: int(line.split()[1]) for line in lines for n in names if line.startswith(n + ":")}


class _Memory(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kb: dict[int, int] = {}
        self.tree_kb = self.tree_pss_kb = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(POLL_S):
            pids = _descendants(os.getpid())
            status = {p: _status_kb(p, "status", ("VmHWM", "VmRSS")) for p in pids}
            for pid, kb in status.items():
                self.peak_kb[pid] = max(self.peak_kb.get(pid, 0), kb.get("VmHWM", 0))
            self.tree_kb = max(self.tree_kb, sum(kb.get("VmRSS", 0) for kb in status.values()))
            pss = sum(_status_kb(p, "smaps_rollup", ("Pss",)).get("Pss", 0) for p in pids)
            self.tree_pss_kb = max(self.tree_pss_kb, pss)


def _run(result: Path, command: Sequence[str]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    memory = _Memory()
    memory.start()
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], list(command), os.environ)
    exit_code, wall_s = -1, 0.0
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            break
        if pid == child:
            exit_code, wall_s = os.waitstatus_to_exitcode(status), time.perf_counter() - started
    memory.done.set()
    memory.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    workers = [kb for pid, kb in memory.peak_kb.items() if pid != child]
    usage = Usage(
        cpu_s=round(used.ru_utime + used.ru_stime, 2),
        wall_s=round(wall_s, 2),
        worker_mb=round(max(workers, default=0) / 1024, 1),
        root_mb=round(memory.peak_kb.get(child, 0) / 1024, 1),
        tree_mb=round(memory.tree_kb / 1024, 1),
        tree_pss_mb=round(memory.tree_pss_kb / 1024, 1),
        exit_code=exit_code,
    )
    result.write_text(json.dumps(asdict(usage)))


if __name__ == "__main__":
    _run(Path(sys.argv[1]), sys.argv[2:])
