"""Documents given as lists of parts become a shard, and the FetchImages stage runs on it as a job would run it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.document.columns import DOCUMENT_COLUMNS, PART_COLUMNS, part_names
from curate.fetch.document_images import FetchImages
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.manifest import Attempt
from curate.plan import Job, check
from curate.run.inline import InlineEngine
from curate.run.scheduler import Outcome, RunSettings, run_job
from curate.shard import Shard
from curate.slices import write_slices
from curate.stage import Runtime, Stage
from curate.storage import Storage

Part = str | tuple[str, str]
"""A URL (it begins with http), a text, or a text with the separator before it; `-` in front: the part is not kept."""

NOT_KEPT = "--"
"""As the first part: the document is not kept."""


@dataclass(frozen=True)
class Given(Stage):
    """Stands for all that comes before: a row of the source is a document, its parts as JSON."""

    name: ClassVar[str] = "given"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return (*DOCUMENT_COLUMNS, "unique_keep", *part_names((*PART_COLUMNS, "unique_keep")))

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        rows = [json.loads(told) for told in shard.source()["parts"].to_pylist()]
        documents = [_document(shard.id, row) for row in range(len(rows))]
        parts = [part for row, told in enumerate(rows) for part in _parts(shard.id, row, told)]
        _write(attempt, shard, documents, DOCUMENT_COLUMNS, [NOT_KEPT not in row for row in rows])
        _write(attempt, shard.parts, parts, PART_COLUMNS, [part["kept"] for part in parts])


def _write(attempt: Attempt, rows: Shard, records: list[Any], columns: Mapping[str, Any], keep: list[bool]) -> None:
    values = {name: pa.array([r.get(name) for r in records], kind) for name, kind in columns.items()}
    attempt.write_table(rows.table_name(), pa.table(values))
    attempt.write_table(rows.table_name("unique_select"), pa.table({"unique_keep": pa.array(keep, pa.bool_())}))


def _document(shard: str, row: int) -> dict[str, Any]:
    return {
        "key": f"{shard}{row:06d}",
        "url": f"http://pages.test/{row}.html",
        "title": f"Page {row}",
        "source_offset": 100 * row,
        "nodes_dropped": [("script", 3)],
    }


def _parts(shard: str, row: int, told: list[Any]) -> list[dict[str, Any]]:
    found = []
    for number, part in enumerate(part for part in told if part != NOT_KEPT):
        text, separator = part if isinstance(part, list) else (part, "\n\n")
        kept, text = not text.startswith("-"), text.removeprefix("-")
        values: dict[str, Any] = {"key": f"{shard}{row:06d}.{number}", "document": row, "kept": kept}
        if text.startswith("http"):
            values |= {"kind": "image", "url": text, "alt": f"alt of {text}", "section": "A heading"}
        else:
            values |= {"kind": "text", "text": text, "block": "p", "separator": separator}
        found.append(values)
    return found


def fetch_documents(
    root: Path,
    documents: Sequence[Sequence[Part]],
    addresses: Mapping[str, str],
    fetch: FetchSettings,
    image: ImageSettings | None = None,
    *,
    threads: int = 2,
) -> Outcome:
    """One shard of these documents, made and fetched by the inline engine; it may not fail."""
    table = pa.table({"parts": [json.dumps(parts) for parts in documents]})
    steps = (Given(), FetchImages(fetch, image or ImageSettings(size_px=64, resize_mode="keep_ratio_largest")))
    job = Job(steps, lambda storage: write_slices(storage, [table]))
    check(job)
    settings, runtime = RunSettings(attempts=1), Runtime(threads=threads, addresses=addresses)
    outcome = run_job(job, Storage(str(root)), InlineEngine(), settings, runtime)
    assert not outcome.failed, outcome.failed
    return outcome
