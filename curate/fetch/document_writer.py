"""The tar of a shard of documents: `KEY.json`, then `KEY.0.jpg`, `KEY.2.jpg`, ... for each document, in row order.

    {"key": "00000000007", "url": "https://...",
     "images": [null, "1.jpg", null, null],      member KEY.1.jpg
     "texts":  ["A heading\\n\\nand a paragraph", null, "more text", null],
     "slots":  [null, {"url", "status": "success", "alt", ...}, null, {"url", "status": "not_found", ...}],
     "metadata": {"title", "crawl_date", "charset", "source_file", ...}}

The three lists are aligned. An entry is the text between two pictures (its blocks joined by their separators, as
OBELICS has it; the blocks themselves are in the table of parts) or one picture's slot. A picture that did not come
keeps its slot: image and text are null, and the slot's status says why. A document without a slot is its JSON alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from curate.document.columns import IMAGE
from curate.document.read import IMAGE_MEMBER
from curate.fetch.arrivals import FETCH_COLUMNS, LOG_COLUMNS, PICTURE_COLUMNS, Arrivals, Row, arrays
from curate.fetch.members import IndexedTar, indexed_tar, python_values, strict_json
from curate.fetch.status import FetchStatus
from curate.manifest import Attempt
from curate.shard import Shard

__all__ = ["ASKED_AS", "ASKED_URL", "ROW", "WRITTEN_COLUMNS", "DocumentWriter"]

ASKED_URL = "asked_url"
ASKED_AS = "asked_as"
"""The URL that a slot's picture was asked for by, and a digest of the settings; null where it was not."""

ROW = "row"
"""Column of the table of kept parts: their row in the shard's table of parts."""

SLOT_COLUMNS = (
    "url",
    "alt",
    "title",
    "caption",
    "section",
    "link_url",
    "rendered_width_px",
    "rendered_height_px",
)
PICTURE_VALUES = ("width", "height", "original_width", "original_height", "sha256", "image_format")
"""What a slot tells: where the page put the picture, and what arrived."""

WRITTEN_COLUMNS = ("document", "kind", "text", "separator", *SLOT_COLUMNS)
LEFT_OUT = frozenset({"key", "nodes_dropped"})
"""Of a document's row: said elsewhere in the JSON, or about the reading rather than the document."""


class DocumentWriter:
    """Writes the files of one shard.

    `parts` are the kept parts of kept documents, in order, with the columns WRITTEN_COLUMNS and ROW; `rows` says what
    became of each URL, `arrivals` has the pictures, and `mark` is a digest of the settings they were asked for under.
    """

    def __init__(self, shard: Shard, parts: pa.Table, rows: Mapping[str, Row], arrivals: Arrivals, mark: str) -> None:
        self._shard, self._parts, self._rows, self._arrivals, self._mark = shard, parts, rows, arrivals, mark
        self._members: dict[int, str] = {}

    def write(self, documents: np.ndarray, attempt: Attempt) -> None:
        """Write all files into `attempt`, and count; `documents` are the rows of those that are kept."""
        with indexed_tar(self._shard.id, attempt) as tar:
            for record, parts in self._documents(documents):
                self._add(tar, record, parts)
        slots = self._slots()
        self._write_table("fetch", FETCH_COLUMNS | PICTURE_COLUMNS, slots, attempt)
        self._write_table("fetch_log", LOG_COLUMNS, slots, attempt)
        self._count(len(documents), slots, attempt)

    def _documents(self, documents: np.ndarray) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """A row of the sample table and its kept parts, one document at a time."""
        table = self._shard.table().take(pa.array(documents, pa.int64()))
        columns = {name: python_values(table[name]) for name in table.column_names}
        place = np.asarray(self._parts["document"].combine_chunks())
        starts, stops = np.searchsorted(place, documents), np.searchsorted(place, documents, side="right")
        for number, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            record = {name: values[number] for name, values in columns.items()}
            yield record, self._parts.slice(start, stop - start).to_pylist()

    def _add(self, tar: IndexedTar, document: dict[str, Any], parts: list[dict[str, Any]]) -> None:
        key, entries = document["key"], list(_joined(parts))
        rows = [None if isinstance(entry, str) else self._rows[entry["url"] or ""] for entry in entries]
        images = [f"{n}.{row.extension}" if row and row.place else None for n, row in enumerate(rows)]
        record = {
            "key": key,
            "url": document["url"],
            "images": images,
            "texts": [entry if isinstance(entry, str) else None for entry in entries],
            "slots": [None if isinstance(entry, str) else self._slot(entry) for entry in entries],
            "metadata": {name: value for name, value in document.items() if name not in LEFT_OUT},
        }
        tar.add(key, "json", strict_json(record))
        for member, entry, row in zip(images, entries, rows, strict=True):
            if member and row and not isinstance(entry, str):
                tar.add(key, member, self._arrivals.data(row))
                self._members[entry[ROW]] = member

    def _slot(self, part: dict[str, Any]) -> dict[str, Any]:
        values = self._rows[part["url"] or ""].values
        told = {"url": part["url"], "status": values["fetch_status"], "detail": values["fetch_detail"]}
        return told | {n: part[n] for n in SLOT_COLUMNS} | {n: values.get(n) for n in PICTURE_VALUES}

    def _slots(self) -> dict[int, Row]:
        """What became of each slot, by its row in the table of parts."""
        columns = (self._parts[name].to_pylist() for name in (ROW, "kind", "url"))
        return {part: self._rows[url or ""] for part, kind, url in zip(*columns, strict=True) if kind == IMAGE}

    def _write_table(
        self, family: str, columns: Mapping[str, pa.DataType], slots: Mapping[int, Row], attempt: Attempt
    ) -> None:
        """A column file beside the parts: null for those that were not asked for."""
        parts, clock = self._shard.parts, columns is LOG_COLUMNS
        key = parts.columns(["key"])["key"]
        found = pa.table(arrays(slots.values(), columns))
        if not clock:
            found = found.append_column(IMAGE_MEMBER, pa.array(map(self._members.get, slots), pa.string()))
            urls = dict(zip(self._parts[ROW].to_pylist(), self._parts["url"].to_pylist(), strict=True))
            found = found.append_column(ASKED_URL, pa.array([urls[slot] or "" for slot in slots], pa.string()))
            found = found.append_column(ASKED_AS, pa.array([self._mark] * len(slots), pa.string()))
        places = np.full(len(key), -1, np.int64)
        places[list(slots)] = np.arange(len(slots))
        table = found.take(pa.array(places, mask=places < 0)).add_column(0, "key", key)
        attempt.write_table(parts.table_name(family), table, clock=clock)

    def _count(self, documents: int, slots: Mapping[int, Row], attempt: Attempt) -> None:
        statuses = Counter(row.values["fetch_status"] for row in slots.values())
        kept = statuses.pop(FetchStatus.SUCCESS, 0)
        size = sum(row.values.get("original_bytes") or 0 for row in self._rows.values())
        attempt.counts.update({"in": len(slots), "kept": kept, "documents": documents})
        attempt.counts.update({"urls": len(self._rows), "original_bytes": size})
        attempt.counts.update({f"dropped.{status}": count for status, count in statuses.items()})


def _joined(parts: Iterable[dict[str, Any]]) -> Iterator[str | dict[str, Any]]:
    """Parts with the text between two slots as one; the separator before its first block is left out."""
    for is_slot, run in groupby(parts, key=lambda part: part["kind"] == IMAGE):
        if is_slot:
            yield from run
            continue
        first, *rest = run
        yield (first["text"] or "") + "".join((part["separator"] or "") + (part["text"] or "") for part in rest)
