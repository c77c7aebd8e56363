"""A step that is always the same, recorded once as a CUDA graph and replayed by one call.

To launch the 250 pieces of a decoder's step from Python takes some 3 ms, whatever the batch; they run in less. A step
that is recorded reads and writes tensors that stay where they are, and asks nothing of the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from curate.models.memory import is_memory

__all__ = ["recorded"]

T = TypeVar("T")
WARMING = 3
"""How often the step is run before it is recorded: libraries make their plans and buffers in the first runs."""


def recorded(step: Callable[[], T], where: Any) -> Callable[[], T]:
    """`step` as a graph on the GPU `where`, or as it is where it cannot be recorded. It is run a few times here, and
    what it answers stands in the same memory each time. Raises what tells that memory ran out."""
    import torch

    with torch.cuda.device(where), torch.inference_mode():
        before = torch.cuda.current_stream(where)
        pool = torch.cuda.graph_pool_handle()
        try:
            side = torch.cuda.Stream(where)
            side.wait_stream(before)
            with torch.cuda.stream(side):
                for _ in range(WARMING):
                    step()
            before.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                out = step()
        except RuntimeError as error:
            torch.cuda.set_stream(before)  # a capture that fails may leave its own stream the current one
            _give_up(torch, pool)
            if is_memory(error):
                raise
            return step

    def replay() -> T:
        graph.replay()
        return out

    return replay


def _give_up(torch: Any, pool: Any) -> None:
    """Have the allocator end what a capture that failed began. Else it takes the capture to go on, and gives back
    nothing that another stream has used, until memory runs out. torch has no public call for it."""
    try:
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
    except RuntimeError:  # the capture was ended, and its graph has given the pool back
        return
    torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
