"""Interleaved documents of a data set on their way into a hand-over: as exports take them, pictures in their own bytes.

Text between two pictures is one text, with the separators of the page. A shard of the data set is read by as few
output shards as can be: a shuffle orders its shards and leaves the pages of each as they were, as exports do.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, cast

import numpy as np
import pyarrow as pa

from curate.document.missing import kept_and_missing
from curate.document.read import documents_at
from curate.errors import ShardError
from curate.export._document_order import find_documents
from curate.export._interleave import Missing, page_facts, runs, settle
from curate.export._order import current_shards
from curate.fetch.members import strict_json
from curate.handover.carried_images import picture_of
from curate.handover.compose_source import Facts, Item, LeftOut, Packed, ShardSettings, Size
from curate.handover.layout import members_of
from curate.manifest import Manifest
from curate.sample import Document, Picture, Text
from curate.shard import Shard
from curate.storage import Storage

__all__ = ["document_examples", "document_tables"]

MADE, MISSING = "made", "missing"
SIZE = "size"
"""Column of a picture while it is packed."""
TOLD = ("title", "text_language", "crawl_date")
"""Columns of a document that leave beside where it came from, where they hold something."""


def document_tables(
    storage: Storage, missing: Missing, samples: int, shards: ShardSettings, facts: Facts
) -> Iterator[pa.Table]:
    """A table per output shard: `shard`, `row`, `key`, `copy`, `url_repeats`; `missing`, and `made`, a digest of the
    work that the document's shard is the result of."""
    every = current_shards(storage, documents=True)
    decided = [shard for shard in every if "keep" in shard.column_files] or every
    facts["shards_without_selection"] = len(every) - len(decided)
    chosen = find_documents(decided, shards.seed if shards.shuffle else None)
    if samples and samples < len(chosen):
        chosen = chosen.take(pa.array(_drawn(chosen["key"].to_pylist(), samples, shards.seed)))
    facts["examples"] = len(chosen)
    made = _made(storage)
    for start in range(0, len(chosen), shards.samples):
        table = chosen.slice(start, shards.samples)
        own = [made.get(shard, "") for shard in table["shard"].to_pylist()]
        table = table.append_column(MADE, pa.array(own, pa.string()))
        yield table.append_column(MISSING, pa.array([missing] * len(table), pa.string()))


def document_examples(storage: Storage, plan: pa.Table, counts: Counter[str]) -> Iterator[Item]:
    """An item per row. Counts `slots`, and `missing.STATUS` of those whose picture is not there."""
    for name, group in groupby(plan.to_pylist(), key=lambda row: row["shard"]):
        rows, shard = list(group), Shard(storage, name)
        numbers = np.array([row["row"] for row in rows])
        changed = (
            f"shard {name} in {storage.root} has no document {rows[-1]['key']} any more; run the composition again"
        )
        if numbers.max() >= shard.rows():
            raise ShardError(changed)
        for row, document in zip(rows, documents_at(shard, numbers, kept_and_missing(shard)), strict=True):
            if document.key != row["key"]:
                raise ShardError(changed)
            yield _item(document, row[MISSING], name, counts)


def _item(document: Document, missing: Missing, shard: str, counts: Counter[str]) -> Item:
    ready, reason = settle(document, missing, _measured, counts)
    if reason is not None:
        return LeftOut(document.key, f"shard {shard}, {document.key}", reason)
    order = runs(ready)
    parts = tuple(Text(run) if isinstance(run, str) else run for run in order)
    packed = Document(document.key, parts, _columns(ready, order))
    pictures = [run for run in order if isinstance(run, Picture) and run.image is not None]
    sizes = [cast(Size, picture.columns[SIZE]) for picture in pictures]
    return Packed(document.key, members_of(packed, "interleaved"), sizes, [r for r in order if isinstance(r, str)])


def _measured(picture: Picture) -> Picture:
    """The picture with its size among its columns; without bytes where no header tells one."""
    found = picture_of(picture.image or b"")
    if isinstance(found, str):
        return replace(picture, image=None, extension="", status="not_a_picture")
    return replace(picture, columns={**picture.columns, SIZE: found.size})


def _columns(document: Document, order: Sequence[str | Picture]) -> dict[str, Any]:
    """What else is known: where the page and its pictures came from. `image_urls` is aligned with `images`."""
    told = page_facts(document.columns) | {name: document.columns.get(name) for name in TOLD}
    urls = [run.url or None if isinstance(run, Picture) else None for run in order]
    record = {name: value for name, value in told.items() if value is not None} | {"image_urls": urls}
    plain: dict[str, Any] = json.loads(strict_json(record))
    return plain


def _drawn(keys: list[str], samples: int, seed: int) -> list[int]:
    """The places of the documents that a draw by seed and key takes, rising."""
    draws = [hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest() for key in keys]
    return sorted(sorted(range(len(keys)), key=lambda place: (draws[place], place))[:samples])


def _made(storage: Storage) -> dict[str, str]:
    """Shard to 16 hex digits for all work on it, that of steps over all shards included."""
    work: dict[str, list[Any]] = {}
    for entry in Manifest.read(storage).entries:
        work.setdefault(entry.shard, []).append(entry.place)
    shared = work.pop("all", [])
    return {name: hashlib.sha256(json.dumps([own, shared]).encode()).hexdigest()[:16] for name, own in work.items()}
