"""Which steps make the columns that a config's filters read, and in which order they run.

Models, scorers and steps over all shards say which columns they read and write; the order follows from that. Scorers
of pixels stand together wherever that is possible, because neighbours share one decode, and if one of them wants a GPU
they all run beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from curate.errors import ConfigError
from curate.filter import Filter
from curate.imported import Import
from curate.models.scorers import model_steps, npz_steps
from curate.models.settings import AnyModel
from curate.rank import Rank
from curate.registry import filter_class
from curate.score import IMAGE, Score
from curate.shard import IMAGE_EXTENSIONS
from curate.stage import Barrier, Spread, Stage, Step

__all__ = ["signal_steps", "with_fetch_status"]

Owned: TypeAlias = tuple[str, Step]
"""A table of the config, and a step that it asks for."""

TAKEN = {"fetch", "fetch_log", "index", "select", *IMAGE_EXTENSIONS}
"""Column files of other stages, and members of the tar."""


def signal_steps(
    filters: Mapping[str, Filter], models: Mapping[str, AnyModel], given: set[str], views: Iterable[Step] = ()
) -> list[Step]:
    """All steps between the shards and the decision. `given` are columns of the source: a filter that reads nothing
    else needs no step but its rank and what it imports. `views`: the steps of `[views]`. Raises ConfigError."""
    owned = [*_of_models(models), *(("[views]", step) for step in views), *_of_filters(filters, models, given)]
    return _beside_a_gpu(_in_order(_once(owned)))


def with_fetch_status(filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """A row without a picture is always dropped, first of all, with the status of its fetch as the reason."""
    return {"fetch_status": filter_class("fetch_status")(), **filters}


def _of_models(models: Mapping[str, AnyModel]) -> Iterator[Owned]:
    for name, settings in models.items():
        if name in TAKEN:
            raise ConfigError(f"[models.{name}] would write a file that is another's; give the model another name")
        for step in model_steps(name, settings):
            yield f"[models.{name}]", step
    yield from (("npz = true in [models]", step) for step in npz_steps(models))


def _of_filters(filters: Mapping[str, Filter], models: Mapping[str, AnyModel], given: set[str]) -> Iterator[Owned]:
    rules = tuple(filters.items())
    for number, (name, rule) in enumerate(rules):
        owner = f"[filters.{name}]"
        steps = [step for step in rule.steps(rules[:number]) if isinstance(step, Stage | Barrier | Spread)]
        later = [step for step in steps if isinstance(step, Rank | Import)]
        if given.issuperset({*rule.columns}.difference(*(step.writes for step in later))):
            yield from ((owner, step) for step in later)
            continue
        try:
            scorers = rule.scorers(models)
        except ConfigError as error:
            raise ConfigError(f"{owner} {error}") from None
        yield from ((owner, step) for step in (*map(Score, scorers), *steps))


def _once(steps: Iterable[Owned]) -> list[Step]:
    """Each step once, though several ask for it. Raises ConfigError for two of one name that are not the same, and for
    two that would write one file."""
    found: dict[str, Owned] = {}
    families: dict[str, Owned] = {}
    for owner, step in steps:
        first, other = families.setdefault(_family(step), (owner, step))
        if other.label != step.label:
            raise ConfigError(
                f"{first} and {owner} would both write 00000.{_family(step)}.parquet; give the model another name"
            )
        before, same = found.setdefault(step.label, (owner, step))
        if same != step:
            remedy = (
                "give the model another name"
                if before.startswith("[models.")
                else 'only one of them can say among = "earlier"'
                if isinstance(step, Rank)
                else "give both filters the same settings"
            )
            raise ConfigError(
                f"{before} and {owner} ask for {step.label!r} in two ways, and one column cannot hold both; {remedy}"
            )
    return [step for _, step in found.values()]


def _family(step: Step) -> str:
    """What a step's column files are called: of a scorer by its name, of any other step by its label."""
    return step.scorer.name if isinstance(step, Score) else step.label


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
    if isinstance(step, Barrier | Spread):
        return 3
    return 0 if IMAGE in step.reads else 1 if isinstance(step, Score) else 2


def _beside_a_gpu(steps: Iterable[Step]) -> list[Step]:
    """Scorers of pixels ask for a GPU when one of them does."""
    listed = list(steps)
    on_pixels = [step for step in listed if isinstance(step, Score) and IMAGE in step.reads]
    most = max((step.scorer.gpus for step in on_pixels), default=0.0)
    return [replace(step, gpus=most) if step in on_pixels else step for step in listed]
