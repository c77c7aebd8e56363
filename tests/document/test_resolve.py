"""Which picture an `img` stands for: srcset as browsers read it, all places a URL hides in, all that is no picture."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.document.elements import sources_of
from curate.document.extraction import ImageSlot
from curate.document.parse import parse
from curate.document.resolve import Resolved, absolute, resolve, side_px
from curate.document.srcset import MOST_CANDIDATES, Candidate, parse_srcset
from curate.fetch.url import parse_url

PAGE = parse_url("https://ex.com/blog/2020/page.html?x=1")
HOST = "https://ex.com"


def resolved(html: str, base: str | None = None) -> Resolved:
    tree = parse(html)
    number = next(number for number, tag in enumerate(tree.tags) if tag in ("img", "amp-img"))
    return resolve(tree.attributes[number], sources_of(tree, number), parse_url(base) if base else PAGE)


def best(html: str) -> str | None:
    """The path of the first candidate, or the reason."""
    found = resolved(html)
    return found.urls[0].removeprefix(HOST) if found.urls else found.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg", [Candidate("a.jpg")]),
        ("a.jpg 1x,b.jpg 2x", [Candidate("a.jpg"), Candidate("b.jpg", density=2)]),
        (" , a.jpg 100w ,, b.jpg 200w,", [Candidate("a.jpg", 100), Candidate("b.jpg", 200)]),
        ("a.jpg, b.jpg 1.5x", [Candidate("a.jpg"), Candidate("b.jpg", density=1.5)]),
        ("a.jpg,b.jpg 2x", [Candidate("a.jpg,b.jpg", density=2)]),
        ("/w_300,h_200/a.jpg 300w, /w_600,h_400/a.jpg 600w",
         [Candidate("/w_300,h_200/a.jpg", 300), Candidate("/w_600,h_400/a.jpg", 600)]),
        ("a.jpg\n\t\f300w", [Candidate("a.jpg", 300)]),
        ("a.jpg 300w 200h, b.jpg", [Candidate("a.jpg", 300), Candidate("b.jpg")]),
        ("data:image/png;base64,AA== 1x, b.jpg 2x",
         [Candidate("data:image/png;base64,AA=="), Candidate("b.jpg", density=2)]),
        # Descriptors that are none take their candidate with them.
        ("a.jpg 2q, b.jpg 2x", [Candidate("b.jpg", density=2)]),
        ("a.jpg 1x (x, y), b.jpg 2x", [Candidate("b.jpg", density=2)]),
        ("a.jpg -1x, b.jpg xx, c.jpg w, d.jpg 1.5w", []),
        ("a.jpg (", []),
        ("", []), (" ", []), (",", []), (" , , ", []),
    ],
)  # fmt: skip
def test_srcset(text: str, expected: list[Candidate]) -> None:
    assert parse_srcset(text) == expected


@given(st.text(alphabet="ab,() \n12xwh.é", max_size=60))
@example("a " + "(" * 50)
def test_no_srcset_raises_and_its_urls_stand_in_it(text: str) -> None:
    for candidate in parse_srcset(text):
        assert candidate.url
        assert candidate.url in text
        assert not set(candidate.url) & set(" \n")
        assert not candidate.url.endswith(",")


def test_a_srcset_without_end_is_cut() -> None:
    assert len(parse_srcset("a 1x, " * 1_000_000)) == MOST_CANDIDATES
    assert parse_srcset("," * 1_000_000) == []


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<img src=/a.jpg>", "/a.jpg"),
        ("<img src=/image/7>", "/image/7"),
        # Sizes: the widest that is not wider than needed; a density is some width.
        ("<img srcset='/a.jpg 300w, /b.jpg 900w, /c.jpg 600w' src=/d.jpg>", "/b.jpg"),
        ("<img srcset='/a.jpg 2560w, /b.jpg 2561w'>", "/a.jpg"),
        ("<img srcset='/a.jpg 9000w, /b.jpg 5000w'>", "/b.jpg"),
        ("<img srcset='/a.jpg, /b.jpg 2x'>", "/b.jpg"),
        ("<img srcset='/a.jpg 1x' src=/b.jpg>", "/a.jpg"),
        # Pictures loaded late.
        ("<img src='data:image/gif;base64,R0lG' data-src=/a.jpg>", "/a.jpg"),
        ("<img src=/blank.gif data-src=/a.jpg>", "/a.jpg"),
        ("<img src=/small.jpg data-src=/a.jpg>", "/a.jpg"),
        ("<img src=/small.jpg data-lazy-src=/a.jpg>", "/a.jpg"),
        ("<img src=/small.jpg data-original=/a.jpg>", "/a.jpg"),
        ("<img data-srcset='/a.jpg 300w, /b.jpg 600w'>", "/b.jpg"),
        ("<img data-lazy-srcset='/a.jpg 2x'>", "/a.jpg"),
        ("<img src=/blank.gif data-my-own=/a.jpg>", "/a.jpg"),
        ("<img src=/real.jpg data-hover=/a.jpg>", "/real.jpg"),
        ("<img data-my-own=/a.html>", "no_url"),
        ("<img data-my-own='see /a.jpg'>", "no_url"),
        ("<img data-lazy='{\"src\": 1}' src=/a.jpg>", "/a.jpg"),
        ("<amp-img src=/a.jpg>", "/a.jpg"),
        # Sources of a picture.
        ("<picture><source srcset=/a.webp type=image/webp><img src=/b.jpg></picture>", "/a.webp"),
        ("<picture><source srcset=/a.avif type=image/avif><img src=/b.jpg></picture>", "/b.jpg"),
        ("<picture><source srcset=/a.avif type=image/avif><img></picture>", "/a.avif"),
        ("<picture><source srcset=/a.jxl type=image/jxl><img></picture>", "no_url"),
        ("<picture><source srcset=/a.jpg type='IMAGE/JPG; q=1'><img src=/b.jpg></picture>", "/a.jpg"),
        ("<picture><source data-srcset=/a.jpg><img src=/blank.gif></picture>", "/a.jpg"),
        ("<picture><source srcset=/n.jpg media='(max-width: 600px)'><img src=/b.jpg></picture>", "/b.jpg"),
        ("<picture><source srcset=/n.jpg media='(min-width:400px)'><source srcset=/w.jpg media='(min-width: 1200px)'>"
         "<img src=/b.jpg></picture>", "/w.jpg"),
        ("<picture><source srcset=/a.jpg media='(min-width: 9px) and (max-width: 600px)'><img src=/b.jpg></picture>",
         "/a.jpg"),
        ("<div><source srcset=/a.jpg><img src=/b.jpg></div>", "/b.jpg"),
        # What is no picture of the page's own.
        ("<img>", "no_url"), ("<img src>", "no_url"), ("<img src=' '>", "no_url"),
        ("<img src='data:image/png;base64,AA=='>", "data_url"),
        ("<img src='javascript:void(0)'>", "url_scheme"), ("<img src='blob:https://ex.com/1'>", "url_scheme"),
        ("<img src='about:blank'>", "url_scheme"), ("<img src='file:///a.jpg'>", "url_scheme"),
        ("<img src='JavaScript:void(0)' srcset=/a.jpg>", "/a.jpg"),
        ("<img src=/logo.svg>", "vector_image"), ("<img src=/logo.SVG?x>", "vector_image"),
        ("<img src=/svg.jpg>", "/svg.jpg"),
        ("<img src=/spacer.gif>", "placeholder_image"), ("<img src=/img/1x1.png?z=1>", "placeholder_image"),
        ("<img src=/spacer-station.jpg>", "/spacer-station.jpg"),
        ("<img src=/img/icons-sprite.png>", "sprite_sheet"), ("<img src=/sprite.jpg>", "sprite_sheet"),
        ("<img src=/sprite-can.jpg>", "/sprite-can.jpg"),
        ("<img src=/t.jpg width=1 height=1>", "tracking_pixel"), ("<img src=/t.jpg width=3px>", "tracking_pixel"),
        ("<img src=/t.jpg style='width:1px; height: 1px !important'>", "tracking_pixel"),
        ("<img src=/t.jpg width=4 height=600>", "/t.jpg"), ("<img src=/t.jpg width=1%>", "/t.jpg"),
        ("<img src=/t.gif width=1 height=1 data-src=/a.jpg>", "/a.jpg"),
        ("<img src=//b.scorecardresearch.com/p?c1=2>", "tracking_pixel"), ("<img src=/tr?id=5>", "tracking_pixel"),
        ("<img src=/i.jpg width=16 height=16>", "icon"), ("<img src=/i.jpg width=17 height=16>", "/i.jpg"),
    ],
)  # fmt: skip
def test_what_an_image_stands_for(html: str, expected: str) -> None:
    assert best(html) == expected


def test_an_image_has_the_sources_between_it_and_the_image_before() -> None:
    tree = parse("<picture><source a><source b><img><source c><img></picture><img>")
    images = [number for number, tag in enumerate(tree.tags) if tag == "img"]
    assert [["".join(source) for source in sources_of(tree, image)] for image in images] == [["a", "b"], ["c"], []]


def test_all_candidates_are_kept_best_first_and_once() -> None:
    found = resolved("<img src=/a.jpg srcset='/b.jpg 600w, /a.jpg 300w, data:x 900w' data-src=/c.jpg data-big=/d.png>")
    assert [url.removeprefix(HOST) for url in found.urls] == ["/b.jpg", "/a.jpg", "/c.jpg", "/d.png"]
    assert (found.found_in, found.reason) == ("srcset", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg", "https://ex.com/blog/2020/a.jpg"),
        ("./a.jpg", "https://ex.com/blog/2020/a.jpg"),
        ("../a.jpg", "https://ex.com/blog/a.jpg"),
        ("../../../../a.jpg", "https://ex.com/a.jpg"),
        ("/a.jpg", "https://ex.com/a.jpg"),
        ("?y", "https://ex.com/blog/2020/page.html?y"),
        ("//cdn.org/a.jpg", "https://cdn.org/a.jpg"),
        ("http://cdn.org/a.jpg", "http://cdn.org/a.jpg"),
        ("HTTPS://CDN.org/A.jpg", "https://cdn.org/A.jpg"),
        ("https://cdn.org:8080/a.jpg", "https://cdn.org:8080/a.jpg"),
        ("https://cdn.org:443/a.jpg", "https://cdn.org/a.jpg"),
        ("https://b\u00fccher.example/a.jpg", "https://xn--bcher-kva.example/a.jpg"),
        ("/my cat.jpg", "https://ex.com/my%20cat.jpg"),
        (" \n/a.jpg\t ", "https://ex.com/a.jpg"),
        ("/a\n.jpg", "https://ex.com/a.jpg"),
        ("/w_300,h_200/a.jpg", "https://ex.com/w_300,h_200/a.jpg"),
        ("/caf\u00e9.jpg", "https://ex.com/caf%C3%A9.jpg"),
        ("/caf%C3%A9.jpg", "https://ex.com/caf%C3%A9.jpg"),
        ("\\img\\a.jpg", "https://ex.com/img/a.jpg"),
        ("https:\\\\cdn.org\\a.jpg", "https://cdn.org/a.jpg"),
        ("/a.jpg#top", "https://ex.com/a.jpg"),
        ("/a:b.jpg", "https://ex.com/a:b.jpg"),
        ("/" + "a" * 8_000, "https://ex.com/" + "a" * 8_000),
        ("/" + "a" * 8_192, None),
        ("", None),
        ("javascript:void(0)", None),
        ("java\nscript:void(0)", None),
        ("data:image/png;base64,AA==", None),
        ("mailto:a@b.c", None),
        ("http://", None),
        ("https://user:pass@ex.com/a.jpg", None),
        ("https://ex.com:99999/a.jpg", None),
        ("http://[::1", None),
    ],
)
def test_urls(text: str, expected: str | None) -> None:
    assert absolute(text, PAGE) == expected


def test_without_a_page_only_whole_urls_are_known() -> None:
    assert absolute("https://ex.com/a.jpg", None) == "https://ex.com/a.jpg"
    assert absolute("/a.jpg", None) is None
    assert absolute("//ex.com/a.jpg", None) is None


@given(st.text(max_size=60), st.booleans())
def test_no_url_raises_and_what_comes_is_plain(text: str, known: bool) -> None:
    url = absolute(text, PAGE if known else None)
    if url is not None:
        assert url.isascii()
        assert url.startswith(("http://", "https://"))
        assert absolute(url, None) == url


@pytest.mark.parametrize(
    ("html", "width"),
    [
        ("<img width=300>", 300), ("<img width='300px'>", 300), ("<img width=' 300.7 '>", 300),
        ("<img style='WIDTH: 300px'>", 300), ("<img style='max-width:5px;width:300px'>", 300),
        ("<img width=50%>", None), ("<img width=auto>", None), ("<img width=1e999>", None), ("<img width=nan>", None),
        ("<img width=-1>", None), ("<img width=100001>", None), ("<img style='width:5em'>", None), ("<img>", None),
        ("<img width=200 style='width:300px'>", 200),
    ],
)  # fmt: skip
def test_rendered_sizes(html: str, width: int | None) -> None:
    tree = parse(html)
    assert side_px(tree.attributes[tree.tags.index("img")], "width") == width


def test_slots_have_no_candidate_that_the_fetcher_refuses() -> None:
    found = resolved("<img src='/a b.jpg' data-src='//u:p@x/a.jpg' srcset='javascript:1 2x'>")
    assert ImageSlot(found.urls[0], 0, found.urls).candidates == ("https://ex.com/a%20b.jpg",)
    assert all(parse_url(url).url == url for url in found.urls)
