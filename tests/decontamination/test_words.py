"""Words and runs of words, against a loop over plain strings."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.decontamination.words import plain_words, run_digests, whole_digests
from curate.dedup.digest import digest_strings


def words(*texts):
    return plain_words(pa.array(texts, pa.string())).to_pylist()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, []),
        ("", []),
        (" \n\u3000", []),
        ("A Cat,  sat!", ["a", "cat", "sat"]),
        ("ﬁve ＣＡＴＳ", ["five", "cats"]),
        ("5 € & more", ["5", "€", "more"]),
        ("一只猫 cat", ["一", "只", "猫", "cat"]),
        ("ねこと犬", ["ね", "こ", "と", "犬"]),
        ("แมว", ["แ", "ม", "ว"]),
        ("고양이 한 마리", ["고양이", "한", "마리"]),
    ],
)
def test_what_a_word_is(text, found):
    assert words(text) == [found]


def reference(texts, length):
    """Each run as a tuple of words, by row."""
    return [
        (row, tuple(own[start : start + length]))
        for row, own in enumerate(texts)
        for start in range(len(own) - length + 1)
    ]


TEXTS = st.lists(st.one_of(st.none(), st.text("ab 一.", max_size=30)), max_size=8)


@given(TEXTS, st.integers(1, 5))
@settings(deadline=None, max_examples=150)
def test_runs_are_equal_where_their_words_are(texts, length):
    lists = plain_words(pa.array(texts, pa.string()))
    rows, digests = run_digests(lists, length)
    expected = reference(lists.to_pylist(), length)
    assert rows.tolist() == [row for row, _ in expected]
    groups = {}
    for (_, run), digest in zip(expected, map(tuple, digests.tolist()), strict=True):
        assert groups.setdefault(run, digest) == digest
    assert len(set(groups.values())) == len(groups)


@given(TEXTS, st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_whole_texts_of_enough_words(texts, least):
    lists = plain_words(pa.array(texts, pa.string()))
    rows, digests = whole_digests(lists, least)
    assert rows.tolist() == [row for row, own in enumerate(lists.to_pylist()) if len(own) >= least]
    joined = pa.array([" ".join(lists.to_pylist()[row]) for row in rows.tolist()], pa.string())
    assert digests.tolist() == digest_strings(joined).tolist()


def test_a_long_text_and_a_chunked_column():
    text = "word " * 20_000
    column = pa.chunked_array([pa.array([None, text]), pa.array(["一" * 100_000])])
    lists = plain_words(column)
    assert [len(own) for own in lists.to_pylist()] == [0, 20_000, 100_000]
    rows, digests = run_digests(lists, 13)
    assert len(rows) == 20_000 - 12 + 100_000 - 12
    assert len({tuple(d) for d in digests.tolist()}) == 2
