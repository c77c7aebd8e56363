"""What servers say about training: X-Robots-Tag, TDM reservation by header and by file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.fetch.opt_out import TdmRules, robots_tag_refusal, tdm_header_refusal

DIRECTIVES = ("noai", "noimageai", "noindex", "noimageindex")


@pytest.mark.parametrize(
    ("headers", "directive"),
    [
        ([], None),
        ([""], None),
        (["noai"], "noai"),
        (["NoAI"], "noai"),
        (["all"], None),
        (["nofollow, noimageai"], "noimageai"),
        (["nofollow", "noindex"], "noindex"),
        (["none"], "none"),
        (["noaivery"], None),
        (["otherbot: noai"], None),
        (["curate-vl: noai"], "noai"),
        (["Curate-VL: noai"], "noai"),
        (["curate-vl/0.1: noai"], "noai"),
        (["curate: noai"], None),
        (["*: noai"], "noai"),
        (["otherbot: noindex, noai"], None),
        (["otherbot: nofollow, curate-vl: noai"], "noai"),
        (["otherbot: noai", "noindex"], "noindex"),
        (["noai, otherbot: noindex"], "noai"),
        (["max-snippet: 5, noai"], "noai"),
        (["max-image-preview: none"], None),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], None),
        (["unavailable_after: Friday, 25-Jun-10 15:00:00 UTC, noai"], "noai"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"], "noindex"),
        ([":::,,, :"], None),
    ],
)
def test_robots_tags(headers: list[str], directive: str | None) -> None:
    assert robots_tag_refusal(headers, "curate-vl", DIRECTIVES) == directive


def test_only_listed_directives_refuse() -> None:
    assert robots_tag_refusal(["noindex, noai"], "curate-vl", ("noai",)) == "noai"
    assert robots_tag_refusal(["noindex, noai"], "curate-vl", ()) is None
    assert robots_tag_refusal(["none"], "curate-vl", ("noai",)) is None


@given(st.lists(st.text(max_size=60), max_size=5))
def test_no_header_raises(headers: list[str]) -> None:
    assert robots_tag_refusal(headers, "curate-vl", DIRECTIVES) in {None, *DIRECTIVES, "none"}
    assert tdm_header_refusal(headers) in {None, "tdm-reservation: 1"}


@pytest.mark.parametrize(
    ("headers", "refused"),
    [([], False), (["0"], False), (["1"], True), ([" 1 "], True), (["0", "1"], True), (["x"], False)],
)
def test_tdm_header(headers: list[str], refused: bool) -> None:
    assert (tdm_header_refusal(headers) is not None) is refused


def rule(location: object, reservation: object) -> dict[str, object]:
    return {"location": location, "tdm-reservation": reservation}


@pytest.mark.parametrize(
    ("rules", "path", "refused"),
    [
        ([rule("/", 1)], "/a.jpg", True),
        ([rule("/", "1")], "/a.jpg", True),
        ([rule("/", 0)], "/a.jpg", False),
        ([rule("/", 0), rule("/closed/", 1)], "/closed/a.jpg", True),
        ([rule("/closed/", 1), rule("/closed/open/", 0)], "/closed/open/a.jpg", False),
        ([rule("/*.jpg$", 1)], "/x/a.jpg", True),
        ([rule("/*.jpg$", 1)], "/x/a.png", False),
        ([rule("/", 2)], "/a.jpg", False),
        ([rule(5, 1), rule("/x y\nDisallow: /", 1), rule(None, 1), "text", None], "/a.jpg", False),
    ],
)
def test_tdm_file(rules: list[object], path: str, refused: bool) -> None:
    assert (TdmRules(json.dumps(rules).encode()).refusal("http://a.test" + path) is not None) is refused


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"5", b"<html>", b"[" * 100_000, b"\xff\xfe", b'[{"location"'])
def test_a_file_that_is_no_list_reserves_nothing(body: bytes) -> None:
    assert TdmRules(body).refusal("http://a.test/a.jpg") is None


def test_half_a_character_in_a_rule_is_no_rule_and_no_error() -> None:
    body = b'[{"location": "/\\ud800", "tdm-reservation": 1}, {"location": "/a", "tdm-reservation": 1}]'
    assert TdmRules(body).refusal("http://a.test/a.jpg") == "tdmrep.json"
    assert TdmRules(body).refusal("http://a.test/b.jpg") is None
