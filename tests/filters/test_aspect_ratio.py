"""The ratio that is exactly the bound stays, one pixel more goes, whichever side is longer."""

import pytest

from filters.aspect_ratio import AspectRatio


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (600, 200, None),
        (200, 600, None),
        (601, 200, "too_elongated"),
        (200, 601, "too_elongated"),
        (30_000, 10_000, None),
        (30_001, 10_000, "too_elongated"),
        (2_147_483_647, 715_827_882, "too_elongated"),  # 3.0000000014
        (2_147_483_646, 715_827_882, None),
        (1, 1, None),
        (0, 0, "too_elongated"),  # not a number is inside no bounds
        (5, 0, "too_elongated"),
        (None, 200, None),
    ],
)
def test_the_bound_is_included(reasons, width, height, reason):
    assert reasons(AspectRatio(max=3.0), original_width=[width], original_height=[height]) == [reason]


def test_a_ratio_below_one_is_refused():
    with pytest.raises(ValueError, match=r"max = 0.5 is out of range: at least 1"):
        AspectRatio(max=0.5)
