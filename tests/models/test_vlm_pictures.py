"""Pictures as bytes and what is left to do on the device, against transformers' own preprocessing."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vlm import KINDS, picture, write

from curate.errors import ConfigError
from curate.models.hf_folder import load_config
from curate.models.vlm_inputs import Inputs
from curate.models.vlm_pictures import ALIKE, FORMS, Pictures, form_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    made = {}

    def get(kind):
        if kind not in made:
            folder = write(tmp_path_factory.mktemp(kind), kind)
            made[kind] = Inputs(folder, load_config(folder))
        return made[kind]

    return get


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_factor_and_summand_are_what_the_processor_makes(inputs, kind):
    own = inputs(kind)
    pixels = picture(3, 60, 45)
    image = Image.fromarray(pixels)
    prepared = own.pictures.prepare(pixels)
    if prepared.form != ALIKE:
        image = image.resize(prepared.form, Image.Resampling.BICUBIC)
    wanted = own.processor.image_processor(images=[image, image], return_tensors="pt")["pixel_values"]
    found = own.pixels([prepared, prepared], CPU, torch.float32)
    assert prepared.values.dtype == np.uint8
    assert prepared.nbytes == prepared.values.size
    assert sum(one.nbytes for one in own.pictures.colours(prepared.form)) < 4_000
    torch.testing.assert_close(found.reshape(wanted.shape), wanted.float(), atol=1e-5, rtol=0)
    assert own.pixels([prepared], CPU, torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("kind", "alike"),
    [
        ("llava", True),
        ("llava_onevision", False),
        ("florence2", True),
        ("paligemma", True),
        ("idefics3", False),
        ("qwen2_vl", False),
    ],
)
def test_models_with_one_form_and_with_many(inputs, kind, alike):
    own = inputs(kind).pictures
    assert own.alike is alike
    forms = {own.prepare(picture(0, *size)).form for size in ((40, 40), (90, 40), (40, 90))}
    assert forms == ({ALIKE} if alike else {(672, 672), form_of(90, 40), form_of(40, 90)})
    shapes = {own.prepare(picture(0, *size)).values.shape for size in ((40, 40), (41, 40), (44, 40))}
    assert len(shapes) == 1


@pytest.mark.parametrize(
    ("size", "form"),
    [
        ((500, 500), (672, 672)),
        ((640, 480), (784, 588)),
        ((480, 640), (588, 784)),
        ((1920, 1080), (896, 504)),
        ((5000, 10), FORMS[-1]),
        ((1, 5000), FORMS[0]),
        ((1, 1), (672, 672)),
    ],
)
def test_a_picture_has_the_nearest_form(size, form):
    assert form_of(*size) == form


def test_forms_are_of_like_size_and_close_to_each_other():
    areas = [width * height for width, height in FORMS]
    assert all(abs(area / 672**2 - 1) < 0.05 for area in areas)
    ratios = np.array([width / height for width, height in FORMS])
    assert (ratios[1:] / ratios[:-1]).max() < 1.16**2
    assert all(width % 28 == height % 28 == 0 for width, height in FORMS)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 3)])
@pytest.mark.parametrize("kind", ["llava", "florence2", "qwen2_vl", "idefics3"])
def test_a_strip_takes_no_more_memory_than_a_picture(inputs, kind, size):
    import tracemalloc

    own = inputs(kind).pictures
    pixels = picture(0, *size)
    tracemalloc.start()
    prepared = own.prepare(pixels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert prepared.nbytes < 3_000_000
    assert peak < 30_000_000


class Own:
    """A processor of its own making: `plain` is what it makes without the last steps, where it can leave these out."""

    def __init__(self, whole, plain=None, key="pixel_values"):
        self.image_processor, self.whole, self.plain, self.key = self, whole, plain, key

    def __call__(self, images, return_tensors, do_rescale=True, do_normalize=True):
        values = np.asarray(images.resize((8, 8)), np.float32).transpose(2, 0, 1)[None]
        if do_rescale or self.plain is None:
            return {self.key: self.whole(values)}
        return {self.key: self.plain(values)}


class Bordered(Own):
    """Puts a wide picture on a square of 0, after mean and deviation are out."""

    def __call__(self, images, return_tensors, do_rescale=True, do_normalize=True):
        values = np.asarray(images.resize((8, 8)), np.float32).transpose(2, 0, 1)[None].copy()
        values = values / 255 - 0.5 if do_rescale else values
        if images.width > images.height:
            values[..., :2, :] = 0
        return {"pixel_values": values}


def contrasted(values):
    return (values - values.mean()) / (values.std() + 1)


@pytest.mark.parametrize(
    ("own", "as_bytes"),
    [
        (Own(lambda v: v / 127.5 - 1, lambda v: v), True),
        (Own(lambda v: v.clip(20, 200) / 255, lambda v: v), False),
        (Own(contrasted, lambda v: v), False),
        (Own(lambda v: v / 255), False),
        (Bordered(None), False),
    ],
)
def test_a_processor_that_does_more_than_a_factor_and_a_summand_keeps_its_floats(own, as_bytes):
    pictures = Pictures(own, "there")
    assert pictures.scales is as_bytes
    pixels = picture(1, 8, 8)
    prepared = pictures.prepare(pixels)
    assert prepared.values.dtype == (np.uint8 if as_bytes else np.float32)
    factor, summand = pictures.colours(prepared.form)
    wanted = own(Image.fromarray(pixels), "np")["pixel_values"]
    np.testing.assert_allclose(prepared.values * factor + summand, wanted, atol=1e-5)


class InTiles(Own):
    """Says beside the pixels how many tiles a picture has, as Llama 3.2's does: one up to 560 px."""

    def __call__(self, images, return_tensors, do_rescale=True, do_normalize=True):
        found = super().__call__(images, return_tensors, do_rescale, do_normalize)
        tiles = np.array([[-(-images.width // 560), -(-images.height // 560)]])
        return found | {"aspect_ratio_ids": tiles.clip(max=self.most)}


@pytest.mark.parametrize(("most", "alike"), [(1, True), (2, False)])
def test_pictures_of_one_shape_are_not_alike_where_what_stands_beside_differs(most, alike):
    own = InTiles(lambda v: v / 255, lambda v: v)
    own.most = most
    pictures = Pictures(own, "there")
    assert pictures.alike is alike
    assert pictures.scales
    assert pictures.prepare(picture(0, 60, 20)).form == (ALIKE if alike else form_of(60, 20))


def test_a_processor_that_fails_is_refused():
    with pytest.raises(ConfigError, match="fails for a black picture: 'odd'"):
        Pictures(Own(lambda v: {}["odd"]), "there")


def test_a_processor_without_pixels_is_refused():
    with pytest.raises(ConfigError, match="makes patches"):
        Pictures(Own(lambda v: v, key="patches"), "there")
    with pytest.raises(ConfigError, match="preprocessing of pictures"):
        Pictures(object(), "there")


class InRows(Own):
    """Makes one row of numbers of each of two patches, with a factor of its own for each, and a last row of 0."""

    def __call__(self, images, return_tensors, do_rescale=True, do_normalize=True):
        values = np.asarray(images.resize((2, 4)), np.float32).reshape(2, -1)
        values = values * np.array([[1.0], [0.5]], np.float32) - 1 if do_rescale else values
        return {"pixel_values": np.concatenate([values, np.zeros((1, values.shape[1]), np.float32)])}


def test_pictures_in_rows_have_their_factors_one_after_another(inputs):
    own = copy.copy(inputs("llava"))
    own.pictures = Pictures(InRows(None), "there")
    assert own.pictures.scales
    pixels = [picture(seed, 2, 4) for seed in range(3)]
    found = own.pixels([own.pictures.prepare(one) for one in pixels], CPU, torch.float32)
    wanted = [InRows(None)(Image.fromarray(one), "np")["pixel_values"] for one in pixels]
    np.testing.assert_allclose(found.numpy(), np.concatenate(wanted), atol=1e-5)
