"""The sample table and the fetch columns of a tar that somebody else filled.

img2dataset's table beside the tar is taken where there is one; rows that only the tar has are made from their `.json`
and `.txt` members. Either way every picture's header is read (0.02 ms each), so that a claim of success is checked and
sizes are known; one that is too large for every scorer, which would then be null and drop nothing, is a failure. What
cannot be known stays null: a picture that img2dataset resized says nothing of the original file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

import pyarrow as pa

from curate.fetch.header import explain, read_header
from curate.fetch.img2dataset import fetch_status
from curate.fetch.pair_writer import FETCH_COLUMNS, SAMPLE_COLUMNS
from curate.fetch.picture import ImageSettings
from curate.fetch.status import FetchStatus
from curate.source.columns import cast_column, infer_type, plain_type, value_column
from curate.source.tar_samples import Group
from curate.source.url_table import RESERVED
from curate.tar import Member

__all__ = ["adopt_rows", "member_row"]

MOST_PICTURE_BYTES = 256 << 20
MOST_TEXT_BYTES = 16 << 20
MOST_EXTRA_COLUMNS = 256

STANDARD: dict[str, pa.DataType] = {"caption": pa.string(), "url": pa.string(), **SAMPLE_COLUMNS}

Row = dict[str, Any]


def adopt_rows(given: pa.Table | None, groups: Mapping[str, Group], data: IO[bytes]) -> tuple[pa.Table, pa.Table]:
    """The sample table and the fetch columns, with the same keys in the same order.

    `given` is the table beside the tar, with `key`; its rows come first, also those without a sample. `data` is the
    open tar. Other columns than img2dataset's are carried along, and of `.json` members at most 256 of them.
    """
    rows, extras = _given_rows(given) if given is not None else ([], {})
    known = {row["key"] for row in rows}
    added = [member_row(group, data) for key, group in groups.items() if key not in known]
    kinds = {n: column.type for n, column in extras.items()} if given is not None else _extra_types(added)
    columns: dict[str, pa.Array] = {}
    for name, kind in kinds.items():
        new = value_column([row.get(name) for row in added], kind)
        columns[name] = pa.concat_arrays([extras[name], new]) if name in extras else new
    rows += added
    fetched = [_inspect(row, groups.get(row["key"]), data) for row in rows]
    columns |= {n: value_column([row.get(n) for row in rows], kind) for n, kind in STANDARD.items()}
    key = {"key": columns["key"]}
    return pa.table(columns), pa.table(key | {n: _array(fetched, n, kind) for n, kind in FETCH_COLUMNS.items()})


def _given_rows(table: pa.Table) -> tuple[list[Row], dict[str, pa.Array]]:
    """Rows of img2dataset's columns, the first of each key; and the other columns as they are."""
    table = table.combine_chunks()
    columns: dict[str, pa.Array] = {}
    for name in table.column_names:
        kind = STANDARD.get(name, plain_type(table.schema.field(name).type))
        if name in STANDARD or name not in RESERVED:
            columns[name] = _cast_or_null(table[name].combine_chunks(), kind)
    rows = pa.table({n: c for n, c in columns.items() if n in STANDARD}).to_pylist()
    first: dict[str | None, int] = {}
    for number, row in enumerate(rows):
        first.setdefault(row["key"], number)
    first.pop(None, None)
    kept = pa.array(first.values(), pa.int64())
    extras = {n: c.take(kept) for n, c in columns.items() if n not in STANDARD}
    return [rows[number] for number in first.values()], extras


def _cast_or_null(column: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return cast_column(column, kind)
    except pa.ArrowException:
        return pa.nulls(len(column), kind)


def member_row(group: Group, data: IO[bytes]) -> Row:
    """What a sample's `.json` and `.txt` say; a member that is neither is passed over."""
    row: Row = {}
    if "json" in group.members:
        try:
            found = json.loads(_read(data, group.members["json"], MOST_TEXT_BYTES))
            row = found if isinstance(found, dict) else {}
        except (ValueError, RecursionError):
            row = {}
    if "txt" in group.members:
        row["caption"] = _read(data, group.members["txt"], MOST_TEXT_BYTES).decode("utf-8", "replace")
    row["key"] = group.key
    return row


def _extra_types(rows: Sequence[Row]) -> dict[str, pa.DataType]:
    names = dict.fromkeys(name for row in rows for name in row if name not in RESERVED)
    return {n: infer_type([row.get(n) for row in rows]) for n in list(names)[:MOST_EXTRA_COLUMNS]}


def _inspect(row: Row, group: Group | None, data: IO[bytes]) -> Row:
    """The fetch columns of a row; its sizes are filled in, and its status mended where the picture says otherwise."""
    claim, message = row.get("status") or "success", row.get("error_message")
    picture = group.picture if group is not None else None
    if picture is None and claim != "success":
        return {"fetch_status": str(fetch_status(claim, message)), "fetch_detail": message}
    status, detail, values = _look(row, picture, data)
    row["status"], row["error_message"] = "success", None
    if status is not FetchStatus.SUCCESS:
        row["status"] = "failed_to_resize" if status.downloaded else "failed_to_download"
        row["error_message"] = f"{status}: {detail}"
    return {"fetch_status": str(status), "fetch_detail": detail or None, **values}


def _look(row: Row, picture: Member | None, data: IO[bytes]) -> tuple[FetchStatus, str, Row]:
    if picture is None:
        return FetchStatus.NOT_AN_IMAGE, "the tar holds no picture for this key", {}
    if picture.size > MOST_PICTURE_BYTES:
        return FetchStatus.TOO_MANY_BYTES, f"{picture.size} bytes, more than {MOST_PICTURE_BYTES}", {}
    raw = _read(data, picture, MOST_PICTURE_BYTES)
    try:
        header = read_header(raw)
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes, and a row needs a status
        return *explain(error, raw), {}
    if header.width * header.height > ImageSettings.max_area_px:
        size = f"{header.width} x {header.height}, above {ImageSettings.max_area_px:,} px, which nothing here decodes"
        return FetchStatus.IMAGE_TOO_LARGE, size, {}
    if not isinstance(row.get("width"), int) or not isinstance(row.get("height"), int):
        row["width"], row["height"] = header.width, header.height
    if row.get("original_width") is not None:
        return FetchStatus.SUCCESS, "", {}
    row["original_width"], row["original_height"] = header.width, header.height
    row["sha256"] = row.get("sha256") or hashlib.sha256(raw).hexdigest()
    values = {
        "original_bytes": len(raw),
        "image_format": header.kind,
        "frames": header.frames,
        "animated": header.animated,
        "orientation": header.orientation,
    }
    return FetchStatus.SUCCESS, "", values


def _read(data: IO[bytes], member: Member, most: int) -> bytes:
    data.seek(member.offset)
    return data.read(min(member.size, most))


def _array(rows: Sequence[Row], name: str, kind: pa.DataType) -> pa.Array:
    return value_column([row.get(name) for row in rows], kind)
