"""Scenes for property tests."""

from hypothesis import strategies as st

from curate.toyweb.scene import COLORS, SHAPES, Group, Scene

groups = st.builds(Group, st.integers(1, 3), st.sampled_from(COLORS), st.sampled_from(SHAPES))
scenes = st.builds(Scene, groups, groups, st.sampled_from(("above", "left")))


def differences(one, other):
    """How many of the seven attributes of two scenes differ."""
    pairs = [(one.layout, other.layout)]
    for a, b in ((one.first, other.first), (one.second, other.second)):
        pairs += [(a.count, b.count), (a.color, b.color), (a.shape, b.shape)]
    return sum(a != b for a, b in pairs)
