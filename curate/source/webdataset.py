"""Tars that exist already are taken over as shards: img2dataset's output, or any WebDataset with pictures.

A tar becomes a shard as it is, hard-linked where source and target share a disk, so taking over a terabyte of local
shards copies nothing. Only a tar that readers stumble over is written anew: one that is cut off or damaged in the
middle, whose samples are not adjacent, or that holds pickles, which webdataset would execute.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import ShardError
from curate.fetch.pair_writer import FETCH_COLUMNS, SAMPLE_COLUMNS
from curate.manifest import Attempt
from curate.shard import Shard
from curate.source.files import InputFile, input_files
from curate.source.source import no_service
from curate.source.tar_rows import adopt_rows
from curate.source.tar_samples import Contents, index_table, read_contents, write_contents
from curate.stage import Runtime, Stage
from curate.storage import plain_errors

__all__ = ["Adopt", "WebDataset"]


@dataclass(frozen=True)
class WebDataset:
    """The `[source]` table with `kind = "webdataset"`: a tar, a folder of tars or a glob, on any fsspec URL.

    One tar is one shard; so a limit on the rows of the source counts tars.
    """

    path: str

    def identity(self) -> Any:
        """Each tar's name, size and modification mark."""
        return {"files": [f.identity() for f in self._files()]}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """Per tar one row: `tar` (its URL), `bytes` and `mark`. Raises SourceError."""
        for file in self._files():
            row = {"tar": [file.path], "bytes": [file.size], "mark": [file.mark]}
            yield iter([pa.record_batch(row)])

    def known_columns(self) -> None:
        """What a tar's members and table hold is not known before they are read."""

    def serve(self) -> AbstractContextManager[Mapping[str, str]]:
        """Nothing is fetched."""
        return no_service()

    def _files(self) -> list[InputFile]:
        return input_files(self.path, ("tar",))


@dataclass(frozen=True)
class Adopt(Stage):
    """Reads `source`, writes the tar, its index, the sample table and the fetch columns, as far as they are known.

    A tar that is no tar at all raises ShardError; of a damaged one the samples before the damage are kept, and
    counted as `tar_damaged`.
    """

    name: ClassVar[str] = "adopt"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("image", *SAMPLE_COLUMNS, *FETCH_COLUMNS)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        origin = shard.source()["tar"][0].as_py()
        path = attempt.path(shard.tar)
        _take(origin, path)
        contents = _tidy(path, origin, attempt.counts)
        given = _table_beside(origin)
        with open(path, "rb") as data:
            samples, fetched = adopt_rows(given, contents.groups, data)
        attempt.write_table(shard.table_name(), samples)
        attempt.write_table(shard.table_name("fetch"), fetched)
        attempt.write_table(shard.table_name("index"), index_table(contents))
        statuses = Counter(fetched["fetch_status"].to_pylist())
        attempt.counts.update({"in": len(fetched), "kept": statuses.pop("success", 0)})
        attempt.counts.update({f"dropped.{status}": count for status, count in statuses.items()})
        attempt.write_bytes(f"{shard.id}_stats.json", _stats(samples))


def _take(origin: str, path: Path) -> None:
    """Put the tar at `path`: a hard link where that is possible, else a copy."""
    try:
        os.link(origin, path)
        return
    except OSError:
        path.unlink(missing_ok=True)
    try:
        with plain_errors(f"copy {origin}"), fsspec.open(origin, "rb") as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except FileNotFoundError:
        raise ShardError(f"{origin} is gone since the source was cut; put it back or start in another --out") from None


def _tidy(path: Path, origin: str, counts: Counter[str]) -> Contents:
    """What is in the tar; it is written anew, beside the link, where a reader would stumble over it."""
    with open(path, "rb") as source:
        contents = read_contents(source, origin)
        counts.update({"tar_damaged": int(contents.damage is not None), "members_left_out": contents.left_out})
        if contents.tidy:
            return contents
        anew = path.with_suffix(".new")
        with plain_errors(f"write {anew}"), open(anew, "wb") as target:
            contents = write_contents(contents, source, target)
    os.replace(anew, path)
    return contents


def _table_beside(origin: str) -> pa.Table | None:
    """img2dataset's table of the same name, if there is a readable one with keys."""
    try:
        with fsspec.open(origin.removesuffix(".tar") + ".parquet", "rb") as handle:
            table = pq.ParquetFile(handle).read()
    except (OSError, pa.ArrowException):
        return None
    return table if "key" in table.column_names else None


def _stats(samples: pa.Table) -> bytes:
    """img2dataset's counts, which resharding tools read; there are no times to tell."""
    found = Counter(samples["status"].to_pylist())
    kinds = {"successes": "success", "failed_to_download": "failed_to_download", "failed_to_resize": "failed_to_resize"}
    counts = {"count": len(samples)} | {name: found.get(status, 0) for name, status in kinds.items()}
    return json.dumps(counts | {"status_dict": dict(sorted(found.items()))}, indent=4).encode()
