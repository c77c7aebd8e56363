"""How a hand-over's stages mix the sources that left: what an export tells its consumer to mix by.

Weights are those of the stages file. Consumers draw by sample: a stage that mixes by token or by gradient cannot be
told to them, and is named in `export.json` instead.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.errors import ConfigError
from curate.export._write_examples import Made
from curate.handover.manifest import MANIFEST
from curate.handover.stages import Stages, build_stages
from curate.storage import Storage

__all__ = ["Share", "lacking", "mixtures", "sampled"]

FILES = ("stages.toml", "stages.json")


@dataclass(frozen=True)
class Share:
    """What a stage takes of one source, whose files are in `folder` of the export.

    `weight` is its share of what `unit` counts, against the sum of all; 0 where the stage goes by `repeat`, how often
    each example comes up in an epoch. `captions`: the probability of each column or origin of texts, of pairs.
    """

    source: str
    folder: str
    kind: str
    weight: float
    repeat: float
    unit: str
    captions: Mapping[str, float] = field(default_factory=dict)


def mixtures(source: Storage, made: Sequence[Made]) -> dict[str, list[Share]]:
    """By stage its shares of the sources that left, in the order of its file; empty for what has no stages.

    A source of which nothing left has no share, and a stage without any is not told. Raises ConfigError for a file
    that is broken.
    """
    stages = _stages(source)
    left = {own.output.source: own.output for own in made if own.counts["kept"]}
    found: dict[str, list[Share]] = {}
    for stage in stages.stages if stages else ():
        shares = [
            Share(
                own.name,
                left[own.name].folder,
                left[own.name].kind,
                own.weight,
                own.repeat,
                stage.mixture.unit,
                own.captions,
            )
            for own in stage.mixture.sources
            if own.name in left
        ]
        if shares:
            found[stage.name] = shares
    return found


def sampled(source: Storage, made: Sequence[Made]) -> tuple[dict[str, list[Share]], dict[str, Any]]:
    """Those of `mixtures` that mix by sample, and what is told of the others: `stages_not_by_sample`, their names; and
    what `lacking` tells."""
    found = mixtures(source, made)
    others = [stage for stage, shares in found.items() if shares[0].unit != "sample"]
    told = {"stages_not_by_sample": others} if others else {}
    told |= lacking(source, {own.output.source for own in made if own.counts["kept"]})
    return {stage: shares for stage, shares in found.items() if stage not in others}, told


def lacking(source: Storage, left: Collection[str]) -> dict[str, Any]:
    """`stages_without_sources`: by stage, the sources of its mixture of which nothing is in the export, so that what it
    mixes there is another mixture; nothing where no stage lacks one."""
    stages = _stages(source)
    found = {
        stage.name: [own.name for own in stage.mixture.sources if own.name not in left]
        for stage in (stages.stages if stages else ())
    }
    absent = {name: names for name, names in found.items() if names}
    return {"stages_without_sources": absent} if absent else {}


def _stages(source: Storage) -> Stages | None:
    name = next((name for name in FILES if source.exists(MANIFEST) and source.exists(name)), None)
    if name is None:
        return None
    try:
        text = source.read(name).decode()
        return build_stages(tomllib.loads(text) if name.endswith(".toml") else json.loads(text))
    except (ConfigError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{name} in {source.root}: {error}") from None
