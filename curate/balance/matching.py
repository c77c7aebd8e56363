"""Which entries of the metadata stand in a caption: MetaCLIP's substring matching, as a column of numbers.

    caption -> concepts: list<uint32>, numbers of entries, ascending, each once

The rules are MetaCLIP's to the letter: a space before and behind the text, and on both sides of comma, full stop,
semicolon, colon, question mark, exclamation mark and backtick; tab and line breaks as spaces; then `" " + entry + " "`
as a substring, case-sensitive. So "dog." has "dog", "dogs" has not, and an entry with a comma inside is never found, as
there. The naive loop over 500,000 entries takes 30 ms a caption, this 2 to 6 us (`bench/balance.py`).

Languages without spaces between words need other rules (MetaCLIP 2); here such a caption matches only as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.balance.extras import require_modules
from curate.balance.metadata import Metadata, read_metadata
from curate.filter import Batch, Scorer

if TYPE_CHECKING:
    from curate.balance.automaton import Automaton

__all__ = ["CONCEPTS", "MatchConcepts", "Matcher", "matcher"]

CONCEPTS = "concepts"
LISTS = pa.list_(pa.uint32())


class Matcher:
    """The entries of a list, ready to be looked for."""

    def __init__(self, metadata: Metadata) -> None:
        from curate.balance.automaton import build_automaton

        entries = [entry.encode() for entry in metadata.entries]
        offsets = np.concatenate([[0], np.cumsum([len(entry) for entry in entries])]).astype(np.int64)
        self.automaton: Automaton = build_automaton(np.frombuffer(b"".join(entries), np.uint8), offsets)

    def match(self, texts: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The entries in each text, list<uint32>; null for null."""
        chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
        return pa.concat_arrays([pa.array([], LISTS), *(self._match(chunk) for chunk in chunks)])

    def _match(self, texts: pa.Array) -> pa.Array:
        from curate.balance.automaton import find_entries

        flat = texts.cast(pa.large_binary())
        if not len(flat):
            return pa.array([], LISTS)
        offsets = np.frombuffer(flat.buffers()[1], np.int64)[flat.offset : flat.offset + len(flat) + 1]
        data = np.frombuffer(flat.buffers()[2] or b"", np.uint8)
        ends, numbers = find_entries(self.automaton, data, offsets)
        mask = flat.is_null() if flat.null_count else None
        return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), pa.array(numbers), mask=mask)


@lru_cache(maxsize=2)
def _matcher(metadata: Metadata) -> Matcher:
    return Matcher(metadata)


def matcher(path: str, option: str) -> Matcher:
    """The matcher for a list file, built once per process. Raises ConfigError."""
    return _matcher(read_metadata(path, option))


@dataclass(frozen=True)
class MatchConcepts(Scorer):
    """Writes `concepts` by the list in the file `metadata`; null where there is no caption, empty where nothing
    matches. `option` is what an error calls the file."""

    metadata: str
    option: str = field(default="metadata", metadata={"runtime": True})

    name: ClassVar[str] = "concepts"
    reads: ClassVar[tuple[str, ...]] = ("caption",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {CONCEPTS: LISTS}

    def identity(self) -> Any:
        digest = read_metadata(self.metadata, self.option).digest
        return {"scorer": self.name, "version": self.version, "metadata": digest}

    def require(self) -> None:
        require_modules("[filters.metaclip_balance]", "dedup", "numba")
        read_metadata(self.metadata, self.option)

    def provenance(self) -> Mapping[str, str]:
        return {"model": "metadata", "model_fingerprint": read_metadata(self.metadata, self.option).digest[:16]}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return {CONCEPTS: matcher(self.metadata, self.option).match(batch.columns["caption"])}
