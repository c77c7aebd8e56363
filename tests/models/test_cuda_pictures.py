"""Pinned double buffers, halved batches and graphs, on a GPU that does everything as late as it may."""

import sys
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fake_cuda import FakeCuda, OutOfMemoryError

import curate.models.cuda
from curate.models.cuda import CudaPictures
from curate.score import BATCH_BYTES

SIZE = 2
OUT_OF_MEMORY = [
    OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
]
VIEWS = [np.full((SIZE, SIZE, 3), number + 1, np.uint8) for number in range(100)]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(memory: int = 1_000, batch: int = 4, graphs: bool = True, **more: Any) -> tuple[CudaPictures, FakeCuda]:
        gpu = FakeCuda(memory, graphs)
        for name, value in more.items():
            assert hasattr(gpu, name)
            setattr(gpu, name, value)
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


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize(("memory", "batch"), [(3, 2), (4, 4), (1, 1), (7, 4)])
def test_too_large_a_batch_is_halved_until_it_fits(on: Any, memory: int, batch: int, error: Exception) -> None:
    pictures, _ = on(memory, 8, error=error)
    assert pictures(VIEWS[:19])().tolist() == expected(19)
    assert pictures.batch == batch


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize("graphs", [True, False])
def test_memory_that_becomes_short_in_the_middle(on: Any, graphs: bool, error: Exception) -> None:
    """What was begun before has its answer all the same."""
    pictures, gpu = on(1_000, 8, graphs, error=error)
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


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_no_memory_for_the_buffers_themselves(on: Any, error: Exception) -> None:
    pictures, _ = on(batch=8, room=3, error=error)
    assert pictures.batch == 2
    assert pictures(VIEWS[:9])().tolist() == expected(9)


@pytest.mark.parametrize("batch", [0, 8])
def test_another_error_is_not_taken_for_memory(on: Any, batch: int) -> None:
    pictures, gpu = on(batch=8, graphs=False, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    gpu.memory = 3
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        pictures(VIEWS[:8])
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        on(memory=3, batch=batch, graphs=False, error=gpu.error)[0](VIEWS[:8])


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize(("memory", "batch"), [(1_000, 256), (200, 128), (20, 16), (1, 1)])
def test_the_batch_that_is_found_is_the_fastest_that_fits(on: Any, memory: int, batch: int, error: Exception) -> None:
    pictures, gpu = on(memory, 0, error=error)
    assert pictures.batch == batch
    assert gpu.emptied == 1, "what the search held is given back"


@pytest.mark.parametrize(
    ("start_s", "batch"),
    [(0.0, 1), (0.0003, 1), (0.001, 4), (0.0025, 16), (0.01, 32), (0.02, 64), (0.1, 256), (10.0, 256)],
)
def test_a_smaller_batch_is_taken_that_is_nearly_as_fast(on: Any, start_s: float, batch: int) -> None:
    """At 10 ms a picture: less memory, and less to fill before the first answer."""
    found = on(batch=0, start_s=start_s, each_s=0.01)[0].batch
    assert found == batch
    rates = {size: size / (start_s + 0.01 * size) for size in curate.models.cuda.SIZES}
    assert rates[found] >= 0.97 * max(rates.values())
    assert all(rate < 0.97 * max(rates.values()) for size, rate in rates.items() if size < found)


@pytest.mark.parametrize(
    ("most_bytes", "asked", "batch"),
    [(100 * 12, 0, 64), (64 * 12, 0, 64), (64 * 12 - 1, 0, 64), (63 * 12, 0, 32), (1, 0, 1), (100 * 12, 300, 100),
     (100 * 12, 100, 100), (100 * 12 - 1, 101, 100), (100 * 12, 7, 7)],
)  # fmt: skip
def test_a_batch_is_not_larger_than_what_a_scorer_hands_over(
    on: Any, monkeypatch: pytest.MonkeyPatch, most_bytes: int, asked: int, batch: int
) -> None:
    """Which is what reaches the bytes it may hold, 12 a picture here; else the graph would never run."""
    monkeypatch.setattr(curate.models.cuda, "BATCH_BYTES", most_bytes)
    assert on(batch=asked)[0].batch == batch


def test_pictures_of_384_px_come_in_less_than_256() -> None:
    assert BATCH_BYTES / (384 * 384 * 3) < 256 < BATCH_BYTES / (336 * 336 * 3)


@pytest.mark.parametrize("graphs", [True, False])
def test_one_buffer_is_filled_while_the_other_is_under_way(on: Any, graphs: bool) -> None:
    """Two batches are begun without a wait; a third waits for the first."""
    pictures, gpu = on(graphs=graphs)
    for begun, waits in ((4, 0), (8, 0), (12, 1), (16, 2)):
        gpu.synchronize()
        gpu.waits = 0
        answer = pictures(VIEWS[:begun])
        assert gpu.waits == waits
        assert answer().tolist() == expected(begun)


def test_pictures_are_sent_on_a_stream_of_their_own(on: Any) -> None:
    """Else the copy of the next batch would wait for the work on this one."""
    pictures, gpu = on()
    pictures(VIEWS[:10])()
    assert len(gpu.sent_on) == 3
    assert gpu.default not in gpu.sent_on
    assert len(set(gpu.sent_on)) == 1


@pytest.mark.parametrize(("replay_s", "used"), [(0.0, True), (1.03, True), (1.04, False), (1.05, False), (9.0, False)])
def test_a_graph_is_used_where_it_is_faster(on: Any, replay_s: float, used: bool) -> None:
    """Four pictures take the tower 1.04 s piece by piece."""
    pictures, gpu = on(batch=4, replay_s=replay_s)
    gpu.replays = 0
    assert pictures(VIEWS[:8])().tolist() == expected(8)
    assert gpu.replays == (2 if used else 0)


def test_a_capture_that_fails_leaves_its_stream_and_its_memory(on: Any) -> None:
    pictures, gpu = on(graphs=False)
    assert gpu.current is gpu.default
    assert pictures._graph is None
    assert set(gpu.pools.values()) == {"released"}


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_no_memory_while_it_is_captured_is_no_graph(on: Any, error: Exception, monkeypatch) -> None:
    """The capture is ended by torch itself, and its pool is the graph's to give back."""
    capture = FakeCuda.graph

    @contextmanager
    def short(gpu: FakeCuda, graph: Any, pool: Any) -> Any:
        with capture(gpu, graph, pool):
            gpu.memory, memory = 0, gpu.memory
            try:
                yield
            finally:
                gpu.memory = memory

    monkeypatch.setattr(FakeCuda, "graph", short)
    pictures, gpu = on(error=error)
    assert gpu.pools == {(0, 0): "ended"}
    assert pictures(VIEWS[:9])().tolist() == expected(9)
    assert gpu.replays == 0


def test_the_fake_knows_a_race() -> None:
    """What the other tests rely on."""
    gpu = FakeCuda(10)
    on_gpu = gpu.zeros((4, SIZE, SIZE, 3), np.uint8, device=1)
    side = gpu.new_stream()
    for touch in (gpu.tower, lambda tensor: tensor.copy_(tensor)):
        with pytest.raises(AssertionError, match="a race"), gpu.stream(side):
            touch(on_gpu)
        gpu.set_stream(gpu.default)
    side.wait_stream(gpu.default)
    with gpu.stream(side):
        gpu.tower(on_gpu)
    with pytest.raises(AssertionError, match="a race"):
        on_gpu.copy_(on_gpu)
    gpu.synchronize()
    on_gpu.copy_(on_gpu)
