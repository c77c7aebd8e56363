"""What the two modes make of a page is compared node by node, and each difference has its cause."""

import pytest

from bench.preset_differences import UTF8, Differences, Page

TEXT = "<p>" + "These are the words of a paragraph that belongs to the page. " * 8 + "</p>"


def counted(body: str, kind: str, side: str) -> dict[str, int]:
    differences = Differences()
    html = f"<html><body><nav><a href=/>home</a></nav><main><h1>A page</h1>{TEXT}{body}{TEXT}</main></body></html>"
    differences.add(Page("test", "https://ex.com/d/p.html", html.encode(), UTF8))
    return {str(row["cause"]): int(row["count"]) for row in differences.table(kind, side)}


@pytest.mark.parametrize(
    ("body", "side", "cause"),
    [
        ('<p><img src="/a.jpg" alt="a" width=600 height=400></p>', "both", ""),
        ('<p><img src="a.jpg" alt="a" width=600 height=400></p>', "other address", "joined to the domain's root"),
        ('<figure><img src="/a.jpg" width=600 height=400></figure>', "default only", "figure_without_source: figure"),
        ('<ul><li>x <img src="/a.jpg" width=600 height=400></li></ul>', "default only", "stripped_tag: li"),
        ('<p><img src="/a,b.jpg" width=600 height=400></p>', "default only", "image_without_source: img"),
        ('<p><img src="https://ex.com:81/a.jpg" width=600 height=400></p>', "default only", "invalid_url: img"),
    ],
)
def test_a_picture_that_one_mode_lacks_has_a_cause(body: str, side: str, cause: str) -> None:
    assert counted(body, "pictures", side) == {cause: 1}


def test_what_only_the_preset_has_carries_the_reason_of_the_default() -> None:
    (cause,) = counted('<p><img src="/pixel.gif" width=1 height=1></p>', "pictures", "preset only")
    assert cause not in ("no block", "")


def test_words_are_counted_where_they_are_lost() -> None:
    assert counted("<table><tr><td>one two</td></tr></table>", "words", "default only") == {"stripped_tag: table": 2}
    assert counted("<p>one two</p>", "words", "both") == {"": 2 * len(TEXT[3:-4].split()) + 2 + 2}
