"""Sums and maxima over similarity matrices that are too large to hold, in blocks: negCLIPLoss and clusters.

A batch of 32,768 pairs has a matrix of 4.3 GB, a block of it 34 MB. All is done where torch computes, so on a GPU
nothing but embeddings and results travels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from curate.models.device import device

__all__ = ["log_sum_exp", "nearest"]

BLOCK_VALUES = 1 << 26
SUMMED_VALUES = 1 << 23
"""Of these blocks, several passes are made: 34 MB are 15 % faster on a CPU than 134."""
PRODUCTS = ("cuda", "mkldnn")
"""torch's libraries for products of matrices that can compute float32 with fewer bits."""
Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]


@contextmanager
def _exact_products() -> Iterator[None]:
    """float32 as it is: with TensorFloat-32, which a program may have switched on, a product has 10 bits and another
    target is the nearest. What the program chose is put back."""
    import torch

    products = [getattr(torch.backends, name).matmul for name in PRODUCTS]
    before = [product.fp32_precision for product in products]
    try:
        for product in products:
            product.fp32_precision = "ieee"
        yield
    finally:
        for product, chosen in zip(products, before, strict=True):
            product.fp32_precision = chosen


@_exact_products()
def log_sum_exp(images: Matrix, texts: Matrix, temperature: float) -> tuple[Vector, Vector]:
    """Of s = images @ texts.T / temperature, both (n, d): log-sum-exp along each row and along each column, (n,)."""
    import torch

    where = device("auto")
    scaled, others = (torch.from_numpy(np.ascontiguousarray(rows)).to(where) for rows in (images, texts))
    scaled = scaled / temperature
    rows = []
    top = torch.full((len(scaled),), -torch.inf, device=where)
    total = torch.zeros(len(scaled), dtype=torch.float64, device=where)
    for block in scaled.split(max(1, SUMMED_VALUES // len(scaled))):
        products = block @ others.T
        highest = products.max(dim=1).values
        rows.append(highest + (products - highest[:, None]).exp_().sum(dim=1).double().log())
        new_top = torch.maximum(top, products.max(dim=0).values)
        total = total * (top - new_top).double().exp() + products.sub_(new_top).exp_().sum(dim=0)
        top = new_top
    return torch.cat(rows).cpu().numpy(), (top + total.log()).cpu().numpy()


@_exact_products()
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
