"""The tables `[views.NAME]` of a config: which rule each names, and the steps that they ask for.

A rule is a file in `curate/caption/rules/`, found by its name, so that another one touches nothing else.

    [views.capfilt]
    rule = "itm_threshold"
    captioner = "synthetic"
    matcher = "itm"
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from curate.caption import rules
from curate.caption.choose import Choose
from curate.caption.rule import Rule
from curate.config import build
from curate.errors import ConfigError
from curate.models.settings import check_model_name
from curate.registry import nearest
from curate.stage import Barrier, Spread, Stage, Step

__all__ = ["build_views", "rule_class", "rule_names", "view_steps"]


def rule_names() -> list[str]:
    """Every rule that a view can name, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(rules.__path__) if not m.name.startswith("_"))


@cache
def rule_class(name: str) -> type[Rule]:
    """The Rule of `curate/caption/rules/NAME.py`. Raises ConfigError."""
    if name not in rule_names():
        raise ConfigError(f"no rule {name!r}; {nearest(name, rule_names())}")
    module = import_module(f"{rules.__name__}.{name}")
    found = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    own = [cls for cls in found if issubclass(cls, Rule)]
    if len(own) != 1:
        raise ConfigError(f"curate/caption/rules/{name}.py must hold one Rule, and has {len(own)}")
    return own[0]


def build_views(table: Mapping[str, Any]) -> dict[str, Rule]:
    """The `[views.*]` tables in their order: name to rule. Raises ConfigError."""
    views = {}
    for name, settings in table.items():
        if not isinstance(settings, Mapping):
            raise ConfigError(f"[views] {name} must be a table; write [views.{name}]")
        try:
            check_model_name(name)
            if "rule" not in settings:
                raise ConfigError(f"does not say its rule; add `rule = ...`, one of {', '.join(rule_names())}")
            cls = rule_class(str(settings["rule"]))
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"[views.{name}] {error}") from None
        own = {key: value for key, value in settings.items() if key != "rule"}
        views[name] = build(cls, own, f"views.{name}")
    return views


def view_steps(views: Mapping[str, Rule], models: Mapping[str, Any]) -> list[Step]:
    """What the views ask for, each step once: first a view's own work, then its choice. `models` are the settings of
    the config's `[models]` by name. Raises ConfigError where they do not write what a rule reads."""
    steps: dict[str, Step] = {}
    owner: dict[str, str] = {}
    for view, rule in views.items():
        try:
            rule.require(models)
        except ConfigError as error:
            raise ConfigError(f"[views.{view}] {error}") from None
        for step in (*rule.steps(view), Choose(view, rule)):
            if not isinstance(step, Stage | Barrier | Spread):
                raise ConfigError(f"[views.{view}] asks for {step.label!r}, which is no step")
            if steps.setdefault(step.label, step) != step:
                raise ConfigError(f"[views.{owner[step.label]}] and [views.{view}] ask for {step.label!r} in two ways")
            owner.setdefault(step.label, view)
    return list(steps.values())
