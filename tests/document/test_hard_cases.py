"""The cases that other extractors get wrong, one by one: right here, or left out with a reason."""

import pytest

from curate.document.extract import extract
from curate.document.extraction import ImageSlot, TextBlock

PAGE_URL = "https://ex.test/blog/2020/page.html"
HERE = "https://ex.test/blog/2020/"
STORY = "<p>" + "This is a paragraph of the story, with commas, and words enough to count as its content. " * 3 + "</p>"


def read(inner, head=""):
    """What stands between two paragraphs of an article: texts and URLs of content, and reasons of what is left out."""
    body = f"<body><article><h1>T</h1>{STORY}{inner}{STORY}</article></body>"
    html = f"<html><head><title>T</title>{head}</head>{body}</html>"
    found = extract(html.encode(), PAGE_URL)
    assert found.status == "ok"
    ours = [
        b for b in found.blocks if not (isinstance(b, TextBlock) and (b.text == "T" or b.text.startswith("This is a")))
    ]
    content = [b.text if isinstance(b, TextBlock) else b.url for b in ours if b.reason is None]
    reasons = [b.reason for b in ours if b.reason] + [d.reason for d in found.dropped if d.reason != "head"]
    return content, reasons, [b for b in ours if isinstance(b, ImageSlot)]


LAZY = 'src="data:image/gif;base64,R0lGOD"'

CASES = {
    "picture in a figure": (
        "<figure><img src=a.jpg><figcaption>legend</figcaption></figure>",
        [f"{HERE}a.jpg", "legend"],
    ),
    "sources of a picture": (
        "<picture><source srcset='a.webp 800w' type='image/webp'><img src=a.jpg></picture>",
        [f"{HERE}a.webp"],
    ),
    "lazy, with inline data": (f"<img {LAZY} data-src=r.jpg>", [f"{HERE}r.jpg"]),
    "lazy, with a blank": ("<img src=blank.gif data-src=r.jpg>", [f"{HERE}r.jpg"]),
    "lazy, by another name": (f"<img {LAZY} data-lazy-src=r.jpg>", [f"{HERE}r.jpg"]),
    "srcset alone": ("<img srcset='s.jpg 300w, l.jpg 1200w, m.jpg 600w'>", [f"{HERE}l.jpg"]),
    "noscript alone": ("<noscript><img src=n.jpg></noscript>", [f"{HERE}n.jpg"]),
    "comma in the URL": ("<img src='https://c.test/w_300,h_200/a.jpg'>", ["https://c.test/w_300,h_200/a.jpg"]),
    "space in the URL": ("<img src='https://c.test/a b.jpg'>", ["https://c.test/a%20b.jpg"]),
    "no extension": ("<img src=/image/123>", ["https://ex.test/image/123"]),
    "picture in a list": ("<ul><li>an item <img src=a.jpg></li></ul>", ["an item", f"{HERE}a.jpg"]),
    "picture in a table": ("<table><tr><td>a cell <img src=a.jpg></td></tr></table>", ["a cell", f"{HERE}a.jpg"]),
    "one folder up": ("<img src=../a.jpg>", ["https://ex.test/blog/a.jpg"]),
    "scheme of the page": ("<img src=//cdn.test/a.jpg>", ["https://cdn.test/a.jpg"]),
    "emoji within a sentence": (
        "<p>Hello <img class=emoji alt='😀' src='https://s.w.org/images/core/emoji/1.png'> again, dear reader</p>",
        ["Hello 😀 again, dear reader"],
    ),
    "line breaks of all kinds": ("<p>l1<br class=x>l2<BR>l3<br  />l4</p>", ["l1\nl2\nl3\nl4"]),
    "comment signs in scripts": (
        '<script>var a = "<!--";</script><p>between them</p><script>var b = "-->";</script>',
        ["between them"],
    ),
    "a sentinel in the text": ("<p>#BR_TAG# is a word like others</p>", ["#BR_TAG# is a word like others"]),
    "a class that contains date": (
        "<div class='update-box'>updated text, of its own</div>",
        ["updated text, of its own"],
    ),
    "elements nobody knows": (
        "<my-box>text in a box</my-box><amp-img src=a.jpg></amp-img>",
        ["text in a box", f"{HERE}a.jpg"],
    ),
    "code": ("<pre>def f():\n    return 1</pre>", ["def f():\n    return 1"]),
    "entities and no-break spaces": ("<p>a&nbsp;b &amp; c&#8217;s</p>", ["a b & c’s"]),
    "lists and tables as lines": ("<ul><li>one<li>two</ul><table><tr><td>a<td>b</table>", ["one", "two", "a | b"]),
}


@pytest.mark.parametrize("case", CASES)
def test_right(case):
    html, expected = CASES[case]
    assert read(html)[0] == expected


LEFT_OUT = {
    "javascript": ("<img src='javascript:void(0)'>", "url_scheme"),
    "inline data": (f"<img {LAZY}>", "data_url"),
    "counting pixel": ("<img src='http://stats.test/p.gif' width=1 height=1>", "tracking_pixel"),
    "hidden by style": ("<div style='display:none'>hidden words <img src=h.jpg></div>", "hidden"),
    "hidden by attribute": ("<p hidden>hidden words</p>", "hidden"),
    "comments section": (
        "<div id=comments><h3>Comments</h3><p>I like it a lot</p><img src=av.jpg></div>",
        "comments_section",
    ),
    "menu bar by class": (
        "<div class='navbar navbar-default'><a href=/>Home</a> <a href=/x>More</a></div>",
        "navigation",
    ),
    "footer by class": ("<div class='footer x'>all rights reserved</div>", "footer"),
    "navigation": ("<nav><ul><li><a href=/>Home</a></ul></nav>", "navigation"),
    "vector image": ("<img src=logo.svg>", "vector_image"),
    "inline vector image": ("<svg><path d='M0 0'/></svg>", "vector_image"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_left_out_with_a_reason(case):
    html, reason = LEFT_OUT[case]
    content, reasons, _ = read(html)
    assert content == []
    assert reason in reasons


def test_a_picture_and_its_noscript_twin_are_one():
    for html in (
        f"<img {LAZY} data-src=n.jpg><noscript><img src=n.jpg></noscript>",
        f"<img {LAZY} data-src=//cdn.test/n.jpg><noscript><img src=http://cdn.test/n.jpg></noscript>",
    ):
        assert len(read(html)[0]) == 1


def test_clones_of_a_carousel_are_one_and_are_counted():
    content, reasons, _ = read("<img src=c.jpg><p>words between the clones, quite a few</p><img src=c.jpg>")
    assert content == [f"{HERE}c.jpg", "words between the clones, quite a few"]
    assert reasons == ["duplicate_image"]


def test_base_href_is_what_urls_are_relative_to():
    assert read("<img src=a.jpg>", "<base href='https://cdn.test/img/'>")[0] == ["https://cdn.test/img/a.jpg"]
    assert read("<img src=a.jpg>", "<base href='/img/'>")[0] == ["https://ex.test/img/a.jpg"]


def test_a_slot_knows_what_the_page_says_of_the_picture():
    html = (
        "<h2>By the river</h2><a href=/large.html>"
        "<figure><img src=a.jpg alt='The  bank' title=Bank width=640 height=480px>"
        "<figcaption>Seen from the bridge</figcaption></figure></a>"
    )
    (slot,) = read(html)[2]
    assert (slot.alt, slot.title, slot.caption, slot.section) == (
        "The bank",
        "Bank",
        "Seen from the bridge",
        "By the river",
    )
    assert (slot.rendered_width_px, slot.rendered_height_px) == (640, 480)
    assert (slot.link_url, slot.found_in) == ("https://ex.test/large.html", "src")


@pytest.mark.parametrize(
    ("src", "url"),
    [
        ("http://h.test:8080/a.jpg", "http://h.test:8080/a.jpg"),
        ("http://bücher.test/a.jpg", "http://xn--bcher-kva.test/a.jpg"),
        ("http://h.test\\a\\b.jpg", "http://h.test/a/b.jpg"),
        ("http://h.test/a.jpg#top", "http://h.test/a.jpg"),
        ("  http://h.test/a.jpg\n", "http://h.test/a.jpg"),
        ("HTTP://H.TEST/a.jpg", "http://h.test/a.jpg"),
        ("a%20b.jpg", f"{HERE}a%20b.jpg"),
        ("?id=7", f"{PAGE_URL}?id=7"),
        ("blob:https://ex.test/1", None),
        ("about:blank", None),
        ("file:///etc/passwd", None),
        ("ftp://h.test/a.jpg", None),
        ("http://user:word@h.test/a.jpg", None),
        ("http://", None),
        ("http://h.test:99999/a.jpg", None),
        ("", None),
        ("http://h.test/" + "a" * 10_000 + ".jpg", None),
    ],
)
def test_odd_urls(src, url):
    content, reasons, _ = read(f'<img src="{src}">')
    assert content == ([url] if url else [])
    assert url or len(reasons) == 1
