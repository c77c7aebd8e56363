"""Tars for Megatron-Energon's interleaved data, with the files that `energon prepare` would write for its loader.

    00000.tar                  KEY.json {"images": [null, "1.jpg"], "texts": ["...", null]}, KEY.1.jpg, ...
    00000.tar.idx              where each document begins, and the end: little-endian, 8 bytes each
    .nv-meta/dataset.yaml      `InterleavedSample`, read by the loader beside it
    .nv-meta/sample_loader.py  turns the JSON and its pictures into one sequence
    .nv-meta/split.yaml        all shards are `train`
    .nv-meta/.info.json        documents per shard

A member's name is split at its first dot, so keys have none. `index.sqlite`, which Energon needs only to look a
document up by its key from another data set, is not written: `energon prepare` adds it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from curate.export._documents import DocumentWriter, Format, export_documents, open_tar, with_options
from curate.export._interleave import aligned, as_jpeg
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Document, Picture
from curate.storage import Storage
from curate.tar import TarWriter

__all__ = ["Energon", "export"]

DECODED = ("jpg", "jpeg", "png")
"""What Energon's decoder takes for a picture by its extension."""

DATASET = """sample_type:
  __module__: megatron.energon
  __class__: InterleavedSample
part_filter: sample_loader.py:part_filter
sample_loader: sample_loader.py:sample_loader
"""

LOADER = '''"""Read by Energon: a document's JSON and its pictures as one sequence."""


def part_filter(part: str) -> bool:
    return True


def sample_loader(raw: dict) -> dict:
    document = raw["json"]
    order = zip(document["images"], document["texts"], strict=True)
    return {"__key__": raw["__key__"], "sequence": [text if name is None else raw[name] for name, text in order]}
'''


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Energon. Raises ConfigError."""
    return export_documents(with_options(Energon, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class Energon(Format):
    """JPEG and PNG leave as they are, other pictures as JPEG."""

    policies: ClassVar[tuple[str, ...]] = ("drop_slot", "drop_document")
    name: ClassVar[str] = "energon"

    def usable(self, picture: Picture) -> Picture:
        return picture if picture.extension in DECODED else as_jpeg(picture)

    @contextmanager
    def writer(self, shard: str, attempt: Attempt) -> Iterator[DocumentWriter]:
        with open_tar(attempt, f"{shard}.tar") as tar:
            writer = _Writer(tar)
            yield writer
        starts = (*writer.starts, writer.end)
        attempt.write_bytes(f"{shard}.tar.idx", struct.pack(f"<{len(starts)}Q", *starts))

    def finish(self, target: Storage, counts: dict[str, dict[str, int]]) -> None:
        sizes = {f"{shard}.tar": own["kept"] for shard, own in counts.items() if own["kept"]}
        train = "\n".join(f"  - {name}" for name in sizes)
        split = f"split_parts:\n  train:\n{train}\n  val: []\n  test: []\nexclude: []\n"
        target.write(".nv-meta/dataset.yaml", DATASET.encode())
        target.write(".nv-meta/sample_loader.py", LOADER.encode())
        target.write(".nv-meta/split.yaml", split.encode())
        target.write(".nv-meta/.info.json", json.dumps({"shard_counts": sizes}, indent=1).encode())


@dataclass
class _Writer:
    tar: TarWriter
    starts: list[int] = field(default_factory=list)
    end: int = 0

    def add(self, document: Document) -> str | None:
        self.starts.append(self.tar.position)
        texts, pictures = aligned(document)
        names = [p and f"{place}.{p.extension}" for place, p in enumerate(pictures)]
        record = {"images": names, "texts": texts, "url": document.columns.get("url")}
        self.tar.add(f"{document.key}.json", json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"))
        for name, picture in zip(names, pictures, strict=True):
            if picture is not None:
                self.tar.add(f"{document.key}.{name}", picture.image or b"")
        self.end = self.tar.position
        return None
