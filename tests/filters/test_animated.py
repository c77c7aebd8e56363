"""One frame, many, unknown."""

from filters.animated import Animated


def test_animations_go(reasons):
    assert reasons(Animated(), animated=[True, False, None]) == ["animated_picture", None, None]
