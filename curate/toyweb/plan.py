"""What stands in each row of the toy web: a function of the seed and the row's number alone.

Nothing is stored, so a web of a million rows costs no memory, row 999,999 can be asked for first, and the first 600
rows are the same whether 600 or a million are wanted. Labels follow a Weyl sequence (multiples of the golden ratio,
modulo one) instead of dice: in *any* run of n rows the count of a label is its share of n to within a few rows, so even
600 rows hold each label of half a percent. Making a row takes 0.03 ms.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from random import Random

from curate.toyweb.caption import WORDINGS, describe
from curate.toyweb.defects import CLEAN, NEAR_COPIES, shares
from curate.toyweb.scene import Scene, alter, random_scene
from curate.toyweb.translate import LANGUAGES, translate
from curate.toyweb.words import BAD_CAPTIONS

__all__ = ["BLOCKED_HOST", "DOWN_HOST", "FORBIDDEN_HOST", "FORBIDDEN_PATH", "HOSTS", "Plan", "Row", "row_number"]

HOSTS = tuple(
    f"{name}.toyweb.test"
    for name in ("photos", "images", "cdn", "static", "blog", "shop", "news", "gallery", "media", "archive")
)
FORBIDDEN_HOST = "forbidden.toyweb.test"
FORBIDDEN_PATH = "/private/"
DOWN_HOST = "down.toyweb.test"
BLOCKED_HOST = "blocked.toyweb.test"

_GOLDEN = 0x9E3779B97F4A7C15
_SEED_STEP = 0x2545F4914F6CDD1D
_COPIES = frozenset({"exact_copy", *NEAR_COPIES})
_EXTENSIONS = {"palette": "png", "sixteen_bit": "png", "broken": "png", "bomb": "png", "animated": "gif"}
_ANY_EXTENSION = ("jpg",) * 8 + ("webp", "png")
_ALWAYS_JPEG = frozenset({"orientation", "cmyk", "truncated", "closed", "html_as_image", *NEAR_COPIES})
_PATHS = ("/img/{n:06d}.{e}", "/2019/05/shapes,{n:06d}.{e}", "/media/{n:06d}.{e}?width=640&fit=crop")


@dataclass(frozen=True)
class Row:
    """One row. `variant` (0 to 1) picks evenly among the forms of a label; `original` is the row a copy copies."""

    number: int
    defect: str
    variant: float
    scene: Scene
    caption: str
    url: str
    original: int | None = None

    @property
    def extension(self) -> str:
        """File name extension in the URL; it agrees with the format of the bytes, except for HTML."""
        return self.url.partition("?")[0].rpartition(".")[2]


@dataclass(frozen=True)
class Plan:
    """The endless web of one seed. `overrides` are shares by label, over the defaults of DEFECTS."""

    seed: int = 0
    overrides: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shares(self.overrides)

    @cached_property
    def _labels(self) -> tuple[list[str], list[float]]:
        found = shares(self.overrides)
        return list(found), [*list(accumulate(found.values()))[:-1], 1.0]

    def random(self, number: int, purpose: str) -> Random:
        """Dice of a row, apart for each purpose, so that one more throw for the picture changes no caption."""
        return Random(f"{self.seed}/{number}/{purpose}")

    def label(self, number: int) -> tuple[str, float]:
        """The label of a row and its variant, without anything else of the row."""
        defect, variant = self._slot(number)
        return (CLEAN if defect in _COPIES and self._original(number) is None else defect), variant

    def row(self, number: int) -> Row:
        """The row of that number, from 0."""
        defect, variant = self.label(number)
        original = self._original(number) if defect in _COPIES else None
        scene = self._scene(number if original is None else original)
        scene = scene.mirrored() if defect == "near_mirrored" else scene
        caption = self._caption(number, scene, defect, variant)
        extension = self._extension(number if defect != "exact_copy" or original is None else original, defect)
        return Row(number, defect, variant, scene, caption, self._url(number, defect, variant, extension), original)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        """Rows from `start` up to but without `stop`."""
        return map(self.row, range(start, stop))

    def _slot(self, number: int) -> tuple[str, float]:
        place = ((number * _GOLDEN + self.seed * _SEED_STEP) % (1 << 64) >> 11) / (1 << 53)
        labels, ends = self._labels
        index = bisect_right(ends, place)
        start = ends[index - 1] if index else 0.0
        return labels[index], min((place - start) / (ends[index] - start), 1 - 2**-53)

    def _scene(self, number: int) -> Scene:
        return random_scene(self.random(number, "scene"))

    def _original(self, number: int) -> int | None:
        """An earlier clean row, anywhere in the web so far; None where there is none."""
        if number == 0:
            return None
        start = self.random(number, "original").randrange(number)
        return next((n for n in range(start, -1, -1) if self._slot(n)[0] == CLEAN), None)

    def _caption(self, number: int, scene: Scene, defect: str, variant: float) -> str:
        random = self.random(number, "caption")
        if defect in BAD_CAPTIONS:
            return BAD_CAPTIONS[defect](scene, random)
        if defect == "other_language":
            return translate(scene, LANGUAGES[int(variant * len(LANGUAGES))])
        said = scene
        if defect == "wrong_attribute":
            said = alter(scene, random)
        while defect == "other_scene" and said == scene:
            said = random_scene(random)
        return describe(said, random.randrange(WORDINGS))

    def _extension(self, number: int, defect: str) -> str:
        if defect in _ALWAYS_JPEG:
            return "jpg"
        return _EXTENSIONS.get(defect) or self.random(number, "extension").choice(_ANY_EXTENSION)

    def _url(self, number: int, defect: str, variant: float, extension: str) -> str:
        random = self.random(number, "url")
        host, path = random.choice(HOSTS), random.choice(_PATHS).format(n=number, e=extension)
        if defect == "robots_forbidden":
            host, path = (FORBIDDEN_HOST, path) if variant < 0.5 else (HOSTS[0], f"{FORBIDDEN_PATH}{path[1:]}")
        host = {"robots_unreachable": DOWN_HOST, "blocked_host": BLOCKED_HOST}.get(defect, host)
        return f"http://{host}{path}"


def row_number(path: str) -> int | None:
    """The row that a URL's path (with or without a query) speaks of: its last run of six digits or more."""
    name = path.partition("?")[0].rpartition("/")[2].rpartition(".")[0]
    digits = name.rpartition(",")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and 6 <= len(digits) <= 12 else None
