"""Rows that finish in any order become a shard in the order of the input.

When the last row is there, tar, index and tables are written in one pass. Nothing in them depends on when or how often
a row was asked for. Times and attempts go to two files of their own, `fetch_log` and `_stats.json`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.fetch.arrivals import FETCH_COLUMNS, LOG_COLUMNS, PICTURE_COLUMNS, Arrivals, Row, arrays
from curate.fetch.members import indexed_tar, python_values, strict_json
from curate.fetch.status import FetchStatus
from curate.manifest import Attempt
from curate.shard import sample_key

__all__ = ["FETCH_COLUMNS", "LOG_COLUMNS", "SAMPLE_COLUMNS", "PairWriter", "Row"]

SAMPLE_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "status": pa.string(),
    "error_message": pa.string(),
    **PICTURE_COLUMNS,
}
"""What img2dataset adds to the input's columns, in its order."""


class PairWriter(Arrivals):
    """Collects the rows of one shard and writes its files."""

    def __init__(self, shard: str, source: pa.Table, samples_per_shard: int, scratch: Path) -> None:
        super().__init__(scratch)
        self.shard = shard
        self.source = source
        self.samples_per_shard = samples_per_shard

    def finish(self, attempt: Attempt) -> None:
        """Write all files of the shard into `attempt`, and count."""
        ordered = [self.rows[i] for i in range(self.source.num_rows)]
        for number, row in enumerate(ordered):
            row.values["key"] = sample_key(self.shard, number, self.samples_per_shard)
            _name_as_img2dataset(row.values)
        self._write_tar(attempt, ordered)
        sample = {n: self.source[n] for n in self.source.column_names}
        attempt.write_table(f"{self.shard}.parquet", pa.table({**sample, **arrays(ordered, SAMPLE_COLUMNS)}))
        key = {"key": pa.string()}
        attempt.write_table(f"{self.shard}.fetch.parquet", pa.table(arrays(ordered, key | FETCH_COLUMNS)))
        log = pa.table(arrays(ordered, key | LOG_COLUMNS))
        attempt.write_table(f"{self.shard}.fetch_log.parquet", log, clock=True)
        self._count(attempt, ordered)
        self.close()

    def _write_tar(self, attempt: Attempt, ordered: list[Row]) -> None:
        source = {name: python_values(self.source[name]) for name in self.source.column_names}
        with indexed_tar(self.shard, attempt) as tar:
            for number, row in enumerate(ordered):
                if row.place is None:
                    continue
                own = {name: values[number] for name, values in source.items()}
                for extension, data in sorted(self._members(row, own).items()):
                    tar.add(row.values["key"], extension, data)

    def _members(self, row: Row, own: dict[str, Any]) -> dict[str, bytes]:
        record = own | {name: row.values.get(name) for name in SAMPLE_COLUMNS}
        members = {row.extension: self.data(row), "json": strict_json(record)}
        if "caption" in own:
            members["txt"] = (own["caption"] or "").encode("utf-8", "replace")
        return members

    def _count(self, attempt: Attempt, ordered: list[Row]) -> None:
        statuses = Counter(row.values["fetch_status"] for row in ordered)
        written = Counter(row.values["status"] for row in ordered)
        attempt.counts["in"] = len(ordered)
        attempt.counts["kept"] = statuses.get(FetchStatus.SUCCESS, 0)
        attempt.counts["original_bytes"] = sum(row.values.get("original_bytes") or 0 for row in ordered)
        for status, count in sorted(statuses.items()):
            if status != FetchStatus.SUCCESS:
                attempt.counts[f"dropped.{status}"] = count
        started = [row.values["started"] for row in ordered if row.values.get("started")]
        ended = [row.values["started"] + row.values["seconds"] for row in ordered if row.values.get("started")]
        stats = {
            "count": len(ordered),
            "successes": written.get("success", 0),
            "failed_to_download": written.get("failed_to_download", 0),
            "failed_to_resize": written.get("failed_to_resize", 0),
            "duration": max(ended, default=0.0) - min(started, default=0.0),
            "start_time": min(started, default=0.0),
            "end_time": max(ended, default=0.0),
            "status_dict": dict(sorted(statuses.items())),
        }
        attempt.write_bytes(f"{self.shard}_stats.json", json.dumps(stats, indent=4).encode(), clock=True)


def _name_as_img2dataset(values: dict[str, Any]) -> None:
    """Fill img2dataset's `status` and `error_message` from ours."""
    status = FetchStatus(values["fetch_status"])
    if status is FetchStatus.SUCCESS:
        values["status"], values["error_message"] = "success", None
        return
    values["status"] = "failed_to_resize" if status.downloaded else "failed_to_download"
    values["error_message"] = f"{status}: {values['fetch_detail']}" if values["fetch_detail"] else str(status)
