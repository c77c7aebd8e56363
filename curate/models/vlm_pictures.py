"""Pictures for models whose processors transformers brings: made ready by the threads that decode, kept as bytes.

A processor resizes, cuts into tiles or patches, and takes mean and deviation out, which makes floats of four times the
size. Here it is asked for the bytes before that, and what is left, a factor and a summand for each number, is done on
the device. Both are read off a black and a white picture of the same size, whatever the layout, and held against the
processor's own answer for noise; where that differs (a processor that looks at the picture's own contrast) its floats
are kept.

Where every picture comes out in one shape nothing else is done to it. A model that makes the more tokens the larger a
picture is would have a shape for nearly every one, and a batch needs one: such pictures are first brought to the
nearest of 11 forms of .45 million pixels (576 tokens of Qwen2-VL). The price is up to 16 % of stretch between forms,
and two resizes. A picture of 800 x 600 px takes 6 to 12 ms of a core; SmolVLM's, cut into 13 tiles, 100 ms and 10 MB,
unless its preprocessor_config.json says `"do_image_splitting": false`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from curate.errors import ConfigError
from curate.filter import Pixels
from curate.models.memory import is_memory

__all__ = ["ALIKE", "FORMS", "Pictures", "PreparedPicture", "form_of"]

Floats = npt.NDArray[np.float32]
FORMS = tuple(
    (round(672 * ratio**0.5 / 28) * 28, round(672 / ratio**0.5 / 28) * 28)
    for ratio in (1 / 3.16, 1 / 2.37, 9 / 16, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 16 / 9, 2.37, 3.16)
)
"""Width and height in pixels, multiples of 28, from tall to wide."""
ALIKE = (0, 0)
"""The form of all pictures of a model to which all are alike."""
PROBES = ((448, 448), (560, 224), (224, 560), (30, 40))
"""Sizes at which a processor is asked what it does. The first is square: nothing is filled up there."""
LARGE = ((1680, 560), (560, 1680), (1400, 1400))
"""Sizes at which a processor that brings small pictures into one shape may do more: Llama 3.2's tiles have 560 px, and
their number stands beside the pixels alone."""
LONGEST = 8
"""The longer side may be this many times the shorter one; a longer one is squeezed. Else a strip of 1 x 5,000 px, whose
short side is brought to 336, would be 1.7 GB."""
CLOSE = 1e-4
BYTES: Mapping[str, Any] = {"do_rescale": False, "do_normalize": False}
PIXELS = "pixel_values"


@dataclass(frozen=True)
class PreparedPicture:
    """`values`: as the processor lays them out, uint8 or float32. `form`: what other inputs go with it."""

    values: npt.NDArray[Any]
    form: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return int(self.values.nbytes)


def form_of(width: int, height: int) -> tuple[int, int]:
    """The nearest of FORMS, by the ratio of the sides."""
    ratio = np.log(width / height)
    return min(FORMS, key=lambda form: abs(np.log(form[0] / form[1]) - ratio))


class Pictures:
    """How a processor's pictures are made ready. `prepare` may be called by several threads. Raises ConfigError for a
    processor without pictures."""

    def __init__(self, processor: Any, where: str) -> None:
        own = getattr(processor, "image_processor", None)
        if own is None:
            raise ConfigError(
                f"{where} has no preprocessing of pictures: its model reads none, or its "
                "preprocessor_config.json is missing; save its processor by save_pretrained"
            )
        self._own, self._where = own, where
        self.alike = self._alike()
        self.scales = _tried(self._scales)
        self.colours = lru_cache(maxsize=len(FORMS) + 1)(self._colours)

    def prepare(self, pixels: Pixels) -> PreparedPicture:
        """Of uint8 (height, width, 3)."""
        image = self._bounded(Image.fromarray(pixels))
        form = ALIKE
        if not self.alike:
            form = form_of(*image.size)
            image = image.resize(form, Image.Resampling.BICUBIC)
        return PreparedPicture(self._values(image, self.scales), form)

    def _alike(self) -> bool:
        """Whether pictures of all sizes come out in one shape, with the same inputs beside them. Raises ConfigError."""
        found = (self._asked(Image.new("RGB", size)) for size in PROBES + LARGE)
        try:
            first = next(found)
            return all(_same(first, other) for other in found)
        except Exception as error:
            if is_memory(error) or isinstance(error, ConfigError):
                raise
            told = str(error).strip().partition("\n")[0][:300]
            raise ConfigError(f"the preprocessing of {self._where} fails for a black picture: {told}") from error

    def _colours(self, form: tuple[int, int]) -> tuple[Floats, Floats]:
        """Factor and summand that make the model's numbers of bytes of this form; broadcast against `values`."""
        return self._told(form) if self.scales else (np.ones((1,), np.float32), np.zeros((1,), np.float32))

    def _told(self, form: tuple[int, int]) -> tuple[Floats, Floats]:
        black, white = (np.asarray(self._asked(self.example(form, shade))[PIXELS], np.float64) for shade in (0, 255))
        return _narrow(((white - black) / 255).astype(np.float32)), _narrow(black.astype(np.float32))

    def example(self, form: tuple[int, int], shade: int = 0) -> Image.Image:
        """A picture of one grey, of this form."""
        return Image.new("RGB", PROBES[0] if form == ALIKE else form, (shade,) * 3)

    def _scales(self) -> bool:
        """Whether factor and summand give what the processor gives, for noise; of any size, where what they are is read
        off one size for all."""
        for width, height in PROBES if self.alike else (form_of(1, 1),):
            noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            whole = np.asarray(self._asked(Image.fromarray(noise))[PIXELS])
            plain = self._values(Image.fromarray(noise), True)
            factor, summand = self._told(ALIKE if self.alike else (width, height))
            if plain.shape != whole.shape or not bool(np.abs(plain * factor + summand - whole).max() < CLOSE):
                return False
        return True

    def _values(self, image: Image.Image, as_bytes: bool) -> npt.NDArray[Any]:
        if not as_bytes:
            return np.asarray(self._asked(image)[PIXELS], np.float32)
        return np.ascontiguousarray(np.asarray(self._asked(image, **BYTES)[PIXELS]).astype(np.uint8))

    def _asked(self, image: Image.Image, **options: Any) -> dict[str, npt.NDArray[Any]]:
        """What the processor makes of one picture. Raises ConfigError for one that makes no pixel_values."""
        found = self._own(images=image, return_tensors="np", **options)
        if PIXELS not in found:
            raise ConfigError(
                f"the preprocessing of {self._where} makes {', '.join(found)}; only models that read "
                f"{PIXELS} are known here"
            )
        return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}

    @staticmethod
    def _bounded(image: Image.Image) -> Image.Image:
        width, height = image.size
        most = LONGEST * min(width, height)
        if max(width, height) <= most:
            return image
        return image.resize((min(width, most), min(height, most)), Image.Resampling.BICUBIC)


def _tried(ask: Any) -> bool:
    """False for a processor that cannot be asked so."""
    try:
        return bool(ask())
    except ConfigError:
        raise
    except Exception as error:
        if is_memory(error):
            raise
        return False


def _same(one: Mapping[str, npt.NDArray[Any]], other: Mapping[str, npt.NDArray[Any]]) -> bool:
    if one.keys() != other.keys() or one[PIXELS].shape != other[PIXELS].shape:
        return False
    return all(np.array_equal(one[name], other[name]) for name in one if name != PIXELS)


def _narrow(values: Floats) -> Floats:
    """With length 1 along each axis on which nothing changes: 12 bytes in the place of 50 MB."""
    for axis in range(values.ndim):
        first = values.take([0], axis)
        if bool((values == first).all()):
            values = first
    return values
