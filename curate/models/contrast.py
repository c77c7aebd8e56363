"""Sums and maxima over similarity matrices that are too large to hold, in blocks: negCLIPLoss, NormSim, clusters.

A batch of 32,768 pairs has a matrix of 4.3 GB; a block of 1,024 rows takes 134 MB. On a GPU the same sums run there,
where torch sees one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.models.device import device

__all__ = ["largest_products", "log_sum_exp", "nearest"]

BLOCK_ROWS = 1_024
BLOCK_VALUES = 1 << 26
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


def nearest(rows: Matrix, targets: Matrix) -> npt.NDArray[np.int64]:
    """Which target (m, d), m > 0, has the largest inner product with each row (n, d), int64 (n,); of equals the first.

    A float32 product depends on its neighbours in the block and on the device: 1 row in 100 has two targets that are
    too close for it, among 100,000 of 768 numbers. These few are compared in float64, so that the answer depends on the
    row alone. 500 rows a second and core against as many targets, in blocks of 268 MB.
    """
    import torch

    where = device("auto")
    fixed = torch.from_numpy(np.ascontiguousarray(targets)).to(where)
    lengths = np.linalg.norm(rows, axis=1)
    slack = lengths * np.linalg.norm(targets, axis=1).max() * np.float32(2 * rows.shape[1] * 2**-24)
    slack[lengths == 0] = -1
    found = np.zeros(len(rows), np.int64)
    size = max(1, BLOCK_VALUES // len(targets))
    for start in range(0, len(rows), size):
        block = np.ascontiguousarray(rows[start : start + size])
        products = torch.from_numpy(block).to(where) @ fixed.T
        top, best = products.max(dim=1, keepdim=True)
        least = top - torch.from_numpy(slack[start : start + size, None]).to(where)
        found[start : start + size] = best[:, 0].cpu().numpy()
        others = products.scatter_(1, best, -torch.inf).max(dim=1).values
        for row in torch.nonzero(others >= least[:, 0])[:, 0].tolist():
            close = torch.nonzero(products[row] >= least[row])[:, 0].cpu().numpy()
            found[start + row] = _first_largest(block[row], targets, np.union1d(close, found[start + row]))
    found[lengths == 0] = 0
    return found


def _first_largest(row: npt.NDArray[np.float32], targets: Matrix, some: npt.NDArray[np.int64]) -> int:
    products = (targets[some].astype(np.float64) * row).sum(axis=1)
    return int(some[products.argmax()])


def _multiplier(fixed: Matrix) -> Any:
    """A function from a block (k, d) to block @ fixed.T, float32 (k, n)."""
    try:
        import torch
    except ImportError:
        return lambda block: block @ fixed.T
    where = device("auto")
    if where.type == "cpu":
        return lambda block: block @ fixed.T
    on_gpu = torch.from_numpy(np.ascontiguousarray(fixed)).to(where).T
    return lambda block: (torch.from_numpy(np.ascontiguousarray(block)).to(where) @ on_gpu).cpu().numpy()
