"""Exact copies: the same file, the same pixels, the same pair of URL and caption, the same caption in normal form."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.clusters import Likeness, Member
from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.dedup.groups import Rows
from curate.stage import Part
from curate.storage import Storage
from curate.text import SPACE

__all__ = ["SameBytes", "SameCaption", "SamePair", "SamePixels", "plain_caption"]


@dataclass(frozen=True)
class _SameValue(Likeness):
    """Rows are copies whose values in some columns are equal; a row that lacks one has no copy."""

    def digests(self, storage: Storage, part: Part, members: Sequence[Member]) -> Iterator[tuple[Rows, Digests]]:
        for _, _, shard in members:
            columns = [self.normal(name, shard.columns([name])[name]) for name in self.reads]
            there = np.flatnonzero(np.logical_and.reduce([np.asarray(c.is_valid()) for c in columns]))
            first, *others = (digest_strings(c.take(pa.array(there))) for c in columns)
            for other in others:
                first = join_digests(first, other)
            yield there, first

    def normal(self, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """What is compared of a column: text or bytes, null where there is nothing to compare."""
        return values

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class SameBytes(_SameValue):
    """The picture's file, as its server sent it: by the SHA-256 that the fetch took."""

    @property
    def name(self) -> str:
        return "bytes"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("sha256",)


@dataclass(frozen=True)
class SamePixels(_SameValue):
    """The decoded picture, whatever file it was in: by the column `pixel_hash`."""

    @property
    def name(self) -> str:
        return "pixels"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("pixel_hash",)


@dataclass(frozen=True)
class SamePair(_SameValue):
    """URL and caption, both to the letter; a row without a caption is equal to one with an empty one."""

    @property
    def name(self) -> str:
        return "pair"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("url", "caption")

    def normal(self, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.fill_null(values.cast(pa.large_string()), "") if name == "caption" else values


@dataclass(frozen=True)
class SameCaption(_SameValue):
    """The caption in normal form (`plain_caption`); an empty one has no copy."""

    @property
    def name(self) -> str:
        return "caption"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("caption",)

    def normal(self, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        plain = plain_caption(values)
        return pc.if_else(pc.equal(plain, ""), pa.scalar(None, plain.type), plain)


def plain_caption(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """NFKC, small letters, what is neither letter, mark, digit nor symbol as a space, and one space between words.

    A caption of such signs alone ("!!!") keeps them, so that it stays different from others and from an empty one.
    """
    folded = pc.utf8_lower(pc.utf8_normalize(texts.cast(pa.large_string()), "NFKC"))
    spaced = pc.utf8_trim(pc.replace_substring_regex(folded, rf"[{SPACE}]+", " "), " ")
    words = pc.utf8_trim(pc.replace_substring_regex(spaced, r"[^\p{L}\p{M}\p{N}\p{S}]+", " "), " ")
    return pc.if_else(pc.equal(words, ""), spaced, words)
