"""Rows that finish in any order become a shard in the order of the input.

Encoded pictures wait in a spool (memory up to 32 MiB, then an unnamed file) until the last row is there; then tar,
index and tables are written in one pass. Nothing in them depends on when or how often a row was asked for. Times and
attempts go to two files of their own, `fetch_log` and `_stats.json`.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.fetch.client import Response
from curate.fetch.picture import Picture
from curate.fetch.status import FetchStatus
from curate.manifest import Attempt
from curate.shard import sample_key
from curate.tar import TarWriter

__all__ = ["FETCH_COLUMNS", "SAMPLE_COLUMNS", "PairWriter", "Row"]

SPOOL_BYTES = 32 << 20

SAMPLE_COLUMNS: dict[str, pa.DataType] = {
    "key": pa.string(),
    "status": pa.string(),
    "error_message": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "original_width": pa.int32(),
    "original_height": pa.int32(),
    "exif": pa.string(),
    "sha256": pa.string(),
}
"""What img2dataset adds to the input's columns, in its order; sizes in pixels, the original ones upright."""

FETCH_COLUMNS: dict[str, pa.DataType] = {
    "fetch_status": pa.string(),
    "fetch_detail": pa.string(),
    "http_status": pa.int16(),
    "final_url": pa.string(),
    "content_type": pa.string(),
    "original_bytes": pa.int64(),
    "image_format": pa.string(),
    "frames": pa.int32(),
    "animated": pa.bool_(),
    "orientation": pa.int8(),
    "opt_out": pa.string(),
    "robots": pa.string(),
    "redirects": pa.int16(),
}
"""What img2dataset forgets: the cause as a code, the server's answer, and who said no."""

LOG_COLUMNS: dict[str, pa.DataType] = {"attempts": pa.int16(), "started": pa.float64(), "seconds": pa.float32()}
"""Tries, unix time of the first one, seconds until the last byte: true, but different on every run."""

_NO_PYTHON_VALUE = (ValueError, OverflowError, pa.ArrowException)


@dataclass(frozen=True)
class Row:
    """One finished row: values by column name, and where its encoded picture lies in the spool (None on failure)."""

    values: dict[str, Any]
    extension: str = ""
    place: tuple[int, int] | None = None


class PairWriter:
    """Collects the rows of one shard and writes its files."""

    def __init__(self, shard: str, source: pa.Table, samples_per_shard: int, scratch: Path) -> None:
        self.shard = shard
        self.source = source
        self.samples_per_shard = samples_per_shard
        self.rows: dict[int, Row] = {}
        self._spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES, dir=str(scratch))  # noqa: SIM115  (closed by finish)

    def put(self, response: Response, picture: Picture | None) -> None:
        """Take one finished row."""
        values = _response_values(response)
        if picture is None:
            self.rows[response.row] = Row(values)
            return
        values.update(_picture_values(picture))
        self.keep(response.row, values, picture.extension, picture.data)

    def keep(self, row: int, values: dict[str, Any], extension: str, data: bytes) -> None:
        """Take a row whose values are known, with its encoded picture (empty: none)."""
        if not data:
            self.rows[row] = Row(values)
            return
        self.rows[row] = Row(values, extension, (self._spool.tell(), len(data)))
        self._spool.write(data)

    def finish(self, attempt: Attempt) -> None:
        """Write all files of the shard into `attempt`, and count."""
        ordered = [self.rows[i] for i in range(self.source.num_rows)]
        for number, row in enumerate(ordered):
            row.values["key"] = sample_key(self.shard, number, self.samples_per_shard)
            _name_as_img2dataset(row.values)
        self._write_tar(attempt, ordered)
        sample = {n: self.source[n] for n in self.source.column_names}
        attempt.write_table(f"{self.shard}.parquet", pa.table({**sample, **_arrays(ordered, SAMPLE_COLUMNS)}))
        key = {"key": pa.string()}
        attempt.write_table(f"{self.shard}.fetch.parquet", pa.table(_arrays(ordered, key | FETCH_COLUMNS)))
        log = pa.table(_arrays(ordered, key | LOG_COLUMNS))
        attempt.write_table(f"{self.shard}.fetch_log.parquet", log, clock=True)
        self._count(attempt, ordered)
        self._spool.close()

    def _write_tar(self, attempt: Attempt, ordered: list[Row]) -> None:
        source = {name: _python_values(self.source[name]) for name in self.source.column_names}
        index: dict[str, list[Any]] = {"key": [], "extension": [], "offset": [], "size": []}
        with open(attempt.path(f"{self.shard}.tar"), "wb") as target:
            tar = TarWriter(target)
            for number, row in enumerate(ordered):
                if row.place is None:
                    continue
                own = {name: values[number] for name, values in source.items()}
                for extension, data in sorted(self._members(row, own).items()):
                    tar.add(f"{row.values['key']}.{extension}", data)
                    for column, value in zip(index, (row.values["key"], extension, 0, len(data)), strict=True):
                        index[column].append(value)
            tar.finish()
        index["offset"] = [member.offset for member in tar.members]
        types = [pa.string(), pa.string(), pa.int64(), pa.int64()]
        columns = {name: pa.array(index[name], kind) for name, kind in zip(index, types, strict=True)}
        attempt.write_table(f"{self.shard}.index.parquet", pa.table(columns))

    def _members(self, row: Row, own: dict[str, Any]) -> dict[str, bytes]:
        assert row.place is not None
        self._spool.seek(row.place[0])
        record = own | {name: row.values.get(name) for name in SAMPLE_COLUMNS}
        members = {row.extension: self._spool.read(row.place[1]), "json": _json(record)}
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


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a carried column; None for what Python cannot hold, such as the year 294247."""
    try:
        values: list[Any] = column.to_pylist()
    except _NO_PYTHON_VALUE:
        values = [_python_value(scalar) for scalar in column]
    return values


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except _NO_PYTHON_VALUE:
        return None


def _json(record: Any) -> bytes:
    """Strict JSON: times, decimals and others as text, bytes in hex, null for what is no finite number."""
    return json.dumps(_plain(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def _response_values(response: Response) -> dict[str, Any]:
    return {
        "fetch_status": str(response.status),
        "fetch_detail": response.detail or None,
        "http_status": response.http_status,
        "final_url": response.final_url,
        "content_type": response.content_type,
        "original_bytes": None,
        "opt_out": response.opt_out,
        "robots": response.robots,
        "redirects": response.redirects,
        "attempts": response.attempts,
        "started": response.started,
        "seconds": response.seconds,
    }


def _picture_values(picture: Picture) -> dict[str, Any]:
    return {
        "fetch_status": str(picture.status),
        "fetch_detail": picture.detail or None,
        "original_bytes": picture.original_bytes,
        "width": picture.width,
        "height": picture.height,
        "original_width": picture.original_width,
        "original_height": picture.original_height,
        "image_format": picture.format,
        "frames": picture.frames,
        "animated": picture.animated,
        "orientation": picture.orientation,
        "exif": picture.exif,
        "sha256": picture.sha256,
    }


def _name_as_img2dataset(values: dict[str, Any]) -> None:
    """Fill img2dataset's `status` and `error_message` from ours."""
    status = FetchStatus(values["fetch_status"])
    if status is FetchStatus.SUCCESS:
        values["status"], values["error_message"] = "success", None
        return
    values["status"] = "failed_to_resize" if status.downloaded else "failed_to_download"
    values["error_message"] = f"{status}: {values['fetch_detail']}" if values["fetch_detail"] else str(status)


def _arrays(rows: list[Row], columns: dict[str, pa.DataType]) -> dict[str, pa.Array]:
    return {name: pa.array([row.values.get(name) for row in rows], kind) for name, kind in columns.items()}
