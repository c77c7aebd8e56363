"""The `[stages]` table of a hand-over's config: stages written there, or a recipe's file with our sources in its place.

    [stages]                                   [stages]
    file = "configs/stages/llava15.toml"       model = {...}
    only = ["align"]
    [stages.sources]                           [[stages.stages]]
    blip_laion_cc_sbu_558k = "web"             name = "contrastive"
                                               ...

What comes out is the same either way: stages whose sources are those of the hand-over, written into it as
`stages.toml` (or JSON). What is trained, how pictures are sized and mixed is written out also where it is the default,
so that a reader without our code sees it; only what is zero or empty is left out.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from curate.config import build
from curate.errors import ConfigError
from curate.handover.stages import Mixture, MixtureSource, Stages, TrainingStage, build_stages, read_stages
from curate.registry import nearest
from curate.toml_text import toml_key, toml_value

__all__ = ["StagesFormat", "check_origins", "check_sources", "parse_stages", "planned_stages", "stages_bytes"]

StagesFormat = Literal["toml", "json"]
OF_PAIR = ("caption", "web_caption")
"""What a pair's json has beside its lists: the first text, and the web's."""
CAPTION_OF = "caption_"
LINE = 110
"""A table on one line has at most so many characters."""


@dataclass(frozen=True)
class _Recipe:
    """`[stages]` with a `file`: `sources` maps names of the recipe to ours, "" leaves one out; `only` these stages."""

    file: str
    sources: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()


def planned_stages(table: Mapping[str, Any], sources: Mapping[str, str]) -> Stages:
    """The stages that a config's `[stages]` plans; `sources` are the hand-over's, name to kind ("" where that is not
    known yet). Raises ConfigError."""
    if "file" in table:
        recipe = build(_Recipe, table, "stages")
        stages = _adapted(read_stages(Path(recipe.file)), recipe, sources)
    else:
        try:
            stages = build_stages(table)
        except ConfigError as error:
            raise ConfigError(f"[stages] {error}; or name a recipe: file = ...") from None
    check_sources(stages, sources)
    return stages


def check_sources(stages: Stages, sources: Mapping[str, str]) -> None:
    """Raise ConfigError for a stage that draws from what is no source, or from one of another kind."""
    for stage, source in _draws(stages):
        if source.name not in sources:
            raise ConfigError(
                f"stage {stage.name!r} draws from {source.name!r}, which is no source of the hand-over; "
                f"{nearest(source.name, list(sources))}"
            )
        if sources[source.name] not in ("", source.kind):
            raise ConfigError(
                f"stage {stage.name!r} takes {source.name!r} as {source.kind}, and it has {sources[source.name]}; "
                f'write kind = "{sources[source.name]}", or draw from another source'
            )


def check_origins(stages: Stages, origins: Mapping[str, Collection[str]]) -> None:
    """Raise ConfigError where `captions` of a stage name what no text of the source is; `origins` by source."""
    for stage, source in _draws(stages):
        there = sorted(origins.get(source.name, ()))
        for name in source.captions:
            if name not in (*there, *OF_PAIR, *(CAPTION_OF + origin for origin in there)):
                known = f"; {nearest(name, there)}" if there else ", which has none"
                raise ConfigError(
                    f"stage {stage.name!r} wants captions {name!r}, an origin that no text of source "
                    f"{source.name!r} has{known}"
                )


def stages_bytes(stages: Stages, form: StagesFormat) -> bytes:
    """The file of these stages, which `read_stages` reads back as they are."""
    table = _plain(stages)
    if form == "json":
        return (json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    return ("\n".join(_toml(table, ())).strip() + "\n").encode()


def parse_stages(data: bytes, name: str) -> Stages:
    """The stages in such a file. Raises ConfigError."""
    try:
        table = json.loads(data) if name.endswith(".json") else tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} cannot be read: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"{name} holds no table")
    return build_stages(table)


def _draws(stages: Stages) -> Iterator[tuple[TrainingStage, MixtureSource]]:
    for stage in stages.stages:
        for source in stage.mixture.sources:
            yield stage, source


def _adapted(stages: Stages, recipe: _Recipe, ours: Mapping[str, str]) -> Stages:
    """A recipe with our sources in place of its own, and only the stages that are wanted."""
    names = [stage.name for stage in stages.stages]
    for name in recipe.only:
        if name not in names:
            raise ConfigError(f"[stages] only = {name!r}: {recipe.file} has no such stage; {nearest(name, names)}")
    kept = [stage for stage in stages.stages if stage.name in (recipe.only or names)]
    theirs = list(dict.fromkeys(source.name for stage in kept for source in stage.mixture.sources))
    every = {source.name for _, source in _draws(stages)}
    for name in recipe.sources:
        if name not in every:
            raise ConfigError(f"[stages.sources] {recipe.file} has no source {name!r}; {nearest(name, sorted(every))}")
    open_names = [name for name in theirs if name not in recipe.sources and name not in ours]
    if open_names:
        raise ConfigError(
            f"[stages.sources] does not say what stands for {', '.join(open_names)} of {recipe.file}; give each a "
            f'source of the hand-over ({", ".join(ours)}), or "" to leave it out'
        )
    kept_names = {stage.name for stage in kept}
    return replace(
        stages,
        stages=tuple(
            replace(
                stage,
                mixture=_mapped(stage, recipe),
                init_from=stage.init_from if stage.init_from in kept_names else "",
            )
            for stage in kept
        ),
    )


def _mapped(stage: TrainingStage, recipe: _Recipe) -> Mixture:
    """The mixture with our names. Two of the recipe's that are one of ours add their weights."""
    found: dict[str, MixtureSource] = {}
    for source in stage.mixture.sources:
        name = recipe.sources.get(source.name, source.name)
        before = found.get(name)
        if name:
            weight = source.weight + (before.weight if before else 0)
            found[name] = replace(before or source, name=name, weight=weight, examples=0)
    if not found:
        raise ConfigError(
            f"[stages.sources] leaves stage {stage.name!r} without a source; name one for it, or leave the stage out "
            "by only = [...]"
        )
    return replace(stage.mixture, sources=tuple(found.values()))


def _plain(value: Any) -> Any:
    """A dataclass as JSON-like data, without fields whose default is nothing: 0, "", false or an empty list."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(own) for f in fields(value) if (own := getattr(value, f.name)) or _default(f)}
    if isinstance(value, Mapping):
        return {str(name): _plain(own) for name, own in value.items()}
    return [_plain(own) for own in value] if isinstance(value, list | tuple) else value


def _default(own: Any) -> Any:
    """The default of a field; MISSING, which counts as something, where there is none."""
    return own.default_factory() if own.default_factory is not MISSING else own.default


def _toml(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The lines of a table: what fits on a line first, then its larger tables, then its lists of tables."""
    large = {name: value for name, value in table.items() if _is_large(name, value)}
    for name, value in table.items():
        if name not in large:
            yield f"{toml_key(name)} = {toml_value(value)}"
    for name, value in large.items():
        inner = (*path, name)
        head = ".".join(map(toml_key, inner))
        for own in value if isinstance(value, list) else [value]:
            yield ""
            yield f"[[{head}]]" if isinstance(value, list) else f"[{head}]"
            yield from _toml(own, inner)


def _is_large(name: str, value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(own, dict) for own in value)
    return isinstance(value, dict) and len(name) + len(toml_value(value)) > LINE
