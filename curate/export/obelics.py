"""OBELICS' Parquet, for `datasets` and everything that reads OBELICS: a row per document, a list entry per part.

    data/00000.parquet   images list<string>, metadata string, general_metadata string, texts list<string>
    README.md            tells `datasets` which files are data

At each index exactly one of `images` and `texts` is not null. `images` are URLs, as OBELICS published them; a picture
that failed here may come for somebody else, so its slot stays. With `pictures = "bytes"` they are the stored pictures,
which `datasets` decodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import ConfigError
from curate.export._documents import DocumentWriter, Format, export_documents, with_options
from curate.export._interleave import Missing, about_picture, aligned, page_facts
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Document, Picture
from curate.storage import Storage, plain_errors

__all__ = ["Obelics", "export"]

Pictures = Literal["urls", "bytes"]

GROUP_DOCUMENTS = 1_000
GROUP_BYTES = 64 << 20
"""A row group is written when it has so many documents or bytes of pictures and text."""

_PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_IMAGES = {"urls": pa.list_(pa.string()), "bytes": pa.list_(_PICTURE)}
_FEATURES = {
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
    "metadata": {"dtype": "string", "_type": "Value"},
    "general_metadata": {"dtype": "string", "_type": "Value"},
    "texts": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
}
"""What `datasets` reads from the schema to know that the structs are pictures."""

CARD = """---
configs:
- config_name: default
  data_files: data/*.parquet
---
Interleaved documents in the layout of OBELICS; `export.json` says what was written and what was left out.
"""


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Obelics. Raises ConfigError."""
    if options.get("pictures") == "bytes":
        options = {"missing": "drop_slot", **options}
    return export_documents(with_options(Obelics, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class Obelics(Format):
    """`pictures`: "urls" as published, or "bytes"."""

    missing: Missing = "slot"
    pictures: Pictures = "urls"

    name: ClassVar[str] = "obelics"

    def __post_init__(self) -> None:
        if self.pictures not in _IMAGES:
            raise ConfigError(f"--pictures {self.pictures} is not known: urls or bytes")
        if self.pictures == "bytes" and self.missing == "slot":
            raise ConfigError("--missing slot does not fit --pictures bytes: a place with neither; choose drop_slot")
        super().__post_init__()

    @property
    def schema(self) -> pa.Schema:
        """Columns in the order of the published files."""
        text = {"metadata": pa.string(), "general_metadata": pa.string(), "texts": pa.list_(pa.string())}
        schema = pa.schema({"images": _IMAGES[self.pictures], **text})
        if self.pictures == "urls":
            return schema
        return schema.with_metadata({"huggingface": json.dumps({"info": {"features": _FEATURES}})})

    @contextmanager
    def writer(self, shard: str, attempt: Attempt) -> Iterator[DocumentWriter]:
        path = attempt.path(f"data/{shard}.parquet")
        with plain_errors(f"write {path}"), pq.ParquetWriter(path, self.schema, compression="zstd") as target:
            writer = _Writer(self, target)
            yield writer
            writer.flush()

    def finish(self, target: Storage, counts: dict[str, dict[str, int]]) -> None:
        target.write("README.md", CARD.encode())


@dataclass
class _Writer:
    format: Obelics
    target: pq.ParquetWriter
    rows: list[dict[str, Any]] = field(default_factory=list)
    held_bytes: int = 0

    def add(self, document: Document) -> str | None:
        texts, pictures = aligned(document)
        page = page_facts(document.columns)
        self.rows.append(
            {
                "images": [p and self._image(p) for p in pictures],
                "metadata": json.dumps([p and about_picture(p, page["url"]) for p in pictures], ensure_ascii=False),
                "general_metadata": json.dumps(page, ensure_ascii=False),
                "texts": texts,
            }
        )
        self.held_bytes += sum(len(t or "") for t in texts) + sum(len(p.image or b"") for p in pictures if p)
        if len(self.rows) >= GROUP_DOCUMENTS or self.held_bytes >= GROUP_BYTES:
            self.flush()
        return None

    def flush(self) -> None:
        """Write what is held as one row group."""
        if self.rows:
            self.target.write_table(pa.Table.from_pylist(self.rows, self.format.schema))
        self.rows.clear()
        self.held_bytes = 0

    def _image(self, picture: Picture) -> str | dict[str, object]:
        return picture.url if self.format.pictures == "urls" else {"bytes": picture.image, "path": None}
