"""The formulas against the models' own image processors in transformers, over random sizes and the borders of tiles."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import curate.models  # noqa: F401  (lets torchvision be imported beside a CPU build of torch)
from curate.handover.resolution import Resolution
from curate.handover.resolution_native import fit_side, smart_resize

processing = pytest.importorskip("transformers.image_processing_utils")
torch = pytest.importorskip("torch")


def sizes(seed: int, pictures: int = 400, most: int = 3000) -> list[tuple[int, int]]:
    """Widths and heights: of any shape, near the borders of tiles, and square."""
    draw = np.random.default_rng(seed)
    anything = np.exp(draw.uniform(np.log(8), np.log(most), (pictures, 2))).astype(int)
    steps = draw.choice([14, 28, 30, 336, 364, 384, 448, 560], (pictures, 1))
    borders = np.maximum(steps * draw.integers(1, 7, (pictures, 2)) + draw.integers(-1, 2, (pictures, 2)), 1)
    square = np.repeat(draw.integers(1, most, (50, 1)), 2, axis=1)
    return [(int(w), int(h)) for w, h in np.concatenate([anything, borders, square])]


def ours(resolution: Resolution, pictures: list[tuple[int, int]]) -> list[int]:
    width, height = np.array(pictures).T
    return [int(n) for n in resolution.image_tokens(width, height)]


def grid(resolution: Resolution, pictures: list[tuple[int, int]]) -> list[tuple[int, int]]:
    columns, rows = resolution.grid(*np.array(pictures).T)
    return list(zip(columns.tolist(), rows.tolist(), strict=True))


def test_qwen2_vl() -> None:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as oracle

    pictures = [p for p in sizes(1) if max(p) / min(p) <= 200]
    for factor, low, high in ((28, 56 * 56, 1_003_520), (28, 4 * 784, 16_384 * 784), (32, 65_536, 200_000)):
        across, down = smart_resize(*np.array(pictures).T, factor, low, high)
        expected = [oracle(h, w, factor, low, high) for w, h in pictures]
        assert [(int(h), int(w)) for w, h in zip(across, down, strict=True)] == expected


def test_pixtral() -> None:
    from transformers.models.pixtral.image_processing_pixtral import get_resize_output_image_size

    pictures = [p for p in sizes(2) if max(p) / min(p) < 1000]
    across, down = fit_side(*np.array(pictures).T, 16, 1024)
    expected = [get_resize_output_image_size(torch.empty(3, h, w, device="meta"), 1024, 16) for w, h in pictures]
    assert [(int(h), int(w)) for w, h in zip(across, down, strict=True)] == expected


def test_fuyu() -> None:
    """Against the steps of `FuyuProcessor._get_num_multimodal_tokens`, whose own patches need an image of zeros."""
    fuyu = Resolution(policy="native", size=1080, patch=30, max_side=1920, max_height=1080, row_tokens=1)
    pictures = [p for p in sizes(3) if max(p) / min(p) < 1000]
    expected = []
    for w, h in pictures:
        scale = min(1080 / h, 1920 / w)
        unpadded_h, unpadded_w = min(int(h * scale), h), min(int(w * scale), w)
        expected.append(-(-unpadded_h // 30) * (-(-unpadded_w // 30) + 1))
    assert ours(fuyu, pictures) == expected


@pytest.mark.parametrize(("least", "most"), [(1, 6), (1, 12), (3, 40)])
def test_internvl(least: int, most: int) -> None:
    from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

    resolution = Resolution(policy="tile", size=448, min_tiles=least, max_tiles=most)
    pictures = sizes(4, 200)
    assert grid(resolution, pictures) == [
        get_optimal_tiled_canvas((h, w), (448, 448), least, most) for w, h in pictures
    ]


@pytest.mark.parametrize("most", [1, 4, 9])
def test_llama_32(most: int) -> None:
    from transformers.models.mllama.image_processing_mllama import get_optimal_tiled_canvas

    resolution = Resolution(policy="tile", tiling="canvas", size=560, max_tiles=most)
    pictures = sizes(5, 200)
    expected = [get_optimal_tiled_canvas(h, w, most, 560) for w, h in pictures]
    assert grid(resolution, pictures) == [(int(w) // 560, int(h) // 560) for h, w in expected]


@pytest.mark.parametrize("most", [2, 9])
def test_minicpm_v(most: int) -> None:
    from transformers.models.minicpmv4_6.image_processing_minicpmv4_6 import MiniCPMV4_6ImageProcessor

    resolution = Resolution(policy="tile", tiling="slices", size=448, max_tiles=most)
    pictures = sizes(6)
    find: Any = MiniCPMV4_6ImageProcessor.get_sliced_grid
    expected = [find(None, (h, w), most, 448) or (1, 1) for w, h in pictures]
    assert grid(resolution, pictures) == [(int(columns), int(rows)) for rows, columns in expected]


@pytest.mark.parametrize("tile", ["llava_next", "llava_onevision"])
def test_llava(tile: str) -> None:
    if tile == "llava_next":
        from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor as Processor

        points = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
        grids = tuple((w // 336, h // 336) for h, w in points)
        own = Resolution(policy="tile", tiling="anyres", size=336, grids=grids, row_tokens=1)
        side, tokens = 336, 576
    else:
        from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor as Processor

        points = [[384 * r, 384 * c] for r in range(1, 7) for c in range(1, 7)]
        own = Resolution(policy="tile", tiling="anyres", size=384, max_side=2304, shrink_tiles=9, row_tokens=1)
        side, tokens = 384, 729
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=points),
        num_image_tokens=tokens,
        vision_aspect_ratio="anyres_max_9",
        patch_size=14,
        num_additional_image_tokens=0,
        _get_unpadded_features=lambda *a: Processor._get_unpadded_features(processor, *a),
    )
    pictures = sizes(7, 200)
    assert ours(own, pictures) == [Processor._get_number_of_features(processor, h, w, side, side) for w, h in pictures]


@pytest.mark.parametrize(("tile", "longest"), [(364, 1456), (364, 1820), (512, 2048), (384, 1000), (45, 135)])
def test_idefics3(tile: int, longest: int) -> None:
    """Against the processor's own resizing and splitting of tensors without data."""
    from transformers.models.idefics3 import image_processing_idefics3 as idefics3

    def resize(image: Any, size: Any, **rest: Any) -> Any:
        return torch.empty(1, 3, size.height, size.width, device="meta")

    own = SimpleNamespace(resize=resize)
    pictures = sizes(8, 100)
    expected = []
    for w, h in pictures:
        empty = torch.empty(1, 3, h, w, device="meta")
        height, width = idefics3.get_resize_output_image_size(empty, longest)
        image = torch.empty(1, 3, height, width, device="meta")
        stretched = idefics3.Idefics3ImageProcessor.resize_for_vision_encoder(own, image, tile)
        frames, rows, columns = idefics3.Idefics3ImageProcessor.split_images(own, stretched, {"longest_edge": tile})
        expected.append((int(frames.shape[1]), max(rows[0], 1), max(columns[0], 1)))
    resolution = Resolution(policy="tile", tiling="longest_side", size=tile, tokens=1, max_side=longest)
    found = zip(ours(resolution, pictures), grid(resolution, pictures), strict=True)
    assert [(tokens, rows, columns) for tokens, (columns, rows) in found] == expected
