"""How many pictures a document has."""

import pytest

from filters.image_count import ImageCount


@pytest.mark.parametrize(
    ("count", "reason"), [(0, "too_few_images"), (1, None), (30, None), (31, "too_many_images"), (None, None)]
)
def test_obelics_keeps_1_to_30(reasons, count, reason):
    assert reasons(ImageCount(), image_count=[count]) == [reason]


def test_bounds_that_cross_are_refused():
    with pytest.raises(ValueError, match="nothing would be kept"):
        ImageCount(min=3, max=2)
