"""Interleaved tars of Hugging Face's M4 trainer (Idefics2 and 3, SmolVLM).

    000000_UUID.0.text.txt
    000000_UUID.1.image.jpeg
    000000_UUID.metadata.txt   the names of the document's files, a line each

The reader splits a name at its dots into prefix, number, type and extension, so the prefix has none, and takes a
document only if every file that `metadata.txt` names is there, next to one another. The UUID follows from the key, so
that the same export is the same bytes. The trainer passes over documents that end in two pictures or have three in a
row; they are written, for that is its choice.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.export._documents import DocumentWriter, Format, export_documents, open_tar, with_options
from curate.export._interleave import readable, runs
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Document, Picture
from curate.storage import Storage
from curate.tar import TarWriter

__all__ = ["M4", "export"]

NAMESPACE = uuid.UUID("f3f0c2b1-5a7d-5c55-9d5e-0f6b3a1c9e42")
"""Fixed for ever: a key's UUID is made from it."""


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of M4. Raises ConfigError."""
    return export_documents(with_options(M4, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class M4(Format):
    """Every picture leaves as JPEG, for the reader knows no other."""

    policies: ClassVar[tuple[str, ...]] = ("drop_slot", "drop_document")
    name: ClassVar[str] = "m4"

    def usable(self, picture: Picture) -> Picture:
        return readable(picture, ("jpg",))

    @contextmanager
    def writer(self, shard: str, attempt: Attempt) -> Iterator[DocumentWriter]:
        with open_tar(attempt, f"{shard}.tar") as tar:
            yield _Writer(tar)


@dataclass
class _Writer:
    tar: TarWriter
    documents: int = 0

    def add(self, document: Document) -> str | None:
        prefix = f"{self.documents:06d}_{uuid.uuid5(NAMESPACE, document.key)}"
        members: dict[str, bytes] = {}
        for place, run in enumerate(runs(document)):
            if isinstance(run, str):
                members[f"{prefix}.{place}.text.txt"] = run.encode("utf-8", "replace")
            else:
                members[f"{prefix}.{place}.image.jpeg"] = run.image or b""
        members[f"{prefix}.metadata.txt"] = "\n".join(members).encode()
        for name in sorted(members):
            self.tar.add(name, members[name])
        self.documents += 1
        return None
