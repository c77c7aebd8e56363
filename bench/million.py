"""A data set of a million rows as a run leaves it, written in ten seconds: for what reads data sets, at size.

Nothing is fetched and no model runs: columns are drawn in the shapes that web crawls have (hosts by Zipf's law, sizes
and caption lengths lognormal, one row in eight lost on the way), and the filters of a real config then judge them, so
that keep, reasons and counts are right. Files, commits, manifest and `run.json` are ours. The pictures of the tars are
32 drawn ones, repeated: rows of one shard in ten have them. The same arguments write the same bytes.

    python -m bench.million DIR [--rows 1000000] [--shard-rows 10000] [--tars 10]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from bench.million_columns import families_of
from curate.job import load_job
from curate.manifest import Commit, CommitLog, FileRecord, Manifest, fingerprint, write_parquet
from curate.plan import Job
from curate.report.cluster import SUFFIX
from curate.run_record import record_of, write_record
from curate.select import Decision, columns_of, count_reasons, decide
from curate.shard import shard_id
from curate.stage import Stage
from curate.storage import Storage
from curate.tar import TarWriter, split_name
from curate.toyweb.render import render
from curate.toyweb.scene import random_scene

__all__ = ["CONFIG", "write_rows"]

CONFIG = """
pipeline = "image_text_pairs"

[source]
kind = "url_table"
path = "urls.parquet"
url_column = "url"
caption_column = "caption"
columns = ["license", "nsfw_probability", "aesthetic_score"]

[source.types]
nsfw_probability = "float"
aesthetic_score = "float"

[fetch]
contact = "https://example.org/bench"

[models.clip]

[filters.image_size]
min_side_px = 100

[filters.aspect_ratio]
max = 3.0

[filters.caption_words]
min = 3
max = 60

[filters.caption_chars]
min = 10

[filters.caption_alphabetic]

[filters.caption_repetition]

[filters.language]
languages = ["en"]

[filters.single_color]

[filters.blur]
min_variance = 30

[filters.clip_similarity]
min = 0.22

[filters.imported-nsfw]
column = "nsfw_probability"
max = 0.8

[filters.imported-aesthetic]
column = "aesthetic_score"
min = 4.0

[filters.near_image_duplicate]
"""
PICTURES = 32
BEGAN = 1_760_000_000.0
"""Unix time of the first commit."""
HEADS = 20
"""One row in so many may be the row that is kept of a cluster of copies."""


@dataclass(frozen=True)
class Size:
    """How much is written: `rows` in shards of `shard_rows`; one shard in `tars` has a tar, 0 for none."""

    rows: int = 1_000_000
    shard_rows: int = 10_000
    tars: int = 10

    @property
    def shards(self) -> int:
        return -(-self.rows // self.shard_rows)

    def keys(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Keys of rows of the whole set, as ours are: the shard's id, then the row in it."""
        shards, own = np.divmod(rows, self.shard_rows)
        width = len(str(max(self.shard_rows, 2) - 1))
        digits = pa.array(shards * 10**width + own).cast(pa.string())
        return pc.utf8_lpad(digits, width + 5, "0")


def write_rows(root: Path, size: Size) -> Manifest:
    """Write the data set into a folder; returns its manifest."""
    storage, config = Storage(str(root)), CONFIG
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.toml"
        path.write_text(config)
        loaded = load_job(path)
    write_record(storage, record_of("million", loaded.config, loaded.job.steps))
    sizes = _cluster_sizes(size)
    commits = [
        commit for number in range(size.shards) for commit in _write_shard(root, loaded.job, size, sizes, number)
    ]
    commits += _barriers(root, loaded.job)
    order = {step.label: place for place, step in enumerate(loaded.job.steps)}
    commits.sort(key=lambda one: (order[one.stage], one.shard))
    return Manifest.fold(CommitLog(storage), [(c.stage, c.shard, c.fingerprint) for c in commits], commits)


def _write_shard(root: Path, job: Job, size: Size, sizes: npt.NDArray[np.int64], number: int) -> Iterator[Commit]:
    shard, dice = shard_id(number), np.random.default_rng([11, number])
    rows = np.arange(number * size.shard_rows, min((number + 1) * size.shard_rows, size.rows))
    families = families_of(size.keys(rows), dice) | {"near_image_clusters": _copies(size, rows, sizes)}
    key = families[""]["key"]
    columns = pa.table({name: own[name] for own in families.values() for name in own.column_names})
    select = next(step for step in job.steps if isinstance(step, Decision))
    decided = decide(columns.select(columns_of(select.rules)), select.rules)
    families["select"] = decided.add_column(0, "key", key)
    for family, table in families.items():
        path = root / (f"{shard}.{family}.parquet" if family else f"{shard}.parquet")
        write_parquet(table if "key" in table.column_names else table.add_column(0, "key", key), path)
    if size.tars and number % size.tars == 0:
        _write_tar(root, shard, columns)
    ok = pc.sum(pc.equal(columns["status"], "success")).as_py()
    clock = number * 300.0
    for step in (one for one in job.steps if isinstance(one, Stage)):
        counts = {"in": len(rows), "scored": ok}
        if isinstance(step, Decision):
            counts = dict(count_reasons(decided))
        elif step.label == "fetch":
            counts = {"in": len(rows), "kept": ok, "original_bytes": pc.sum(columns["original_bytes"]).as_py() or 0}
            counts |= _lost(columns["fetch_status"])
        spent = float(dice.uniform(0.5, 60.0))
        clock += spent
        yield _commit(root, (step.label, shard), counts, _files(step.label, shard), spent, clock)


def _barriers(root: Path, job: Job) -> list[Commit]:
    labels = [step.label for step in job.steps if not isinstance(step, Stage)]
    return [_commit(root, (label, "all"), {"compared": 1}, (), 9.5, 40_000.0 + n) for n, label in enumerate(labels)]


def _files(label: str, shard: str) -> Sequence[str]:
    if label == "fetch":
        return [
            f"{shard}{end}" for end in (".parquet", ".fetch.parquet", ".fetch_log.parquet", ".tar", ".index.parquet")
        ]
    return [f"{shard}.{label.removeprefix('score_')}.parquet"]


def _commit(
    root: Path, place: tuple[str, str], counts: Mapping[str, int], names: Sequence[str], seconds: float, after: float
) -> Commit:
    files = tuple(
        FileRecord(name, (root / name).stat().st_size, hashlib.sha256(name.encode()).hexdigest(), "_log" in name)
        for name in names
        if (root / name).is_file()
    )
    spent = {"total": round(seconds, 3), "decode": round(seconds * 0.3, 3), "write": round(seconds * 0.1, 3)}
    told = (fingerprint(place[0]), "0" * 12, files, dict(sorted(counts.items())), spent, "bench", BEGAN + after)
    commit = Commit(*place, *told)
    path = root / commit.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(commit.to_json())
    return commit


def _lost(statuses: pa.ChunkedArray) -> dict[str, int]:
    counts = {one["values"]: one["counts"] for one in pc.value_counts(statuses).to_pylist()}
    return {f"dropped.{status}": n for status, n in sorted(counts.items()) if status != "success"}


def _first_of(size: Size, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The row that each row is a copy of, itself for most: one in twelve, most in clusters of 3, one in 300 in a single
    large one."""
    heads = max(1, size.rows // HEADS)
    draws = (rows * 2654435761) % 4_294_967_296 % 300
    of = np.where(draws == 0, 0, (rows * 7919) % heads)
    return np.where((rows >= heads) & (draws < 25), of, rows)


def _cluster_sizes(size: Size) -> npt.NDArray[np.int64]:
    return np.bincount(_first_of(size, np.arange(size.rows)), minlength=max(size.rows, 1)).astype(np.int64)


def _copies(size: Size, rows: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> pa.Table:
    first = _first_of(size, rows)
    of = pc.if_else(pa.array(first == rows), None, size.keys(first))
    return pa.table({f"near_image{SUFFIX}": of, "near_image_cluster_size": sizes[first]})


@cache
def _pictures() -> Sequence[bytes]:
    made = []
    for number in range(PICTURES):
        random, target = Random(f"million/{number}"), io.BytesIO()
        shape = (256, random.randrange(120, 256)) if number % 3 else (random.randrange(120, 256), 256)
        Image.fromarray(render(random_scene(random), shape, number)).save(target, "JPEG", quality=70)
        made.append(target.getvalue())
    return made


def _write_tar(root: Path, shard: str, columns: pa.Table) -> None:
    """Pictures, texts and records of the rows that have one, and the index beside."""
    there = columns.filter(pc.equal(columns["status"], "success")).select(["key", "caption", "url"])
    with (root / f"{shard}.tar").open("wb") as target:
        tar = TarWriter(target)
        for number, row in enumerate(there.to_pylist()):
            tar.add(f"{row['key']}.jpg", _pictures()[number % PICTURES])
            tar.add(f"{row['key']}.json", json.dumps(row, ensure_ascii=False).encode())
            tar.add(f"{row['key']}.txt", (row["caption"] or "").encode())
        tar.finish()
    names: list[Any] = [split_name(member.name) for member in tar.members]
    index = {"key": [name[0] for name in names], "extension": [name[1] for name in names]}
    offsets = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    write_parquet(pa.table(index | offsets), root / f"{shard}.index.parquet")


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shard-rows", type=int, default=10_000)
    parser.add_argument("--tars", type=int, default=10, help="one shard in so many has a tar; 0 for none")
    told = parser.parse_args()
    manifest = write_rows(told.folder, Size(told.rows, told.shard_rows, told.tars))
    decided = [entry.counts for entry in manifest.of("select")]
    print(f"{sum(c['kept'] for c in decided):,} kept of {sum(c['in'] for c in decided):,} in {told.folder}")


if __name__ == "__main__":
    _main()
