"""Embeddings come out of a column as they went in, whatever its chunks, slices and nulls."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.models.embeddings import embedding_column, embeddings_of, file_length, read_embeddings


def rows_of(seed, count, length):
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, length)).astype(np.float16)
    return values, random.random(count) < 0.7


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 5), st.data())
def test_whole_sliced_and_chunked_columns_give_the_same_rows(seed, count, length, data):
    values, valid = rows_of(seed, count, length)
    column = embedding_column(values, valid)
    start = data.draw(st.integers(0, count))
    stop = data.draw(st.integers(start, count))
    cut = data.draw(st.integers(0, stop - start))
    part = column.slice(start, stop - start)
    chunked = pa.chunked_array([part.slice(0, cut), part.slice(cut)], column.type)
    for form in (part, chunked, chunked.combine_chunks()):
        rows, known = embeddings_of(form)
        assert rows.dtype == np.float32
        assert rows.shape == (stop - start, length)
        assert known.tolist() == valid[start:stop].tolist()
        assert np.array_equal(rows, np.where(valid[start:stop, None], values[start:stop], 0))


def test_the_column_is_null_where_there_is_no_picture():
    column = embedding_column(np.array([[1, 0], [7, 7], [0, 0.5]]), np.array([True, False, True]))
    assert column.type == pa.list_(pa.float16(), 2)
    assert column.to_pylist() == [[1, 0], None, [0, 0.5]]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_other_widths_and_other_makers_are_read_too(kind):
    made = pa.array([None, [0.5, 2], None, [1, -1]], pa.list_(kind, 2))
    for form in (made, made.take(pa.array([0, 1, 2, 3])), pa.array([[9, 9], *made.to_pylist()], made.type).slice(1)):
        rows, known = embeddings_of(form)
        assert rows.tolist() == [[0, 0], [0.5, 2], [0, 0], [1, -1]]
        assert known.tolist() == [False, True, False, True]


def test_an_embedding_with_a_number_that_is_missing_or_not_finite_is_none():
    made = pa.array([[1, float("nan")], [None, 1], [1, float("inf")], [0.5, 1]], pa.list_(pa.float16(), 2))
    rows, known = embeddings_of(made)
    assert known.tolist() == [False, False, False, True]
    assert rows.tolist() == [[0, 0], [0, 0], [0, 0], [0.5, 1]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([], pa.list_(pa.float16(), 3)),
        pa.chunked_array([], pa.list_(pa.float16(), 3)),
        pa.nulls(2, pa.list_(pa.float16(), 3)),
        pa.chunked_array([pa.nulls(2, pa.list_(pa.float16(), 3))] * 2),
    ],
)
def test_columns_without_any_embedding(column):
    rows, known = embeddings_of(column)
    assert rows.shape == (len(column), 3)
    assert not rows.any()
    assert not known.any()


@pytest.mark.parametrize("column", [pa.array([[1.0]]), pa.array([1.0]), pa.array([[1]], pa.list_(pa.int8(), 1))])
def test_what_holds_no_embeddings_is_an_error_with_its_type(column):
    with pytest.raises(ValueError, match=r"no embeddings; they are a fixed-size list of float16"):
        embeddings_of(column)


def test_files_of_embeddings_are_checked(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.ones((2, 3), np.float16))
    assert file_length(path) == (2, 3)
    assert read_embeddings(path, 3).tolist() == [[1, 1, 1]] * 2
    with pytest.raises(ValueError, match="embeddings of 3 numbers, and the model's have 4"):
        read_embeddings(path, 4)
    np.save(path, np.array([[1, np.nan]]))
    with pytest.raises(ValueError, match="not finite"):
        read_embeddings(path, 2)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"targets = .*is no readable \.npy"):
        file_length(path, "targets")
