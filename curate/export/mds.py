"""MDS for mosaicml streaming: each source is a data set of its own, mixed with `Stream(local=..., proportion=...)`.

    SOURCE/index.json                  all shards of the source
    SOURCE/00000/shard.00000.mds       what output shard 00000 has, in files of 64 MiB
    SOURCE/00000/index.json            the same for that folder alone
    streams.json                       of a hand-over with stages: for each stage the arguments of its streams

Columns by kind; `about` is what else is known of the example:

    pairs         key str, image jpeg, caption str, about json
    chat          key str, images list[jpeg], messages json, about json
    interleaved   key str, images list[jpeg], texts json, about json
    text          key str, text str, about json

`messages` are those of a hand-over: blocks of text, and of pictures, taken from `images` in order. `texts` has
null where a picture stands. Pictures keep their bytes: a column called jpeg is opened by Pillow, whatever they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from curate.export._interleave import aligned, readable
from curate.export._mds import INDEX, MdsWriter, index_bytes
from curate.export._mixture import Share, sampled
from curate.export._write_examples import ExampleFormat, ExampleWriter, Made, Output, export_examples, ready
from curate.handover.layout import Example, pictures_of
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Document, Picture, Sample, Text, Turn
from curate.shard import IMAGE_EXTENSIONS
from curate.storage import Storage

__all__ = ["COLUMNS", "Mds", "export"]

STREAMS = "streams.json"

_ALL = {"key": "str", "about": "json"}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "pairs": {**_ALL, "image": "jpeg", "caption": "str"},
    "chat": {**_ALL, "images": "list[jpeg]", "messages": "json"},
    "interleaved": {**_ALL, "images": "list[jpeg]", "texts": "json"},
    "text": {**_ALL, "text": "str"},
}
"""The columns of each kind, and how they are encoded."""


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Mds. Raises ConfigError."""
    return export_examples(Mds, source, shard_samples, seed if shuffle else None, options)


@dataclass(frozen=True)
class Mds(ExampleFormat):
    """Examples of every kind, as they are."""

    name: ClassVar[str] = "mds"

    @contextmanager
    def writer(self, output: Output, attempt: Attempt) -> Iterator[ExampleWriter]:
        index = f"{output.folder}/{output.shard}/{INDEX}"
        target = MdsWriter(attempt.path(index).parent, COLUMNS[output.kind])
        yield _Writer(target, output.kind, attempt.counts)
        target.flush()
        attempt.write_bytes(index, index_bytes(target.shards))

    def finish(self, source: Storage, target: Storage, made: Sequence[Made]) -> dict[str, Any]:
        for folder, own in groupby((m.output for m in made), key=lambda output: output.folder):
            target.write(f"{folder}/{INDEX}", index_bytes([s for o in own for s in _shards(target, folder, o.shard)]))
        stages, told = sampled(source, made)
        if stages:
            streams = {name: [_stream(share) for share in shares] for name, shares in stages.items()}
            target.write(STREAMS, json.dumps(streams, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
        return told


def _shards(target: Storage, folder: str, shard: str) -> Iterator[dict[str, Any]]:
    """The index's entries of one output shard, as they are called from the folder of the source."""
    for entry in json.loads(target.read(f"{folder}/{shard}/{INDEX}"))["shards"]:
        about = entry["raw_data"]
        yield {**entry, "raw_data": {**about, "basename": f"{shard}/{about['basename']}"}}


def _stream(share: Share) -> dict[str, Any]:
    """Arguments of `streaming.Stream`; `local` is relative to the export."""
    how = {"proportion": share.weight} if share.weight else {"repeat": share.repeat}
    return {"local": share.folder, **how}


@dataclass
class _Writer:
    target: MdsWriter
    kind: str
    counts: Counter[str]

    def add(self, example: Example) -> str | None:
        example, reason = ready(example, self.kind, _opened, self.counts)
        return reason or self.target.add({"key": example.key, **_columns(example, self.kind)})


def _opened(picture: Picture) -> Picture:
    return readable(picture, IMAGE_EXTENSIONS)


def _columns(example: Example, kind: str) -> dict[str, Any]:
    if isinstance(example, Sample):
        return {"image": example.image, "caption": example.caption, "about": example.columns}
    about = {"about": example.columns}
    if isinstance(example, Document):
        return {**_document(example, kind), **about}
    images = [picture.image for picture in pictures_of(example)]
    return {"images": images, "messages": [_message(turn) for turn in example.turns], **about}


def _document(document: Document, kind: str) -> dict[str, Any]:
    texts, pictures = aligned(document)
    if kind == "text":
        return {"text": "".join(text or "" for text in texts)}
    return {"images": [picture.image for picture in pictures if picture], "texts": texts}


def _message(turn: Turn) -> dict[str, Any]:
    blocks = [
        {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "image"} for part in turn.parts
    ]
    return {"role": turn.role, "content": blocks}
