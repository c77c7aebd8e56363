"""OmniCorpus' JSON lines as its trainer reads them, and its pictures, called by the digest of their URL.

    00000.jsonl           images, texts, metadata, general_metadata, doc_loc, valid_image
    00000.tar             pictures: the name is sha256(url), without an extension; unpack them all into one folder
    length.json           documents per file
    shard_id_range.json   {"00000.jsonl": [first document, one behind the last], ...}

`valid_image` has one value per picture, not per place: false for one that is not here. The same URL may stand in many
tars; unpacked, they are one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import IO, Any, ClassVar

from curate.export._documents import DocumentWriter, Format, export_documents, open_tar, with_options
from curate.export._interleave import Missing, about_picture, aligned, page_facts
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Document
from curate.storage import Storage, plain_errors
from curate.tar import TarWriter

__all__ = ["OmniCorpus", "export"]


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of OmniCorpus. Raises ConfigError."""
    return export_documents(with_options(OmniCorpus, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class OmniCorpus(Format):
    """Pictures leave as they are."""

    missing: Missing = "slot"

    name: ClassVar[str] = "omnicorpus"

    @contextmanager
    def writer(self, shard: str, attempt: Attempt) -> Iterator[DocumentWriter]:
        path = attempt.path(f"{shard}.jsonl")
        with open_tar(attempt, f"{shard}.tar") as tar, plain_errors(f"write {path}"), open(path, "wb") as lines:
            yield _Writer(lines, tar)

    def finish(self, target: Storage, counts: dict[str, dict[str, int]]) -> None:
        lengths = {f"{shard}.jsonl": own["kept"] for shard, own in counts.items() if own["kept"]}
        ends = list(accumulate(lengths.values()))
        ranges = {name: [end - lengths[name], end] for name, end in zip(lengths, ends, strict=True)}
        target.write("length.json", json.dumps(lengths, indent=1).encode())
        target.write("shard_id_range.json", json.dumps(ranges, indent=1).encode())


@dataclass
class _Writer:
    lines: IO[bytes]
    tar: TarWriter
    written: set[str] = field(default_factory=set)

    def add(self, document: Document) -> str | None:
        texts, slots = aligned(document)
        page = page_facts(document.columns)
        pictures = [slot for slot in slots if slot]
        if all(picture.image is None for picture in pictures):
            return "no_picture"
        line = {
            "images": [slot and slot.url for slot in slots],
            "texts": texts,
            "metadata": [slot and about_picture(slot, page["url"]) for slot in slots],
            "general_metadata": page,
            "doc_loc": document.key,
            "valid_image": [picture.image is not None for picture in pictures],
        }
        for picture in pictures:
            name = hashlib.sha256(picture.url.encode("utf-8", "replace")).hexdigest()
            if picture.image is not None and name not in self.written:
                self.written.add(name)
                self.tar.add(name, picture.image)
        self.lines.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        return None
