"""Pinned double buffers, halved batches and graphs, on a GPU that does everything as late as it may."""

import sys
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda, OutOfMemoryError

import curate.models.cuda
from curate.models.cuda import CudaPictures

SIZE = 2
VIEWS = [np.full((SIZE, SIZE, 3), number + 1, np.uint8) for number in range(100)]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(memory: int = 1_000, batch: int = 4, graphs: bool = True) -> tuple[CudaPictures, FakeCuda]:
        gpu = FakeCuda(memory, graphs)
        monkeypatch.setitem(sys.modules, "torch", gpu)
        monkeypatch.setattr(curate.models.cuda.time, "perf_counter", lambda: gpu.now)
        return CudaPictures(gpu.tower, SIZE, 1, batch), gpu

    return make


def expected(count: int, start: int = 0) -> list[list[int]]:
    return [[number + 1, 2 * number + 2] for number in range(start, start + count)]


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 41])
def test_every_picture_has_its_own_answer(on: Any, count: int, graphs: bool) -> None:
    pictures, gpu = on(graphs=graphs)
    gpu.pictures.clear()
    assert pictures(VIEWS[:count])().tolist() == expected(count)
    assert gpu.replays > 0 or not graphs or count < 4
    assert gpu.pictures == ([4] * (count // 4) if not graphs else []) + [count % 4] * bool(count % 4)


@pytest.mark.parametrize("graphs", [True, False])
def test_answers_that_are_asked_for_late_and_in_any_order(on: Any, graphs: bool) -> None:
    """A batch is begun before the answer to the one before it is taken, and scorers may share a model."""
    pictures, _ = on(graphs=graphs)
    begun = [pictures(VIEWS[start : start + 7]) for start in range(0, 70, 7)]
    for number in (9, 0, 5, 4, 8, 1, 2, 3, 7, 6):
        assert begun[number]().tolist() == expected(7, 7 * number)


@pytest.mark.parametrize(("memory", "batch"), [(3, 2), (4, 4), (1, 1), (7, 4)])
def test_too_large_a_batch_is_halved_until_it_fits(on: Any, memory: int, batch: int) -> None:
    pictures, _ = on(memory, 8)
    assert pictures(VIEWS[:19])().tolist() == expected(19)
    assert pictures.batch == batch


@pytest.mark.parametrize("graphs", [True, False])
def test_memory_that_becomes_short_in_the_middle(on: Any, graphs: bool) -> None:
    """What was begun before has its answer all the same."""
    pictures, gpu = on(1_000, 8, graphs)
    first = pictures(VIEWS[:20])
    gpu.memory, gpu.graphs = 3, False
    pictures._graph = None
    second = pictures(VIEWS[20:45])
    assert first().tolist() == expected(20)
    assert second().tolist() == expected(25, 20)
    assert pictures.batch == 2


def test_no_memory_for_one_picture_is_told_and_may_go_better_later(on: Any) -> None:
    pictures, gpu = on(1_000, 8, graphs=False)
    gpu.memory = 0
    for _ in range(2):
        with pytest.raises(OutOfMemoryError, match="single picture"):
            pictures(VIEWS[:5])
    gpu.memory = 1
    assert pictures(VIEWS[:5])().tolist() == expected(5)


@pytest.mark.parametrize(("memory", "batch"), [(1_000, 256), (200, 128), (20, 16), (1, 1)])
def test_the_batch_that_is_found_is_the_fastest_that_fits(on: Any, memory: int, batch: int) -> None:
    assert on(memory, 0)[0].batch == batch


def test_a_capture_that_fails_leaves_its_stream(on: Any) -> None:
    pictures, gpu = on(graphs=False)
    assert gpu.current is gpu.default
    assert pictures._graph is None
