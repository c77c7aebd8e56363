"""Which text of its row each equals, against a loop; also for texts that a sketch cannot tell apart."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.caption.rules._repeats import _sketches, first_equal

LONG = "x" * 40
TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "\0",
    "\0\0",
    "12345678",
    "123456789",
    LONG,
    LONG[:13] + "y" + LONG[:26],
    "長い文章です",
    "長い",
]


def reference(rows: list[int], texts: list[str]) -> list[int]:
    pairs = list(zip(rows, texts, strict=True))
    return [pairs.index(pair) for pair in pairs]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(TEXTS)), max_size=12), st.integers(0, 3))
def test_it_is_the_first_equal_text_of_the_row(pairs: list[tuple[int, str]], offset: int) -> None:
    rows, texts = [row for row, _ in pairs], [text for _, text in pairs]
    array = pa.array(["before"] * offset + texts, pa.large_string()).slice(offset)
    found = first_equal(np.array(rows, np.int64), array)
    assert found.tolist() == reference(rows, texts)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(TEXTS), st.booleans()), max_size=12))
def test_only_the_places_that_are_asked_for_are_looked_at(triples: list[tuple[int, str, bool]]) -> None:
    rows = np.array([row for row, _, _ in triples], np.int64)
    places = np.flatnonzero([wanted for _, _, wanted in triples])
    found = first_equal(rows, pa.array([text for _, text, _ in triples], pa.large_string()), places)
    expected = list(range(len(triples)))
    own = reference(rows[places].tolist(), [triples[place][1] for place in places])
    for place, first in zip(places.tolist(), own, strict=True):
        expected[place] = int(places[first])
    assert found.tolist() == expected


def test_texts_with_one_sketch_are_compared() -> None:
    """The middle of both is not looked at: same length, same first, middle and last eight bytes."""
    one, other = "a" * 30 + "b" + "a" * 69, "a" * 30 + "c" + "a" * 69
    texts = pa.array([one, other, one], pa.large_string())
    sketches = _sketches(texts, np.arange(3))
    assert sketches[0] == sketches[1]
    assert first_equal(np.zeros(3, np.int64), texts).tolist() == [0, 1, 0]


def test_a_sketch_looks_at_the_beginning_the_middle_and_the_end() -> None:
    changed = [LONG, "y" + LONG[1:], LONG[:20] + "y" + LONG[21:], LONG[:-1] + "y", LONG[:-1]]
    assert len(set(_sketches(pa.array(changed, pa.large_string()), np.arange(5)).tolist())) == 5


def test_rows_far_apart_are_not_taken_for_one() -> None:
    rows = np.array([0, 1 << 24, 1 << 25], np.int64)
    assert first_equal(rows, pa.array(["same"] * 3, pa.large_string())).tolist() == [0, 1, 2]


def test_a_table_of_nothing_but_repetitions_takes_no_longer_than_a_dictionary() -> None:
    started = time.process_time()
    found = first_equal(np.repeat(np.arange(10_000), 11), pa.array(["again"] * 110_000, pa.large_string()))
    assert time.process_time() - started < 5
    assert (found == np.repeat(np.arange(10_000) * 11, 11)).all()
