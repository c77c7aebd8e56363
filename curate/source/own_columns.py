"""Columns of the data set of ours that a tar was adopted from: scores, verdicts and all else that lies beside it there.

An adopted tar brings its sample table along and nothing else, for most data sets are somebody else's. Where they are
ours, what was computed for them need not be computed again: the named columns are taken over, row by row, by key. They
begin with `source_` here, because what they are called there (`keep`, `fetch_status`) means something else here.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.column_files import ColumnFiles
from curate.errors import ConfigError, ShardError
from curate.hidden_rows import Hidden
from curate.manifest import Attempt, CommitLog
from curate.registry import nearest
from curate.shard import Shard
from curate.stage import Runtime, Stage
from curate.storage import Storage

__all__ = ["OWN", "WITHHELD", "OwnColumns"]

OWN = "source_"
"""What the columns begin with."""
WITHHELD = "withheld_at_source"
"""Whether a row is shown to nobody there: taken back, on a hash list, or a copy of one that is."""


@dataclass(frozen=True)
class OwnColumns(Stage):
    """Writes `source_<name>` for each of `columns` of the data set at `root`, and `withheld_at_source`; null where that
    has no row of this key, or withholds it. Raises ShardError for a tar that is none of its shards."""

    root: str = field(metadata={"runtime": True})
    columns: tuple[str, ...]

    name: ClassVar[str] = "own_columns"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source", "key")

    @property
    def writes(self) -> tuple[str, ...]:
        return (*(OWN + name for name in self.columns), WITHHELD)

    def identity(self) -> Any:
        """Covers what was made there, wherever it lies: its commits and tombstones, or names and sizes of its files."""
        return {"stage": self.label, "version": self.version, "columns": self.columns, "made": _made(self.root)}

    def require(self, runtime: Runtime) -> None:
        """Raises ConfigError for a column that is not there, ShardError where there is no data set."""
        _opened.cache_clear()  # an earlier run of this process may have seen other rows and tombstones
        known = _opened(self.root, os.getpid())[0].fields
        for name in self.columns:
            if name not in known:
                raise ConfigError(f"{self.root} has no column {name!r}; {nearest(name, list(known))}")

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        files, hidden = _opened(self.root, os.getpid())
        id = _shard_of(shard, files)
        given = files.table(id, list(dict.fromkeys(("key", *self.columns))))
        key = shard.columns(["key"])["key"]
        places = pc.index_in(key.cast(pa.string()), value_set=given["key"].combine_chunks())
        withheld = pc.is_in(places, value_set=pa.array(sorted(hidden.rows(id)), pa.int32()))
        shown = pc.if_else(withheld, pa.scalar(None, pa.int32()), places)
        taken = {OWN + name: given[name].take(shown) for name in self.columns}
        table = pa.table({"key": key, **taken, WITHHELD: withheld})
        attempt.counts.update(matched=len(table) - places.null_count, withheld=int(np.sum(np.asarray(withheld))))
        attempt.write_table(shard.table_name(self.label), table)


def _shard_of(shard: Shard, files: ColumnFiles) -> str:
    """The shard there that this one was adopted from."""
    source = shard.source()
    if "tar" not in source.column_names:
        raise ConfigError('columns of a data set go with its tars: set kind = "webdataset" in [source]')
    tar = str(source["tar"][0])
    id = tar.rpartition("/")[2].removesuffix(".tar")
    if id not in files.shards:
        raise ShardError(f"{tar} is no shard of {files.storage.root}; name the folder that [source] names")
    return id


@lru_cache(maxsize=4)
def _opened(root: str, process: int) -> tuple[ColumnFiles, Hidden]:
    files = ColumnFiles(Storage(root))
    return files, Hidden(files)


def _made(root: str) -> str:
    """A digest of all that is committed there, and of its tombstones."""
    storage, log = Storage(root), CommitLog(Storage(root))
    steps = storage.folders("commits")
    work: Any = {step: sorted((shard, sorted(marks)) for shard, marks in log.names(step).items()) for step in steps}
    work = work or sorted(storage.files().items())
    dead = {name: hashlib.sha256(storage.read(name)).hexdigest() for name in sorted(storage.files("tombstones"))}
    return hashlib.sha256(json.dumps([work, dead]).encode()).hexdigest()[:16]
