"""Pictures are put at sentences by similarity as MMC4 does it, or in the order of the page."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment

from curate.document.placement import MOST_CELLS, Placement, by_similarity, in_order

P, T = True, False

COSINES = st.floats(-1, 1, width=32)
MATRICES = arrays.arrays(np.float64, st.tuples(st.integers(0, 8), st.integers(0, 8)), elements=COSINES)


def test_the_example_of_mmc4s_readme() -> None:
    """The first picture belongs to the third sentence, the second to the second."""
    found = by_similarity(np.array([[0.21, 0.22, 0.30], [0.20, 0.29, 0.24]]))
    assert found.sentences == (2, 1)
    assert found.similarities == (0.30, 0.29)
    assert found.reading_order() == [1, 0]


@pytest.mark.parametrize(("best", "stays"), [(0.15, True), (0.1499, False), (0.9, True), (float("nan"), False)])
def test_a_picture_like_no_sentence_is_left_out(best: float, stays: bool) -> None:
    found = by_similarity(np.array([[best, 0.1], [0.5, 0.4]]), 0.15)
    assert (found.sentences[0] is not None) == stays
    assert found.sentences[1] is not None
    assert (found.similarities[0] == 0.0) == (not stays)


def test_the_sum_counts_not_the_single_picture() -> None:
    found = by_similarity(np.array([[0.9, 0.8], [0.85, 0.2]]))
    assert found.sentences == (1, 0)


def test_pictures_left_over_go_to_the_sentence_most_like_them() -> None:
    found = by_similarity(np.array([[0.9], [0.5], [0.1]]), 0.15)
    assert found.sentences == (0, 0, None)
    assert found.reading_order() == [0, 1]


def test_what_is_not_known_is_never_chosen() -> None:
    nan = float("nan")
    found = by_similarity(np.array([[nan, 0.2], [nan, nan], [0.3, nan]]), -1.0)
    assert found.sentences == (1, None, 0)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_place(shape: tuple[int, int]) -> None:
    found = by_similarity(np.zeros(shape))
    assert found == Placement((None,) * shape[0], (0.0,) * shape[0], tuple(range(shape[1])))


@pytest.mark.parametrize("matrix", [np.zeros(5), np.zeros((MOST_CELLS // 2 + 1, 2))])
def test_what_cannot_be_a_matrix(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a matrix of shape"):
        by_similarity(matrix)


@given(MATRICES, st.floats(-1, 1))
def test_assignment(matrix: np.ndarray, least: float) -> None:
    found = by_similarity(matrix, least)
    pictures, sentences = matrix.shape
    taken = [s for s in found.sentences if s is not None]
    assert len(found.sentences) == len(found.similarities) == pictures
    assert found.texts == tuple(range(sentences))
    if len(taken) <= sentences:
        assert len(set(taken)) == len(taken)
    for number, sentence in enumerate(found.sentences):
        above = sentences > 0 and matrix[number].max() >= least and matrix[number].max() > -1
        assert (sentence is not None) == above
        if sentence is not None:
            assert found.similarities[number] == matrix[number, sentence]
    assert sum(found.similarities) >= greedy(matrix, found) - 1e-9
    assert sorted(found.reading_order()) == [i for i, s in enumerate(found.sentences) if s is not None]


def greedy(matrix: np.ndarray, found: Placement) -> float:
    """The sum when each picture in turn takes the best free sentence; -inf where there are fewer sentences."""
    free, total = set(found.texts), 0.0
    for number, sentence in enumerate(found.sentences):
        if sentence is None:
            continue
        if not free:
            return float("-inf")
        best = max(free, key=lambda s: matrix[number, s])
        free.discard(best)
        total += matrix[number, best]
    return total


@pytest.mark.parametrize(
    ("parts", "sentences", "texts"),
    [
        ([P, T], (0,), (0,)),
        ([T, P, T], (1,), (0, 1)),
        ([T, P], (0,), (0,)),
        ([T, T, P], (1,), (0, 1)),
        ([P, P, T], (0, 1), (None, 0)),
        ([T, P, P, P, T, T], (1, 2, 3), (0, None, None, 1, 2)),
        ([P, T, P], (0, 1), (0, None)),
        ([T, P, P], (0, 1), (0, None)),
        ([P, P], (0, 1), (None, None)),
        ([T], (), (0,)),
        ([], (), ()),
    ],
)
def test_the_order_of_the_page(parts: list[bool], sentences: tuple[int, ...], texts: tuple[int | None, ...]) -> None:
    found = in_order(parts)
    assert (found.sentences, found.texts) == (sentences, texts)
    assert found.similarities == (1.0,) * len(sentences)


@given(st.lists(st.booleans(), max_size=40))
def test_order_is_kept_and_an_assignment_finds_it_again(parts: list[bool]) -> None:
    found = in_order(parts)
    sentences = [s for s in found.sentences if s is not None]
    assert len(sentences) == sum(parts)
    assert sentences == sorted(set(sentences))
    assert [t for t in found.texts if t is not None] == list(range(parts.count(False)))
    matrix = np.zeros((len(sentences), len(found.texts)))
    matrix[range(len(sentences)), sentences] = 1
    assert linear_sum_assignment(-matrix)[1].tolist() == sentences
    before = [parts[: i + 1].count(False) for i, part in enumerate(parts) if part]
    for at, texts_before in zip(sentences, before, strict=True):
        following = [t for t in found.texts[at:] if t is not None]
        last = texts_before == parts.count(False)
        assert following[:1] == ([texts_before] if not last else []) or (last and following == [texts_before - 1])
