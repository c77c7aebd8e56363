"""What a toy picture shows: two groups of coloured shapes, one above or to the left of the other.

The smallest world in which a caption can be wrong in an interesting way: a model that only knows which words occur
(a "bag of words") cannot tell two red circles above a blue square from two blue circles above a red square. The full
world has 10,368 scenes, the small one 2,592, so a held-out test set never runs dry and never dominates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

__all__ = [
    "COLORS",
    "FULL",
    "MAX_COUNT",
    "SHAPES",
    "SMALL",
    "Group",
    "Layout",
    "Scene",
    "World",
    "alter",
    "random_scene",
]

COLORS = ("red", "blue", "green", "yellow", "orange", "purple")
SHAPES = ("circle", "square", "triangle", "star")
MAX_COUNT = 3

Layout = Literal["above", "left"]
LAYOUTS: tuple[Layout, ...] = ("above", "left")


@dataclass(frozen=True)
class Group:
    """One to three shapes of one colour. Raises ValueError for a count, colour or shape outside the world."""

    count: int
    color: str
    shape: str

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"a group has 1 to {MAX_COUNT} shapes, not {self.count}")
        if self.color not in COLORS or self.shape not in SHAPES:
            raise ValueError(f"no {self.color} {self.shape} here; colours {COLORS}, shapes {SHAPES}")


@dataclass(frozen=True)
class Scene:
    """`first` stands above `second`, or to its left."""

    first: Group
    second: Group
    layout: Layout

    def mirrored(self) -> Scene:
        """What the picture shows once left and right are exchanged."""
        return self if self.layout == "above" else Scene(self.second, self.first, self.layout)


@dataclass(frozen=True)
class World:
    """Which colours and shapes occur."""

    colors: tuple[str, ...] = COLORS
    shapes: tuple[str, ...] = SHAPES

    @property
    def size(self) -> int:
        """How many scenes there are."""
        return (MAX_COUNT * len(self.colors) * len(self.shapes)) ** 2 * len(LAYOUTS)


FULL = World()
SMALL = World(COLORS[:4], SHAPES[:3])


def random_scene(random: Random, world: World = FULL) -> Scene:
    """A scene drawn uniformly from the world."""
    return Scene(_random_group(random, world), _random_group(random, world), random.choice(LAYOUTS))


def alter(scene: Scene, random: Random, world: World = FULL) -> Scene:
    """The scene with exactly one attribute changed: a count, colour or shape of one group, or the layout.

    Each of the seven attributes is equally likely. This is the hard kind of wrong caption: one word is false.
    """
    number = random.randrange(7)
    if number == 6:
        return replace(scene, layout="left" if scene.layout == "above" else "above")
    name = "first" if number < 3 else "second"
    group: Group = getattr(scene, name)
    if number % 3 == 0:
        changed = replace(group, count=random.choice([n for n in range(1, MAX_COUNT + 1) if n != group.count]))
    elif number % 3 == 1:
        changed = replace(group, color=random.choice([c for c in world.colors if c != group.color]))
    else:
        changed = replace(group, shape=random.choice([s for s in world.shapes if s != group.shape]))
    return replace(scene, first=changed) if name == "first" else replace(scene, second=changed)


def _random_group(random: Random, world: World) -> Group:
    return Group(random.randint(1, MAX_COUNT), random.choice(world.colors), random.choice(world.shapes))
