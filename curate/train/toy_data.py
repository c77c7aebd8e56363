"""What the toy models learn from: scenes drawn afresh for every step, each beside a scene that differs in one thing.

A step's batch follows from the seed and the step's number alone, so nothing is kept and nothing is seen twice, and no
row of a toy web (`Plan`) is ever drawn. Pictures have the toy web's proportions but are drawn 96 px long, for 0.2 ms
instead of the 4 ms that drawing in full, encoding, storing and decoding take. After the resize to 32 px hardly anything
is left of the difference: on 6,000 rows of the toy web each AUC is that of the same scenes drawn small, to .001.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import numpy.typing as npt

from curate.filter import Pixels
from curate.models.toy import prepare
from curate.toyweb.caption import WORDINGS, describe
from curate.toyweb.render import render
from curate.toyweb.scene import Scene, alter, random_scene
from curate.toyweb.translate import LANGUAGES, translate
from curate.toyweb.words import BAD_CAPTIONS

__all__ = ["BATCH", "Batch", "batches", "draw_batch"]

BATCH = 128
LONG_SIDE_PX = 96
SHORTEST_PX = 32
JUNK = ("boilerplate", "repetition", "symbols", "too_short", "url_caption")
"""Kinds of worthless captions that describe nothing, whatever the picture is."""


@dataclass(frozen=True)
class Batch:
    """Row i + BATCH / 2 shows the scene of row i with one attribute changed, so each is the other's hard negative.

    `views`: prepared pictures, uint8 (BATCH, 32, 32, 3). `captions`: of each picture. `wrong`: one for each picture
    that does not describe it: mostly with one attribute changed, one in four of another scene, one in eight no
    description or in another language.
    """

    views: npt.NDArray[np.uint8]
    captions: list[str]
    wrong: list[str]


def batches(seed: int, steps: int) -> Iterator[Batch]:
    """The batches of steps 0 to `steps` - 1; the next one is drawn by a second thread meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="draw") as pool:
        ahead = pool.submit(draw_batch, seed, 0)
        for step in range(steps):
            batch = ahead.result()
            if step + 1 < steps:
                ahead = pool.submit(draw_batch, seed, step + 1)
            yield batch


def draw_batch(seed: int, step: int) -> Batch:
    """The batch of one step."""
    random = Random(f"toy training/{seed}/{step}")
    scenes = [random_scene(random) for _ in range(BATCH // 2)]
    scenes += [alter(scene, random) for scene in scenes]
    return Batch(
        np.stack([_picture(scene, random) for scene in scenes]),
        [_say(scene, random) for scene in scenes],
        [_wrong(number, scene, random) for number, scene in enumerate(scenes)],
    )


def _picture(scene: Scene, random: Random) -> npt.NDArray[np.uint8]:
    """At the sizes of the toy web, made smaller: 200 to 640 px a side, at most 2:1."""
    width = random.randint(200, 640)
    height = min(640, max(200, int(width * random.uniform(0.6, 1.6))))
    factor = LONG_SIDE_PX / max(width, height)
    size = max(SHORTEST_PX, round(width * factor)), max(SHORTEST_PX, round(height * factor))
    return prepare(_worn(render(scene, size, random.getrandbits(64)), random))


def _worn(pixels: Pixels, random: Random) -> Pixels:
    """One in eight with a border, one in eight cropped by up to 7 % a side, one in sixteen blurred, as copies are."""
    dice, short = random.random(), min(pixels.shape[:2])
    if dice < 1 / 8:
        width, tone = max(1, round(short * random.uniform(0.02, 0.05))), [random.randrange(256) for _ in range(3)]
        return np.asarray(cv2.copyMakeBorder(pixels, width, width, width, width, cv2.BORDER_CONSTANT, value=tone))
    if dice < 2 / 8:
        top, bottom = (round(pixels.shape[0] * random.uniform(0, 0.07)) for _ in range(2))
        left, right = (round(pixels.shape[1] * random.uniform(0, 0.07)) for _ in range(2))
        return pixels[top : pixels.shape[0] - bottom, left : pixels.shape[1] - right]
    if dice < 5 / 16:
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), short * random.uniform(0.01, 0.03)))
    return pixels


def _say(scene: Scene, random: Random) -> str:
    return describe(scene, random.randrange(WORDINGS))


def _wrong(number: int, scene: Scene, random: Random) -> str:
    if number % 8 == 1:
        if random.random() < 0.5:
            return translate(scene, random.choice(LANGUAGES))
        return BAD_CAPTIONS[random.choice(JUNK)](scene, random)
    if number % 4 == 0:
        return _say(_another(scene, random), random)
    return _say(alter(scene, random), random)


def _another(scene: Scene, random: Random) -> Scene:
    other = random_scene(random)
    return other if other != scene else _another(scene, random)
