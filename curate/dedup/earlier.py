"""An earlier data set as an index: the rows that took part in its dedup, as its own run left them in files.

Beside these files lies a card that says how they were made. Rows that were compared in another way are no index: the
card is checked before a run starts, and a difference is told with both fingerprints.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from curate.dedup.scatter import inbox, part_of_hash
from curate.errors import ConfigError
from curate.manifest import Attempt, CommitLog, fingerprint
from curate.stage import Part
from curate.storage import Storage

__all__ = ["Earlier", "write_card"]


@dataclass(frozen=True)
class Earlier:
    """What step `label` of the data set at `root` sent to clusters."""

    root: str
    label: str

    @cached_property
    def card(self) -> dict[str, Any]:
        """How the index was made. Raises ConfigError when there is none."""
        storage, name = Storage(self.root), _card_name(self.label)
        try:
            card = json.loads(storage.read(name))
            return {"made": card["made"], "parts": int(card["parts"]), "shards": list(card["shards"])}
        except FileNotFoundError:
            raise ConfigError(
                f"against names {self.root}, which has no {name}; it is written by the same filter: run it there first"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{name} in {self.root} is no card of an index: {error}; run that data set again"
            ) from error

    @property
    def mark(self) -> str:
        """The fingerprint of its files."""
        marks = sorted((part, sorted(own)) for part, own in _commits(self.root, self.label))
        return fingerprint([self.card["made"], marks])

    def require(self, made: Any) -> None:
        """Raise ConfigError unless it was made in this way."""
        here, there = fingerprint(json.loads(json.dumps(made))), fingerprint(self.card["made"])
        if here != there:
            raise ConfigError(
                f"against names {self.root}, whose index {self.label} was made with other settings: {there} there, "
                f"{here} here; give both the same, or run that data set again. There: {json.dumps(self.card['made'])}"
            )

    def received(self, part: Part, schema: pa.Schema) -> pa.Table:
        """The rows whose digest belongs to this part of ours, however their own parts were cut."""
        of = self.card["parts"]
        found = [schema.empty_table()]
        for number in range(part.number * of // part.of, min(-(-(part.number + 1) * of // part.of), of)):
            for rows in inbox(Storage(self.root), self.label, number, range(of), of):
                mine = part_of_hash(np.asarray(rows["high"]), part.of) == part.number
                found.append(rows.filter(pa.array(mine)))
        return pa.concat_tables(found).combine_chunks()


def write_card(attempt: Attempt, label: str, parts: int, shards: Sequence[str], made: Any) -> None:
    """Write down how the files of step `label` are made. Raises StorageError."""
    card = {"made": made, "parts": parts, "shards": list(shards)}
    attempt.write_bytes(_card_name(label), json.dumps(card, sort_keys=True).encode())


def _card_name(label: str) -> str:
    return f"dedup/{label}/card.json"


def _commits(root: str, label: str) -> list[tuple[str, set[str]]]:
    return list(CommitLog(Storage(root)).names(label).items())
