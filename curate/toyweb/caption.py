"""Words for a scene, and back: eight wordings, each of which parses to the scene it came from and to no other.

Because every caption parses, a generated caption is either exactly right, wrong in a known attribute, or not a caption
at all; no reference captions, no n-gram score and no judge model are needed. The grammar is strict on purpose: `parse`
takes what `describe` says (in any case, with or without the full stop) and nothing else.
"""

from __future__ import annotations

import re
from functools import cache

from curate.toyweb.scene import COLORS, SHAPES, Group, Layout, Scene

__all__ = ["WORDINGS", "describe", "group_words", "parse"]

# One line per wording: its form when `a` is above `b`, its form when `a` is left of `b`. `is` and `sit` follow `a`.
_TEMPLATES: tuple[tuple[str, str], ...] = (
    ("{a} above {b}", "{a} to the left of {b}"),
    ("{b} below {a}", "{b} to the right of {a}"),
    ("A picture of {a} above {b}.", "A picture of {a} to the left of {b}."),
    ("There {is} {a} on top and {b} underneath.", "There {is} {a} on the left and {b} on the right."),
    ("{a} {sit} above {b}.", "{a} {sit} to the left of {b}."),
    ("{a} with {b} underneath", "{a} with {b} to the right"),
    ("At the top {a}, at the bottom {b}", "On the left {a}, on the right {b}"),
    ("An image showing {b} under {a}", "An image showing {b} right of {a}"),
)
_COUNTS = ("two", "three")
_GROUP = rf"(?:an?|{'|'.join(_COUNTS)}) (?:{'|'.join(COLORS)}) (?:{'|'.join(SHAPES)})s?"

WORDINGS = len(_TEMPLATES)
"""Number of wordings; 0 is the canonical one."""


def describe(scene: Scene, wording: int = 0) -> str:
    """The scene in words. `wording` is from 0 to WORDINGS - 1; 0 is canonical, e.g. `two red circles above a star`."""
    one = scene.first.count == 1
    text = _TEMPLATES[wording][scene.layout == "left"].format(
        a=group_words(scene.first),
        b=group_words(scene.second),
        **{"is": "is" if one else "are", "sit": "sits" if one else "sit"},
    )
    return text if wording < 2 else text[0].upper() + text[1:]


def parse(text: str) -> Scene | None:
    """The scene that `text` describes, or None when no wording says exactly this."""
    words = _plain(text)
    for wording, layout, pattern in _patterns():
        found = pattern.fullmatch(words)
        if found is not None:
            scene = Scene(_group(found["a"]), _group(found["b"]), layout)
            return scene if _plain(describe(scene, wording)) == words else None
    return None


def group_words(group: Group) -> str:
    """`a red circle`, `an orange star`, `two blue squares`."""
    if group.count > 1:
        return f"{_COUNTS[group.count - 2]} {group.color} {group.shape}s"
    return f"{'an' if group.color[0] in 'aeiou' else 'a'} {group.color} {group.shape}"


def _group(words: str) -> Group:
    count, color, shape = words.split()
    return Group(_COUNTS.index(count) + 2 if count in _COUNTS else 1, color, shape.removesuffix("s"))


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").lower()


@cache
def _patterns() -> tuple[tuple[int, Layout, re.Pattern[str]], ...]:
    words = {"a": f"(?P<a>{_GROUP})", "b": f"(?P<b>{_GROUP})", "is": "(?:is|are)", "sit": "sits?"}
    layouts: tuple[Layout, Layout] = ("above", "left")
    return tuple(
        (number, layout, re.compile(_plain(template).format(**words)))
        for number, pair in enumerate(_TEMPLATES)
        for layout, template in zip(layouts, pair, strict=True)
    )
