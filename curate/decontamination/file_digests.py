"""Digests of the picture files as they lie in the tars, as columns: lists that come later need no second look at them.

The fetch knows the SHA-256 of what it downloaded; where a picture was stored as it came, that is the file's too. Lists
of known material have MD5 and SHA-1 as well, and of other people's tars nothing is known but the file. 0.2 ms a picture
of 100 kB for all three, without a decode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.decontamination.finding import DIGESTS, digests_of
from curate.decontamination.lists import HASHES
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Runtime, Stage

__all__ = ["FileDigests", "file_column"]


def file_column(kind: str) -> str:
    """The column with the digest of a stored file, binary; null without one."""
    return f"file_{kind}"


@dataclass(frozen=True)
class FileDigests(Stage):
    """Reads the tar, writes `file_md5`, `file_sha1` and `file_sha256`."""

    name: ClassVar[str] = "file_digests"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image",)

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(file_column(kind) for kind in DIGESTS)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        keys = shard.columns(["key"])["key"]
        found = {sample.key: digests_of(sample.image) for sample in shard.samples()}
        rows = [found.get(key, {}) for key in keys.to_pylist()]
        columns = {
            file_column(kind): pa.array([row.get(kind) for row in rows], pa.binary(HASHES[kind])) for kind in DIGESTS
        }
        attempt.write_table(shard.table_name(self.name), pa.table({"key": keys, **columns}))
        attempt.counts.update({"in": len(keys), "kept": len(found)})
