"""Tars for Megatron-Energon, with the files that `energon prepare` would write for its loader.

Documents of a data set, in one folder:

    00000.tar                  KEY.json {"images": [null, "1.jpg"], "texts": ["...", null]}, KEY.1.jpg, ...
    00000.tar.idx, .nv-meta/   see `curate.export._energon_meta`; `InterleavedSample`

Pairs and hand-overs, a folder for each source: see `curate.export._energon_examples`. With `captions_only` the texts
of pairs alone, beside the pictures where they lie: `curate.export._energon_captions`.

A member's name is split at its first dot, so keys have none. `index.sqlite`, which Energon needs only to look a
sample up by its key from another data set, is not written for these: `energon prepare` adds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.export._documents import DocumentWriter, Format, export_documents, with_options
from curate.export._energon_captions import export_captions
from curate.export._energon_examples import INTERLEAVED, LOADER, EnergonExamples
from curate.export._energon_meta import IndexedSamples, decodable, open_samples, write_meta
from curate.export._interleave import aligned
from curate.export._write_examples import export_examples
from curate.handover.manifest import MANIFEST
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Document, Picture
from curate.shard import list_shards
from curate.storage import Storage

__all__ = ["Energon", "export"]


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Energon for documents, else `captions`, `sources` and
    `captions_only`. Raises ConfigError."""
    captions_only = options.pop("captions_only", False)
    if captions_only:
        return export_captions(source, shard_samples, options)
    if _holds_documents(source):
        return export_documents(with_options(Energon, options), source, shard_samples, shuffle, seed)
    return export_examples(EnergonExamples, source, shard_samples, seed if shuffle else None, options)


def _holds_documents(source: Storage) -> bool:
    """Whether the data set is one of documents, and no hand-over."""
    shards = [] if source.exists(MANIFEST) else list_shards(source)
    return bool(shards) and source.exists(shards[0].parts.table_name())


@dataclass(frozen=True)
class Energon(Format):
    """JPEG and PNG leave as they are, other pictures as JPEG."""

    policies: ClassVar[tuple[str, ...]] = ("drop_slot", "drop_document")
    name: ClassVar[str] = "energon"

    def usable(self, picture: Picture) -> Picture:
        return decodable(picture)

    @contextmanager
    def writer(self, shard: str, attempt: Attempt) -> Iterator[DocumentWriter]:
        with open_samples(attempt, f"{shard}.tar") as samples:
            yield _Writer(samples)

    def finish(self, target: Storage, counts: dict[str, dict[str, int]]) -> None:
        sizes = {f"{shard}.tar": own["kept"] for shard, own in counts.items()}
        write_meta(target, "", sizes, {"dataset.yaml": INTERLEAVED, "sample_loader.py": LOADER})


@dataclass
class _Writer:
    samples: IndexedSamples

    def add(self, document: Document) -> str | None:
        texts, pictures = aligned(document)
        names = [p and f"{place}.{p.extension}" for place, p in enumerate(pictures)]
        record = {"images": names, "texts": texts, "url": document.columns.get("url")}
        data = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")
        images = [(f"{document.key}.{name}", p.image or b"") for name, p in zip(names, pictures, strict=True) if p]
        self.samples.add([(f"{document.key}.json", data), *images])
        return None
