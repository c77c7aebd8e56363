"""Tars for OpenFlamingo's loader: MMC4 documents with their pictures inside, as base64.

    00000.tar    <32 hex digits>.json, one per document
    sizes.json   documents per tar

Its loader drops pictures of less than 11,000 bytes and then assigns the others to sentences anew, so those are left
out before we assign them; else a document would be read in another way than it was written. Every picture in a file
has its bytes: one version of the loader passes over a picture without them, another over the whole document.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from curate.config import require_range
from curate.document.placement import MIN_SIMILARITY
from curate.export._documents import DocumentWriter, Format, export_documents, open_tar, with_options
from curate.export._interleave import readable
from curate.export._mmc4 import PlacementRule, choose_placement, match
from curate.export.mmc4 import record
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Document, Picture
from curate.storage import Storage
from curate.tar import TarWriter

__all__ = ["LEAST_BYTES", "OpenFlamingo", "export"]

LEAST_BYTES = 11_000
"""The loader drops what has `bytes // 1000 <= 10`."""


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of OpenFlamingo. Raises ConfigError."""
    options["placement"] = choose_placement(source, options.get("placement"))
    return export_documents(with_options(OpenFlamingo, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class OpenFlamingo(Format):
    """`placement` and `min_similarity` as for MMC4. Pictures below `min_image_bytes` are left out."""

    placement: PlacementRule = "document"
    min_similarity: float = MIN_SIMILARITY
    min_image_bytes: int = LEAST_BYTES

    policies: ClassVar[tuple[str, ...]] = ("drop_slot", "drop_document")
    name: ClassVar[str] = "openflamingo"

    def __post_init__(self) -> None:
        require_range("--min-similarity", self.min_similarity, -1, 1)
        require_range("--min-image-bytes", self.min_image_bytes, 0, 1 << 30)
        super().__post_init__()

    def usable(self, picture: Picture) -> Picture:
        return readable(picture, ("jpg",))

    @contextmanager
    def writer(self, shard: str, attempt: Attempt) -> Iterator[DocumentWriter]:
        with open_tar(attempt, f"{shard}.tar") as tar:
            yield _Writer(self, tar, attempt.counts)


@dataclass
class _Writer:
    format: OpenFlamingo
    tar: TarWriter
    counts: Counter[str]

    def add(self, document: Document) -> str | None:
        least = self.format.min_image_bytes
        parts = [p for p in document.parts if not isinstance(p, Picture) or len(p.image or b"") >= least]
        self.counts["left_out.too_few_bytes"] += len(document.parts) - len(parts)
        slots = sum(isinstance(part, Picture) for part in parts)
        if not slots:
            return "no_picture"
        document = replace(document, parts=tuple(parts))
        found = match(document, self.format.placement, self.format.min_similarity)
        if isinstance(found, str):
            return found
        self.counts["left_out.no_similar_sentence"] += slots - len(found.pictures)
        line = record(document, found)
        for about, picture in zip(line["image_info"], found.pictures, strict=True):
            about["image_base64"] = base64.b64encode(picture.image or b"").decode()
        name = hashlib.sha256(document.key.encode()).hexdigest()[:32]
        self.tar.add(f"{name}.json", json.dumps(line, ensure_ascii=False).encode("utf-8", "replace"))
        return None
