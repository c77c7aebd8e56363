"""Sums over similarity matrices that are too large to hold, in blocks: for negCLIPLoss and NormSim.

A batch of 32,768 pairs has a matrix of 4.3 GB; a block of 1,024 rows takes 134 MB. On a GPU the same sums run there,
where torch sees one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["largest_products", "log_sum_exp"]

BLOCK_ROWS = 1_024
Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]


def log_sum_exp(images: Matrix, texts: Matrix, temperature: float) -> tuple[Vector, Vector]:
    """Of s = images @ texts.T / temperature, both (n, d): log-sum-exp along each row and along each column, (n,)."""
    n = len(images)
    rows = np.empty(n)
    top, total = np.full(n, -np.inf), np.zeros(n)
    multiply = _multiplier(texts)
    for start in range(0, n, BLOCK_ROWS):
        block = multiply(images[start : start + BLOCK_ROWS]) / np.float32(temperature)
        highest = block.max(axis=1, keepdims=True)
        rows[start : start + BLOCK_ROWS] = highest[:, 0] + np.log(np.exp(block - highest).sum(axis=1, dtype=np.float64))
        new_top = np.maximum(top, block.max(axis=0))
        total = total * np.exp(top - new_top) + np.exp(block - new_top.astype(np.float32)).sum(axis=0, dtype=np.float64)
        top = new_top
    return rows, top + np.log(total)


def largest_products(rows: Matrix, targets: Matrix) -> npt.NDArray[np.float32]:
    """The largest inner product of each row (n, d) with any target (m, d), float32 (n,)."""
    best = np.full(len(rows), -np.inf, np.float32)
    multiply = _multiplier(rows)
    for start in range(0, len(targets), BLOCK_ROWS):
        np.maximum(best, multiply(targets[start : start + BLOCK_ROWS]).max(axis=0), out=best)
    return best


def _multiplier(fixed: Matrix) -> Any:
    """A function from a block (k, d) to block @ fixed.T, float32 (k, n)."""
    try:
        import torch
    except ImportError:
        return lambda block: block @ fixed.T
    if not torch.cuda.is_available():
        return lambda block: block @ fixed.T
    on_gpu = torch.from_numpy(np.ascontiguousarray(fixed)).cuda().T
    return lambda block: (torch.from_numpy(np.ascontiguousarray(block)).cuda() @ on_gpu).cpu().numpy()
