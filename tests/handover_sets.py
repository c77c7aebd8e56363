"""Small hand-overs written by hand, as composing writes them: shards, tables, tokens and a minimal manifest.

A key is the shard's number and the row's; `source_key` is the key that the example was given. The one tokenizer is
"words": words between spaces, of all text of an example.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.export._captions import CAPTION_COLUMNS
from curate.fetch.members import IndexedTar
from curate.handover.layout import Example, kind_of, members_of, pictures_of
from curate.manifest import write_parquet
from curate.sample import Conversation, Document, Part, Picture, Sample, Text, Turn
from curate.tar import TarWriter

TOKENIZER = "words"
LISTS = ("captions", "caption_origins", "caption_scores", "caption_weights")
TABLE = {
    "key": pa.string(),
    "source_key": pa.string(),
    "source": pa.string(),
    "kind": pa.string(),
    "images": pa.int32(),
    "widths": pa.list_(pa.int32()),
    "heights": pa.list_(pa.int32()),
    "chars": pa.int64(),
}


def jpeg(seed: int, width: int = 32, height: int = 24) -> bytes:
    """A picture of coloured noise, another for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "jpeg", quality=90)
    return target.getvalue()


def pair(number: int, captions: Sequence[str] = (), origins: Sequence[str] = (), **columns: Any) -> Sample:
    """A pair; with `captions`, the lists of a view: all of one weight, the first of them its caption."""
    texts = list(captions) or [f"picture number {number}"]
    lists = {
        "captions": texts,
        "caption_origins": list(origins),
        "caption_scores": [None] * len(texts),
        "caption_weights": [1 / len(texts)] * len(texts),
    }
    return Sample(f"pair{number}", jpeg(number), "jpg", texts[0], columns | (lists if origins else {}))


def page(number: int, images: int = 2, words: int = 6) -> Document:
    """An interleaved document: a text of `words` words before each picture, and one at the end."""
    text = Text(" ".join(f"w{number}" for _ in range(words)))
    parts: list[Part] = []
    for place in range(images):
        parts += [text, Picture("", jpeg(1000 * number + place), "jpg", "success")]
    return Document(f"page{number}", (*parts, text))


def talk(number: int) -> Conversation:
    """A question about a picture and its answer."""
    asked = (Picture("", jpeg(50_000 + number), "jpg", "success"), Text(f"What number is this, {number}?"))
    return Conversation(f"talk{number}", (Turn("user", asked), Turn("assistant", (Text(f"It is {number}."),))))


def prose(number: int, words: int = 12) -> Document:
    """A document without a picture."""
    return Document(f"prose{number}", (Text(" ".join(f"t{number}" for _ in range(words))),))


def make_handover(folder: Path, sources: Mapping[str, Sequence[Example]], shard_samples: int = 10) -> Path:
    """Write the sources into shards of `shard_samples` (the last of a source has the rest); answers the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    kinds = {name: _kind(examples) for name, examples in sources.items()}
    for name, examples in sources.items():
        for start in range(0, len(examples), shard_samples):
            own = examples[start : start + shard_samples]
            shards.append(_write_shard(folder, f"{len(shards):05d}", name, kinds[name], own))
    said = {name: {"kind": kind, "path": f"/sets/{name}", "licence": "CC0-1.0"} for name, kind in kinds.items()}
    manifest = {
        "manifest_version": 1,
        "dataset_id": "toy",
        "created_by": {"program": "tests"},
        "sources": said,
        "tokenizers": {TOKENIZER: {"about": "words between spaces"}},
        "shards": shards,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


def _kind(examples: Sequence[Example]) -> str:
    """The one kind of a source: interleaved where any of its documents has a picture."""
    found = {kind_of(example) for example in examples}
    return "interleaved" if "interleaved" in found else found.pop()


def _write_shard(folder: Path, shard: str, source: str, kind: Any, examples: Sequence[Example]) -> dict[str, Any]:
    keys = [f"{shard}{row:05d}" for row in range(len(examples))]
    with open(folder / f"{shard}.tar", "wb") as target:
        writer = TarWriter(target)
        tar = IndexedTar(writer)
        for key, example in zip(keys, examples, strict=True):
            for extension, data in members_of(example, kind):
                tar.add(key, extension, data)
        writer.finish()
    rows = [_row(key, source, kind, example) for key, example in zip(keys, examples, strict=True)]
    schema = TABLE | (dict(CAPTION_COLUMNS) if kind == "pairs" else {})
    write_parquet(pa.Table.from_pylist(rows, pa.schema(schema)), folder / f"{shard}.parquet")
    write_parquet(tar.index(), folder / f"{shard}.index.parquet")
    tokens = _tokens(keys, examples, rows)
    write_parquet(tokens, folder / f"{shard}.tokens.parquet")
    names = [f"{shard}{end}" for end in (".tar", ".parquet", ".index.parquet", ".tokens.parquet")]
    files = [_file(folder / name) for name in names]
    return {
        "id": shard,
        "tar": names[0],
        "sha256": files[0]["sha256"],
        "bytes": files[0]["bytes"],
        "source": source,
        "kind": kind,
        "samples": len(rows),
        "images": sum(row["images"] for row in rows),
        "text_tokens": {TOKENIZER: int(np.sum(np.asarray(tokens[f"tokens_{TOKENIZER}"])))},
        "files": files,
    }


def _file(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"name": path.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _row(key: str, source: str, kind: str, example: Example) -> dict[str, Any]:
    there = [p.image for p in pictures_of(example) if p.image is not None]
    sizes = [Image.open(io.BytesIO(data)).size for data in there]
    row: dict[str, Any] = {
        "key": key,
        "source_key": example.key,
        "source": source,
        "kind": kind,
        "images": len(there),
        "widths": [width for width, _ in sizes],
        "heights": [height for _, height in sizes],
        "chars": sum(len(text) for text in texts_of(example)),
    }
    if isinstance(example, Sample):
        row |= {name: example.columns[name] for name in LISTS if name in example.columns}
        row |= {"caption": example.caption, "web_caption": example.columns.get("web_caption", example.caption)}
    return row


def _tokens(keys: Sequence[str], examples: Sequence[Example], rows: Sequence[dict[str, Any]]) -> pa.Table:
    counts = [sum(len(text.split()) for text in texts_of(example)) for example in examples]
    columns = {"key": pa.array(keys), f"tokens_{TOKENIZER}": pa.array(counts, pa.int32())}
    if any(row.get("captions") for row in rows):
        lists = [[len(text.split()) for text in row.get("captions") or ()] for row in rows]
        columns[f"captions_tokens_{TOKENIZER}"] = pa.array(lists, pa.list_(pa.int32()))
    return pa.table(columns)


def texts_of(example: Example) -> list[str]:
    """All its texts; of a pair its caption alone."""
    if isinstance(example, Sample):
        return [example.caption or ""]
    parts = example.parts if isinstance(example, Document) else [p for turn in example.turns for p in turn.parts]
    return [part.text for part in parts if isinstance(part, Text)]
