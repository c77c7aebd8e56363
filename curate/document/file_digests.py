"""Digests of the pictures of documents as they lie in the tar, as columns of the parts, for hash lists.

`curate.decontamination.file_digests` is the same for pairs, with what it costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.decontamination.file_digests import file_column
from curate.decontamination.finding import DIGESTS, digests_of
from curate.decontamination.lists import HASHES
from curate.document.columns import IMAGE, part_names
from curate.document.read import IMAGE_MEMBER, read_pictures
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Runtime, Stage

__all__ = ["PartDigests"]


@dataclass(frozen=True)
class PartDigests(Stage):
    """Reads the tar, writes `part.file_md5`, `part.file_sha1` and `part.file_sha256`; null for parts without a
    picture."""

    name: ClassVar[str] = "part_file_digests"
    reads: ClassVar[tuple[str, ...]] = (IMAGE, "key", *part_names(("key", "document", IMAGE_MEMBER)))
    writes: ClassVar[tuple[str, ...]] = part_names(map(file_column, DIGESTS))

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        keys = shard.parts.columns(["key"])["key"]
        found = {key: digests_of(data) for key, data in read_pictures(shard)}
        rows = [found.get(key, {}) for key in keys.to_pylist()]
        columns = {
            file_column(kind): pa.array([row.get(kind) for row in rows], pa.binary(HASHES[kind])) for kind in DIGESTS
        }
        attempt.write_table(shard.parts.table_name(self.name), pa.table({"key": keys, **columns}))
        attempt.counts.update({"in": len(keys), "kept": len(found)})
