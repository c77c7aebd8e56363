"""Drops pictures whose hash is on a list, such as those of known illegal material: matched by hash, shown to nobody.

Lists are text files of MD5, SHA-1, SHA-256, pixel hashes and PDQ (`curate.decontamination.lists`); organisations that
keep such lists give them out as these. What each kind finds:

| kind | of | finds |
|---|---|---|
| `sha256` | the file as downloaded, and as stored | the same file |
| `md5`, `sha1` | the file as stored | the same file, where the fetch did not encode it anew |
| `pixel_hash` | the decoded picture | the same pixels in any lossless file |
| `pdq` | the decoded picture, within `pdq_radius` of 256 bits (31: Meta 2019) | copies: encoded anew, scaled |

All members of a sample are looked up, those beside its picture as well (`curate.decontamination.other_members`).

No bound on PDQ's quality is set, so a listed flat picture drops all flat ones: here a false match costs a row. A match
is written as the kind of hash that found it, in the column `hash_list_match`, and nothing else: no picture, caption or
URL goes into a report, a log or an export, and `curate show` refuses the row, whichever filter dropped it.

What this cannot do: the fetch has stored the picture before anything could look at it, and its URL and caption stand in
the sample table. They stay until the shard is deleted, which is for you to do, as your law says; keys and counts are in
the report. Data that was exported before is cleaned by `curate export --apply-tombstones`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.decontamination.finding import DIGESTS, listed_hash, near_pdq, sha256_bytes
from curate.decontamination.lists import HASHES, PDQ_RADIUS, Listed, read_lists
from curate.decontamination.other_members import MEMBER_MATCH, OtherMembers
from curate.filter import Batch, Filter, Rules, Scorer, Verdict, verdict
from curate.stage import Work
from curate.tombstones import HASH_LIST_MATCH


@dataclass(frozen=True)
class MatchHashList(Scorer):
    """By which kind of hash each row is listed, the exact ones first; null for the others. `members`: what was found of
    the members beside the picture counts too."""

    paths: tuple[str, ...] = field(metadata={"runtime": True})
    pdq_radius: int = PDQ_RADIUS
    members: bool = False

    name: ClassVar[str] = "hash_list"
    version: ClassVar[int] = 2
    writes: ClassVar[Mapping[str, pa.DataType]] = {HASH_LIST_MATCH: pa.string()}

    @property
    def lists(self) -> Listed:
        """Raises ConfigError for lists that cannot be read."""
        return read_lists(self.paths, "[filters.hash_list] paths:", HASHES)

    @property
    def reads(self) -> tuple[str, ...]:
        kinds = self.lists.kinds
        files = [f"file_{kind}" for kind in DIGESTS if kind in kinds]
        found = [*(kind for kind in ("sha256", "pixel_hash", "pdq") if kind in kinds), *files]
        return (*found, MEMBER_MATCH) if found and self.members else tuple(found or ["key"])

    def identity(self) -> Any:
        bounds = {"lists": self.lists.digest, "radius": self.pdq_radius, "members": self.members}
        return {"scorer": self.name, "version": self.version, **bounds}

    def require(self) -> None:
        _ = self.lists

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        listed, columns = self.lists, {name: batch.columns[name].to_pylist() for name in self.reads}
        downloaded = [sha256_bytes(text) for text in columns.pop("sha256", [])]
        pdq, beside = (columns.pop(name, [None] * len(batch)) for name in ("pdq", MEMBER_MATCH))
        kinds: list[str | None] = [None] * len(batch)
        for name, values in [("sha256", downloaded), *columns.items()]:
            kind = name.removeprefix("file_")
            for row, value in enumerate(values):
                kinds[row] = kinds[row] or listed_hash({kind: value}, listed)
        near = near_pdq(pdq, listed, self.pdq_radius)
        for row in np.flatnonzero(near).tolist():
            kinds[row] = kinds[row] or "pdq"
        told = [kind or other for kind, other in zip(kinds, beside, strict=True)]
        return {HASH_LIST_MATCH: pa.array(told, pa.string())}


@dataclass(frozen=True)
class HashList(Filter):
    """`paths`: the lists. `pdq_radius` 0 to 63."""

    paths: tuple[str, ...] = field(default=(), metadata={"runtime": True})
    pdq_radius: int = PDQ_RADIUS

    reads: ClassVar[tuple[str, ...]] = (HASH_LIST_MATCH,)
    reasons: ClassVar[Mapping[str, str]] = {"listed_hash": "the picture is on a hash list"}

    def __post_init__(self) -> None:
        require_range("pdq_radius", self.pdq_radius, 0, 63)
        if not self.paths:
            raise ValueError("needs `paths`, files of hashes")

    def scorer(self) -> MatchHashList:
        """For rows that are one file each; `scorers` are for samples."""
        return MatchHashList(self.paths, self.pdq_radius)

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        from curate.dedup.picture_hashes import PictureHashes

        match = self.scorer()
        hashes = [kind for kind in ("pixel_hash", "pdq") if kind in match.reads]
        return (*(PictureHashes((kind,)) for kind in hashes), replace(match, members=True))

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        from curate.decontamination.file_digests import FileDigests

        reads = self.scorer().reads
        members = () if reads == ("key",) else (OtherMembers(self.paths, self.pdq_radius),)
        return (*((FileDigests(),) if any(name.startswith("file_") for name in reads) else ()), *members)

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(len(columns), ("listed_hash", pc.is_valid(columns[HASH_LIST_MATCH])))
