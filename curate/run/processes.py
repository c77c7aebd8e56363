"""The default engine: worker processes on this machine, no Ray.

Each worker has a pipe of its own and works on one unit at a time, so a worker that is killed (by the system when
memory ran out, or by a decoder that crashed) loses that one unit, and is replaced. `concurrent.futures` would break
the whole pool. Workers are forked from a server process that has imported what the first unit needs: 0.4 CPU seconds
less for two workers than starting each from nothing. A worker whose parent is gone ends itself at once, in the middle
of its work: what it wrote was not committed and nobody will see it.

Each GPU has one worker of its own, beside the others: it keeps its models from shard to shard, and takes no other work.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from curate.manifest import Commit
from curate.run.unit import Done, Failure, Unit, nobody, run_unit

__all__ = ["ProcessEngine"]

FORK_TRIES, FORK_WAIT_S = 5, 0.2


@dataclass
class _Worker:
    """A process. `gpu` is the number of the one it owns, None for a worker without."""

    process: ForkServerProcess
    pipe: Connection
    gpu: int | None = None
    unit: Unit | None = None


class ProcessEngine:
    """`workers` processes, and one more for each of `gpus`; they are started when there is work for them.

    Without a GPU, units that ask for one run as any other.
    """

    def __init__(self, workers: int, gpus: int = 0) -> None:
        self.slots = workers + gpus
        self.told: Callable[[Commit], None] = nobody
        self._most, self._gpus = workers, gpus
        self._context = mp.get_context("forkserver")
        self._workers: list[_Worker] = []
        self._waiting: deque[Unit] = deque()

    def submit(self, unit: Unit) -> None:
        self._waiting.append(unit)
        self._hand_out()

    def wait_any(self, timeout_s: float) -> list[Done]:
        busy = {w.pipe: w for w in self._workers if w.unit is not None}
        if not busy:
            return []
        ready = wait(list(busy), timeout_s)
        found = [self._collect(worker) for pipe, worker in busy.items() if pipe in ready]
        self._hand_out()
        return [done for done in found if done is not None]

    def close(self) -> None:
        self._waiting.clear()
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _hand_out(self) -> None:
        """Give each waiting unit, in turn, to a free worker of its kind; one that finds none waits on."""
        waiting, self._waiting = self._waiting, deque()
        while waiting:
            unit = waiting.popleft()
            worker = self._free(unit)
            if worker is None:
                self._waiting.append(unit)
                continue
            try:
                worker.pipe.send(self._placed(unit, worker))
                worker.unit = unit
            except OSError:
                self._bury(worker)
                waiting.appendleft(unit)

    def _free(self, unit: Unit) -> _Worker | None:
        """A worker for a unit: one that waits, or a new one while there may be more."""
        on_gpu = bool(unit.gpus and self._gpus)
        of_kind = [w for w in self._workers if (w.gpu is not None) == on_gpu]
        waiting = next((w for w in of_kind if w.unit is None), None)
        if waiting is not None or len(of_kind) >= (self._gpus if on_gpu else self._most):
            return waiting
        taken = {w.gpu for w in of_kind}
        return self._start(unit, next(n for n in range(self._gpus) if n not in taken) if on_gpu else None)

    def _placed(self, unit: Unit, worker: _Worker) -> Unit:
        """The unit as this worker gets it. Beside a GPU pictures are decoded by its share of the cores."""
        if worker.gpu is None:
            return unit
        threads = max(unit.runtime.threads, len(os.sched_getaffinity(0)) // self._gpus)
        return replace(unit, runtime=replace(unit.runtime, gpu=worker.gpu, threads=threads))

    def _start(self, unit: Unit, gpu: int | None) -> _Worker:
        if not self._workers:
            self._context.set_forkserver_preload(sorted({type(task.stage).__module__ for task in unit.tasks}))
        process, pipe = self._fork()
        worker = _Worker(process, pipe, gpu)
        self._workers.append(worker)
        return worker

    def _fork(self, tries: int = FORK_TRIES) -> tuple[ForkServerProcess, Connection]:
        """A new process and our end of its pipe. The server that forks it may be killed while it does so; once the
        system has told of its end, the next try starts it anew. Each try has a pipe of its own, since a process that
        nobody knows may hold the last one."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), daemon=True, name="curate-worker")
        try:
            process.start()
        except (EOFError, OSError):
            ours.close()
            if tries == 1:
                raise
            time.sleep(FORK_WAIT_S)
            return self._fork(tries - 1)
        finally:
            theirs.close()
        return process, ours

    def _collect(self, worker: _Worker) -> Done | None:
        """A unit's end; None where its worker only told of a commit and goes on."""
        unit = worker.unit
        assert unit is not None
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            code = self._bury(worker)
            text = f"the worker process ended with {_exit_words(code)} while it worked on shard {unit.shard}"
            return Done(unit, (), Failure(unit.tasks[0].stage.label, "lost", text))
        if isinstance(said, Commit):
            self.told(said)
            return None
        assert isinstance(said, Done)
        worker.unit = None
        return said

    def _bury(self, worker: _Worker) -> int | None:
        worker.process.join(timeout=5)
        worker.process.kill()
        worker.pipe.close()
        self._workers.remove(worker)
        return worker.process.exitcode


def _exit_words(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    named = {known.value: known.name for known in signal.Signals}  # the first and the last of those for real time only
    return f"signal {named.get(-code, -code)}"


def _work(pipe: Connection) -> None:
    """A worker's life: units in, commits and `Done` out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            unit = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)
        pipe.send(run_unit(unit, pipe.send))


def _end_with_parent() -> None:
    parent = mp.parent_process()
    while parent is not None and parent.is_alive():
        parent.join(timeout=60)
    time.sleep(0)
    os._exit(1)
