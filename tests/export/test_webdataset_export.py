"""An export has the kept samples, each as it was, in an order that depends on the seed alone."""

import dataclasses
import io
import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa
import pytest
import webdataset

from curate.errors import ConfigError, ShardError
from curate.export import export_formats, exporter
from curate.export._order import find_samples
from curate.manifest import CommitLog, write_parquet
from curate.run.inline import InlineEngine
from curate.run.scheduler import Outcome, run_job
from curate.shard import Shard
from curate.storage import Storage
from curate.tar import TarWriter

SHARDS = ("00000", "00001", "00002")
ROWS = 10
FAILED = {3, 7}
"""Rows of every shard that have no picture."""


def put_table(storage: Storage, name: str, columns: dict[str, Any]) -> None:
    target = io.BytesIO()
    write_parquet(pa.table(columns), target)
    storage.write(name, target.getvalue())


def put_shard(storage: Storage, shard: str, rows: int = ROWS) -> None:
    """A shard as the fetch writes it: rows 3 and 7 have failed."""
    target = io.BytesIO()
    tar = TarWriter(target)
    keys = [f"{shard}{row:04d}" for row in range(rows)]
    index: list[tuple[str, str]] = []
    for row, key in enumerate(keys):
        if row in FAILED:
            continue
        record = {"similarity": row / 10, "caption": f"words {key}", "url": f"http://h/{key}", "key": key, "width": 9}
        for extension, data in (
            ("jpg", key.encode() * (row + 1) * 20),
            ("json", json.dumps(record).encode()),
            ("txt", f"words {key}".encode()),
        ):
            tar.add(f"{key}.{extension}", data)
            index.append((key, extension))
    tar.finish()
    storage.write(f"{shard}.tar", target.getvalue())
    names, extensions = zip(*index, strict=True)
    places = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    put_table(storage, f"{shard}.index.parquet", {"key": names, "extension": extensions, **places})
    columns = {"similarity": [row / 10 for row in range(rows)], "url": [f"http://h/{key}" for key in keys], "key": keys}
    columns["status"] = ["failed_to_download" if row in FAILED else "success" for row in range(rows)]
    put_table(storage, f"{shard}.parquet", columns | {"width": pa.array([9] * rows, pa.int32())})


@pytest.fixture
def data(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "data"))
    for shard in SHARDS:
        put_shard(storage, shard)
    return storage


def select(storage: Storage, shard: str, keep: list[bool | None], **more: Any) -> None:
    keys = Shard(storage, shard).table("", ["key"])["key"]
    put_table(storage, f"{shard}.select.parquet", {"key": keys, "keep": keep, **more})


def pack(source: Storage, target: Storage, **settings: Any) -> tuple[dict[str, Any], Outcome]:
    job, finish = exporter("webdataset")(source, **{"shard_samples": 5, "shuffle": True, "seed": 0, **settings})
    outcome = run_job(job, target, InlineEngine())
    return finish(target), outcome


def order(storage: Storage) -> list[str]:
    sizes = json.loads(storage.read("sizes.json"))
    return [s.key for name in sizes for s in Shard(storage, name.removesuffix(".tar")).samples()]


ALL = [f"{shard}{row:04d}" for shard in SHARDS for row in range(ROWS) if row not in FAILED]


def test_without_a_selection_every_sample_leaves(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told, outcome = pack(data, target, shuffle=False)
    assert told == {"shards": 5, "samples": 24, "shards_without_selection": 0}
    assert not outcome.failed
    assert order(target) == ALL
    sizes = {"00000.tar": 5, "00001.tar": 5, "00002.tar": 5, "00003.tar": 5, "00004.tar": 4}
    assert json.loads(target.read("sizes.json")) == sizes


def test_members_are_the_bytes_they_were(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target)

    def members(storage: Storage, names: list[str]) -> Counter[tuple[str, bytes]]:
        found: Counter[tuple[str, bytes]] = Counter()
        for name in names:
            with tarfile.open(storage.path(name)) as archive:
                found.update((i.name, archive.extractfile(i).read()) for i in archive)  # type: ignore[union-attr]
        return found

    before = members(data, [f"{s}.tar" for s in SHARDS])
    assert members(target, list(json.loads(target.read("sizes.json")))) == before


def test_only_kept_samples_leave(data: Storage, tmp_path: Path) -> None:
    for shard in SHARDS:
        select(data, shard, [row % 2 == 1 if row != 9 else None for row in range(ROWS)])
    target = Storage(str(tmp_path / "out"))
    told, _ = pack(data, target, shuffle=False)
    assert order(target) == [f"{shard}{row:04d}" for shard in SHARDS for row in (1, 5)]
    assert told["samples"] == 6


def test_multiplicity_gives_copies_with_keys_of_their_own(data: Storage, tmp_path: Path) -> None:
    select(data, "00000", [True] * ROWS, multiplicity=[3, 0, 1, 5, None, 1, 1, 1, 1, 2])
    for shard in SHARDS[1:]:
        select(data, shard, [False] * ROWS, multiplicity=[9] * ROWS)
    target = Storage(str(tmp_path / "out"))
    pack(data, target, shuffle=False, shard_samples=100)
    rows = [0, 0, 0, 2, 5, 6, 8, 9, 9]
    assert [key.split("-")[0] for key in order(target)] == [f"00000{row:04d}" for row in rows]
    assert order(target)[:4] == ["000000000", "000000000-1", "000000000-2", "000000002"]
    table = Shard(target, "00000").table()
    assert table["key"].to_pylist() == order(target)
    assert len(set(order(target))) == 9
    assert table["source_key"].to_pylist() == [f"00000{row:04d}" for row in rows]


@pytest.mark.parametrize("seed", [0, 1, -5, 2**70])
def test_the_order_is_of_the_seed_and_the_keys_alone(data: Storage, tmp_path: Path, seed: int) -> None:
    one, other = Storage(str(tmp_path / "one")), Storage(str(tmp_path / "other"))
    pack(data, one, seed=seed, shard_samples=5)
    pack(data, other, seed=seed, shard_samples=24)
    assert order(one) == order(other)
    assert sorted(order(one)) == ALL
    assert order(one) != ALL
    third = Storage(str(tmp_path / "third"))
    pack(data, third, seed=seed + 1)
    assert order(third) != order(one)


def test_the_shuffle_mixes_shards_evenly(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    for shard in SHARDS:
        put_shard(data, shard, rows=300)
    pack(data, target, shard_samples=100)
    assert len(order(target)) == 3 * 298
    for name in list(json.loads(target.read("sizes.json")))[:-1]:
        origins = Counter(s.key[:5] for s in Shard(target, name.removesuffix(".tar")).samples())
        assert all(18 <= origins[shard] <= 48 for shard in SHARDS), origins  # 33 +- 3 standard deviations


def test_the_same_export_is_the_same_bytes_and_no_work_twice(data: Storage, tmp_path: Path) -> None:
    one, other = Storage(str(tmp_path / "one")), Storage(str(tmp_path / "other"))
    pack(data, one)
    pack(data, other)
    assert one.files().keys() == other.files().keys()
    assert all(one.read(name) == other.read(name) for name in one.files())
    _, outcome = pack(data, one)
    assert (outcome.made, outcome.skipped) == (0, 5)


def test_a_moved_data_set_is_the_same_export(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target)
    (tmp_path / "data").rename(tmp_path / "moved")
    assert pack(Storage(str(tmp_path / "moved")), target)[1].made == 0


@pytest.mark.parametrize("change", [{"seed": 1}, {"shuffle": False}, {"shard_samples": 6}, {"select": True}])
def test_a_folder_holds_one_export(data: Storage, tmp_path: Path, change: dict[str, Any]) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target)
    if change.pop("select", False):
        select(data, "00000", [True, False] * 5)
    with pytest.raises(ConfigError, match=r"/out holds another export .* choose another --out, or delete it"):
        pack(data, target, **change)


def test_settings_that_cannot_be(data: Storage) -> None:
    with pytest.raises(ConfigError, match="is the data set itself; choose another --out"):
        pack(data, data)
    with pytest.raises(ConfigError, match="--shard-samples 0 is out of range: at least 1"):
        pack(data, data, shard_samples=0)
    with pytest.raises(ConfigError, match="no export format 'webdatset'; did you mean 'webdataset'"):
        exporter("webdatset")
    assert "webdataset" in export_formats()


def test_a_shard_without_a_decision_stays_and_is_counted(data: Storage, tmp_path: Path) -> None:
    for shard in SHARDS[:2]:
        select(data, shard, [True] * ROWS)
    target = Storage(str(tmp_path / "out"))
    told, _ = pack(data, target)
    assert told == {"shards": 4, "samples": 16, "shards_without_selection": 1}


def test_shards_of_an_earlier_cut_stay(data: Storage, tmp_path: Path) -> None:
    plan = {"complete": True, "identity": 1, "settings": 1, "slices": [["00000", 10, "x"], ["00002", 10, "x"]]}
    data.write("source/plan.json", json.dumps(plan).encode())
    target = Storage(str(tmp_path / "out"))
    pack(data, target, shuffle=False)
    assert {key[:5] for key in order(target)} == {"00000", "00002"}


def test_an_empty_selection_is_an_empty_export(data: Storage, tmp_path: Path) -> None:
    for shard in SHARDS:
        select(data, shard, [False] * ROWS)
    target = Storage(str(tmp_path / "out"))
    assert pack(data, target)[0]["samples"] == 0
    assert json.loads(target.read("sizes.json")) == {}


def test_a_folder_without_a_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="holds no data set"):
        find_samples(Storage(str(tmp_path / "typo")), None)


def test_keys_that_occur_twice_stay_apart(tmp_path: Path) -> None:
    """Many WebDatasets count from 0 in every tar; a reader would take two neighbours for one sample."""
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    for shard in SHARDS[:2]:
        put_shard(data, shard, 2)
    for name in ("tar", "index.parquet", "parquet"):
        data.write(f"00001.{name}", data.read(f"00000.{name}"))
    pack(data, target, shuffle=False)
    assert order(target) == ["000000000", "000000001", "000000000-1", "000000001-1"]


@pytest.mark.parametrize("loss", ["tar", "moved", "cut", "bent"])
def test_a_data_set_that_changed_sets_the_shard_aside(data: Storage, tmp_path: Path, loss: str) -> None:
    job, finish = exporter("webdataset")(data, 5, False, 0)
    target = Storage(str(tmp_path / "out"))
    list(job.slices(target))
    raw = data.read("00000.tar")
    if loss == "tar":
        data.delete("00000.tar")
    else:
        bent = raw.replace(b"0000.json", b"0000.bent").replace(b"0006.json", b"0006.bent")  # wrong checksums
        data.write("00000.tar", {"moved": raw[512:], "cut": raw[:1024], "bent": bent}[loss])
    outcome = run_job(job, target, InlineEngine())
    assert set(outcome.failed) == {"00000", "00001"}
    assert "no 00000.tar any more" in outcome.failed["00000"] or "00000.tar at byte" in outcome.failed["00000"]
    assert finish(target)["shards"] == 3


def test_a_shard_without_an_index_is_told(data: Storage, tmp_path: Path) -> None:
    put_table(data, "00001.index.parquet", {"key": ["a"], "offset": ["first"], "size": [1]})
    with pytest.raises(ShardError, match=r"00001.index.parquet in .* is no index of a tar \(.*first"):
        pack(data, Storage(str(tmp_path / "broken")))
    data.delete("00001.index.parquet")
    with pytest.raises(ShardError, match=r"has no 00001.index.parquet; if it was there, delete commits/"):
        pack(data, Storage(str(tmp_path / "out")))


def test_every_reader_finds_what_sizes_json_says(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target)
    sizes = json.loads(target.read("sizes.json"))
    for name, count in sizes.items():
        read = list(webdataset.WebDataset(target.path(name), shardshuffle=False).decode())
        assert len(read) == count
        frame = pandas.read_parquet(target.path(name.replace(".tar", ".parquet")))
        assert frame["key"].tolist() == [s["__key__"] for s in read]
        assert frame["url"].tolist() == [s["json"]["url"] for s in read]
        assert set(frame["status"]) == {"success"}
        assert str(frame["width"].dtype) == "int32"
        stats = json.loads(target.read(name.replace(".tar", "_stats.json")))
        assert (stats["count"], stats["successes"]) == (count, count)
    shard = Shard(target, "00001")
    assert [shard.sample(s.key) for s in shard.samples()] == list(shard.samples())
    commits = CommitLog(target).fold(["pack"])
    assert sum(c.counts["kept"] for c in commits) == 24
    assert dataclasses.asdict(commits[0])["stage"] == "pack"


@pytest.mark.slow
def test_hugging_face_reads_an_export(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    pack(data, target)
    program = (
        "import os, sys\n"
        "from datasets import Image, load_dataset\n"
        "found = load_dataset('webdataset', data_files=sys.argv[1], split='train', streaming=True)\n"
        "for row in found.cast_column('jpg', Image(decode=False)): print(row['__key__'], flush=True)\n"
        "os._exit(0)\n"  # at the end of the program its threads now and then abort it
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", program, target.path("*.tar")]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=offline)
    assert told.stdout.split() == order(target), told.stderr
