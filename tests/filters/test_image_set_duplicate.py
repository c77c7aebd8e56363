"""Pages of the same pictures."""

from filters.image_set_duplicate import ImageSetDuplicate


def test_what_has_a_better_copy_falls(reasons):
    assert reasons(ImageSetDuplicate(), image_set_duplicate_of=["00000000001", None]) == ["duplicate_image_set", None]
