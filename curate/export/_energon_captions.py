"""The texts of pairs for Megatron-Energon, and no copy of a picture: what a recaption costs is its texts.

    captions/00000.tar     KEY.json {"image": "KEY.jpg", "caption": "...", "captions": [...], ...}, with its `.idx`
    captions/.nv-meta/     a crude data set
    images/.nv-meta/       `.info.json` and `index.sqlite`: where each picture lies in the tars of the data set itself
    metadataset.yaml       captions first, and `aux` has the pictures (Energon's polylithic form)
    cooking.py             the cooker that puts a sample together, for a task encoder's `cookers`

1 kB a sample instead of 40 kB and more. Nothing is shuffled, for that would read every index once per output shard:
Energon draws slices of shards at random and shuffles in a buffer. The pictures are found by a path from `images` to the
data set, so the two folders keep their places to one another, or are moved together. A picture's key has to be unique
in the data set, for Energon knows nothing else of it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, ClassVar

from curate.errors import ConfigError, ShardError
from curate.export._energon_meta import CRUDE, DECODED, open_samples, write_meta
from curate.export._examples import WITHOUT_TEXT, Wanted, plan_examples
from curate.fetch.members import strict_json
from curate.manifest import Attempt, CommitLog
from curate.plan import Job
from curate.shard import IMAGE_EXTENSIONS, Shard, Slice
from curate.slices import known_slices, read_plan
from curate.stage import Barrier, Runtime, Stage
from curate.storage import Storage, plain_errors
from curate.tar import BLOCK

__all__ = ["IndexPictures", "PackCaptions", "Pictures", "export_captions"]

LISTS = ("captions", "caption_origins", "caption_scores", "caption_weights")
CAPTIONS, IMAGES = "captions", "images"

METADATASET = """__module__: megatron.energon
__class__: MetadatasetV2
splits:
  train:
    path: captions
    aux:
      images: images
"""

COOKING = '''"""For Energon: `cookers = [Cooker(cook_caption)]` in a task encoder gives `CaptioningSample`s."""

from megatron.energon import CaptioningSample, FileStore, basic_sample_keys, stateless


@stateless
def cook_caption(sample: dict, images: FileStore) -> CaptioningSample:
    record = sample["json"]
    return CaptioningSample(
        **basic_sample_keys(sample),
        image=images.get(record["image"], sample),
        caption=record["caption"],
    )
'''

TABLES = """
CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL,
    byte_offset INTEGER, byte_size INTEGER);
CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, content_byte_offset INTEGER,
    content_byte_size INTEGER);
"""
INDEXES = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples (tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq ON sample_parts (tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full ON sample_parts (tar_file_id, sample_index, part_name, content_byte_offset,
    content_byte_size);
"""


def export_captions(
    source: Storage, shard_samples: int, options: Mapping[str, Any]
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are `captions` and `sources`. Raises ConfigError."""
    unknown = next((name for name in options if name not in ("captions", "sources")), None)
    if unknown is not None:
        raise ConfigError(f"--captions-only takes no --{unknown.replace('_', '-')}; it takes --captions, --sources")
    settings = {"captions_only": True}
    wanted = Wanted("energon", ("pairs",), options.get("captions", ""), options.get("sources", ""), settings)
    slices = partial(_beside, source, plan_examples(source, shard_samples, None, wanted))
    steps = (PackCaptions(source.root), IndexPictures(source.root))
    return Job(steps=steps, slices=slices, known_slices=known_slices), _finish


def _beside(source: Storage, slices: Callable[[Storage], Iterator[Slice]], target: Storage) -> Iterator[Slice]:
    """The slices, where the pictures can be told from the export."""
    _way(source, target)
    return slices(target)


@dataclass(frozen=True)
class PackCaptions(Stage):
    """Writes the texts of one output shard. `origin` is the data set whose pictures they are of."""

    origin: str = field(metadata={"runtime": True})

    name: ClassVar[str] = "pack_captions"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("captions",)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        plan, counts = shard.source(), attempt.counts
        counts.update({"in": len(plan), "kept": 0})
        with open_samples(attempt, f"{CAPTIONS}/{shard.tar}") as samples:
            for name, group in groupby(plan.to_pylist(), key=lambda row: row["shard"]):
                pictures = Pictures(Shard(Storage(self.origin), name))
                for row in group:
                    key, record = pictures.record(row)
                    reason = _fault(record)
                    counts["kept" if reason is None else f"dropped.{reason}"] += 1
                    if reason is None:
                        samples.add([(f"{key}.json", strict_json(record))])


class Pictures:
    """The pictures of one shard of the data set, and its own captions where no view was asked for."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.starts = {start: (key, names) for key, start, _, names in _samples(shard)}
        self.texts: dict[str, Any] | None = None

    def record(self, row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Key and JSON of a sample, by its row of the plan. Raises ShardError where it is gone."""
        if row["offset"] not in self.starts:
            raise ShardError(f"{self.shard.tar} in {self.shard.storage.root} has changed; run the export anew")
        key, names = self.starts[row["offset"]]
        image = next((f"{key}.{name}" for name in IMAGE_EXTENSIONS if name in names), None)
        lists = {name: row[name] for name in LISTS} if LISTS[0] in row else self._own(key)
        caption = lists["captions"][0] if lists["captions"] else None
        return f"{key}-{row['copy']}" if row["copy"] else key, {"image": image, "caption": caption, **lists}

    def _own(self, key: str) -> dict[str, Any]:
        """The texts that the sample table has: lists of them in an export or a hand-over, else its caption."""
        if self.texts is None:
            there = [name for name in ("caption", *LISTS) if name in self.shard.column_files]
            self.texts = {row.pop("key"): row for row in self.shard.columns(["key", *there]).to_pylist()}
        row = self.texts.get(key, {})
        if row.get("captions"):
            return {name: row[name] for name in LISTS if name in row}
        return {"captions": [row["caption"]], "caption_origins": ["web"]} if row.get("caption") else {"captions": []}


def _fault(record: Mapping[str, Any]) -> str | None:
    if record["image"] is None:
        return "picture_missing"
    if record["image"].rpartition(".")[2] not in DECODED:
        return "picture_not_decoded"
    return None if (record["caption"] or "").strip() else "no_text"


def _samples(shard: Shard) -> Iterator[tuple[str, int, int, dict[str, tuple[int, int]]]]:
    """Of each sample of a tar: key, where its bytes begin and end, and its members' places by extension."""
    start = 0
    rows = shard.table("index").to_pylist()
    for key, group in groupby(rows, key=lambda row: row["key"]):
        names = {row["extension"]: (row["offset"], row["size"]) for row in group}
        end = max(offset + size + -size % BLOCK for offset, size in names.values())
        yield key, start, end, names
        start = end


@dataclass(frozen=True)
class IndexPictures(Barrier):
    """Writes where the pictures lie in the tars of `origin`, as an SQLite file that Energon reads."""

    origin: str = field(metadata={"runtime": True})

    name: ClassVar[str] = "index_pictures"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("captions",)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        names = dict.fromkeys(name for shard in shards for name in shard.source()["shard"].unique().to_pylist())
        origin, counts = Storage(self.origin), {}
        path = attempt.path(f"{IMAGES}/.nv-meta/index.sqlite")
        with plain_errors(f"write {path}"), closing(sqlite3.connect(path)) as index:
            index.executescript(TABLES)
            for number, name in enumerate(names):
                counts[f"{_way(origin, attempt.storage)}/{name}.tar"] = _put(index, number, Shard(origin, name))
            index.executescript(INDEXES)
            index.commit()
        info = json.dumps({"shard_counts": counts}, indent=1).encode()
        attempt.write_bytes(f"{IMAGES}/.nv-meta/.info.json", info)


def _put(index: sqlite3.Connection, number: int, shard: Shard) -> int:
    """Put the samples of one tar into the index; how many there are."""
    samples = list(_samples(shard))
    places = ((number, key, row, start, end - start) for row, (key, start, end, _) in enumerate(samples))
    parts = ((number, row, name, *place) for row, (*_, names) in enumerate(samples) for name, place in names.items())
    try:
        index.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", places)
    except sqlite3.IntegrityError:
        raise ConfigError(
            f"{shard.tar} in {shard.storage.root} has a key that another of its tars has, and Energon finds a picture "
            "by its key alone; leave --captions-only out"
        ) from None
    index.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", parts)
    return len(samples)


def _way(origin: Storage, target: Storage) -> str:
    """The path from the folder `images` of an export to the data set. Raises ConfigError where there is none."""
    one, other = (storage.root.rpartition("://") for storage in (origin, target))
    if one[:2] != other[:2]:
        raise ConfigError(f"--captions-only: {target.root} lies in another store than {origin.root}; write it beside")
    return os.path.relpath(one[2], f"{other[2]}/{IMAGES}")


def _finish(target: Storage) -> dict[str, Any]:
    """Write what needs all shards, and `export.json`; answers what was written."""
    plan = read_plan(target)
    wanted = {piece.shard for piece in plan.slices} if plan else set()
    counts = {c.shard: dict(c.counts) for c in CommitLog(target).fold([PackCaptions.name]) if c.shard in wanted}
    write_meta(
        target, CAPTIONS, {f"{shard}.tar": own["kept"] for shard, own in counts.items()}, {"dataset.yaml": CRUDE}
    )
    target.write("metadataset.yaml", METADATASET.encode())
    target.write("cooking.py", COOKING.encode())
    total = sum((Counter(own) for own in counts.values()), Counter[str]())
    identity = plan.identity if plan else {"undecided": []}
    told = {
        "shards": len(counts),
        "examples": total["kept"],
        "examples_left_out": {n[8:]: count for n, count in sorted(total.items()) if n.startswith("dropped.")},
        **({WITHOUT_TEXT: identity[WITHOUT_TEXT]} if WITHOUT_TEXT in identity else {}),
        "shards_without_selection": len(identity["undecided"]),
    }
    target.write("export.json", json.dumps({**told, "per_shard": counts}, indent=1).encode())
    return told
