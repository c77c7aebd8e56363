"""The verdict on each row as a number: kept, undecided, absent, or dropped for a reason.

Two data sets give reasons in different orders, and a config other ones still, so both sides number them in one list.
Reading `keep` and `drop_reason` of a million rows takes 0.1 s; a folder of anybody's may hold any text as a reason, so
texts are cut and at most 4,096 different ones are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curate.errors import ShardError
from curate.shard import Shard

__all__ = ["ABSENT", "KEPT", "UNDECIDED", "Codes", "Verdicts"]

Codes: TypeAlias = npt.NDArray[np.int32]
"""Numbers of verdicts, one per row."""

KEPT, UNDECIDED, ABSENT = 0, 1, 2
"""Kept; there, but without a decision; not in this side at all. All above are reasons to drop."""
NAMES = ("(kept)", "(undecided)", "(absent)")
NO_REASON = "(no reason)"
"""Of a row that is dropped and does not say why."""
OTHERS = "(other reasons)"
MOST_REASONS = 4_096
MOST_LETTERS = 200


@dataclass
class Verdicts:
    """The list of verdicts that both sides share; it grows as reasons are met."""

    names: list[str] = field(default_factory=lambda: list(NAMES))
    _numbers: dict[str, int] = field(default_factory=dict)

    def read(self, table: Shard, prefix: str) -> Codes:
        """The verdict on each row of a table, int32 (rows,): of the decision whose columns begin with `prefix`. A row
        whose `keep` is null is undecided.

        Raises ShardError where the columns are missing, damaged or of another type.
        """
        columns = table.columns([f"{prefix}keep", f"{prefix}drop_reason"])
        keep, reason = columns[0], columns[1]
        if not pt.is_boolean(keep.type):
            raise ShardError(f"column {prefix}keep of shard {table.id} is {keep.type}, not bool; run its config again")
        try:
            words = pc.fill_null(reason.cast(pa.string()).cast(pa.binary()), NO_REASON.encode()).combine_chunks()
        except pa.ArrowException as error:
            raise ShardError(f"column {prefix}drop_reason of shard {table.id} holds no reasons: {error}") from error
        listed = words.dictionary_encode()
        numbers = np.array([*map(self._number, listed.dictionary.to_pylist()), KEPT], np.int32)
        codes: Codes = numbers[np.asarray(listed.indices)]
        codes[np.asarray(pc.fill_null(keep, False), bool)] = KEPT
        codes[np.asarray(keep.is_null(), bool)] = UNDECIDED
        return codes

    def _number(self, reason: bytes) -> int:
        text = reason.decode("utf-8", "replace")[:MOST_LETTERS]
        if text not in self._numbers and len(self._numbers) >= MOST_REASONS:
            text = OTHERS
        if text not in self._numbers:
            self._numbers[text] = len(self.names)
            self.names.append(text)
        return self._numbers[text]
