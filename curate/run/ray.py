"""The engine for a cluster: one Ray task per unit, and one actor per GPU. `ray*.py` alone import ray.

Ray gives the machines and moves nothing: a unit goes in as a few hundred bytes, files are read and written by the
worker, a `Done` comes back. Ray's own retries are off, so that there is one policy for lost work, the scheduler's.
State lives in files; a driver that is killed is started again and goes on.

A unit that asks for a GPU goes to an actor that owns one and keeps its models from unit to unit (Ray ends the process
of a task that used a GPU). It books no CPU: a booking of many would wait for ever behind units that want one each, or
for a node that has so many, and a booking of the last would keep these units waiting. Its threads are its node's share.
In a cluster without GPUs such units are tasks like all others.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from curate.errors import ConfigError
from curate.manifest import Commit
from curate.run.unit import Done, Failure, Unit, nobody, run_unit

__all__ = ["GpuWorker", "RayEngine", "join"]

CAPACITY_FRESH_S = 10.0
KNOCK_S = 10.0
"""How long to wait for an answer at an address. Ray itself goes on knocking for more than 4 minutes."""


class RayEngine:
    """Joins the cluster at `address` (`auto`, `host:port`), or starts one on this machine when it is None.

    Starting raises ConfigError when there is no cluster at the address.
    """

    def __init__(self, address: str | None = None, cpus: int | None = None) -> None:
        self.told: Callable[[Commit], None] = nobody  # a unit's commits are told at its end
        self._address, self._cpus = address, cpus
        self._ray: Any = None
        self._remote: Any = None
        self._actor: Any = None
        self._owned = False
        self._running: dict[Any, Unit] = {}
        self._waiting: deque[Unit] = deque()
        self._actors: dict[Any, Any] = {}
        self._slots, self._gpus, self._threads, self._widest = 1, 0, 1, 1.0
        self._asked = -CAPACITY_FRESH_S

    @property
    def slots(self) -> int:
        """CPUs of the cluster as it is now; asked for anew every 10 s, because clusters grow and shrink."""
        if self._ray is not None and time.monotonic() - self._asked >= CAPACITY_FRESH_S:
            self._asked = time.monotonic()
            resources = self._ray.cluster_resources()
            self._slots = max(1, int(resources.get("CPU", 1)))
            self._gpus = int(resources.get("GPU", 0))
            nodes = self._ray.nodes()
            self._threads, self._widest = _threads(nodes), _widest(nodes)
        return self._slots

    def submit(self, unit: Unit) -> None:
        if self._ray is None:
            self._start()
        unit = replace(unit, runtime=replace(unit.runtime, workers=self.slots))
        if unit.gpus and self._gpus:
            self._waiting.append(unit)
            self._hand_out()
        else:
            self._submit_task(unit)

    def _submit_task(self, unit: Unit) -> None:
        cpus = min(max(unit.cpus, unit.runtime.threads), self._widest)  # what no node has is waited for without end
        task = self._remote.options(num_cpus=cpus, name=f"{unit.tasks[0].stage.label} {unit.shard}")
        self._running[task.remote(unit)] = unit

    def wait_any(self, timeout_s: float) -> list[Done]:
        if not self._running:
            return []
        ready, rest = self._ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        if ready and rest:
            ready += self._ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        done = [self._collect(reference) for reference in ready]
        _ = self.slots  # asked before units are handed out: the GPU of an actor that was lost may be gone
        self._hand_out()
        return done

    def close(self) -> None:
        for reference in self._running:
            if reference not in self._actors.values():
                self._ray.cancel(reference, force=True)
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()
        self._waiting.clear()
        self._running.clear()
        if self._owned:
            self._ray.shutdown()

    def _hand_out(self) -> None:
        """Give waiting units to actors that do nothing; a new actor is made for a GPU that has none. Where the last
        GPU is gone, they are tasks like all others."""
        while self._waiting:
            actor = next((actor for actor, work in self._actors.items() if work is None), None)
            if actor is None and len(self._actors) < self._gpus:
                actor = self._actor.options(num_gpus=1, num_cpus=0).remote(self._threads)
            if actor is None and self._actors:
                return
            unit = self._waiting.popleft()
            if actor is None:
                self._submit_task(unit)
                continue
            self._actors[actor] = reference = actor.run.remote(unit)
            self._running[reference] = unit

    def _start(self) -> None:
        """Join or start a cluster: put off until there is work, because it takes seconds."""
        import ray

        owned = not ray.is_initialized()
        if owned:
            join(ray, self._address, num_cpus=self._cpus, log_to_driver=False)
        self._ray, self._owned = ray, owned
        self._remote = ray.remote(max_retries=0)(run_unit)
        self._actor = ray.remote(max_restarts=0)(GpuWorker)

    def _collect(self, reference: Any) -> Done:
        unit = self._running.pop(reference)
        label = unit.tasks[0].stage.label
        actor = next((actor for actor, work in self._actors.items() if work == reference), None)
        if actor is not None:
            self._actors[actor] = None
        try:
            done: Done = self._ray.get(reference)
            return replace(done, unit=unit)
        except self._ray.exceptions.RayTaskError as error:
            return Done(unit, (), Failure(label, "error", str(error)))
        except self._ray.exceptions.RayError as error:
            self._actors.pop(actor, None)
            self._asked = -CAPACITY_FRESH_S
            return Done(unit, (), Failure(label, "lost", f"{type(error).__name__} on shard {unit.shard}: {error}"))


class GpuWorker:
    """Runs units in a process that lives as long as the run; Ray shows it one GPU, so that is the first it sees."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def run(self, unit: Unit) -> Done:
        """As `run_unit`, with the threads that belong to this worker for decoding."""
        threads = max(unit.runtime.threads, self._threads)
        return run_unit(replace(unit, runtime=replace(unit.runtime, gpu=0, threads=threads)))


def _threads(nodes: list[dict[str, Any]]) -> int:
    """Threads of an actor: the CPUs that stand beside each GPU, on the node that has fewest."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    return min((max(1, int(r.get("CPU", 0) // r["GPU"])) for r in alive if r.get("GPU", 0) >= 1), default=1)


def _widest(nodes: list[dict[str, Any]]) -> float:
    """CPUs of the node that has most, at least 1."""
    return max((float(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]), default=1.0) or 1.0


def join(ray: Any, address: str | None, num_cpus: int | None = None, log_to_driver: bool = True) -> None:
    """Join the cluster at `address`, or start one here, of `num_cpus` (all there are), where it is None. Raises
    ConfigError."""
    local: dict[str, Any] = {} if address else {"num_cpus": num_cpus, "include_dashboard": False}
    _require_answer(address or "")
    try:
        ray.init(address=address or "local", log_to_driver=log_to_driver, logging_level="ERROR", **local)
    except Exception as error:  # a plain one where a machine is too busy to start a node within 30 s
        raise ConfigError(_no_cluster(address, str(error).strip())) from error


def _require_answer(address: str) -> None:
    """Raise ConfigError when nobody listens at `host:port`. Other forms of address are left to Ray."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(_no_cluster(address, str(error))) from error


def _no_cluster(address: str | None, cause: str) -> str:
    first = cause.splitlines()[0].rstrip(".") if cause else "no reason given"
    if not address:
        return f"cannot start Ray on this machine: {first}. Start the command again, or leave out --on ray"
    return (
        f"cannot use Ray at {address}: {first}. Give the head's own address (host:6379, not the dashboard's) in "
        "RAY_ADDRESS, or unset it to start Ray on this machine"
    )
