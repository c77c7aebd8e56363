"""Hashes equal what imagehash, imagededup and pdqhash said of the same drawings, to the last bit.

Made with imagehash 4.3.2, imagededup 0.3.3.post2, pdqhash 0.2.8 and Pillow 13.0.0, of `drawing(seed, height, width)`:

    imagehash.phash(Image.fromarray(p)); imagehash.dhash(Image.fromarray(p))
    PHash().encode_image(image_array=p); DHash().encode_image(image_array=p)
    bits, quality = pdqhash.compute(p); np.packbits(bits).tobytes().hex()

None is much taller than wide, so the peers say the same with Pillow 11 and 12 (`curate.perceptual.shrink` says why).
"""

from functools import cache

import numpy as np
import pytest
from drawings import drawing

from curate.perceptual.dhash import dhash, dhash_imagededup
from curate.perceptual.pdq import pdq
from curate.perceptual.phash import phash, phash_imagededup

SAID = [
    # seed, height, width; pHash of imagehash, of imagededup; dHash of imagehash, of imagededup
    (1, 480, 640, "b832b23e46cc87f8", "b832ba3e46cc87f8", "3d1f9bf0723333b3", "3d1f9bf0723233b3"),
    (2, 64, 64, "918187be3870cbcf", "918187be3878cbcf", "cdc6c09833981825", "cdc6c29833981800"),
    (3, 7, 300, "ad00000000000000", "adffffffffffffff", "4747474747474747", "4747474747474747"),
    (4, 330, 300, "e40fb9b23339cec0", "e40fb9b23339cec1", "01216304cc840800", "01016304cc840800"),
    (5, 128, 129, "b1b648ec4993daa6", "b1b64cec4993daa6", "8fae9c5bea1edfd2", "afae9c5bea1edfd2"),
    (6, 1100, 2100, "de2d827cb7816896", "de2d827cb78168d6", "272745022420b038", "272745062420b038"),
    (7, 33, 32, "f32eee21ec0d218d", "f32eee21ec0d21cd", "0f0f182b8c9c0a22", "0f0f18298c9c0a22"),
    (8, 5, 5, "c8878df8f807072f", "c9878df8f80f070f", "31f1ec0c18e07133", "31f1ec0c18e07133"),
    (9, 4, 100, "b520e9d71e287731", "b52176d71d48a1bd", "4e4e4e4e4e4e4e4e", "5e5e5e5e5e5e5e5e"),
    (10, 256, 192, "9dd7c5217a1896d4", "9dd7c5217a1c96d4", "646a74395bdf3627", "646a7039db9f3627"),
    (11, 1, 1, "8000000000000000", "ffffffffffffffff", "0000000000000000", "0000000000000000"),
    (12, 1, 5000, "8700000000000000", "87ffffffffffffff", "4c4c4c4c4c4c4c4c", "cccccccccccccccc"),
    (13, 9, 12, "d3cb481615f36699", "d3cb481635f36699", "d9f1494a786d9958", "d9f1494a786d9958"),
]
PDQHASH = [
    ("6646e4636ee6c473763026392666460664e6c0cfc9f0f999c9b1d93e992ed936", 100),
    ("7610260686ce8ae8bbf959334136c1f681dc32f97669ee077c0e78bef47097c0", 100),
    ("1c60b935e31fc6cae3e5ba4a101f454a101fbab5efe0bab5efe041b51c20b935", 17),
    ("36ce664764407d9e91b019371306078fccddc48170399fce626666269fcef9f8", 59),
    ("d95a52c9d60ab24fbaf0309b6dd4cc269935d932b22dfeec6649599b94990136", 95),
    ("e0b17cb54753e0743aae47b7f4b469120a93d0b5ff0bab408276e11fd5b0495a", 60),
    ("045af52b27d2b52a3320316ef5bc2064950ccdddf0438fd8cf3b3042ca7bdeba", 100),
    ("c3f0c3f03e0f3c1f64d9c3f061d83c1f9e27c3e0c1f0c3e03e0f3c1f61d8c3e0", 47),
    ("0" * 64, 0),
    ("b4b5ef4c28ee5a12c735d696c7ad754a89522e354e3c16bc472f4446b8513875", 95),
    ("0" * 64, 0),
    ("0" * 64, 0),
    ("ce6fda4bf80ff81cd84cc733ce69388c3196a84c07b327e7a554259439899b69", 71),
]
MADE = [phash, phash_imagededup, dhash, dhash_imagededup]


@cache
def pictures():
    return [drawing(*row[:3]) for row in SAID]


@pytest.mark.parametrize("kind", range(4), ids=[made.__name__ for made in MADE])
def test_64_bits_are_the_peers(kind):
    assert [f"{MADE[kind](picture):016x}" for picture in pictures()] == [row[3 + kind] for row in SAID]


def test_256_bits_and_the_quality_are_the_references():
    found = [pdq(picture) for picture in pictures()]
    assert [(one.hash.hex(), one.quality) for one in found] == PDQHASH


@pytest.mark.parametrize("made", [*MADE, pdq], ids=lambda made: made.__name__)
def test_how_pixels_lie_in_memory_does_not_matter(made):
    pixels = drawing(1, 90, 70)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    views = [frozen, np.asfortranarray(pixels), np.repeat(pixels, 2, axis=1)[:, ::2], pixels[:, ::-1][:, ::-1]]
    assert {made(view) for view in views} == {made(pixels)}
