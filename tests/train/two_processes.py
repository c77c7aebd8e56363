"""Work of two processes of gloo, one of which is the test's own: torch is imported once less, and takes seconds."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

PATIENCE = timedelta(seconds=200)


def by_two(work: Callable[..., Any], meeting: Path, *given: Any) -> None:
    """Have `work(*given)` done by both, who find each other by the file `meeting`: a port might be another's."""
    import torch.multiprocessing as mp

    other = mp.spawn(_other, args=(work, meeting, given), nprocs=1, join=False)
    try:
        _one_of_two(0, work, meeting, given)
    finally:
        while not other.join():
            pass


def _other(_: int, *given: Any) -> None:
    _one_of_two(1, *given)


def _one_of_two(rank: int, work: Callable[..., Any], meeting: Path, given: tuple[Any, ...]) -> None:
    torch.distributed.init_process_group("gloo", meeting.as_uri(), PATIENCE, rank=rank, world_size=2)
    try:
        work(*given)
    finally:
        torch.distributed.destroy_process_group()
