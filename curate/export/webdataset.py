"""Kept samples in new tars, for webdataset and open_clip: shuffled, of equal size, with the sizes beside them.

    00000.tar            the members as they were, byte for byte, in plain USTAR
    00000.parquet        img2dataset's columns, from the samples' `.json`, and `source_key`: of a copy KEY-1 its KEY
    00000.index.parquet  key, extension, offset, size
    00000_stats.json     img2dataset's counts
    sizes.json           open_clip's {"00000.tar": 10000, ...}

With the texts of a view (`captions`), `.txt` is the first of them and `.json` has all (`curate.export._captions`);
pictures and other members stay as they were.

A shuffle over a whole data set reads every output shard's samples from everywhere: one range request a sample, 32
under way. Each output shard is a piece of work of its own, so a lost worker costs one shard.
"""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa

from curate.errors import ConfigError, ShardError
from curate.export._captions import CAPTION_COLUMNS, find_captions, retold
from curate.export._order import find_samples, planned
from curate.fetch.members import IndexedTar
from curate.fetch.pair_writer import SAMPLE_COLUMNS
from curate.handover.manifest import MANIFEST
from curate.manifest import Attempt, CommitLog
from curate.plan import Job
from curate.shard import Shard, Slice
from curate.slices import SlicePlan, known_slices, read_plan
from curate.source.columns import value_column
from curate.source.tar_rows import member_row
from curate.source.tar_samples import read_contents
from curate.stage import Runtime, Stage
from curate.storage import Storage, plain_errors
from curate.tar import TarWriter

__all__ = ["SOURCE_KEY", "Pack", "Pair", "export", "pair_columns", "read_ahead", "read_pair"]

SOURCE_KEY = "source_key"
"""The column with the key that a sample has in the data set that it comes from: lists of keys name its copies too."""
WITHOUT_TEXT = "samples_without_text"
READS_AHEAD = 32
READERS = 8


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job that writes the kept samples of `source` into a folder of their own, and what completes it.

    `shard_samples` per tar; the last one has the rest. The only option is `captions`, the name of a view whose texts
    are to leave. Raises ConfigError, also when the folder is found to hold another export.
    """
    if shard_samples < 1:
        raise ConfigError(f"--shard-samples {shard_samples} is out of range: at least 1")
    view = options.pop("captions", "")
    if options:
        raise ConfigError(f"format webdataset takes no --{next(iter(options)).replace('_', '-')}; it takes --captions")
    slices = partial(_plan, source, shard_samples, seed if shuffle else None, view)
    return Job(steps=(Pack(source.root),), slices=slices, known_slices=known_slices), _finish


def _plan(source: Storage, shard_samples: int, seed: int | None, view: str, target: Storage) -> Iterator[Slice]:
    if target.root == source.root:
        raise ConfigError(f"{target.root} is the data set itself; choose another --out")
    if source.exists(MANIFEST):
        raise ConfigError(
            f"{source.root} is a hand-over, whose tars are for webdataset as they are (its {MANIFEST} names them); "
            "--to open_clip writes its pairs anew"
        )
    order = find_samples(source, seed)
    identity: dict[str, Any] = {"samples": order.digest(), "undecided": list(order.undecided)}
    settings = {"shard_samples": shard_samples, "seed": seed}
    tables = order.tables(shard_samples)
    if view:
        chosen = find_captions(source, order, view)
        identity |= {"captions": f"{view} {chosen.digest}", WITHOUT_TEXT: chosen.left_out}
        tables = chosen.tables(shard_samples)
    other = "other samples, captions, order or shard size"
    yield from planned(target, SlicePlan(identity, settings), other, tables)


def _finish(target: Storage) -> dict[str, Any]:
    """Write `sizes.json` from the commits; answers what was written."""
    plan = read_plan(target)
    wanted = {piece.shard for piece in plan.slices} if plan else set()
    packed = {c.shard: c.counts["kept"] for c in CommitLog(target).fold([Pack.name]) if c.shard in wanted}
    sizes = {f"{shard}.tar": count for shard, count in sorted(packed.items())}
    target.write("sizes.json", json.dumps(sizes, indent=1).encode())
    about = plan.identity if plan else {}
    told = {"shards": len(sizes), "samples": sum(sizes.values())}
    left_out = {WITHOUT_TEXT: about[WITHOUT_TEXT]} if WITHOUT_TEXT in about else {}
    return told | left_out | {"shards_without_selection": len(about.get("undecided", ()))}


@dataclass(frozen=True)
class Pack(Stage):
    """Writes one output shard. `origin` is the data set that the samples come from."""

    origin: str = field(metadata={"runtime": True})

    name: ClassVar[str] = "pack"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("image", *SAMPLE_COLUMNS, SOURCE_KEY)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        origin, plan = Storage(self.origin), shard.source()
        path = attempt.path(shard.tar)
        with plain_errors(f"write {path}"), open(path, "wb") as target:
            tar = TarWriter(target)
            pack = _Packer(IndexedTar(tar))
            for place, raw in read_ahead(origin, plan):
                pack.add(raw, place)
            tar.finish()
        attempt.write_table(shard.table_name(), pack.samples(pair_columns(origin, plan)))
        attempt.write_table(shard.table_name("index"), pack.tar.index())
        attempt.counts.update({"in": len(plan), "kept": len(pack.rows)})
        done = len(pack.rows)
        counts = {"count": done, "successes": done, "failed_to_download": 0, "failed_to_resize": 0}
        stats = json.dumps(counts | {"status_dict": {"success": done}}, indent=4)
        attempt.write_bytes(f"{shard.id}_stats.json", stats.encode())


@dataclass(frozen=True)
class Pair:
    """A sample from its bytes in a tar: its key there, its members by extension, its row of the sample table."""

    key: str
    members: Mapping[str, bytes]
    row: Mapping[str, Any]


def read_pair(raw: bytes, place: Mapping[str, Any]) -> Pair:
    """The sample of a row of the plan: with the texts of a view where the row has some. Raises ShardError when the
    bytes are not one sample."""
    data, name = io.BytesIO(raw), f"{place['shard']}.tar at byte {place['offset']}"
    contents = read_contents(data, name)
    groups = list(contents.groups.values())
    if len(groups) != 1 or contents.damage is not None:
        raise ShardError(f"{name} is not the one sample that its index says; make the shard anew")
    row = member_row(groups[0], data)
    members = {e: raw[m.offset : m.offset + m.size] for e, m in groups[0].members.items()}
    if "captions" in place:
        members, row = retold(members, row, place)
    return Pair(groups[0].key, members, row | {"status": "success", "error_message": None})


def pair_columns(origin: Storage, plan: pa.Table) -> dict[str, pa.DataType]:
    """The columns of a sample table: those that the data set's own has, SOURCE_KEY, and those of a view's texts."""
    own = Shard(origin, plan["shard"][0].as_py()).schema() if len(plan) else pa.schema(SAMPLE_COLUMNS.items())
    told = CAPTION_COLUMNS if "captions" in plan.column_names else {}
    return {field.name: field.type for field in own} | {SOURCE_KEY: pa.string()} | dict(told)


class _Packer:
    """Samples on their way into one tar."""

    def __init__(self, tar: IndexedTar) -> None:
        self.tar = tar
        self.rows: dict[str, dict[str, Any]] = {}

    def add(self, raw: bytes, place: dict[str, Any]) -> None:
        """Append a sample from its bytes in its own tar. Raises ShardError when they are not one sample."""
        pair = read_pair(raw, place)
        key = self._free_key(pair.key, place["copy"])
        for extension, content in pair.members.items():
            self.tar.add(key, extension, content)
        self.rows[key] = {**pair.row, "key": key, SOURCE_KEY: pair.key}

    def samples(self, columns: Mapping[str, pa.DataType]) -> pa.Table:
        """The sample table."""
        rows = list(self.rows.values())
        return pa.table({name: value_column([row.get(name) for row in rows], kind) for name, kind in columns.items()})

    def _free_key(self, key: str, copy: int) -> str:
        """The key, or for a copy of it `KEY-1`; two samples of one tar never share one."""
        name = f"{key}-{copy}" if copy else key
        while name in self.rows:
            copy += 1
            name = f"{key}-{copy}"
        return name


def read_ahead(origin: Storage, plan: pa.Table) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each sample's bytes in order, with a bounded number of reads under way."""
    waiting: deque[tuple[dict[str, Any], Future[bytes]]] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        for place in plan.to_pylist():
            tar = f"{place['shard']}.tar"
            waiting.append((place, pool.submit(origin.read_range, tar, place["offset"], place["size"])))
            if len(waiting) >= READS_AHEAD:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _result(place: dict[str, Any], reading: Future[bytes]) -> tuple[dict[str, Any], bytes]:
    try:
        return place, reading.result()
    except FileNotFoundError:
        raise ShardError(
            f"the data set has no {place['shard']}.tar any more; run the export again from its start"
        ) from None
