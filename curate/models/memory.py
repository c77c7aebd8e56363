"""Whether an error says that memory ran out: the one that goes better with half of the batch.

torch has a type for it, which its own allocator raises. What asks the driver past it tells the same in other words and
types: cuBLAS and cuDNN for their workspaces, the driver for a graph or a context, and on a CPU the allocator.
"""

from __future__ import annotations

__all__ = ["is_memory"]

WORDS = ("out of memory", "can't allocate memory", "alloc_failed", "allocation_failed")
"""As in `CUDA error: out of memory` (AcceleratorError), `CUBLAS_STATUS_ALLOC_FAILED`, `CUDNN_STATUS_ALLOC_FAILED` and
`CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED`; small letters."""


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the host or a GPU."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and (_is_torchs(error) or any(words in told for words in WORDS))
    )


def _is_torchs(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError)
