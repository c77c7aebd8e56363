"""The tables `[instructions.NAME]` of a config, and the steps that they ask for.

[instructions.llava]
captions = ["capfilt"]                       # a view of the config, a captioner, or a column
probabilities = {conversation = 0.37, detail = 0.15, reasoning = 0.48}
base_url = "http://127.0.0.1:8000/v1"
model = "Qwen/Qwen2.5-72B-Instruct"
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from curate.caption.choose import view_columns
from curate.caption.faults import faults_column
from curate.config import build
from curate.errors import ConfigError
from curate.instruct.notes import TextColumn
from curate.instruct.stage import Instruct, InstructSettings
from curate.models.caption_scores import captions_column
from curate.models.settings import check_model_name

__all__ = ["instruction_steps"]


def instruction_steps(table: Mapping[str, Any], views: Collection[str], models: Mapping[str, Any]) -> list[Instruct]:
    """The steps of `[instructions]` in their order. `views`: names of the config's; `models`: its settings by name.
    Raises ConfigError."""
    steps = []
    for name, settings in table.items():
        if not isinstance(settings, Mapping):
            raise ConfigError(f"[instructions] {name} must be a table; write [instructions.{name}]")
        try:
            check_model_name(name)
        except ValueError as error:
            raise ConfigError(f"[instructions.{name}] {error}") from None
        if name in views or name in models:
            raise ConfigError(f"[instructions.{name}]: a view or a model has that name, and columns too; take another")
        own = build(InstructSettings, settings, f"instructions.{name}")
        steps.append(Instruct(name, own, tuple(_column(source, views, models) for source in own.captions)))
    return steps


def _column(source: str, views: Collection[str], models: Mapping[str, Any]) -> TextColumn:
    """Where the texts of a view, a captioner or a column stand."""
    if source in views:
        return TextColumn(view_columns(source)[0])
    if source in models and models[source].kind == "captioner":
        return TextColumn(captions_column(source), faults_column(source))
    return TextColumn(source)
