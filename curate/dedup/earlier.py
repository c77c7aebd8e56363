"""An earlier data set as an index: the shards whose rows took part in its dedup, with the columns that it left.

A card in it says how its copies were found. Rows that were compared in another way are no index: the card is checked
before a run starts, and a difference is told with both fingerprints.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from curate.errors import ConfigError
from curate.manifest import Attempt, CommitLog, fingerprint
from curate.shard import Shard
from curate.storage import Storage

__all__ = ["Earlier", "write_card"]


@dataclass(frozen=True)
class Earlier:
    """The data set at `root`, in which the same kind of copies, `name`, was looked for."""

    root: str
    name: str

    @cached_property
    def card(self) -> dict[str, Any]:
        """How its copies were found, and its shards. Raises ConfigError when there is no such card."""
        name = _card_name(self.name)
        try:
            card = json.loads(Storage(self.root).read(name))
            shards = [str(shard) for shard in card["shards"]]
            return {"made": card["made"], "shards": shards, "shards_per_part": int(card["shards_per_part"])}
        except FileNotFoundError:
            raise ConfigError(
                f"against names {self.root}, which has no {name}; it is written by the same filter: run it there first"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{name} in {self.root} is no card of an index: {error!r}; run that data set again"
            ) from error

    @property
    def mark(self) -> str:
        """The fingerprint of its answers."""
        marks = CommitLog(Storage(self.root)).names(f"{self.name}_mark")
        return fingerprint([self.card["made"], sorted((part, sorted(own)) for part, own in marks.items())])

    def require(self, made: Any) -> None:
        """Raise ConfigError unless its copies were found in this way."""
        here, there = fingerprint(json.loads(json.dumps(made))), fingerprint(self.card["made"])
        if here != there:
            raise ConfigError(
                f"against names {self.root}, whose index of copies by {self.name} was made with other settings: "
                f"{there} there, {here} here; give both the same, or run that data set again. There: "
                f"{json.dumps(self.card['made'])}"
            )

    def shards(self) -> list[Shard]:
        """Its shards, in their order there."""
        return [Shard(Storage(self.root), shard) for shard in self.card["shards"]]


def write_card(attempt: Attempt, name: str, shards: Sequence[str], shards_per_part: int, made: Any) -> None:
    """Write down how copies of this kind are found. Raises StorageError."""
    card = {"made": made, "shards": list(shards), "shards_per_part": shards_per_part}
    attempt.write_bytes(_card_name(name), json.dumps(card, sort_keys=True).encode())


def _card_name(name: str) -> str:
    return f"dedup/{name}_ask/card.json"
