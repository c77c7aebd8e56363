"""Small hand-over folders and data sets of pairs with real pictures, written by hand as the pipelines write them."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from document_sets import jpeg, put_table

from curate.export import exporter
from curate.fetch.members import IndexedTar
from curate.handover.layout import Example, members_of
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.sample import Conversation, Document, Part, Picture, Sample, Text, Turn
from curate.storage import Storage
from curate.tar import TarWriter


def picture(seed: int, extension: str = "jpg", side: int = 24) -> Picture:
    """A picture that decodes."""
    kind = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[extension]
    return Picture("", jpeg(seed, side, kind), extension, "success")


def pair(key: str, seed: int, caption: str | None, extension: str = "jpg", **columns: Any) -> Sample:
    return Sample(key, picture(seed, extension).image or b"", extension, caption, columns)


def talk(key: str, *turns: tuple[str, Sequence[Part | str]], **columns: Any) -> Conversation:
    """A conversation of (role, parts); a string is a text."""
    parts = [(role, tuple(Text(p) if isinstance(p, str) else p for p in own)) for role, own in turns]
    return Conversation(key, tuple(Turn(role, own) for role, own in parts), columns)


def page(key: str, *parts: Part | str, **columns: Any) -> Document:
    return Document(key, tuple(Text(p) if isinstance(p, str) else p for p in parts), columns)


def put_examples(storage: Storage, shard: str, examples: Sequence[Example], kind: Any) -> None:
    """One shard: tar, index and sample table."""
    target = io.BytesIO()
    writer = TarWriter(target)
    tar = IndexedTar(writer)
    for example in examples:
        for extension, data in members_of(example, kind):
            tar.add(example.key, extension, data)
    writer.finish()
    storage.write(f"{shard}.tar", target.getvalue())
    put_table(storage, f"{shard}.index.parquet", tar.index())
    put_table(storage, f"{shard}.parquet", pa.table({"key": pa.array([e.key for e in examples], pa.string())}))


def put_handover(storage: Storage, sources: Mapping[str, tuple[str, Sequence[Sequence[Example]]]]) -> None:
    """A hand-over: of each source its kind and its shards of examples."""
    shards = []
    for name, (kind, parts) in sources.items():
        for examples in parts:
            shard = f"{len(shards):05d}"
            put_examples(storage, shard, examples, kind)
            shards.append({"id": shard, "tar": f"{shard}.tar", "source": name, "kind": kind, "samples": len(examples)})
    told = {"manifest_version": 1, "sources": {n: {"kind": k} for n, (k, _) in sources.items()}, "shards": shards}
    storage.write("manifest.json", json.dumps(told).encode())


def export(format: str, source: Storage, target: Storage, **options: Any) -> dict[str, Any]:
    """Run an export to its end; answers what it tells. Two examples a shard where nothing else is said."""
    settings = {"shard_samples": 2, "shuffle": False, "seed": 0, **options}
    job, finish = exporter(format)(source, **settings)
    outcome = run_job(job, target, InlineEngine())
    assert not outcome.failed, outcome.failed
    return finish(target)
