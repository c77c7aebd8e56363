"""Embeddings in Arrow columns and in files of numpy, and back: the one place that knows how they are laid out.

A column is a fixed-size list of float16, null where there is no embedding. Arrow and numpy share the memory on the way
in; the step from 16 to 32 bits is the only copy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["embedding_column", "embeddings_of", "file_length", "read_embeddings"]

Rows = npt.NDArray[np.float32]
Valid = npt.NDArray[np.bool_]


def embeddings_of(column: pa.Array | pa.ChunkedArray) -> tuple[Rows, Valid]:
    """float32 (n, d) and which rows have an embedding, bool (n,); the others are zero.

    One with a number that is null or not finite is none: in a batch of negCLIPLoss it would spoil all others. Raises
    ValueError for a column that is no fixed-size list of floats."""
    kind = column.type
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type) and kind.list_size):
        raise ValueError(f"a column of {kind} has no embeddings; they are a fixed-size list of float16")
    length = kind.list_size
    rows, valid = np.zeros((len(column), length), np.float32), np.zeros(len(column), bool)
    start = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        known = np.asarray(chunk.is_valid())
        values = chunk.values.slice(chunk.offset * length, len(chunk) * length)
        if values.null_count:
            known = known & np.asarray(values.is_valid()).reshape(-1, length).all(axis=1)
        stored = np.frombuffer(values.buffers()[1], kind.value_type.to_pandas_dtype(), len(values), _start(values))
        own = rows[start : start + len(chunk)]
        own[known] = stored.reshape(-1, length)[known]
        finite = np.isfinite(own).all(axis=1)
        own[~finite] = 0
        valid[start : start + len(chunk)] = known & finite
        start += len(chunk)
    return rows, valid


def embedding_column(values: npt.NDArray[np.floating], valid: Valid) -> pa.FixedSizeListArray:
    """A column of float16 from (n, d) floats; null where not `valid`."""
    flat = pa.array(np.ascontiguousarray(values, np.float16).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(~valid))


def file_length(path: Path, name: str = "path") -> tuple[int, int]:
    """Rows and length of the embeddings in a `.npy`, from its header. Raises ValueError that says `name`."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise ValueError(f"{name} = {str(path)!r} is no readable .npy: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise ValueError(f"{name} = {str(path)!r} is no readable .npy of numbers; save one with numpy.save") from None
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError(f"{name} = {str(path)!r} is an archive of arrays; save the one that is meant as .npy")
    shape = found.shape
    if not np.issubdtype(found.dtype, np.floating):
        raise ValueError(f"{name} = {str(path)!r} holds {found.dtype}; embeddings are numbers with a fraction")
    if len(shape) != 2 or not all(shape):
        raise ValueError(f"{name} = {str(path)!r} has the shape {shape}; embeddings are (n, d)")
    return int(shape[0]), int(shape[1])


def read_embeddings(path: Path, length: int) -> Rows:
    """The embeddings of a `.npy`, float32 (n, length). Raises ValueError for another length, and for what is not
    finite."""
    found = file_length(path)
    if found[1] != length:
        raise ValueError(f"{path} has embeddings of {found[1]} numbers, and the model's have {length}")
    rows: Rows = np.load(path, allow_pickle=False).astype(np.float32)
    if not np.isfinite(rows).all():
        raise ValueError(f"{path} has values that are not finite")
    return rows


def _start(values: pa.Array) -> int:
    return int(values.offset * values.type.bit_width // 8)
