"""Tars that somebody else made become shards: unchanged where they are sound, told and counted where they are not."""

import io
import json
import os
import shutil
import struct
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from curate.errors import ShardError, SourceError
from curate.fetch.pair_writer import FETCH_COLUMNS, SAMPLE_COLUMNS
from curate.manifest import Attempt, Commit
from curate.shard import Shard
from curate.source.ingest import ingest
from curate.source.tar_rows import MOST_EXTRA_COLUMNS
from curate.source.webdataset import Adopt, WebDataset
from curate.stage import Runtime
from curate.storage import Storage

BROKEN = (
    Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "broken" / "tar" / "test" / "fixtures" / "tars"
)

Members = list[tuple[str, bytes]]


def picture(width: int = 40, kind: str = "JPEG") -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, 30), (200, 90, 10)).save(target, kind)
    return target.getvalue()


def says(width: int, height: int) -> bytes:
    """A picture whose header tells of another size."""
    data = picture(kind="BMP")
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


def put_tar(path: Path, members: Members, kind: int = tarfile.PAX_FORMAT) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1234.5
            archive.addfile(info, io.BytesIO(data))
    return path.read_bytes()


def adopt(path: Path | str, storage: Storage, number: int = 0) -> tuple[Shard, Commit]:
    piece = list(ingest(WebDataset(str(path)), storage, 10_000))[number]
    shard = Shard(storage, piece.shard)
    attempt = Attempt(storage, "adopt", piece.shard, piece.digest)
    Adopt().run(shard, attempt, Runtime())
    return Shard(storage, piece.shard), attempt.commit()


def samples(count: int = 3, **record: Any) -> Members:
    found: Members = []
    for n in range(count):
        line = json.dumps({"url": f"http://h/{n}", "n": n, **record}).encode()
        found += [(f"{n:09d}.jpg", picture(40 + n)), (f"{n:09d}.json", line), (f"{n:09d}.txt", f"words {n}".encode())]
    return found


@pytest.fixture
def out(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "out"))


def test_a_sound_tar_is_taken_as_it_is(tmp_path: Path, out: Storage) -> None:
    raw = put_tar(tmp_path / "in" / "a.tar", samples())
    shard, commit = adopt(tmp_path / "in", out)
    assert out.read("00000.tar") == raw
    assert os.stat(out.path("00000.tar")).st_ino == os.stat(tmp_path / "in" / "a.tar").st_ino
    assert commit.counts == {"in": 3, "kept": 3, "members_left_out": 0, "tar_damaged": 0}
    table = shard.table()
    assert table.column_names == ["n", "caption", "url", *SAMPLE_COLUMNS]
    assert table.to_pylist()[1] | {"sha256": ""} == {
        "n": 1,
        "caption": "words 1",
        "url": "http://h/1",
        "key": "000000001",
        "status": "success",
        "error_message": None,
        "width": 41,
        "height": 30,
        "original_width": 41,
        "original_height": 30,
        "exif": None,
        "sha256": "",
    }
    fetched = shard.table("fetch")
    assert fetched.schema == pa.schema({"key": pa.string(), **FETCH_COLUMNS})
    first = fetched.to_pylist()[0]
    assert (first["fetch_status"], first["image_format"], first["animated"]) == ("success", "JPEG", False)
    assert first["original_bytes"] == len(picture())
    assert [s.caption for s in shard.samples()] == ["words 0", "words 1", "words 2"]
    assert shard.sample("000000002").image == picture(42)
    assert json.loads(out.read("00000_stats.json"))["successes"] == 3


def img2dataset_table(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    base = {"error_message": None, "width": 256, "height": 256, "original_width": 900, "original_height": 600}
    full = [{"similarity": 0.3, "caption": "c", "url": "http://h"} | base | row for row in rows]
    pq.write_table(pa.Table.from_pylist(full), tmp_path / "in" / "00000.parquet", row_group_size=100)


def test_img2datasets_table_is_read_with_its_failures(tmp_path: Path, out: Storage) -> None:
    put_tar(tmp_path / "in" / "00000.tar", [(f"{n:09d}.jpg", picture()) for n in (0, 3)])
    img2dataset_table(
        tmp_path,
        [
            {"key": "000000000", "status": "success"},
            {"key": "000000001", "status": "failed_to_download", "error_message": "HTTP Error 404: Not Found"},
            {"key": "000000002", "status": "failed_to_resize", "error_message": "image too small"},
            {"key": "000000003", "status": "success"},
            {"key": "000000004", "status": "success"},
            {"key": "000000000", "status": "success", "width": 7},
        ],
    )
    shard, commit = adopt(tmp_path / "in", out)
    rows = shard.columns(["key", "status", "fetch_status", "fetch_detail", "similarity", "width", "original_bytes"])
    found = [(r["key"][-1], r["status"], r["fetch_status"], r["fetch_detail"]) for r in rows.to_pylist()]
    assert found == [
        ("0", "success", "success", None),
        ("1", "failed_to_download", "not_found", "HTTP Error 404: Not Found"),
        ("2", "failed_to_resize", "image_too_small", "image too small"),
        ("3", "success", "success", None),
        ("4", "failed_to_resize", "not_an_image", "the tar holds no picture for this key"),
    ]
    assert set(rows["similarity"].to_pylist()) == {0.3}
    assert rows["width"].to_pylist()[0] == 256
    assert rows["original_bytes"].to_pylist() == [None] * 5
    assert commit.counts["kept"] == 2
    assert {k: v for k, v in commit.counts.items() if k.startswith("dropped")} == {
        "dropped.image_too_small": 1,
        "dropped.not_an_image": 1,
        "dropped.not_found": 1,
    }


def test_samples_that_the_table_forgot_are_added(tmp_path: Path, out: Storage) -> None:
    put_tar(tmp_path / "in" / "00000.tar", samples(2, similarity=0.5, width="wide"))
    img2dataset_table(tmp_path, [{"key": "000000001", "status": "success"}])
    rows = adopt(tmp_path / "in", out)[0].columns(["key", "caption", "similarity", "width", "url"]).to_pylist()
    assert rows == [
        {"key": "000000001", "caption": "c", "similarity": 0.3, "width": 256, "url": "http://h"},
        {"key": "000000000", "caption": "words 0", "similarity": 0.5, "width": 40, "url": "http://h/0"},
    ]


@pytest.mark.parametrize("beside", [b"no parquet", None])
def test_a_table_that_cannot_be_used_is_passed_over(tmp_path: Path, out: Storage, beside: bytes | None) -> None:
    put_tar(tmp_path / "in" / "00000.tar", samples(2))
    if beside is not None:
        (tmp_path / "in" / "00000.parquet").write_bytes(beside)
    else:
        pq.write_table(pa.table({"no_key": [1]}), tmp_path / "in" / "00000.parquet")
    assert adopt(tmp_path / "in", out)[0].table()["caption"].to_pylist() == ["words 0", "words 1"]


UNTIDY: dict[str, tuple[Members, dict[str, list[str]], int]] = {
    "sorted by extension": (
        [("a.jpg", picture()), ("b.jpg", picture()), ("a.txt", b"1"), ("b.txt", b"2")],
        {"a": ["jpg", "txt"], "b": ["jpg", "txt"]},
        0,
    ),
    "a name twice": ([("a.jpg", picture()), ("a.jpg", b"other"), ("a.txt", b"1")], {"a": ["jpg", "txt"]}, 1),
    "pickles": (
        [("a.jpg", picture()), ("a.pyd", b"cos\nsystem\n"), ("a.feat.pth", b"x"), ("a.PKL", b"x"), ("a.txt", b"1")],
        {"a": ["jpg", "txt"]},
        3,
    ),
}


@pytest.mark.parametrize("case", UNTIDY)
def test_a_tar_that_readers_stumble_over_is_written_anew(tmp_path: Path, out: Storage, case: str) -> None:
    members, wanted, left_out = UNTIDY[case]
    raw = put_tar(tmp_path / "in" / "a.tar", members)
    shard, commit = adopt(tmp_path / "in", out)
    read = {
        s["__key__"]: [k for k in s if not k.startswith("_")]
        for s in webdataset.WebDataset(out.path("00000.tar"), shardshuffle=False)
    }
    assert read == wanted
    assert commit.counts["members_left_out"] == left_out
    assert (tmp_path / "in" / "a.tar").read_bytes() == raw
    assert sorted(p.name for p in out.local.iterdir() if p.is_file()) == [  # type: ignore[union-attr]
        "00000.fetch.parquet",
        "00000.index.parquet",
        "00000.parquet",
        "00000.tar",
        "00000_stats.json",
    ]
    assert [shard.sample(key) for key in wanted] == list(shard.samples())


def test_members_of_no_sample_do_no_harm(tmp_path: Path, out: Storage) -> None:
    raw = put_tar(tmp_path / "in" / "a.tar", [("README", b"x"), *samples(1), ("LICENSE", b"y"), ("dir/.hidden", b"z")])
    shard, commit = adopt(tmp_path / "in", out)
    assert out.read("00000.tar") == raw
    assert (len(list(shard.samples())), commit.counts["members_left_out"]) == (1, 3)


@pytest.mark.parametrize("cut", [0.35, 0.5, 0.7])
def test_of_a_cut_tar_the_whole_samples_are_kept(tmp_path: Path, out: Storage, cut: float) -> None:
    raw = put_tar(tmp_path / "in" / "a.tar", samples(8))
    (tmp_path / "in" / "a.tar").write_bytes(raw[: int(len(raw) * cut)])
    shard, commit = adopt(tmp_path / "in", out)
    assert commit.counts["tar_damaged"] == 1
    whole = list(shard.samples())
    assert [s.key for s in whole] == [f"{n:09d}" for n in range(len(whole))]
    assert 0 < len(whole) < 8
    with tarfile.open(out.path("00000.tar")) as archive:
        assert len(archive.getnames()) == len(shard.table("index"))


@pytest.mark.parametrize(
    ("name", "data", "status"),
    [
        ("a.jpg", b"<html>", "not_an_image"),
        ("a.jpg", picture()[:20], "image_truncated"),
        ("a.png", b"", "not_an_image"),
        ("a.txt", b"words alone", "not_an_image"),
        ("a.npy", b"\x93NUMPY", "not_an_image"),
        ("a.bmp", says(8_000, 8_000), "success"),
        ("a.bmp", says(8_000, 8_001), "image_too_large"),
        ("a.jpeg", picture(), "success"),
        ("a.WEBP", picture(kind="WEBP"), "success"),
        ("dir.d/ä/a.png", picture(kind="PNG"), "success"),
    ],
)
def test_every_sample_gets_a_status(tmp_path: Path, out: Storage, name: str, data: bytes, status: str) -> None:
    put_tar(tmp_path / "in" / "a.tar", [(name, data)])
    shard, commit = adopt(tmp_path / "in", out)
    rows = shard.columns(["key", "fetch_status", "status"]).to_pylist()
    assert [(r["key"], r["fetch_status"]) for r in rows] == [(name.rsplit(".", 1)[0], status)]
    assert (rows[0]["status"] == "success") == (status == "success")
    assert commit.counts["in"] == 1


@pytest.mark.parametrize(
    "record", [b"", b"{broken", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"key": 5, "url": ["x"], "width": {}}']
)
def test_an_odd_json_member_is_no_trouble(tmp_path: Path, out: Storage, record: bytes) -> None:
    put_tar(tmp_path / "in" / "a.tar", [("a.jpg", picture()), ("a.json", record), ("a.txt", b"\xff")])
    shard, _ = adopt(tmp_path / "in", out)
    row = shard.columns(["key", "caption", "width", "fetch_status"]).to_pylist()[0]
    assert row == {"key": "a", "caption": "\ufffd", "width": 40, "fetch_status": "success"}
    assert next(shard.samples()).key == "a"


def test_extra_columns_are_bounded_and_never_shadow_ours(tmp_path: Path, out: Storage) -> None:
    many = {f"c{n:04d}": n for n in range(MOST_EXTRA_COLUMNS + 50)}
    put_tar(tmp_path / "in" / "a.tar", samples(1, keep=True, fetch_status="mine", **many))
    shard, _ = adopt(tmp_path / "in", out)
    names = shard.table().column_names
    assert len([n for n in names if n.startswith("c0")]) + 1 == MOST_EXTRA_COLUMNS  # and "n"
    assert not {"keep", "fetch_status"} & set(names)


def test_an_empty_or_foreign_file_is_an_error_in_words(tmp_path: Path, out: Storage) -> None:
    put_tar(tmp_path / "in" / "0.tar", [])
    (tmp_path / "in" / "1.tar").write_bytes(b"\x1f\x8b" + b"gzip" * 1000)
    shard, commit = adopt(tmp_path / "in", out)
    assert (commit.counts["in"], list(shard.samples())) == (0, [])
    with pytest.raises(ShardError, match=r"1.tar is not a whole tar"):
        adopt(tmp_path / "in", out, 1)


@pytest.mark.skipif(not BROKEN.exists(), reason="the shared malformed tars are not beside this checkout")
@pytest.mark.parametrize("name", sorted(p.name for p in BROKEN.glob("*.tar")) if BROKEN.exists() else ["none"])
def test_malformed_tars_give_rows_or_words(tmp_path: Path, out: Storage, name: str) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(BROKEN / name, tmp_path / "in" / name)
    shard, commit = adopt(tmp_path / "in", out)
    assert commit.counts["in"] == shard.rows() == commit.counts.get("dropped.not_an_image", 0)
    assert commit.counts["tar_damaged"] == (name == "bad-cksum.tar")
    assert list(shard.samples()) == []


def test_tars_are_shards_in_order_of_their_names(tmp_path: Path, out: Storage) -> None:
    for name in ("00007.tar", "00002.tar", "00010.tar", "notes.txt"):
        put_tar(tmp_path / "in" / name, [(f"{name[:5]}0000.jpg", picture())])
    slices = list(ingest(WebDataset(str(tmp_path / "in")), out, 10_000))
    assert [(s.shard, s.rows) for s in slices] == [("00000", 1), ("00001", 1), ("00002", 1)]
    assert next(adopt(tmp_path / "in", out, 2)[0].samples()).key == "000100000"
    again = Storage(str(tmp_path / "again"))
    assert list(ingest(WebDataset(str(tmp_path / "in")), again, 10_000)) == slices
    put_tar(tmp_path / "in" / "00002.tar", samples(2))
    changed = Storage(str(tmp_path / "changed"))
    assert [a == b for a, b in zip(slices, ingest(WebDataset(str(tmp_path / "in")), changed, 1), strict=True)] == [
        False,
        True,
        True,
    ]


def test_a_tar_that_is_gone_is_told(tmp_path: Path, out: Storage) -> None:
    put_tar(tmp_path / "in" / "a.tar", samples(1))
    list(ingest(WebDataset(str(tmp_path / "in")), out, 1))
    (tmp_path / "in" / "a.tar").unlink()
    attempt = Attempt(out, "adopt", "00000", "f")
    with pytest.raises(ShardError, match=r"a.tar is gone since the source was cut; put it back"):
        Adopt().run(Shard(out, "00000"), attempt, Runtime())
    with pytest.raises(SourceError, match="no tar file at"):
        list(WebDataset(str(tmp_path / "in")).parts())


def test_from_a_bucket_to_a_bucket(tmp_path: Path, s3: Storage) -> None:
    raw = put_tar(tmp_path / "a.tar", samples(2))
    origin, target = Storage(f"{s3.root}/in"), Storage(f"{s3.root}/out")
    origin.write("a.tar", raw)
    shard, commit = adopt(origin.root, target)
    assert target.read("00000.tar") == raw
    assert commit.counts["kept"] == 2
    assert [s.caption for s in shard.samples()] == ["words 0", "words 1"]
    assert shard.sample("000000001").caption == "words 1"
