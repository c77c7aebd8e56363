"""The score that a share of all rows reaches: against a sort, at any packing and any size of bins."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import bytes_of, handles, pack, packings, pairs, run_barrier

from curate.caption import threshold
from curate.caption.threshold import Threshold, threshold_column
from curate.errors import ShardError
from curate.manifest import fingerprint
from curate.shard import Shard
from curate.storage import Storage

VALUES = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, -5e-324, 0.3, 0.3000001]),
    st.floats(-1, 1, width=16),
    st.floats(allow_nan=False),
)


def reference(values: list[float | None], fraction: float) -> float | None:
    known = sorted((v for v in values if v is not None and not math.isnan(v)), reverse=True)
    return known[max(1, int(len(known) * fraction)) - 1] if known else None


def found(folder: Path, shards: list[Shard], barrier: Threshold) -> list[float | None]:
    commit = run_barrier(barrier, shards, folder)
    column = threshold_column("score", barrier.fraction)
    values = [v for s in handles(folder, len(shards)) for v in s.columns([column])[column].to_pylist()]
    assert len(values) == commit.counts["in"]
    return values


@given(
    st.lists(VALUES, min_size=1, max_size=14),
    st.sampled_from([pa.float64(), pa.float32(), pa.float16()]),
    st.sampled_from([0.001, 0.3, 0.5, 0.999, 1.0]),
    st.sampled_from([1, 3, 1000]),
    st.data(),
)
@settings(deadline=None, max_examples=25)
def test_it_is_that_of_a_sort(tmp_path_factory, values, kind, fraction, held, data) -> None:
    with np.errstate(over="ignore"):
        narrow = [None if v is None else float(kind.to_pandas_dtype()(v)) for v in values]
    sizes, order = data.draw(st.sampled_from(packings(len(values))))
    folder = tmp_path_factory.mktemp("threshold")
    shards = pack(folder, pairs(len(values), score=pa.array(narrow, kind)), sizes, order)
    answer = found(folder, shards, Threshold("score", fraction, held_rows=held))
    expected = reference(narrow, fraction)
    assert repr(answer) == repr([None if expected is None else expected + 0.0] * len(values))  # never -0


def test_how_many_reach_it(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1000).astype(np.float32)
    shards = pack(tmp_path, pairs(1000, score=pa.array(values)), [300, 700])
    (bound,) = set(found(tmp_path, shards, Threshold("score", 0.3)))
    assert (values >= bound).sum() == 300
    commit = run_barrier(Threshold("score", 0.3), shards, tmp_path)
    assert commit.counts == {"in": 1000, "scored": 1000}


def test_the_way_it_is_found_changes_no_byte(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0.3, 1e-6, 500).astype(np.float32)
    written = []
    for held in (1, 10, 4_000_000):
        folder = tmp_path / str(held)
        shards = pack(folder, pairs(500, score=pa.array(values)), [500])
        run_barrier(Threshold("score", 0.3, held_rows=held), shards, folder)
        written.append(bytes_of(folder, "threshold_score_of_best_0_3"))
    assert written[0] == written[1] == written[2]
    assert len(written[0]) == 1


def test_few_values_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of one bin in 16 bits are told apart by the next 16, without being held together."""
    values = (np.float32(0.25) + np.arange(2000, dtype=np.float32) * np.float32(3e-8)).astype(np.float32)
    shards = pack(tmp_path, pairs(2000, score=pa.array(values)), [1000, 1000])
    largest = []
    partition = np.partition
    monkeypatch.setattr(
        threshold.np, "partition", lambda held, place: largest.append(len(held)) or partition(held, place)
    )
    (bound,) = set(found(tmp_path, shards, Threshold("score", 0.5, held_rows=100)))
    assert bound == reference(values.tolist(), 0.5)
    assert max(largest, default=0) <= 100


def test_scores_of_two_models_are_refused(tmp_path: Path) -> None:
    about = {"score": [{"model_fingerprint": "one"}, {"model_fingerprint": "two"}]}
    shards = pack(tmp_path, pairs(2, score=[0.1, 0.2]), [1, 1], about=about)
    with pytest.raises(ShardError, match="score was made by model one in shard 00000 and by two"):
        run_barrier(Threshold("score", 0.3), shards, tmp_path)


def test_the_column_says_which_model_it_is_of(tmp_path: Path) -> None:
    shards = pack(tmp_path, pairs(1, score=[0.1]), [1], about={"score": [{"model_fingerprint": "one", "model": "L"}]})
    run_barrier(Threshold("score", 0.3), shards, tmp_path)
    told = Shard(Storage(str(tmp_path)), "00000").provenance("score_of_best_0_3")
    assert told == {"model": "L", "model_fingerprint": fingerprint(["one", "threshold", 1, 0.3])}


def test_a_column_of_words_is_told(tmp_path: Path) -> None:
    shards = pack(tmp_path, pairs(1, score=pa.array(["high"])), [1])
    with pytest.raises(ShardError, match="shard 00000: score is a column of string; a threshold needs numbers"):
        run_barrier(Threshold("score", 0.3), shards, tmp_path)


def test_each_share_has_a_column_of_its_own() -> None:
    assert threshold_column("a_similarity", 0.3) == "a_similarity_of_best_0_3"
    assert threshold_column("s", 1) == "s_of_best_1_0"
    assert threshold_column("s", 1e-07) == "s_of_best_1__07"
    assert Threshold("s", 0.3).label == "threshold_s_of_best_0_3"
    assert Threshold("s", 0.3).reads == ("s", "key")
    for fraction in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match="out of range"):
            Threshold("s", fraction)
