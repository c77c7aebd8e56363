"""A stage that describes each shard in numbers, so that the manifest's step over all shards reads a small file of each.

    contents/00000.json    what `manifest.schema.json` says of a shard, without its files

10,000 pairs with two captions each take 30 ms of one core. Done by the workers beside packing, it is not done again
when only the stages or the words of a manifest change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.handover.compose_stage import HANDOVER_COLUMNS
from curate.handover.histograms import describe
from curate.handover.tokenizers import tokens_column
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Runtime, Stage
from curate.storage import Storage

__all__ = ["CONTENTS", "Describe", "read_contents"]

CONTENTS = "contents"
"""The pseudo-column that stands for the description, and the folder with them."""


@dataclass(frozen=True)
class Describe(Stage):
    """Writes the description of a shard. `tokenizers`: the names of those whose tokens are summed."""

    tokenizers: tuple[str, ...]

    name: ClassVar[str] = "describe"

    @property
    def reads(self) -> tuple[str, ...]:
        return (*HANDOVER_COLUMNS, *map(tokens_column, self.tokenizers))

    @property
    def writes(self) -> tuple[str, ...]:
        return (CONTENTS,)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        plan = shard.source()
        told = {name: plan[name][0].as_py() for name in ("source", "kind")}
        contents = told | describe(shard, self.tokenizers)
        attempt.counts["in"] = attempt.counts["kept"] = contents["samples"]
        attempt.write_bytes(_name(shard.id), json.dumps(contents, allow_nan=False, separators=(",", ":")).encode())


def read_contents(storage: Storage, shard: str) -> Mapping[str, Any]:
    """The description of a shard. Raises FileNotFoundError."""
    found: dict[str, Any] = json.loads(storage.read(_name(shard)))
    return found


def _name(shard: str) -> str:
    return f"{CONTENTS}/{shard}.json"
