"""What a rule asks of a config's models, in words that say which key of which table is to be changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.caption.rule import WEB
from curate.errors import ConfigError
from curate.models.settings import check_model_name
from curate.registry import nearest

__all__ = ["check_names", "require_captioner", "require_judge"]


def check_names(**names: str) -> None:
    """Raise ValueError unless each, a key and its value, can head a column."""
    for key, name in names.items():
        try:
            check_model_name(name)
        except ValueError as error:
            raise ValueError(f"{key} = {name!r}: {error}") from None
        if name == WEB:
            raise ValueError(f"{key} = {name!r} is what captions of the web are called; give the model another name")


def require_captioner(models: Mapping[str, Any], captioner: str) -> None:
    """Raise ConfigError unless the config has this captioner."""
    _require(models, "captioner", captioner, "captioner")


def require_judge(models: Mapping[str, Any], key: str, judge: str, kind: str, captioner: str) -> None:
    """Raise ConfigError unless the config has the model `judge` of this kind, and it judges the captioner's texts."""
    _require(models, key, judge, kind)
    if captioner not in models[judge].captions:
        told = ", ".join(f'"{name}"' for name in (*models[judge].captions, captioner))
        raise ConfigError(
            f"{key} = {judge!r} does not judge the captions of {captioner!r}; write captions = [{told}] in "
            f"[models.{judge}]"
        )


def _require(models: Mapping[str, Any], key: str, name: str, kind: str) -> None:
    if name not in models:
        remedy = nearest(name, list(models)) if models else "add that table"
        raise ConfigError(f"{key} = {name!r}: the config has no [models.{name}]; {remedy}")
    if models[name].kind != kind:
        raise ConfigError(f"{key} = {name!r}: [models.{name}] is of kind {models[name].kind!r}, and must be {kind!r}")
