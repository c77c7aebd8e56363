"""Rows sent from the parts of one step to those of the next arrive once, in order, and a broken file is told."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.scatter import Outbox, collect, inbox, part_count, part_of_hash, ranges, row_ids, shards_of, split_ids
from curate.errors import StorageError
from curate.manifest import Attempt
from curate.shard import Shard
from curate.stage import Part
from curate.storage import Storage

SCHEMA = pa.schema({"number": pa.int64(), "word": pa.string()})


def send(storage: Storage, rows: dict[int, list[tuple[int, int]]], of: int) -> None:
    """For each sender the rows it sends: to which part, and a number."""
    for sender, sent in rows.items():
        attempt = Attempt(storage, "step", Part(sender, len(rows)).id, f"mark{sender}")
        outbox = Outbox(attempt, "step", Part(sender, len(rows)), of, SCHEMA)
        for to, number in sent:
            outbox.add(np.array([to]), pa.table({"number": [number], "word": [f"é{number}"]}))
        outbox.close()
        attempt.commit()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), max_size=9), min_size=1, max_size=4))
def test_every_row_arrives_once_in_order(tmp_path_factory: pytest.TempPathFactory, sent: list) -> None:
    storage = Storage(str(tmp_path_factory.mktemp("set")))
    send(storage, dict(enumerate(sent)), 4)
    for part in range(4):
        found = [row for table in inbox(storage, "step", part, range(len(sent)), 4) for row in table.to_pylist()]
        wanted = [number for rows in sent for to, number in rows if to == part]
        assert found == [{"number": number, "word": f"é{number}"} for number in wanted]


def test_nothing_sent_is_an_empty_table(tmp_path: Path) -> None:
    send(Storage(str(tmp_path)), {0: [(0, 1)], 1: []}, 2)
    assert collect(Storage(str(tmp_path)), "step", Part(0, 2), 2, SCHEMA).to_pylist() == [{"number": 1, "word": "é1"}]
    assert collect(Storage(str(tmp_path)), "step", Part(1, 2), 2, SCHEMA).schema == SCHEMA


def test_it_works_in_a_bucket(s3: Storage) -> None:
    send(s3, {0: [(0, 1), (1, 2)], 1: [(1, 3)]}, 2)
    assert [table["number"].to_pylist() for table in inbox(s3, "step", 1, range(2), 2)] == [[2], [3]]


@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_file_that_is_gone_or_cut_is_named(tmp_path: Path, damage: str) -> None:
    storage = Storage(str(tmp_path))
    send(storage, {0: [(0, 1), (1, 2)]}, 2)
    path = tmp_path / "dedup/step/p00000.rows"
    raw = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(raw[:-20] if damage == "cut" else b"")
    with pytest.raises(StorageError, match=r"dedup/step/p00000.rows .* is gone or cut .*delete commits/step"):
        list(inbox(storage, "step", 1, [0], 2))


@pytest.mark.parametrize(("shards", "parts"), [(0, 1), (1, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_each_shard_belongs_to_one_part(tmp_path: Path, shards: int, parts: int) -> None:
    assert part_count(shards, 3) == parts
    all_shards = [Shard(Storage(str(tmp_path)), f"{n:05d}") for n in range(shards)]
    cut = [[number for number, _ in shards_of(Part(p, parts), all_shards, 3)] for p in range(parts)]
    assert [number for part in cut for number in part] == list(range(shards))
    assert max(map(len, cut)) <= 3


@pytest.mark.parametrize(
    ("data_set", "shard", "row"), [(0, 0, 0), (0, 5, 7), (255, (1 << 24) - 1, (1 << 32) - 1), (1, 1 << 20, 1 << 31)]
)
def test_a_number_tells_data_set_shard_and_row(data_set: int, shard: int, row: int) -> None:
    ids = row_ids(shard, np.array([row]), data_set)
    assert ids.dtype == np.uint64
    assert [int(part[0]) for part in split_ids(ids)] == [data_set, shard, row]


@pytest.mark.parametrize("of", [1, 2, 7, 3000])
def test_hashes_are_cut_evenly_and_in_order(of: int) -> None:
    hashes = np.linspace(0, 2**64 - 2**11, 20_000).astype(np.uint64)
    parts = part_of_hash(np.sort(hashes), of)
    assert parts.min() == 0
    assert parts.max() == of - 1
    assert (np.diff(parts) >= 0).all()
    assert np.ptp(np.bincount(parts)) <= 2


@pytest.mark.parametrize("range_bytes", [1, 2_000, 1 << 20])
@pytest.mark.parametrize("of", [1, 3])
def test_ranges_have_all_rows_of_a_hash_together_and_all_rows_once(tmp_path: Path, range_bytes: int, of: int) -> None:
    storage, schema = Storage(str(tmp_path)), pa.schema({"hash": pa.uint64(), "row": pa.int64()})
    random = np.random.default_rng(0)
    hashes = random.choice(random.integers(0, 1 << 64, 40, dtype=np.uint64), 400)
    for sender in range(of):
        attempt = Attempt(storage, "step", Part(sender, of).id, f"mark{sender}")
        outbox = Outbox(attempt, "step", Part(sender, of), of, schema)
        own = hashes[sender::of]
        outbox.add(part_of_hash(own, of), pa.table({"hash": own, "row": np.arange(400)[sender::of]}))
        outbox.close()
        attempt.commit()
    seen: list[int] = []
    tables = 0
    for number in range(of):
        attempt = Attempt(storage, "next", Part(number, of).id, "mark")
        hashes_seen: set[int] = set()
        for table in ranges(attempt, "step", Part(number, of), schema, "hash", range_bytes):
            tables += 1
            own = set(table["hash"].to_pylist())
            assert not own & hashes_seen
            hashes_seen |= own
            assert all(
                hashes[row] == value
                for row, value in zip(table["row"].to_pylist(), table["hash"].to_pylist(), strict=True)
            )
            seen += table["row"].to_pylist()
    assert sorted(seen) == list(range(400))
    assert tables > of if range_bytes < 1 << 20 else tables == of
