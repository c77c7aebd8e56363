"""What has arrived so far, in any order: a row's values, and its encoded picture until the shard is written.

Pictures wait in a spool: memory up to 32 MiB, then an unnamed file. Nothing kept here depends on when or how often a
row was asked for, except the columns of LOG_COLUMNS, which go to a file of their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.fetch.client import Response
from curate.fetch.picture import Picture

__all__ = ["FETCH_COLUMNS", "LOG_COLUMNS", "PICTURE_COLUMNS", "Arrivals", "Row", "arrays"]

SPOOL_BYTES = 32 << 20

PICTURE_COLUMNS: dict[str, pa.DataType] = {
    "width": pa.int32(),
    "height": pa.int32(),
    "original_width": pa.int32(),
    "original_height": pa.int32(),
    "exif": pa.string(),
    "sha256": pa.string(),
}
"""Of the stored picture and of the downloaded one; sizes in pixels, the original ones upright."""

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


@dataclass(frozen=True)
class Row:
    """One finished row: values by column name, and where its encoded picture lies in the spool (None on failure)."""

    values: dict[str, Any]
    extension: str = ""
    place: tuple[int, int] | None = None


class Arrivals:
    """The rows that have finished, by number. The spool lies in the folder `scratch`."""

    def __init__(self, scratch: Path) -> None:
        self.rows: dict[int, Row] = {}
        self._spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES, dir=str(scratch))  # noqa: SIM115  (closed by close)

    def put(self, response: Response, picture: Picture | None) -> None:
        """Take one row as the crawl ends it."""
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
        place = self._spool.seek(0, 2)
        self.rows[row] = Row(values, extension, (place, len(data)))
        self._spool.write(data)

    def data(self, row: Row) -> bytes:
        """The encoded picture of a row; empty where it has none."""
        if row.place is None:
            return b""
        self._spool.seek(row.place[0])
        return self._spool.read(row.place[1])

    def close(self) -> None:
        """Give the spool's room back."""
        self._spool.close()


def arrays(rows: Iterable[Row], columns: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """Columns of rows in their order; null where a row says nothing."""
    rows = list(rows)
    return {name: pa.array([row.values.get(name) for row in rows], kind) for name, kind in columns.items()}


def _response_values(response: Response) -> dict[str, Any]:
    return {
        "fetch_status": str(response.status),
        "fetch_detail": response.detail or None,
        "http_status": response.http_status,
        "final_url": response.final_url,
        "content_type": response.content_type,
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
