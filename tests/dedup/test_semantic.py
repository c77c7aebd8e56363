"""SemDeDup over all shards: cosines by cell, in any packing; what is no direction; what cells miss."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from scored_shards import by_row, bytes_of, digests, embedded, handles, pack, packings, pairs, run_barrier, unit_rows

from curate.dedup.semantic import SemanticDuplicates, _middle_first, semantic_columns
from curate.dedup.semantic_misses import AT_LEAST, count_misses
from curate.errors import ShardError
from curate.registry import filter_class

IMAGE = "clip_image_embedding"
COUNT, LENGTH = 60, 16
UNKNOWN = "unknown"


def near_rows(seed: int = 0) -> np.ndarray:
    """Directions, a third of them next to another."""
    random = np.random.default_rng(seed)
    rows = unit_rows(COUNT, LENGTH, seed)
    for row in range(0, COUNT, 3):
        rows[row] = rows[row + 1] + random.choice([0, 0.02, 0.1]) * random.normal(size=LENGTH)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def answers(folder, table: pa.Table, step: SemanticDuplicates, sizes: Sequence[int] | None = None, order=None):
    """Both columns by uid, with the nearest one's uid instead of its key; and the counts."""
    shards = pack(folder, table, sizes or [len(table)], order)
    commit = run_barrier(step, shards, folder)
    number, key = semantic_columns(step.mode)
    shards = handles(folder, len(shards))
    uid_of = {key: uid for uid, (key,) in by_row(shards, ["key"]).items()}
    found = by_row(shards, [number, key])
    told = {uid: (told_of(value, step), other and uid_of[other]) for uid, (value, other) in found.items()}
    return told, commit.counts


def told_of(value, step: SemanticDuplicates):
    """The number, or UNKNOWN where there was no embedding; None where a row took no part."""
    no_number = value == 0 if step.mode == "components" else value is not None and np.isnan(value)
    return UNKNOWN if no_number else value


def exact(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float16).astype(np.float64)
    wide /= np.sqrt((wide**2).sum(axis=1, keepdims=True))
    return (wide @ wide.T).astype(np.float32)


@pytest.mark.parametrize("mode", ["paper", "greedy", "components"])
@pytest.mark.parametrize("keep", ["farthest", "middle", "closest", "random", "best"])
def test_any_packing_gives_a_row_the_same_answer(tmp_path, mode, keep):
    score = np.random.default_rng(1).integers(0, 9, COUNT).astype(float)
    table = pairs(COUNT, **{IMAGE: embedded(near_rows(), missing=[7, 50]), "score": score.tolist()})
    prefer = ("highest score",) if keep == "best" else ()
    step = SemanticDuplicates(
        mode=mode, limit=None if mode == "paper" else 0.9, keep=keep, prefer=prefer, cells=5, iterations=4
    )
    found = [
        answers(tmp_path / str(number), table, step, sizes, order)
        for number, (sizes, order) in enumerate(packings(COUNT))
    ]
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[0][1] == found[1][1] == found[2][1]
    assert sorted(uid for uid, (value, _) in found[0][0].items() if value == UNKNOWN) == sorted(
        table["uid"][row].as_py() for row in (7, 50)
    )


def test_in_one_cell_the_best_row_comes_first(tmp_path):
    rows = near_rows()
    score = np.random.default_rng(1).permutation(COUNT).astype(float)
    table = pairs(COUNT, **{IMAGE: embedded(rows), "score": score.tolist()})
    step = SemanticDuplicates(keep="best", prefer=("highest score",), cells=1)
    found, counts = answers(tmp_path, table, step)
    order, cosines = np.argsort(-score), exact(rows)
    uids = table["uid"].to_pylist()
    for place, row in enumerate(order):
        best = cosines[row, order[:place]].max(initial=0)
        assert found[uids[row]][0] == pytest.approx(best, abs=1e-6)
        if best > 0:
            assert found[uids[row]][1] == uids[order[cosines[row, order[:place]].argmax()]]
    assert found[uids[order[0]]] == (0.0, None)
    assert (counts["in"], counts["compared"], counts["cells"], counts["largest_cell"]) == (COUNT, COUNT, 1, COUNT)


@pytest.mark.parametrize(("keep", "place"), [("closest", 0), ("middle", 2), ("farthest", 4)])
def test_orders_by_the_distance_from_the_centre(tmp_path, keep, place):
    angles = np.deg2rad([15, 12, 22, 55, 5])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    table = pairs(5, **{IMAGE: embedded(rows)})
    found, _ = answers(tmp_path, table, SemanticDuplicates(keep=keep, cells=1))
    first = np.argsort(-(rows.astype(np.float16).astype(float) @ rows.sum(axis=0)))[place]
    assert [uid for uid, (_, other) in found.items() if other is None] == [table["uid"][int(first)].as_py()]


def test_the_middle_of_each_cell_comes_first():
    order, cells = np.array([4, 0, 1, 2, 3, 5, 6]), np.array([0, 0, 0, 0, 0, 1, 1], np.int32)
    assert _middle_first(order, cells).tolist() == [1, 0, 2, 4, 3, 5, 6]


def test_equal_rows_are_ordered_by_what_they_are(tmp_path):
    table = pairs(6, **{IMAGE: embedded(np.tile(unit_rows(1, 4), (6, 1)))})
    found, counts = answers(tmp_path, table, SemanticDuplicates())
    first = min(digests(table, tmp_path / "one").items(), key=lambda item: item[1])[0]
    assert {other for _, other in found.values()} == {None, first}
    assert found[first] == (0.0, None)
    assert sorted(value for value, _ in found.values()) == [0.0] + [1.0] * 5
    assert counts["cells"] == 1


def test_what_is_no_direction_is_told_and_counted(tmp_path):
    rows = unit_rows(8, 4)
    rows[1], rows[2, 3], rows[3, 0], rows[4] = 0, np.nan, np.inf, 1e-9
    table = pairs(8, **{IMAGE: embedded(rows, missing=[0])})
    found, counts = answers(tmp_path, table, SemanticDuplicates(cells=1))
    uids = table["uid"].to_pylist()
    assert [found[uid][0] == UNKNOWN for uid in uids] == [True] * 5 + [False] * 3
    assert {name: counts[name] for name in ("without_embedding", "not_finite", "zero_length", "compared")} == {
        "without_embedding": 1,
        "not_finite": 2,
        "zero_length": 2,
        "compared": 3,
    }


@pytest.mark.parametrize("mode", ["paper", "greedy", "components"])
def test_rows_that_earlier_filters_drop_take_no_part(tmp_path, mode):
    """Without them the answer is that of the others alone, so that no row falls to a copy that is dropped itself."""
    table = pairs(COUNT, **{IMAGE: embedded(near_rows(), missing=[7]), "score": np.arange(COUNT).tolist()})
    rules = (("imported", filter_class("clip_similarity")(min=20)),)
    settings = {"mode": mode, "limit": None if mode == "paper" else 0.9, "cells": 1}
    table = table.rename_columns([{"score": rules[0][1].columns[0]}.get(n, n) for n in table.column_names])
    found, counts = answers(tmp_path / "some", table, SemanticDuplicates(**settings, rules=rules))
    alone, _ = answers(tmp_path / "alone", table.slice(20), SemanticDuplicates(**settings))
    uids = table["uid"].to_pylist()
    assert [found[uid] for uid in uids[20:]] == [alone[uid] for uid in uids[20:]]
    assert {found[uid] for uid in uids[:20]} == {(None, None)}
    assert (counts["compared"], counts["without_embedding"]) == (COUNT - 20, 0)


@pytest.mark.parametrize("mode", ["paper", "greedy", "components"])
@pytest.mark.parametrize("missing", [[], [0], [0, 1, 2]])
def test_few_rows_and_none(tmp_path, mode, missing):
    table = pairs(3, **{IMAGE: embedded(unit_rows(3, 4), missing=missing)})
    step = SemanticDuplicates(mode=mode, limit=None if mode == "paper" else 0.9)
    found, counts = answers(tmp_path, table, step, [0, 2, 0, 1])
    assert sum(value == UNKNOWN for value, _ in found.values()) == len(missing)
    assert counts["compared"] == 3 - len(missing)


def test_no_shards(tmp_path):
    assert run_barrier(SemanticDuplicates(), [], tmp_path).counts["compared"] == 0


def test_types_and_names_of_the_file(tmp_path):
    table = pairs(3, **{IMAGE: embedded(unit_rows(3, 4))})
    (shard,) = pack(tmp_path, table, [3])
    run_barrier(SemanticDuplicates(), [shard], tmp_path)
    run_barrier(SemanticDuplicates(mode="components", limit=0.5), [shard], tmp_path)
    assert shard.schema("semantic_paper").types == [pa.string(), pa.float32(), pa.string()]
    assert shard.schema("semantic_components").types == [pa.string(), pa.int64(), pa.string()]
    assert not list(tmp_path.rglob("*.f16"))


def test_shards_with_embeddings_of_two_lengths_are_refused(tmp_path):
    pack(tmp_path, pairs(3, **{IMAGE: embedded(unit_rows(3, 4))}), [3])
    other = pack(tmp_path / "other", pairs(3, **{IMAGE: embedded(unit_rows(3, 5))}), [3])
    with pytest.raises(ShardError, match="embeddings of 5 numbers, and those before it of 4"):
        run_barrier(SemanticDuplicates(), [*handles(tmp_path, 1), *other], tmp_path)


def test_twice_the_bytes_are_the_same(tmp_path):
    table, seen = pairs(COUNT, **{IMAGE: embedded(near_rows())}), []
    for number in range(2):
        answers(tmp_path / str(number), table, SemanticDuplicates(), [20, 40])
        seen.append(bytes_of(tmp_path / str(number), "semantic_paper"))
        seen[-1]["misses"] = (tmp_path / str(number) / "semantic_paper" / "misses.json").read_bytes()
    assert seen[0] == seen[1]


def test_what_cells_miss_is_counted_over_all_pairs_of_a_sample():
    rows = near_rows().astype(np.float16)
    cells = np.random.default_rng(0).integers(0, 3, COUNT).astype(np.int32)
    sample = np.array([0, 1, 3, 17, 59])
    cosines = exact(rows)
    np.fill_diagonal(cosines, -1)
    for least, found in zip(AT_LEAST, count_misses(rows, cells, sample), strict=True):
        near = cosines[sample] >= least
        other = cells[sample][:, None] != cells
        assert found == {
            "at_least": least,
            "pairs": near.sum(),
            "in_other_cells": (near & other).sum(),
            "rows": near.any(axis=1).sum(),
            "rows_missed": (near.any(axis=1) & ~(near & ~other).any(axis=1)).sum(),
        }


def test_the_report_says_what_was_missed(tmp_path):
    table = pairs(COUNT, **{IMAGE: embedded(near_rows())})
    _, counts = answers(tmp_path, table, SemanticDuplicates(cells=50, sample_rows=COUNT))
    report = json.loads((tmp_path / "semantic_paper" / "misses.json").read_text())
    assert report["sampled"] == counts["sampled"] == COUNT
    assert [level["at_least"] for level in report["pairs"]] == list(AT_LEAST)
    assert counts["missed_95"] == report["pairs"][3]["in_other_cells"]
    assert 0 < counts["pairs_80"] >= counts["missed_80"] > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "greedy"}, "all modes but paper need one"),
        ({"limit": 0.9}, "all modes but paper need one"),
        ({"mode": "components", "limit": 1.0}, "limit = 1.0 is out of range"),
        ({"keep": "best"}, '"best" needs one'),
        ({"prefer": ("highest score",)}, '"best" needs one'),
        ({"keep": "best", "prefer": ("tallest score",)}, "tallest score"),
        ({"cells": -1}, "cells = -1 is out of range"),
        ({"sample_rows": 2_000_000}, "sample_rows = 2000000 is out of range"),
        ({"seed": 1 << 31}, "seed = 2147483648 is out of range"),
    ],
)
def test_settings_that_make_no_sense(settings, words):
    with pytest.raises(ValueError, match=words):
        SemanticDuplicates(**settings)
