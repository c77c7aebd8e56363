"""Histograms, ranges and sums of a manifest: bounds of bins, and shards that add up however they are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handover_sets import make_handover, pair, prose
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ShardError
from curate.handover.histograms import BINS, add_shard, describe, histogram, merged, totals_of
from curate.manifest import write_parquet
from curate.shard import Shard
from curate.storage import Storage


@pytest.mark.parametrize(
    ("kind", "value", "bin"),
    [
        ("width_px", 0, 0),
        ("width_px", 63, 0),
        ("width_px", 64, 1),
        ("width_px", 223, 2),
        ("width_px", 224, 3),
        ("width_px", 4095, 14),
        ("width_px", 4096, 15),
        ("width_px", 1e9, 15),
        ("aspect", 0.2499, 0),
        ("aspect", 0.25, 1),
        ("aspect", 0.999, 5),
        ("aspect", 1, 6),
        ("aspect", 4, 11),
        ("words", 0, 0),
        ("words", 1, 1),
        ("words", 3, 3),
        ("words", 4, 3),
        ("words", 500, 13),
    ],
)
def test_a_bin_begins_with_its_edge(kind: str, value: float, bin: int) -> None:
    counts = histogram(np.array([value]), kind)
    assert len(counts) == len(BINS[kind])
    assert counts.index(1) == bin
    assert sum(counts) == 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 10_000)), st.sampled_from(sorted(BINS)))
def test_every_value_is_counted_once(values: list[int], kind: str) -> None:
    assert sum(histogram(np.array(values, np.int64), kind)) == len(values)


ranges = st.builds(
    lambda a, b, n: {"values": n, "min": min(a, b), "max": max(a, b)}, *[st.integers(-9, 9)] * 2, st.integers(1, 9)
)
contents = st.fixed_dictionaries(
    {"samples": st.integers(0, 9), "text_tokens": st.dictionaries(st.sampled_from("ab"), st.integers(0, 9))},
    optional={
        "words": st.lists(st.integers(0, 9), min_size=3, max_size=3),
        "scores": st.dictionaries(st.sampled_from("xy"), ranges),
    },
)


@settings(deadline=None)
@given(contents, contents, contents)
def test_sums_do_not_depend_on_the_order(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    assert merged(a, b) == merged(b, a)
    assert merged(merged(a, b), c) == merged(a, merged(b, c))
    assert merged(a, {}) == a


def rewritten(folder: Path, name: str, **columns: Any) -> None:
    """The table with columns in place of its own; None takes one out."""
    table = pq.read_table(folder / name)
    for column, value in columns.items():
        table = table.drop_columns([column]) if column in table.column_names else table
        table = table if value is None else table.append_column(column, value)
    write_parquet(table, folder / name)


def test_a_set_is_the_same_however_it_is_cut(tmp_path: Path) -> None:
    pairs = [pair(n, ["x " * n, "y"][: 1 + n % 2], ["web", "synthetic"][: 1 + n % 2]) for n in range(7)]
    sums = []
    for samples in (1, 3, 7):
        folder = make_handover(tmp_path / str(samples), {"web": pairs}, samples)
        by_source: dict[str, Any] = {}
        for path in sorted(folder.glob("*.tar")):
            own = describe(Shard(Storage(str(folder)), path.stem), ["words"])
            add_shard(by_source, {"source": "web", "bytes": 0, **own})
        told = totals_of(by_source)
        told["by_source"]["web"].pop("shards")
        sums.append({**told, "shards": 0})
    assert sums[0] == sums[1] == sums[2]
    assert sums[0]["by_source"]["web"]["captions"]["synthetic"]["texts"] == 3
    assert sums[0]["by_source"]["web"]["aspect"] == [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]  # 32 x 24 px


def test_pairs_without_lists_have_captions_of_the_web(tmp_path: Path) -> None:
    folder = make_handover(tmp_path / "out", {"web": [pair(n) for n in range(3)]})
    shard = Shard(Storage(str(folder)), "00000")
    words = [0, 0, 0, 3, *[0] * 10]
    web = {"texts": 3, "words": words, "text_tokens": {"words": 9}}
    assert describe(shard, ["words"])["captions"] == {"web": web}
    rewritten(folder, "00000.parquet", caption=pa.array(["one two three", None, "four five six"]))
    assert describe(shard, ["words"])["captions"]["web"]["texts"] == 2


def test_pictures_that_a_model_drew_are_counted(tmp_path: Path) -> None:
    folder = make_handover(tmp_path / "out", {"web": [pair(n) for n in range(3)]})
    shard = Shard(Storage(str(folder)), "00000")
    assert "synthetic_images" not in describe(shard, [])
    rewritten(folder, "00000.parquet", image_origin=pa.array(["synthetic", None, "synthetic"]))
    own = describe(shard, [])
    assert own["synthetic_images"] == 2
    by_source: dict[str, Any] = {}
    for source in ("web", "web", "other"):
        add_shard(by_source, {"source": source, "bytes": 1, **own})
    assert totals_of(by_source)["synthetic_images"] == 6
    assert by_source["web"]["synthetic_images"] == 4


def test_scores_have_the_range_of_what_is_a_number(tmp_path: Path) -> None:
    folder = make_handover(tmp_path / "out", {"web": [pair(n) for n in range(4)]})
    values = pa.array([0.2, None, float("nan"), -0.1], pa.float32())
    rewritten(
        folder,
        "00000.parquet",
        clip_similarity=values,
        watermark_probability=pa.nulls(4, pa.float32()),
        text_area_ratio=pa.array([0.5, 0.25, 0.5, 1.0]),
        words_ratio=pa.array([1, 2, 3, 4]),
        other=values,
    )
    found = describe(Shard(Storage(str(folder)), "00000"), [])
    assert found["scores"] == {
        "clip_similarity": {"values": 2, "min": -0.1, "max": 0.2},
        "text_area_ratio": {"values": 4, "min": 0.25, "max": 1.0},
    }


def test_texts_have_no_captions(tmp_path: Path) -> None:
    folder = make_handover(tmp_path / "out", {"text": [prose(1, 5)]})
    found = describe(Shard(Storage(str(folder)), "00000"), ["words"])
    assert "captions" not in found
    assert (found["images"], found["text_tokens"], sum(found["aspect"])) == (0, {"words": 5}, 0)


@pytest.mark.parametrize(
    ("name", "columns", "words"),
    [
        ("00000.parquet", {"chars": None}, "00000.parquet has no column 'chars'"),
        ("00000.tokens.parquet", {"tokens_words": None}, "00000.tokens.parquet has no column 'tokens_words'"),
        ("00000.parquet", {"widths": pa.array([[1, 2]], pa.list_(pa.int32()))}, "2 widths and 1 heights"),
        ("00000.parquet", {"captions": pa.array([["a"]])}, "lists of captions differ in length"),
    ],
)
def test_tables_at_odds_are_an_error(tmp_path: Path, name: str, columns: dict[str, Any], words: str) -> None:
    folder = make_handover(tmp_path / "out", {"web": [pair(0, ["a", "b"], ["web", "synthetic"])]})
    rewritten(folder, name, **columns)
    with pytest.raises(ShardError, match=words):
        describe(Shard(Storage(str(folder)), "00000"), ["words"])
