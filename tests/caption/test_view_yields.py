"""What each view came to, from the counts of its commits."""

from __future__ import annotations

from curate.caption.yields import yields
from curate.manifest import Entry

COUNTS = {
    "in": 10,
    "texts": 12,
    "both": 4,
    "web_only": 3,
    "synthetic_only": 1,
    "none": 2,
    "web_in": 9,
    "web_kept": 7,
    "web_rejected": 2,
    "synthetic_in": 10,
    "synthetic_kept": 5,
    "synthetic_rejected": 4,
    "rejected.web_text_does_not_match": 2,
    "rejected.repeated_text": 1,
    "rejected.synthetic_text_does_not_match": 3,
}


def entry(stage: str, shard: str, counts: dict[str, int]) -> Entry:
    return Entry(stage, shard, "f", counts, ())


def test_shards_of_a_view_are_added_up() -> None:
    entries = [entry("view_b", "00000", {"in": 1, "none": 1}), entry("select", "00000", {"in": 99})]
    entries += [entry("view_a", "00000", COUNTS), entry("view_a", "00001", COUNTS)]
    one, other = yields(entries)
    assert one == {
        "view": "a",
        "rows": 20,
        "web_in": 18,
        "web_kept": 14,
        "synthetic_in": 20,
        "synthetic_kept": 10,
        "both": 8,
        "one": 8,
        "none": 4,
        "noise_ratio": 0.4,
        "texts_ratio": 24 / 38,
        "reasons": {"synthetic_text_does_not_match": 6, "web_text_does_not_match": 4, "repeated_text": 2},
    }
    assert list(one["reasons"]) == ["synthetic_text_does_not_match", "web_text_does_not_match", "repeated_text"]
    assert (other["view"], other["rows"], other["none"]) == ("b", 1, 1)
    assert (other["noise_ratio"], other["texts_ratio"], other["reasons"]) == (None, None, {})


def test_without_views_there_is_nothing_to_tell() -> None:
    assert yields([]) == []
    assert yields([entry("select", "00000", {"in": 1})]) == []
