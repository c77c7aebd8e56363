"""Which steps make the columns that a config's filters read, and in which order they run.

Models, scorers and steps over all shards say which columns they read and write; the order follows from that. Scorers
of pixels stand together wherever that is possible, because neighbours share one decode, and if one of them wants a GPU
they all run beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from curate.errors import ConfigError
from curate.filter import Filter, Scorer
from curate.models.scorers import model_steps
from curate.models.settings import ModelSettings
from curate.score import IMAGE, Score
from curate.stage import Barrier, Stage

__all__ = ["signal_steps"]

Step = Stage | Barrier


def signal_steps(filters: Mapping[str, Filter], models: Mapping[str, ModelSettings], given: set[str]) -> list[Step]:
    """All steps between the shards and the decision. `given` are columns of the source: a filter that reads nothing
    else needs no scorer. Raises ConfigError."""
    steps: list[Step] = [step for name, settings in models.items() for step in model_steps(name, settings)]
    scorers: dict[str, Scorer] = {}
    for name, rule in filters.items():
        for scorer in () if given.issuperset(rule.columns) else rule.scorers(models):
            if scorers.setdefault(scorer.name, scorer) != scorer:
                raise ConfigError(
                    f"[filters.{name}] asks for {scorer.name!r} under other settings than a filter before it, and one "
                    "column cannot hold both; give both filters the same"
                )
    steps += map(Score, scorers.values())
    rules = tuple(filters.items())
    for number, (_, rule) in enumerate(rules):
        steps += [step for step in rule.steps(rules[:number]) if isinstance(step, Stage | Barrier)]
    return _beside_a_gpu(_in_order(list({step.label: step for step in steps}.values())))


def _in_order(steps: list[Step]) -> list[Step]:
    """Each step behind those whose columns it reads; of the rest, scorers of pixels first."""
    waiting = sorted(steps, key=_turn)
    ordered: list[Step] = []
    while waiting:
        unwritten = {column for step in waiting for column in step.writes}
        ready = next((step for step in waiting if not unwritten.intersection(step.reads)), None)
        if ready is None:
            labels = ", ".join(step.label for step in waiting)
            raise ConfigError(f"these steps wait for one another's columns: {labels}")
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def _turn(step: Step) -> int:
    if isinstance(step, Barrier):
        return 3
    return 0 if IMAGE in step.reads else 1 if isinstance(step, Score) else 2


def _beside_a_gpu(steps: Iterable[Step]) -> list[Step]:
    """Scorers of pixels ask for a GPU when one of them does."""
    listed = list(steps)
    on_pixels = [step for step in listed if isinstance(step, Score) and IMAGE in step.reads]
    most = max((step.scorer.gpus for step in on_pixels), default=0.0)
    return [replace(step, gpus=most) if step in on_pixels else step for step in listed]
