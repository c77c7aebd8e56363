"""Recorded steps and pictures on their way, on a GPU that does everything as late as it may."""

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda, OutOfMemoryError, Tensor

from curate.models import sent_pictures
from curate.models.cuda_step import recorded
from curate.models.sent_pictures import SentPictures

SIZE = 2
VIEWS = [np.full((SIZE, SIZE, 3), number + 1, np.uint8) for number in range(60)]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    made = FakeCuda(1_000)
    monkeypatch.setitem(sys.modules, "torch", made)
    return made


def answers(gpu: FakeCuda, found: Tensor) -> list[int]:
    """Waits for them; the first number of each picture."""
    pinned = gpu.empty(found.shape, found.dtype, True)
    pinned.copy_(found, non_blocking=True)
    gpu.synchronize()
    return pinned.numpy()[:, 0].astype(int).tolist()


@pytest.mark.parametrize("counts", [[4, 4, 4, 4, 4], [4, 4, 1], [1, 8, 2, 8, 3], [5]])
def test_pictures_come_in_the_order_they_were_sent(gpu: FakeCuda, counts: list[int]) -> None:
    """The next are sent before there is work on those before them, as the captioner does it."""
    with gpu.device(1):
        sent = SentPictures(SIZE, 1)
        starts = [sum(counts[:number]) for number in range(len(counts) + 1)]
        parts = [VIEWS[a:b] for a, b in pairwise(starts)]
        found = []
        moved = sent(parts[0])
        for following in [*parts[1:], None]:
            sent.wait()
            found.append(gpu.tower(moved))
            sent.free()
            if following is not None:
                moved = sent(following)
        assert [answers(gpu, part) for part in found] == [[int(view[0, 0, 0]) for view in part] for part in parts]


def test_the_next_pictures_are_sent_while_the_gpu_works_on_the_last(gpu: FakeCuda) -> None:
    """Nothing is waited for but a buffer that is still in use."""
    with gpu.device(1):
        sent = SentPictures(SIZE, 1)
        found = []
        for number in range(2):
            moved = sent(VIEWS[4 * number : 4 * number + 4])
            sent.wait()
            found.append(gpu.tower(moved))
            sent.free()
        assert gpu.waits == 0
        sent(VIEWS[8:12])
        assert gpu.waits == 1
        assert answers(gpu, found[1]) == [5, 6, 7, 8]
        assert gpu.default not in gpu.sent_on


def test_two_may_be_on_their_way_at_once(gpu: FakeCuda) -> None:
    """And a buffer is free again with the work on what was in it, not with that on the other."""
    with gpu.device(1):
        sent = SentPictures(SIZE, 1)
        parts = [VIEWS[start : start + 4] for start in range(0, 24, 4)]
        found, moved = [], [sent(parts[0]), sent(parts[1])]
        for following in [*parts[2:], None, None]:
            sent.wait()
            found.append(gpu.tower(moved.pop(0)))
            sent.free()
            moved += [] if following is None else [sent(following)]
        assert [answers(gpu, part)[0] for part in found] == [1, 5, 9, 13, 17, 21]


def test_a_buffer_that_does_not_fit_is_told(gpu: FakeCuda) -> None:
    gpu.room = 3
    with gpu.device(1):
        sent = SentPictures(SIZE, 1)
        with pytest.raises(OutOfMemoryError):
            sent(VIEWS[:4])


def step_of(gpu: FakeCuda) -> tuple[Tensor, Callable[[], Tensor]]:
    held = gpu.zeros((3, SIZE, SIZE, 3), gpu.uint8, device=1)
    return held, lambda: gpu.tower(held)


def test_a_recorded_step_reads_what_stands_there_now(gpu: FakeCuda) -> None:
    with gpu.device(1):
        held, step = step_of(gpu)
        run = recorded(step, 1)
        launched = len(gpu.pictures)
        for first in (5, 9):
            sent = SentPictures(SIZE, 1)
            moved = sent(VIEWS[first : first + 3])
            sent.wait()
            held.copy_(moved)
            assert answers(gpu, run()) == [first + 1, first + 2, first + 3]
        assert (len(gpu.pictures), gpu.replays) == (launched, 2)


def test_what_cannot_be_recorded_is_launched(gpu: FakeCuda) -> None:
    gpu.graphs = False
    with gpu.device(1):
        _, step = step_of(gpu)
        assert recorded(step, 1) is step
        assert gpu.current is gpu.default
        assert list(gpu.pools.values()) == ["released"]


@pytest.mark.parametrize("when", ["warming up", "recording"])
def test_no_memory_for_a_step_is_told(gpu: FakeCuda, when: str) -> None:
    """So that the unit is halved; and the allocator does not take the capture to go on."""
    with gpu.device(1):
        _, step = step_of(gpu)

        def short() -> Any:
            if when == "warming up" or gpu.capturing is not None:
                raise OutOfMemoryError("CUDA out of memory")
            return step()

        with pytest.raises(OutOfMemoryError):
            recorded(short, 1)
        assert gpu.current is gpu.default
        assert set(gpu.pools.values()) <= {"released", "ended"}


def test_torch_is_imported_where_it_is_used() -> None:
    assert not hasattr(sent_pictures, "torch")
