"""The files that make a folder of tars a data set of Energon's, and those that blend several of them.

    .nv-meta/dataset.yaml       of which type its samples are, and how they are read
    .nv-meta/sample_loader.py   where that takes more than a map of fields
    .nv-meta/split.yaml         all shards are `train`
    .nv-meta/.info.json         samples per shard
    00000.tar.idx               where each sample begins, and the end: little-endian, 8 bytes each

YAML is written as text; names are quoted as JSON, which is YAML too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from curate.export._documents import open_tar
from curate.export._interleave import readable
from curate.export._mixture import Share
from curate.manifest import Attempt
from curate.sample import Picture
from curate.storage import Storage
from curate.tar import TarWriter

__all__ = ["CRUDE", "IndexedSamples", "blend", "decodable", "open_samples", "write_meta"]

DECODED = ("jpg", "jpeg", "png")
"""What Energon's decoder takes for a picture by its extension."""

CRUDE = "__module__: megatron.energon\n__class__: CrudeWebdataset\n"
"""A data set whose samples the user's task encoder cooks."""


@dataclass
class IndexedSamples:
    """A tar and where each of its samples begins."""

    tar: TarWriter
    starts: list[int] = field(default_factory=list)
    end: int = 0

    def add(self, members: Sequence[tuple[str, bytes]]) -> None:
        """Append the members of one sample, with their whole names."""
        self.starts.append(self.tar.position)
        for name, data in members:
            self.tar.add(name, data)
        self.end = self.tar.position


@contextmanager
def open_samples(attempt: Attempt, name: str) -> Iterator[IndexedSamples]:
    """The tar `name` of this attempt and its `.idx`, whole when the context ends."""
    with open_tar(attempt, name) as tar:
        samples = IndexedSamples(tar)
        yield samples
    starts = (*samples.starts, samples.end)
    attempt.write_bytes(f"{name}.idx", struct.pack(f"<{len(starts)}Q", *starts))


def decodable(picture: Picture) -> Picture:
    """JPEG and PNG as they are, other pictures as JPEG."""
    return readable(picture, DECODED)


def write_meta(target: Storage, folder: str, sizes: Mapping[str, int], files: Mapping[str, str]) -> None:
    """`.nv-meta` of a folder ("" for the export's own): `sizes` are samples per tar, those without are in no split;
    `files` are dataset.yaml and what it names."""
    sizes = {name: count for name, count in sizes.items() if count}
    train = "".join(f"\n  - {name}" for name in sizes) or " []"
    split = f"split_parts:\n  train:{train}\n  val: []\n  test: []\nexclude: []\n"
    meta = f"{folder}/.nv-meta" if folder else ".nv-meta"
    for name, text in files.items():
        target.write(f"{meta}/{name}", text.encode())
    target.write(f"{meta}/split.yaml", split.encode())
    target.write(f"{meta}/.info.json", json.dumps({"shard_counts": sizes}, indent=1).encode())


def blend(shares: Sequence[Share]) -> str:
    """A `metadataset.yaml` that mixes the folders of these sources (Energon's MetadatasetV2).

    By weight where the stage has weights, else in epochs in which a source comes up `repeat` times.
    """
    weighted = any(share.weight for share in shares)
    lines = ["__module__: megatron.energon", "__class__: MetadatasetV2", "splits:", "  train:"]
    lines.append("    blend:" if weighted else "    blend_epochized:")
    for share in shares:
        flavors: dict[str, Any] = {"source": share.source, "kind": share.kind}
        lines.append(f"      - path: {json.dumps(share.folder)}")
        lines.append(f"        {'weight' if weighted else 'repetitions'}: {share.weight if weighted else share.repeat}")
        lines.append(f"        subflavors: {json.dumps(flavors)}")
    return "\n".join(lines) + "\n"
