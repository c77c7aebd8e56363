"""An earlier data set as an index: the shards whose rows took part in its dedup, with the columns that it left.

A card in it, written with these columns, says how its copies were found. A data set that was not finished, whose rows
were compared in another way, or that was itself compared with others which are not named here, is no index: that is
told before a run starts, of other settings with both fingerprints.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from curate.errors import ConfigError
from curate.manifest import Attempt, CommitLog, fingerprint
from curate.shard import Shard
from curate.storage import Storage

__all__ = ["MOST", "Card", "Earlier", "require_earlier", "write_card"]

MOST = 255
"""Data sets that row numbers can tell apart, beside one's own."""


@dataclass(frozen=True)
class Card:
    """How copies were found (`made`), in which shards, in how many parts, and against which data sets."""

    made: Any
    shards: list[str]
    parts: int
    against: list[str]


@dataclass(frozen=True)
class Earlier:
    """The data set at `root`, in which the same kind of copies, `name`, was looked for."""

    root: str
    name: str

    @cached_property
    def card(self) -> Card:
        """Raises ConfigError when there is none, or something else."""
        name = _card_name(self.name)
        try:
            found = json.loads(Storage(self.root).read(name))
            shards, against = ([str(value) for value in found[key]] for key in ("shards", "against"))
            return Card(found["made"], shards, int(found["parts"]), against)
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
        return fingerprint([asdict(self.card), sorted((part, sorted(own)) for part, own in self._done().items())])

    def shards(self) -> list[Shard]:
        """Its shards, in their order there."""
        return [Shard(Storage(self.root), shard) for shard in self.card.shards]

    def require(self, made: Any) -> None:
        """Raise ConfigError unless it is finished and its copies were found in this way."""
        done = len(self._done())
        if done != self.card.parts:
            raise ConfigError(
                f"against names {self.root}, where {done} of {self.card.parts} parts of step {self.name}_mark are "
                "done; run it to its end first"
            )
        here, there = fingerprint(json.loads(json.dumps(made))), fingerprint(self.card.made)
        if here != there:
            raise ConfigError(
                f"against names {self.root}, whose index of copies by {self.name} was made with other settings: "
                f"{there} there, {here} here; give both the same, or run that data set again. There: "
                f"{json.dumps(self.card.made)}"
            )

    def _done(self) -> dict[str, set[str]]:
        return CommitLog(Storage(self.root)).names(f"{self.name}_mark")


def require_earlier(earlier: Sequence[Earlier], made: Any, root: str) -> None:
    """Raise ConfigError unless these are different data sets, none of them the one at `root`, each a whole index, and
    with them all that they were compared with themselves: a row may be a copy of one that only that one kept."""
    roots = [Storage(one.root).root for one in earlier]
    if root and root in roots:
        raise ConfigError(f"against names {root}, the data set itself; leave it out")
    twice = [one for number, one in enumerate(roots) if one in roots[:number]]
    if twice:
        raise ConfigError(f"against names {twice[0]} twice; once is enough")
    for number, one in enumerate(earlier):
        one.require(made)
        missing = [other for other in one.card.against if other not in roots[:number]]
        if missing:
            raise ConfigError(
                f"against names {one.root}, which was itself compared with {missing[0]}; name that one too, before it"
            )


def write_card(attempt: Attempt, name: str, card: Card) -> None:
    """Write down how copies of this kind are found. Raises StorageError."""
    attempt.write_bytes(_card_name(name), json.dumps(asdict(card), sort_keys=True).encode())


def _card_name(name: str) -> str:
    return f"dedup/{name}_mark/card.json"
