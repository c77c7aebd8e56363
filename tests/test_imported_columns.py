"""Scores by id from Parquet files: who gets which, in any packing of either side, and what is refused."""

import hashlib
import os
import random
import string
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ShardError, SourceError
from curate.imported import Import, score_type
from curate.manifest import Attempt, Commit, fingerprint
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage
from curate.subset import pair_uid

DOUBLE = pa.float64()
UID = [f"{n:032x}" for n in range(20)]


def write_shards(folder: Path, *shards: dict[str, list]) -> list[Shard]:
    folder.mkdir(exist_ok=True)
    for number, columns in enumerate(shards):
        rows = len(next(iter(columns.values())))
        keys = pa.array([f"{number:05d}{row:04d}" for row in range(rows)], pa.string())
        own = {name: pa.array(values, pa.string()) for name, values in columns.items()}
        pq.write_table(pa.table({"key": keys, **own}), folder / f"{number:05d}.parquet")
    return [Shard(Storage(str(folder)), f"{number:05d}") for number in range(len(shards))]


def write_scores(path: Path, ids: list, scores: list, kind: pa.DataType = DOUBLE) -> str:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"uid": pa.array(ids, pa.string()), "score": pa.array(scores, kind)}), path)
    return str(path)


def run(step: Import, shards: list[Shard]) -> Commit:
    attempt = Attempt(shards[0].storage, step.label, "all", "f" * 16)
    step.run(shards, attempt)
    return attempt.commit()


def found(shards: list[Shard], column: str = "s") -> list[list[float | None]]:
    return [Shard(shard.storage, shard.id).columns([column])[column].to_pylist() for shard in shards]


def test_each_row_gets_the_score_of_its_id(tmp_path):
    shards = write_shards(tmp_path / "d", {"uid": [UID[3], UID[1], None]}, {"uid": []}, {"uid": [UID[1], UID[9]]})
    path = write_scores(tmp_path / "scores.parquet", [UID[1], UID[2], UID[3]], [0.1, 0.2, 0.3])
    step = Import(path, "score", "s")
    commit = run(step, shards)
    assert found(shards) == [[0.3, 0.1, None], [], [0.1, None]]
    assert commit.counts == {"imported": 3, "without_score": 0, "matched": 3, "unmatched": 2, "unused": 1}
    about = Shard(shards[0].storage, "00000").provenance("s")
    assert about == {"imported_column": "score", "imported_fingerprint": fingerprint(step.identity()["files"])}
    assert not list(tmp_path.rglob("*.arrows"))


@pytest.mark.parametrize("by", ["uid", "pair", "url", "key"])
def test_what_an_id_may_be(tmp_path, by):
    rows = {"uid": [UID[10].upper(), UID[11]], "caption": ["a cat", None], "url": ["http://a.test/1", "http://B.test/"]}
    shards = write_shards(tmp_path / "d", rows)
    ids = {
        "uid": [UID[11], UID[10]],
        "pair": [hashlib.md5(b"http://B.test/").hexdigest(), pair_uid("a cat", "http://a.test/1").upper()],
        "url": ["http://B.test/", "http://a.test/1"],
        "key": ["000000001", "000000000"],
    }
    path = write_scores(tmp_path / "scores.parquet", ids[by], [1.0, 2.0])
    run(Import(path, "score", "s", by=by), shards)
    assert found(shards) == [[2.0, 1.0]]


def test_urls_and_keys_are_compared_as_written(tmp_path):
    shards = write_shards(tmp_path / "d", {"url": ["http://a.test/A", "http://a.test/a"]})
    path = write_scores(tmp_path / "scores.parquet", ["http://a.test/a"], [1.0])
    run(Import(path, "score", "s", by="url"), shards)
    assert found(shards) == [[None, 1.0]]


IDS = st.lists(st.integers(0, 30), max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.lists(IDS, min_size=1, max_size=4), st.sets(st.integers(0, 30)), st.randoms(), st.integers(1, 50))
def test_any_packing_of_either_side_is_a_dictionary(tmp_path_factory, shards, scored, chance, bin_rows):
    folder = tmp_path_factory.mktemp("packing")
    data = write_shards(folder / "d", *({"url": [f"u{n}" for n in rows]} for rows in shards))
    numbers = sorted(scored) * 2
    chance.shuffle(numbers)
    cut = chance.randint(0, len(numbers))
    for name, part in (("a", numbers[:cut]), ("b", numbers[cut:])):
        write_scores(folder / "in" / f"{name}.parquet", [f"u{n}" for n in part], [n / 7 for n in part])
    commit = run(Import(str(folder / "in"), "score", "s", by="url", bin_rows=bin_rows), data)
    assert found(data) == [[n / 7 if n in scored else None for n in rows] for rows in shards]
    assert commit.counts["unused"] == len(scored - {n for rows in shards for n in rows})


def test_bins_and_the_order_of_files_change_no_byte(tmp_path, monkeypatch):
    random.seed(1)
    urls = ["".join(random.choices(string.ascii_letters, k=12)) for _ in range(3_000)]
    scores = [random.random() for _ in urls]
    written = []
    monkeypatch.setattr(Import, "identity", lambda step: {"files": []})
    for number, bin_rows in enumerate((100, 1_000_000)):
        data = write_shards(tmp_path / f"d{number}", {"url": urls[:1_999]}, {"url": urls[1_000:]})
        pairs = list(zip(urls, scores, strict=True))[:: 1 - 2 * number]
        folder = tmp_path / f"in{number}"
        for part in range(3):
            write_scores(folder / f"{part}.parquet", *map(list, zip(*pairs[part::3], strict=True)))
        run(Import(str(folder), "score", "s", by="url", bin_rows=bin_rows), data)
        written.append([(tmp_path / f"d{number}" / f"{s.id}.imported_s.parquet").read_bytes() for s in data])
    assert written[0] == written[1]


def test_a_file_of_many_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.imported.BATCH_ROWS", 7)
    data = write_shards(tmp_path / "d", {"uid": UID})
    path = write_scores(tmp_path / "scores.parquet", [UID[0], *UID[::-1]], [0.0, *range(19, -1, -1)])
    run(Import(path, "score", "s"), data)
    assert found(data) == [list(map(float, range(20)))]


@pytest.mark.parametrize(
    ("kind", "values", "expected", "written"),
    [
        (pa.float32(), [0.1, -0.0], [np.float32(0.1), 0.0], pa.float32()),
        (pa.float16(), [np.float16(0.5), np.float16(2)], [0.5, 2.0], pa.float32()),
        (pa.float64(), [0.1, 1e300], [0.1, 1e300], pa.float64()),
        (pa.int64(), [7, 2**53 + 2], [7.0, 2.0**53 + 2], pa.float64()),
        (pa.uint8(), [0, 255], [0.0, 255.0], pa.float64()),
        (pa.decimal128(5, 2), [None, 2], [None, 2.0], pa.float64()),
        (pa.bool_(), [True, False], [1.0, 0.0], pa.float32()),
        (pa.dictionary(pa.int8(), pa.float64()), [0.1, 0.1], [0.1, 0.1], pa.float64()),
        (pa.null(), [None, None], [None, None], pa.float32()),
        (pa.float64(), [float("nan"), float("inf")], [None, None], pa.float64()),
        (pa.float64(), [-float("inf"), None], [None, None], pa.float64()),
    ],
)
def test_numbers_of_any_kind_and_no_number(tmp_path, kind, values, expected, written):
    data = write_shards(tmp_path / "d", {"uid": UID[:2]})
    path = write_scores(tmp_path / "scores.parquet", UID[:2], values, kind)
    commit = run(Import(path, "score", "s"), data)
    assert repr(found(data)) == repr([[None if v is None else float(v) for v in expected]])
    assert Shard(data[0].storage, "00000").schema("imported_s").field("s").type == written
    assert commit.counts["without_score"] == expected.count(None)


def test_files_of_different_precision(tmp_path):
    data = write_shards(tmp_path / "d", {"uid": UID[:3]})
    write_scores(tmp_path / "in/a.parquet", UID[:1], [0.1], pa.float32())
    write_scores(tmp_path / "in/b.parquet", UID[1:2], [0.1], pa.float64())
    run(Import(str(tmp_path / "in"), "score", "s"), data)
    assert found(data) == [[float(np.float32(0.1)), 0.1, None]]


def test_an_id_that_is_there_twice_has_one_value(tmp_path):
    data = write_shards(tmp_path / "d", {"uid": UID[:4]})
    ids = [UID[0], UID[0].upper(), UID[1], UID[1], None, UID[2], UID[2]]
    path = write_scores(tmp_path / "in/a.parquet", ids, [0.5, 0.5, None, 0.25, 9.0, 0.0, -0.0])
    commit = run(Import(path, "score", "s"), data)
    assert found(data) == [[0.5, 0.25, 0.0, None]]
    assert commit.counts["imported"] == 5


@pytest.mark.parametrize("apart", [False, True])
def test_two_values_for_one_id_are_refused_with_both(tmp_path, monkeypatch, apart):
    data = write_shards(tmp_path / "d", {"uid": UID[:1]})
    monkeypatch.setattr("curate.imported.BATCH_ROWS", 3)
    ids, scores = (
        [UID[5], None, UID[4], UID[7], UID[6], None, UID[7], UID[8]],
        [0.0, 0.5, 0.0, 0.75, 0.0, 1.0, 0.25, 0.0],
    )
    cut = 4 if apart else 8
    write_scores(tmp_path / "in/a.parquet", ids[:cut], scores[:cut])
    write_scores(tmp_path / "in/b.parquet", ids[cut:], scores[cut:])
    with pytest.raises(SourceError, match=rf"'score' has 0.25 and 0.75 for uid '{UID[7]}'"):
        run(Import(str(tmp_path / "in"), "score", "s"), data)


def test_no_rows_on_one_side_or_both(tmp_path):
    empty = write_scores(tmp_path / "empty.parquet", [], [])
    for number, rows in enumerate(([], UID[:2])):
        data = write_shards(tmp_path / f"d{number}", {"uid": rows})
        run(Import(empty, "score", "s"), data)
        assert found(data) == [[None] * len(rows)]
    full = write_scores(tmp_path / "full.parquet", UID, list(range(20)))
    data = write_shards(tmp_path / "none", {"uid": []})
    assert run(Import(full, "score", "s"), data).counts["unused"] == 20
    assert found(data) == [[]]


def broken(path: Path) -> str:
    """A page in the middle overwritten: the footer still reads."""
    write_scores(path, UID * 500, list(range(10_000)))
    raw = bytearray(path.read_bytes())
    raw[4:400] = b"\xff" * 396
    path.write_bytes(raw)
    return str(path)


@pytest.mark.parametrize(
    ("make", "column", "id_column", "words"),
    [
        (lambda p: str(p / "nothing"), "score", "uid", "no Parquet file is there; check `path`"),
        (
            lambda p: write_scores(p / "a.parquet", UID, UID, pa.string()),
            "score",
            "uid",
            "'score' is a column of string",
        ),
        (
            lambda p: write_scores(p / "a.parquet", UID, [1] * 20),
            "sore",
            "uid",
            "no column 'sore'; did you mean 'score'",
        ),
        (lambda p: write_scores(p / "a.parquet", UID, [1] * 20), "score", "id", "has no column 'id'"),
        (lambda p: write_scores(p / "a.parquet", UID, [1] * 20), "uid", "score", "'score' is a column of double; ids"),
        (
            lambda p: write_scores(p / "a.parquet", ["http://a"], [1]),
            "score",
            "uid",
            "'uid' has 'http://a', and by = 'uid'",
        ),
        (lambda p: broken(p / "a.parquet"), "score", "uid", "a.parquet cannot be read as Parquet"),
        (
            lambda p: str((p / "a.parquet").write_text("nothing") and p / "a.parquet"),
            "score",
            "uid",
            "cannot be read as",
        ),
    ],
)
def test_what_is_refused(tmp_path, make, column, id_column, words):
    data = write_shards(tmp_path / "d", {"uid": UID[:2]})
    with pytest.raises(SourceError, match=words):
        run(Import(make(tmp_path), column, "s", id_column), data)


def test_what_is_seen_before_a_run(tmp_path):
    path = write_scores(tmp_path / "a.parquet", UID, UID, pa.string())
    for step in (Import(path, "score", "s"), Import(str(tmp_path / "b.parquet"), "score", "s")):
        with pytest.raises(SourceError):
            step.require(Runtime())


def test_a_row_id_that_is_no_text_is_refused(tmp_path):
    data = write_shards(tmp_path / "d", {"url": ["a"]})
    pq.write_table(pa.table({"key": ["0"], "uid": pa.array([7])}), tmp_path / "d/00000.parquet")
    path = write_scores(tmp_path / "a.parquet", UID, [1] * 20)
    with pytest.raises(ShardError, match="shard 00000: uid is a column of int64"):
        run(Import(path, "score", "s"), data)


def test_the_identity_is_that_of_the_bytes(tmp_path):
    one = write_scores(tmp_path / "a/1.parquet", UID, list(range(20)))
    same = write_scores(tmp_path / "b/2.parquet", UID, list(range(20)))
    other = write_scores(tmp_path / "c.parquet", UID, list(range(1, 21)))
    step = Import(one, "score", "s")
    assert step.identity() == Import(same, "score", "s").identity() == Import(one, "score", "s", bin_rows=5).identity()
    assert step.identity() != Import(other, "score", "s").identity()
    assert step.identity() != Import(one, "score", "s", by="pair").identity()
    before, path = step.identity(), Path(one)
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(0, 0))
    assert step.identity() != before


def test_files_in_a_bucket(tmp_path, s3):
    data = write_shards(tmp_path / "d", {"uid": UID[:2]})
    path = write_scores(tmp_path / "a.parquet", UID, list(range(20)))
    s3.write("scores/a.parquet", Path(path).read_bytes())
    step = Import(f"{s3.root}/scores", "score", "s")
    run(step, data)
    assert found(data) == [[0.0, 1.0]]
    assert [file[:2] for file in step.identity()["files"]] == [["a.parquet", Path(path).stat().st_size]]


def test_types_that_are_no_numbers():
    assert [score_type(kind) for kind in (pa.string(), pa.timestamp("s"), pa.list_(pa.float32()))] == [None] * 3
