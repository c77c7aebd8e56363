"""Captions as the web writes them when nobody describes the picture: boilerplate, file names, keywords, nothing.

The phrases are of the kinds that published filters name, not the entries of our own blocklists: a filter must not be
measured on its own list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from curate.toyweb.caption import WORDINGS, describe
from curate.toyweb.scene import Scene, random_scene

__all__ = ["BAD_CAPTIONS"]

_BOILERPLATE = (
    "Click here to enlarge the image",
    "Click to view full size",
    "Placeholder image",
    "Image not available",
    "No image available",
    "Advertisement",
    "Share on Facebook",
    "Skip to main content",
    "Image may be subject to copyright",
    "All rights reserved",
    "Company logo",
    "Default avatar",
    "Photo gallery thumbnail",
    "Loading...",
    "Read more »",
)
_CAMERAS = (
    "IMG_{n:04d}.JPG",
    "DSC{n:05d}.jpg",
    "DSCN{n:04d}.jpg",
    "P{n:07d}.jpg",
    "image{n:03d}.png",
    "photo-{n}.jpeg",
)
_SYMBOLS = (
    "$ {n}.99 | -{m}% *** {n}/{m}",
    "#{n} >>> {m}.{n} <<< +++",
    "★★★★☆ ({n}) {m} €",
    "{n} x {m} x {n} --- {m}:{n}",
)
_SHORT = ("", "a", "pic", "img", "red", "1", "-", "blue", "foto")


def _boilerplate(scene: Scene, random: Random) -> str:
    return random.choice(_BOILERPLATE)


def _file_name(scene: Scene, random: Random) -> str:
    if random.random() < 0.7:
        return random.choice(_CAMERAS).format(n=random.randrange(1, 3000))
    return f"{describe(scene).replace(' ', random.choice('-_'))}-{random.choice((640, 800, 1024))}x480.jpg"


def _url(scene: Scene, random: Random) -> str:
    scheme = random.choice(("https://www.", "http://", "www."))
    return f"{scheme}{scene.first.shape}-{scene.first.color}-shop.example/p/{random.randrange(10**6)}?ref=home"


def _repetition(scene: Scene, random: Random) -> str:
    phrase = random.choice(
        (f"{scene.first.color} {scene.first.shape}", f"buy {scene.first.shape}s", "cheap shapes online")
    )
    return random.choice((" ", ", ", " | ")).join([phrase] * random.randint(5, 12))


def _symbols(scene: Scene, random: Random) -> str:
    return random.choice(_SYMBOLS).format(n=random.randrange(10, 999), m=random.randrange(10, 99))


def _too_short(scene: Scene, random: Random) -> str:
    return random.choice(_SHORT)


def _too_long(scene: Scene, random: Random) -> str:
    """A whole article as alt text: 80 sentences, some 700 words."""
    scenes = [scene, *(random_scene(random) for _ in range(79))]
    return " ".join(describe(s, random.randrange(WORDINGS)).rstrip(".") + "." for s in scenes)


BAD_CAPTIONS: Mapping[str, Callable[[Scene, Random], str]] = {
    "boilerplate": _boilerplate,
    "file_name": _file_name,
    "url_caption": _url,
    "repetition": _repetition,
    "symbols": _symbols,
    "too_short": _too_short,
    "too_long": _too_long,
}
"""Writers of a worthless caption, by label: (scene, random) -> caption."""
