"""Texts that views of captions keep, gained and lost: each is matched with its picture."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from comparison_sets import Row, write_set

from curate.compare.compare import Comparison, compare
from curate.compare.sides import data_side
from curate.compare.told import told
from curate.manifest import write_parquet
from curate.shard import list_shards
from curate.storage import Storage

Texts = dict[int, list[tuple[str, str]]]
"""By the picture's number: texts with their origins."""
ROWS = [Row(f"http://h.test/{n}", f"picture {n}", f"{n:064x}") for n in range(6)]
A: Texts = {0: [("one", "web"), ("two", "synthetic")], 1: [("one", "web")], 2: [("two", "synthetic")] * 2}
B: Texts = {0: [("one", "web"), ("new", "synthetic")], 2: [("two", "synthetic")], 3: [("one", "web")]}


def write_views(folder: Path, texts: Texts, order: int, cut: int) -> Storage:
    storage = write_set(folder, ROWS[::order], cut)
    for shard in list_shards(storage):
        rows = shard.columns(["key", "caption"]).to_pylist()
        own = [texts.get(int(row["caption"].split()[1]), []) for row in rows]
        lists = [pa.array([[one[place] for one in row] for row in own], pa.list_(pa.string())) for place in (0, 1)]
        names = ["key", "best_texts", "best_origins", "best_scores", "best_weights", "best_web_reason"]
        more = [pa.nulls(len(rows), pa.list_(pa.float32()))] * 2 + [pa.nulls(len(rows), pa.string())]
        columns = [pa.array([row["key"] for row in rows]), *lists, *more]
        write_parquet(pa.table(columns, names=names), folder / shard.table_name("view_best"))
    return storage


def compared(a: Storage, b: Storage) -> Comparison:
    return compare(data_side("A", a), data_side("B", b))


def test_texts_are_matched_with_their_pictures(tmp_path: Path) -> None:
    found = compared(write_views(tmp_path / "a", A, 1, 4), write_views(tmp_path / "b", B, -1, 5))
    rows = [
        [row[name] for name in ("view", "texts", "a", "b", "in_both", "gained", "lost")] for row in told(found)["views"]
    ]
    assert rows == [["best", "web", 2, 2, 1, 1, 1], ["best", "synthetic", 3, 2, 1, 1, 2]]


def test_a_view_of_one_side_and_of_one_data_set_is_not_compared(tmp_path: Path) -> None:
    a, b = write_views(tmp_path / "a", A, 1, 4), write_set(tmp_path / "b", ROWS)
    assert compared(a, b).units[0].views == compared(a, a).units[0].views == ()


def test_a_damaged_view_is_told(tmp_path: Path) -> None:
    a, b = write_views(tmp_path / "a", A, 1, 3), write_views(tmp_path / "b", A, 1, 3)
    path = tmp_path / "b" / "00000.view_best.parquet"
    table = pq.read_table(path)
    origins = pa.array([[]] * len(table), pa.list_(pa.string()))
    write_parquet(table.set_column(2, "best_origins", origins), path)
    found = compared(a, b)
    assert "view best of shard 00000 has 5 texts and 0 origins" in found.troubles[0]
    assert [one.b for one in found.units[0].views] == [0, 0]
