"""The pairs of the CapFilt experiment: a web in which four captions in ten are wrong, clean pairs, and oracles.

All 10,368 scenes of the toy web, in its proportions (up to 2:1) and squashed to 32 px. The small world (4 colours, 3
shapes) drawn square is too easy for the toy captioner: after 600 steps on the web as it is, .88 of its captions are
exact, and no filter could add the .20 that it is to add; with all scenes drawn square it is .37, and .91 without wrong
captions. A test has no time for more, so the small world is there too. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np
import numpy.typing as npt

from curate.filter import Pixels
from curate.models.toy import prepare
from curate.models.toy_clip import IMAGE_SIZE
from curate.toyweb.caption import WORDINGS, describe, parse
from curate.toyweb.render import render
from curate.toyweb.scene import FULL, SMALL, Scene, World, alter, random_scene
from curate.train.toy_captioner_fit import Draw

__all__ = ["WORLDS", "Pairs", "Plan", "altered", "clean_pairs", "draws", "exact", "varied", "web_pairs"]

WORLDS = {"full": FULL, "small": SMALL}
WRONG_RATIO = 0.4
OTHER_SCENE_RATIO = 0.7
"""Of the wrong captions: those of another scene. The others are wrong in one attribute."""
BATCH = 128
SHIFT_PX = 2
TONE = 0.12
LONG_SIDE_PX = 96
SHORTEST_PX = 32


@dataclass(frozen=True)
class Plan:
    """World and sizes of an experiment. `kept`: with `all` the filter keeps everything; then nothing can help."""

    web: int = 8_000
    clean: int = 1_500
    calibration: int = 375
    """The last of the clean pairs, which captioner and filter do not see."""
    teaching_steps: int = 1_500
    """Of captioner and filter each."""
    tuning_steps: int = 60
    """After these the captioner sees clean pairs alone, at a quarter of the rate: else it draws what the web says."""
    held_out: int = 1_000
    kept: Literal["calibrated", "all"] = "calibrated"
    world: Literal["full", "small"] = "full"
    compiled: bool = False
    """Whether the step is compiled by torch: 63 ms instead of 113, for a C++ compiler and a minute at the start."""


@dataclass(frozen=True)
class Pairs:
    """`views`: prepared pictures, uint8 (n, 32, 32, 3); `scenes`: what they show; `captions`: what is said of them."""

    views: npt.NDArray[np.uint8]
    scenes: Sequence[Scene]
    captions: Sequence[str]
    world: World = FULL

    def __len__(self) -> int:
        return len(self.captions)

    def __add__(self, other: Pairs) -> Pairs:
        views = np.concatenate([self.views, other.views])
        return Pairs(views, [*self.scenes, *other.scenes], [*self.captions, *other.captions], self.world)

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Pairs:
        """Those of the rows that are true in `chosen`, bool (n,)."""
        places = np.flatnonzero(chosen)
        scenes, captions = [self.scenes[i] for i in places], [self.captions[i] for i in places]
        return Pairs(self.views[places], scenes, captions, self.world)

    def told(self, captions: Sequence[str]) -> Pairs:
        """The same pictures with other captions."""
        return Pairs(self.views, self.scenes, captions, self.world)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which captions are true, by the oracle."""
        return exact(self.captions, self.scenes)


def clean_pairs(seed: int, n: int, name: str, world: World = FULL) -> Pairs:
    """`n` pairs with right captions; another `name` gives others."""
    random = Random(f"capfilt/{seed}/{name}")
    scenes = [random_scene(random, world) for _ in range(n)]
    draw = _square if world == SMALL else _picture
    views = np.stack([draw(scene, random) for scene in scenes])
    return Pairs(views, scenes, [_say(scene, random) for scene in scenes], world)


def web_pairs(seed: int, n: int, world: World = FULL) -> Pairs:
    """`n` pairs, WRONG_RATIO of them with a wrong caption."""
    pairs, random = clean_pairs(seed, n, "web", world), Random(f"capfilt/{seed}/wrong")
    captions = list(pairs.captions)
    for row in random.sample(range(n), round(WRONG_RATIO * n)):
        scene = pairs.scenes[row]
        another = random.random() < OTHER_SCENE_RATIO
        other = _another(scene, random, world) if another else alter(scene, random, world)
        captions[row] = _say(other, random)
    return pairs.told(captions)


def altered(pairs: Pairs, seed: int) -> Pairs:
    """The same pictures, each with a caption that is wrong in exactly one attribute."""
    random = Random(f"capfilt/{seed}/altered")
    return pairs.told([_say(alter(scene, random, pairs.world), random) for scene in pairs.scenes])


def exact(captions: Sequence[str], scenes: Sequence[Scene]) -> npt.NDArray[np.bool_]:
    """Which captions say exactly what their scene is, bool (n,)."""
    return np.array([parse(text) == scene for text, scene in zip(captions, scenes, strict=True)], bool)


def draws(pairs: Pairs, seed: int, steps: int) -> Iterator[Draw]:
    """One batch of 128 for each step: every pair once, in an order drawn anew, then again; pictures are never twice the
    same. Without that a filter learns the web's wrong captions by heart in 20 rounds, and keeps a third of them."""
    dice, order = np.random.default_rng(seed), np.zeros(0, np.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = np.concatenate([order, dice.permutation(len(pairs))])
        chosen, order = order[:BATCH], order[BATCH:]
        yield Draw(varied(pairs.views[chosen], dice), [pairs.captions[i] for i in chosen])


def _square(scene: Scene, random: Random) -> Pixels:
    return render(scene, (IMAGE_SIZE, IMAGE_SIZE), random.getrandbits(64))


def _picture(scene: Scene, random: Random) -> Pixels:
    """In the proportions of the toy web, 96 px along the longer side, then squashed."""
    width = random.randint(200, 640)
    height = min(640, max(200, int(width * random.uniform(0.6, 1.6))))
    factor = LONG_SIDE_PX / max(width, height)
    size = max(SHORTEST_PX, round(width * factor)), max(SHORTEST_PX, round(height * factor))
    return prepare(render(scene, size, random.getrandbits(64)))


def varied(views: npt.NDArray[np.uint8], dice: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Pictures, uint8 (n, 32, 32, 3), shifted by up to SHIFT_PX each way and a little brighter or darker, paler or
    stronger, each by its own dice."""
    n, side = views.shape[:2]
    wide = np.pad(views, ((0, 0), (SHIFT_PX, SHIFT_PX), (SHIFT_PX, SHIFT_PX), (0, 0)), "edge")
    tops, lefts = dice.integers(0, 2 * SHIFT_PX + 1, (2, n))
    places = zip(wide, tops, lefts, strict=True)
    moved = np.stack([picture[top : top + side, left : left + side] for picture, top, left in places])
    strength = dice.uniform(1 - TONE, 1 + TONE, (n, 1, 1, 1)).astype(np.float32)
    light = dice.uniform(-TONE, TONE, (n, 1, 1, 1)).astype(np.float32) * 128
    return np.clip((moved - np.float32(128)) * strength + 128 + light, 0, 255).astype(np.uint8)


def _say(scene: Scene, random: Random) -> str:
    return describe(scene, random.randrange(WORDINGS))


def _another(scene: Scene, random: Random, world: World) -> Scene:
    other = random_scene(random, world)
    return other if other != scene else _another(scene, random, world)
