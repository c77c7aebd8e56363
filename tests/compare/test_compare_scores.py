"""Scores that differ between two data sets, and which rows are drawn to be shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from comparison_sets import Row, write_set

from curate.compare.compare import compare
from curate.compare.drawn import GAINED, LOST
from curate.compare.scores import ScoreChange, SomePairs
from curate.compare.sides import data_side
from curate.compare.told import told
from curate.dedup.scatter import split_ids
from curate.manifest import write_parquet
from curate.storage import Storage

ROWS = [
    Row(f"http://h.test/{n}", f"picture {n}", f"{n:064x}", ("", "blurred")[n % 2], score=n / 64, words=n)
    for n in range(24)
]


def changes(a: Storage, b: Storage) -> tuple[ScoreChange, ...]:
    return compare(data_side("A", a), data_side("B", b)).units[0].scores


def test_equal_scores_in_other_shards_are_no_difference(tmp_path: Path) -> None:
    assert changes(write_set(tmp_path / "a", ROWS, 5), write_set(tmp_path / "b", ROWS[::-1], 9)) == ()


def test_scores_are_compared_on_the_rows_that_both_have(tmp_path: Path) -> None:
    steps = {1: 0.5, 2: -0.25, 5: 0.125}
    other = [replace(row, score=(row.score or 0) + steps.get(n, 0)) for n, row in enumerate(ROWS)]
    other[7] = replace(other[7], score=None)
    other[8] = replace(other[8], score=float("nan"))
    a = [replace(row, score=None) if n == 9 else row for n, row in enumerate(ROWS)][:20]
    (found,) = changes(write_set(tmp_path / "a", a, 5), write_set(tmp_path / "b", other[::-1], 7))
    assert (found.column, found.rows, found.differ, found.only_a, found.only_b) == ("clip_similarity", 17, 3, 2, 1)
    assert found.largest == pytest.approx(0.5)
    assert found.mean == pytest.approx(0.875 / 17)
    assert found.shift == pytest.approx(0.375 / 17)


def test_another_model_and_a_column_of_one_side_are_told(tmp_path: Path) -> None:
    sets = [write_set(tmp_path / name, ROWS, 24) for name in "ab"]
    for name, mark in (("a", "one"), ("b", "two")):
        path = tmp_path / name / "00000.clip.parquet"
        table = pq.read_table(path)
        field = table.schema.field("clip_similarity").with_metadata({"model_fingerprint": mark})
        write_parquet(table.cast(pa.schema([table.schema.field("key"), field])), path)
    (tmp_path / "b" / "00000.caption_words.parquet").unlink()
    words, clip = changes(*sets)
    assert (words.column, words.only) == ("caption_words", "A")
    assert (clip.model_a, clip.model_b, clip.rows, clip.differ) == ("one", "two", 24, 0)
    tables = told(compare(data_side("A", sets[0]), data_side("B", sets[1])))
    assert [(row["column"], row["model_b"]) for row in tables["scores"]] == [("clip_similarity", "two")]
    assert tables["columns"] == [{"unit": "samples", "only_in": "A", "columns": ["caption_words"]}]


def test_a_shard_whose_scores_are_damaged_is_told_and_has_no_numbers(tmp_path: Path) -> None:
    sets = [write_set(tmp_path / name, ROWS, 12) for name in "ab"]
    path = tmp_path / "b" / "00001.clip.parquet"
    write_parquet(pq.read_table(path).rename_columns(["key", "other"]), path)
    found = compare(data_side("A", sets[0]), data_side("B", sets[1]))
    assert (found.units[0].scores[0].only_a, found.units[0].scores[0].rows) == (12, 12)
    assert "B: 00001.clip.parquet" in found.troubles[0]


def test_many_pairs_are_drawn_the_same_however_they_are_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.compare.compare.MOST_PAIRS", 6)
    other = [replace(row, score=(row.score or 0) + n / 64) for n, row in enumerate(ROWS)]
    found = []
    for name, order, cut in (("x", 1, 4), ("y", -1, 9)):
        sets = (write_set(tmp_path / f"{name}{n}", rows[::order], cut) for n, rows in enumerate((ROWS, other)))
        unit = compare(*(data_side(one.root[-2:], one) for one in sets)).units[0]
        assert (unit.pairs, unit.compared, unit.scores[0].rows) == (24, 6, 6)
        found.append(unit.scores)
    assert found[0] == found[1]


def test_pairs_that_one_side_lacks_are_not_compared(tmp_path: Path) -> None:
    unit = compare(
        data_side("A", write_set(tmp_path / "a", ROWS[:10])), data_side("B", write_set(tmp_path / "b", ROWS[5:]))
    ).units[0]
    assert unit.pairs == unit.compared == 5
    assert SomePairs(3).take()[0].size == 0


@pytest.mark.parametrize("cut", [4, 24])
def test_rows_are_drawn_by_what_they_are(tmp_path: Path, cut: int) -> None:
    lost = [replace(row, verdict="too_small" if n in (0, 2, 4, 6) else row.verdict) for n, row in enumerate(ROWS)]
    lost = [replace(row, verdict="") if n == 3 else row for n, row in enumerate(lost)]
    order = ROWS if cut == 4 else ROWS[::-1]
    sets = write_set(tmp_path / "a", order, cut), write_set(tmp_path / "b", lost, 7)
    unit = compare(data_side("A", sets[0]), data_side("B", sets[1]), draw=2).units[0]
    told_rows = []
    for one in unit.drawn:
        _, shards, rows = split_ids(one.places_b)
        told_rows.append((one.change, unit.verdicts[one.reason], one.rows, (shards * 7 + rows).tolist()))
    assert [own[:3] for own in told_rows] == [(GAINED, "blurred", 1), (LOST, "too_small", 4)]
    assert told_rows[0][3] == [3]
    assert told_rows[1][3] == DRAWN


DRAWN = [4, 6]


def test_copies_are_drawn_once(tmp_path: Path) -> None:
    same = [ROWS[0]] * 5 + [ROWS[2]]
    other = [replace(row, verdict="blurred") for row in same]
    sets = write_set(tmp_path / "a", same), write_set(tmp_path / "b", other)
    (drawn,) = compare(data_side("A", sets[0]), data_side("B", sets[1]), draw=4).units[0].drawn
    assert (drawn.rows, len(drawn.places_a)) == (6, 2)


def test_the_draw_does_not_favour_a_place(tmp_path: Path) -> None:
    many = [Row(f"http://h.test/{n}", "x", f"{n:064x}") for n in range(400)]
    none = [replace(row, verdict="gone") for row in many]
    sets = write_set(tmp_path / "a", many, 400), write_set(tmp_path / "b", none, 400)
    (drawn,) = compare(data_side("A", sets[0]), data_side("B", sets[1]), draw=100).units[0].drawn
    rows = split_ids(drawn.places_a)[2]
    assert np.histogram(rows, 4, (0, 400))[0].min() > 12
