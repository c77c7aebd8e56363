"""When memory runs out: half the batch, and on; a picture for which there is none at all is one failed row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_pair_scores import png, run, shard_of
from tiny_clip import drawn, make

from curate.errors import StageError
from curate.models.clip import CPU_BATCH, Clip, open_clip_model
from curate.models.pair_scores import ScorePairs, similarity
from curate.models.settings import ModelSettings
from curate.models.towers import Towers, open_towers

PICTURES = [drawn(40, 30, seed) for seed in range(45)]
TEXTS = [f"a dog {number}" for number in range(45)]


def out_of_memory(kind: str) -> Exception:
    import torch

    if kind == "torch":
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if kind == "cublas":
        return RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    if kind == "driver":
        return torch.AcceleratorError("CUDA error: out of memory")
    if kind == "cpu":
        return RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried")
    return MemoryError()


class Tight:
    """A module and a text encoder that can take `most` at a time; it notes how many it was asked for."""

    def __init__(self, towers: Towers, most: int, kind: str = "torch") -> None:
        self.towers, self.most, self.kind = towers, most, kind
        self.asked: list[int] = []
        self.never: Any = None
        """A picture, as it reaches the tower, for which there is never memory."""

    def encode_image(self, pixels: Any) -> Any:
        import torch

        self.check(len(pixels))
        if self.never is not None and any(torch.allclose(p, self.never, atol=1e-3) for p in pixels):
            raise out_of_memory(self.kind)
        return self.towers.module.encode_image(pixels)

    def encode_text(self, tokens: Any) -> Any:
        self.check(len(tokens))
        return self.towers.encode_text(tokens)

    def check(self, count: int) -> None:
        self.asked.append(count)
        if count > self.most:
            raise out_of_memory(self.kind)

    def to(self, *where: Any) -> Any:
        return self


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return ModelSettings(weights=str(make(tmp_path_factory.mktemp("memory"))), precision="fp32", device="cpu")


def tight(settings: ModelSettings, most: int, kind: str = "torch") -> tuple[Clip, Tight]:
    towers = open_towers(settings)
    module = Tight(towers, most, kind)
    return Clip(settings, replace(towers, module=module, encode_text=module.encode_text)), module


@pytest.mark.parametrize(
    ("most", "kind"),
    [(1, "torch"), (2, "cpu"), (5, "numpy"), (5, "cublas"), (5, "driver"), (5, "torch"), (31, "torch"), (32, "torch")],
)
def test_pictures_in_smaller_and_smaller_pieces_are_the_same(settings: ModelSettings, most: int, kind: str) -> None:
    roomy, (clip, module) = Clip(settings), tight(settings, most, kind)
    views = [clip.prepare(picture) for picture in PICTURES]
    given_back: list[int] = []
    clip._free = lambda: given_back.append(module.asked[-1])  # type: ignore[method-assign]
    found = clip.pictures(views)
    assert found.shape == (45, 32)
    assert np.abs(found - roomy.pictures(views)).max() < 1e-5
    assert clip.batch <= most < 2 * clip.batch + 1
    assert given_back == [size for size in (32, 16, 8, 4, 2) if size > most], "each time, before it goes on with half"
    module.asked.clear()
    clip.pictures(views)
    assert max(module.asked) == clip.batch, "from now on it asks for no more"


@pytest.mark.parametrize("most", [1, 3, 44])
def test_texts_in_smaller_pieces_are_the_same_and_pictures_keep_their_batch(settings: ModelSettings, most: int) -> None:
    roomy, (clip, module) = Clip(settings), tight(settings, most)
    assert np.abs(clip.texts(TEXTS) - roomy.texts(TEXTS)).max() < 1e-5
    assert clip.batch == CPU_BATCH
    assert max(module.asked) == 45
    assert sum(count for count in module.asked if count <= most) == 45, "each once"


def test_another_error_is_not_taken_for_memory(settings: ModelSettings) -> None:
    clip, module = tight(settings, 100)
    module.encode_image = broken
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        clip.pictures([clip.prepare(picture) for picture in PICTURES])
    assert clip.batch == CPU_BATCH


def broken(pixels: Any) -> Any:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.fixture
def scored(settings: ModelSettings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scorer whose model has little memory."""

    def make_it(most: int) -> tuple[ScorePairs, Clip, Tight]:
        clip, module = tight(settings, most)
        monkeypatch.setattr("curate.models.clip.open_clip_model", lambda settings: clip)
        return ScorePairs("m", settings), clip, module

    return make_it


def test_a_shard_is_whole_though_memory_was_short(tmp_path: Path, scored: Any, settings: ModelSettings) -> None:
    (tmp_path / "roomy").mkdir()
    rows = [(f"dog {row}", png(seed=row)) for row in range(45)]
    roomy = shard_of(tmp_path / "roomy", rows)
    run(roomy, ScorePairs("m", settings))
    expected = np.array(roomy.table("m")[similarity("m")].to_pylist())
    shard = shard_of(tmp_path, rows)
    assert run(shard, scored(3)[0]).counts == {"in": 45, "scored": 45}
    assert np.abs(np.array(shard.table("m")[similarity("m")].to_pylist()) - expected).max() < 1e-5


def test_a_picture_for_which_there_is_no_memory_at_all_is_one_failed_row(tmp_path: Path, scored: Any) -> None:
    import torch

    shard = shard_of(tmp_path, [(f"dog {row}", png(seed=row)) for row in range(20)])
    scorer, clip, module = scored(100)
    view = clip.prepare(drawn(40, 30, 7))
    module.never = ((torch.from_numpy(view).permute(2, 0, 1).float() / 255) - clip._mean[0]) / clip._std[0]
    assert run(shard, scorer).counts == {"in": 20, "scored": 19, "score_failed": 1}
    found = shard.table("m")[similarity("m")].to_pylist()
    assert [row for row, value in enumerate(found) if value is None] == [7]


def test_no_memory_for_any_is_a_failed_shard_with_its_reason(tmp_path: Path, scored: Any) -> None:
    shard = shard_of(tmp_path, [(f"dog {row}", png(seed=row)) for row in range(4)])
    with pytest.raises(StageError, match="m failed on all 4 rows of 00000: OutOfMemoryError: CUDA out of memory"):
        run(shard, scored(0)[0])


def test_what_filled_the_memory_is_gone_before_less_is_tried(settings: ModelSettings) -> None:
    """An exception holds the frames it passed through, and these their tensors."""
    import gc
    import weakref

    import torch

    clip, module = tight(settings, 100)
    alive: list[Any] = []
    encode = module.encode_image

    def hungry(pixels: Any) -> Any:
        assert not any(ref() is not None for ref in alive), "the tensors of the attempt before are still there"
        activations = torch.zeros(10)
        alive.append(weakref.ref(activations))
        if len(pixels) > 8:
            raise out_of_memory("torch")
        return encode(pixels)

    module.encode_image = hungry
    gc.disable()
    try:
        assert len(clip.pictures([clip.prepare(picture) for picture in PICTURES])) == 45
    finally:
        gc.enable()
    assert clip.batch == 8


def test_the_model_that_scorers_share_is_one(settings: ModelSettings) -> None:
    assert open_clip_model(settings) is open_clip_model(replace(settings))


@pytest.mark.parametrize("late", [False, True])
def test_a_gpu_that_failed_ends_the_worker_and_not_one_row_after_the_other(tmp_path, scored: Any, late: bool) -> None:
    """The unit is lost and another process does it. A driver that has no memory left is not that."""
    import torch

    scorer, clip, _ = scored(100)
    encode = clip._begin_views
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    def fail() -> Any:
        raise error

    clip._begin_views = lambda views: fail if late else fail()
    shard = shard_of(tmp_path, [(f"dog {row}", png(seed=row)) for row in range(4)])
    with pytest.raises(SystemExit, match="the GPU of this worker failed: CUDA error: an illegal memory access"):
        run(shard, scorer)
    assert not (tmp_path / "00000.m.parquet").exists()
    error = torch.AcceleratorError("CUDA error: out of memory")
    with pytest.raises(StageError, match="failed on all 4 rows"):
        run(shard, scorer)
    clip._begin_views = encode
    assert run(shard, scorer).counts["scored"] == 4
