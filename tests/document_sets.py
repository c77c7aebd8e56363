"""Data sets of documents, written by hand as the pipeline would write them, and exports of them."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.document.columns import PART_COLUMNS
from curate.export import exporter
from curate.manifest import write_parquet
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.storage import Storage
from curate.tar import TarWriter


def jpeg(seed: int, side: int = 24, format: str = "JPEG") -> bytes:
    """A picture of noise; 100 px are more than 11,000 bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format, **({"quality": 95} if format == "JPEG" else {}))
    return target.getvalue()


@dataclass
class Words:
    """A block of text."""

    text: str
    separator: str = "\n\n"
    keep: bool = True
    embedding: Sequence[float] | None = None


@dataclass
class Slot:
    """A place for a picture; `image` None and a status where it failed."""

    url: str
    image: bytes | None = None
    status: str | None = "success"
    extension: str = "jpg"
    keep: bool = True
    embedding: Sequence[float] | None = None


@dataclass
class Page:
    """A document and its row."""

    parts: list[Words | Slot]
    url: str = ""
    keep: bool | None = True
    more: dict[str, Any] = field(default_factory=dict)


def put_table(storage: Storage, name: str, table: pa.Table) -> None:
    target = io.BytesIO()
    write_parquet(table, target)
    storage.write(name, target.getvalue())


def put_pages(storage: Storage, shard: str, pages: Sequence[Page], decided: bool = True) -> list[str]:
    """One shard of documents with its pictures; answers the keys. A failed slot is dropped by the last round."""
    target = io.BytesIO()
    tar = TarWriter(target)
    keys = [f"{shard}{row:06d}" for row in range(len(pages))]
    parts: list[dict[str, Any]] = []
    index: list[tuple[str, str]] = []
    for row, page in enumerate(pages):
        for number, part in enumerate(page.parts):
            record = _part(keys[row], row, number, part)
            parts.append(record)
            if record.get("image_member"):
                tar.add(f"{keys[row]}.{record['image_member']}", part.image)  # type: ignore[union-attr,arg-type]
                index.append((keys[row], record["image_member"]))
        tar.add(f"{keys[row]}.json", b"{}")
        index.append((keys[row], "json"))
    tar.finish()
    storage.write(f"{shard}.tar", target.getvalue())
    places = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    names = {"key": [k for k, _ in index], "extension": [e for _, e in index]}
    put_table(storage, f"{shard}.index.parquet", pa.table(names | places))
    rows = [
        {
            "key": key,
            "url": page.url or f"http://site/{key}",
            "document_status": "ok",
            "title": f"Title of {key}",
            "source_file": "a.warc.gz",
            "source_offset": 100 * row,
            "source_length": 90,
            **page.more,
        }
        for row, (key, page) in enumerate(zip(keys, pages, strict=True))
    ]
    put_table(storage, f"{shard}.parquet", pa.Table.from_pylist(rows))
    columns = ("image_member", "fetch_status", "embedding", "unique_keep", "keep")
    kinds = {"image_member": pa.string(), "fetch_status": pa.string(), "embedding": pa.list_(pa.float32())}
    kinds |= {"unique_keep": pa.bool_(), "keep": pa.bool_()}
    put_table(storage, f"{shard}_parts.parquet", pa.Table.from_pylist(parts, pa.schema(PART_COLUMNS)))
    families = {"fetch": columns[:2], "select": columns[3:]} if decided else {"fetch": columns[:2]}
    if any(part["embedding"] is not None for part in parts):
        families["clip"] = ("embedding",)
    for family, own in families.items():
        put_table(
            storage,
            f"{shard}_parts.{family}.parquet",
            pa.table({n: pa.array([p.get(n) for p in parts], kinds[n]) for n in own}),
        )
    if decided:
        keep = pa.table({"keep": pa.array([page.keep for page in pages], pa.bool_())})
        put_table(storage, f"{shard}.select.parquet", keep)
    return keys


def _part(key: str, row: int, number: int, part: Words | Slot) -> dict[str, Any]:
    common = {"key": f"{key}.{number}", "document": row, "unique_keep": part.keep, "embedding": part.embedding}
    if isinstance(part, Words):
        own = {"kind": "text", "text": part.text, "block": "p", "separator": part.separator, "keep": part.keep}
        return common | own
    there = part.image is not None
    return common | {
        "kind": "image",
        "url": part.url,
        "alt": f"alt of {part.url}",
        "image_member": f"{number}.{part.extension}" if there else None,
        "fetch_status": part.status,
        "keep": part.keep and there,
    }


def export(format: str, source: Storage, target: Storage, **options: Any) -> dict[str, Any]:
    """Run an export to its end; answers what it tells. Two documents a shard where nothing else is said."""
    settings = {"shard_samples": 2, "shuffle": False, "seed": 0, **options}
    job, finish = exporter(format)(source, **settings)
    outcome = run_job(job, target, InlineEngine())
    assert not outcome.failed, outcome.failed
    return finish(target)


def lines(storage: Storage, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in storage.read(name).splitlines()]


def small_set(storage: Storage) -> list[str]:
    """Four documents in two shards: order of parts, a failed picture, a dropped document, boilerplate."""
    first = [
        Page(
            [Words("one"), Slot("http://i/a.jpg", jpeg(1)), Words("two"), Words("three", "\n"), Words("ad", keep=False)]
        ),
        Page([Slot("http://i/b.png", jpeg(2, format="PNG"), extension="png"), Words("four")], url="http://same/"),
        Page([Words("dropped"), Slot("http://i/x.jpg", jpeg(3))], keep=False),
    ]
    second = [
        Page(
            [
                Words("five"),
                Slot("http://i/gone.jpg", None, "failed_to_download"),
                Words("six"),
                Slot("http://i/c.jpg", jpeg(4)),
            ]
        ),
        Page([Words("seven é"), Slot("http://i/late.jpg", None, "not_found")], url="http://same/"),
    ]
    return put_pages(storage, "00000", first) + put_pages(storage, "00001", second)
