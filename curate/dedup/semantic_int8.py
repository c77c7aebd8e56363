"""Products of matrices of whole bytes, eight times as fast as float32 where the processor has the instruction for it.

SemDeDup spends nearly all its time on the similarities of all pairs of a cell, and BLAS is the floor of that: 127
billion steps a second on one core of an AMD EPYC of 2024, whoever calls it. AVX-512 VNNI multiplies and adds 64 pairs
of bytes at once: 1,050 billion on the same core, and sums of whole numbers are exact. numba writes no such instruction
by itself, so the inner loop, a tile of 6 rows by 64 columns that stays in registers, is put together here from LLVM's.
Where the processor lacks it, `available` says so and callers multiply in float32.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir
from numba import config, njit, types
from numba.extending import intrinsic

__all__ = ["COLUMNS", "ROWS", "aligned", "available", "multiply"]

ROWS = 6
COLUMNS = 64
"""Of a tile: 24 registers of sums, 4 of columns and one of a row; there are 32."""
LANES, VECTOR_BYTES = 16, 64
VECTORS = COLUMNS // LANES
INSTRUCTION = "llvm.x86.avx512.vpdpbusd.512"


@cache
def available() -> bool:
    """Whether this processor has AVX-512 VNNI, and numba was not told to compile for another."""
    own = config.CPU_NAME in (None, "host") and not config.CPU_FEATURES
    return bool(own and binding.get_host_cpu_features().get("avx512vnni", False))


def aligned(size: int) -> npt.NDArray[np.uint8]:
    """So many bytes, from an address that vectors can be read from."""
    raw = np.empty(size + VECTOR_BYTES, np.uint8)
    start = -raw.ctypes.data % VECTOR_BYTES
    return raw[start : start + size]


@intrinsic
def _tile(_: Any, left: Any, width: Any, right: Any, sums: Any, stride: Any) -> Any:
    """Sums of a tile. All are addresses or numbers of bytes: 6 rows of `width` bytes without sign, one behind the
    other; a panel of 64 columns; where the sums go, and how far its rows are apart."""

    def code(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        _write_tile(builder, *arguments)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), code


def _write_tile(builder: Any, left: Any, width: Any, right: Any, sums: Any, stride: Any) -> None:
    address, word = ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(word, LANES)
    step = builder.module.declare_intrinsic(INSTRUCTION, fnty=ir.FunctionType(vector, [vector] * 3))
    rows = [builder.add(left, builder.mul(width, address(r))) for r in range(ROWS)]
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)

    builder.position_at_end(loop)
    place = builder.phi(address)
    totals = [[builder.phi(vector) for _ in range(VECTORS)] for _ in range(ROWS)]
    panel = builder.add(right, builder.mul(place, address(COLUMNS)))
    columns = [_load(builder, panel, VECTOR_BYTES * v, vector) for v in range(VECTORS)]
    new = []
    for row, own in zip(rows, totals, strict=True):
        four = _splat(builder, _load(builder, builder.add(row, place), 0, word), vector)
        new.append([builder.call(step, [total, four, column]) for total, column in zip(own, columns, strict=True)])
    following = builder.add(place, address(4))
    for own, next_ones in zip([[place], *totals], [[following], *new], strict=True):
        for phi, value in zip(own, next_ones, strict=True):
            phi.add_incoming(ir.Constant(phi.type, None if phi.type == vector else 0), before)
            phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, width), loop, after)

    builder.position_at_end(after)
    for r, own in enumerate(new):
        target = builder.add(sums, builder.mul(stride, address(r)))
        for v, total in enumerate(own):
            builder.store(total, _at(builder, target, VECTOR_BYTES * v, vector), align=4)


def _at(builder: Any, base: Any, offset: int, kind: Any) -> Any:
    return builder.inttoptr(builder.add(base, ir.IntType(64)(offset)), kind.as_pointer())


def _load(builder: Any, base: Any, offset: int, kind: Any) -> Any:
    return builder.load(_at(builder, base, offset, kind), align=4)


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    nothing = ir.Constant(kind, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(nothing, value, ir.IntType(32)(0)), nothing, ir.Constant(kind, None)
    )


@njit(cache=True, nogil=True)
def multiply(left: npt.NDArray[np.uint8], panels: npt.NDArray[np.int8], sums: npt.NDArray[np.int32]) -> None:
    """Inner products of rows (m, k) of bytes without sign and of the rows in `panels`, written into `sums` (m, 64 p).

    m is a multiple of 6, k one of 4. `panels`, of bytes with sign and shape (p, k / 4, 64, 4), holds four bytes of 64
    rows, then the next four. All are contiguous. Exact while k is below 66,000. Only where `available`.
    """
    width, stride = left.shape[1], 4 * sums.shape[1]
    for panel in range(panels.shape[0]):
        right, target = panels.ctypes.data + panel * COLUMNS * width, sums.ctypes.data + panel * 4 * COLUMNS
        for row in range(0, left.shape[0], ROWS):
            _tile(left.ctypes.data + row * width, width, right, target + row * stride, stride)
