"""`near_caption_duplicate` is tested with its siblings; here it is found by its name and tells its reasons."""

from curate.registry import describe, filter_class


def test_it_says_what_it_keeps_and_why_it_drops() -> None:
    assert describe("near_caption_duplicate").startswith("Drops all rows but one")
    assert all(words.strip() for words in filter_class("near_caption_duplicate").reasons.values())
