"""Sums over blocks of a similarity matrix are those of the whole matrix, in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import unit_rows

import curate.models.contrast as contrast
from curate.models.contrast import log_sum_exp, nearest

SEEDS = st.integers(0, 2**32 - 1)


def naive(matrix: np.ndarray) -> np.ndarray:
    """log-sum-exp of each row, in float64."""
    top = matrix.max(axis=1)
    return top + np.log(np.exp(matrix - top[:, None]).sum(axis=1))


def check(images, texts, temperature):
    rows, columns = log_sum_exp(images, texts, temperature)
    assert rows.dtype == columns.dtype == np.float64
    matrix = images.astype(np.float64) @ texts.astype(np.float64).T / temperature
    # s / t is computed in float32, whose errors are shares of what is added up, which may be more than the sum
    added = np.abs(images).astype(np.float64) @ np.abs(texts).astype(np.float64).T / temperature
    within = 8 * 2.0**-23 * max(added.max(initial=0), 1)
    np.testing.assert_allclose(rows, naive(matrix), rtol=0, atol=within)
    np.testing.assert_allclose(columns, naive(matrix.T), rtol=0, atol=within)


@pytest.fixture(params=[1, 200, 1 << 23])
def block_values(request, monkeypatch):
    monkeypatch.setattr(contrast, "SUMMED_VALUES", request.param)


@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0, 1e-4])
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_as_a_naive_sum_in_double_precision(block_values, count, temperature):
    check(unit_rows(count, 16, 1), unit_rows(count, 16, 2), temperature)


@given(SEEDS, st.integers(1, 9), st.integers(1, 5), st.sampled_from([0.01, 1.0]), st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_any_batch_and_any_block(seed, count, length, temperature, block):
    random = np.random.default_rng(seed)
    images, texts = (random.normal(size=(count, length)).astype(np.float32) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contrast, "SUMMED_VALUES", block)
        check(images, texts, temperature)
        if count > 1:
            check(np.repeat(images[:1], count, axis=0), texts, temperature)


def test_a_row_of_zeros_is_as_far_from_all():
    images, texts = unit_rows(5, 8, 1), unit_rows(5, 8, 2)
    images[2] = 0
    check(images, texts, 0.01)
    assert log_sum_exp(images, texts, 0.01)[0][2] == pytest.approx(np.log(5))


@pytest.fixture
def precision():
    """TensorFloat-32 on a GPU and bfloat16 on a CPU, as a program may have asked for."""
    import torch

    torch.set_float32_matmul_precision("medium")
    yield lambda: (torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision)
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("call", [lambda a, b: log_sum_exp(a, b, 0.1), nearest])
def test_products_are_exact_whatever_the_program_chose(precision, monkeypatch, call):
    """And what it chose stands again, after an error too."""
    chosen = precision()
    assert chosen == ("tf32", "bf16")
    seen = []
    where = contrast.device
    monkeypatch.setattr(contrast, "device", lambda wanted: (seen.append(precision()), where(wanted))[1])
    rows = unit_rows(300, 64, 1)
    call(rows, rows)
    assert seen == [("ieee", "ieee")]
    assert precision() == chosen
    with pytest.raises(RuntimeError):
        call(rows, unit_rows(300, 63, 1))
    assert precision() == chosen
