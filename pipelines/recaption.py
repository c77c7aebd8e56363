"""CapFilt and its successors: shards that exist get synthetic captions, both texts are judged, views choose among them.

adopt -> audit (is it worth it?) -> captions -> faults, matches, similarities -> views -> what needs all shards
      -> select [-> instructions] [-> subset]

Captions, scores and choices are columns beside the tars, which stay as they are until an export writes a view's texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from curate.caption.audit import Audit
from curate.caption.views import build_views, view_steps
from curate.config import build, build_filters
from curate.errors import ConfigError
from curate.filter import Filter, Labelled
from curate.instruct.steps import instruction_steps
from curate.models.settings import build_models
from curate.plan import Job
from curate.registry import nearest
from curate.run.scheduler import RunSettings
from curate.select import Select
from curate.signals import signal_steps, with_fetch_status
from curate.source.ingest import ingest, known_cut
from curate.source.kinds import build_source
from curate.source.webdataset import Adopt, WebDataset
from curate.stage import Step
from curate.subset import Subset

__all__ = ["Config", "recaption"]


@dataclass(frozen=True)
class Config:
    """All sections of a config for this pipeline."""

    pipeline: str
    source: Mapping[str, Any]
    models: Mapping[str, Any] = field(default_factory=dict)
    audit: Audit | None = None
    views: Mapping[str, Any] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    instructions: Mapping[str, Any] = field(default_factory=dict)
    subset: Subset | None = None
    run: RunSettings = field(default_factory=RunSettings)


def recaption(table: Mapping[str, Any], limit: int | None = None) -> Job:
    """The job of a config. `limit` counts tars. Raises ConfigError."""
    config = build(Config, table, "")
    source = build_source(config.source)
    if not isinstance(source, WebDataset):
        raise ConfigError(
            f"[source] kind = {config.source.get('kind')!r}: this pipeline captions shards that exist; run the pairs "
            'first, then write kind = "webdataset" and their folder'
        )
    models = build_models(config.models)
    if not (config.views or config.instructions) and not any(model.kind == "captioner" for model in models.values()):
        raise ConfigError('no model of [models] is a captioner; add [models.synthetic] with kind = "captioner"')
    filters = with_fetch_status(build_filters(config.filters))
    _require_views(filters, config.views)
    audit = config.audit.steps(models) if config.audit else ()
    signals = signal_steps(filters, models, set(), view_steps(build_views(config.views), models))
    steps: list[Step] = [Adopt(), *audit, *signals, Select(tuple(filters.items()))]
    steps += instruction_steps(config.instructions, config.views, models)
    if config.subset is not None:
        steps.append(config.subset)
    return Job(
        steps=tuple(steps),
        slices=partial(ingest, source, samples_per_shard=1, limit=limit),
        known_slices=partial(known_cut, source, samples_per_shard=1, limit=limit),
        serve=source.serve,
        source_columns=None,
        warnings=partial(_coupled, models),
    )


def _require_views(filters: Mapping[str, Filter], views: Mapping[str, Any]) -> None:
    """Raise ConfigError for a filter of a view that the config lacks: else the columns would be found missing only
    when every picture has its captions."""
    for name, rule in filters.items():
        view = getattr(rule.rule if isinstance(rule, Labelled) else rule, "view", None)
        if view is not None and view not in views:
            raise ConfigError(
                f"[filters.{name}] view = {view!r}: the config has no [views.{view}]; {nearest(view, list(views))}"
            )


def _coupled(models: Mapping[str, Any]) -> list[str]:
    """Of captioners whose texts are judged by a matcher with the same weights."""
    from curate.train.coupling import warn_if_coupled

    judged = [(own, models[name]) for own in models.values() if own.kind == "matcher" for name in own.captions]
    found = (warn_if_coupled(captioner, matcher) for matcher, captioner in judged)
    return [warning for warning in found if warning]
