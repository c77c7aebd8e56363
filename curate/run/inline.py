"""The engine for tests and debuggers: units run one after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable

from curate.manifest import Commit
from curate.run.unit import Done, Unit, nobody, run_unit

__all__ = ["InlineEngine"]


class InlineEngine:
    """Runs a unit when it is waited for."""

    slots = 1

    def __init__(self) -> None:
        self.told: Callable[[Commit], None] = nobody
        self._waiting: list[Unit] = []

    def submit(self, unit: Unit) -> None:
        self._waiting.append(unit)

    def wait_any(self, timeout_s: float) -> list[Done]:
        return [run_unit(self._waiting.pop(0), self.told)] if self._waiting else []

    def close(self) -> None:
        self._waiting.clear()
