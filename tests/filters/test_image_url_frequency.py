"""How often a picture's URL occurs."""

import pytest

from filters.image_url_frequency import ImageUrlFrequency


@pytest.mark.parametrize(("count", "reason"), [(10, None), (11, "image_url_too_frequent"), (1, None), (None, None)])
def test_obelics_keeps_up_to_ten(reasons, count, reason):
    assert reasons(ImageUrlFrequency(), image_url_count=[count]) == [reason]


def test_a_bound_below_one_is_refused():
    with pytest.raises(ValueError, match="out of range"):
        ImageUrlFrequency(max=0)
