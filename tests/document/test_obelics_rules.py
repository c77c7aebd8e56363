"""The preset `obelics` does what the published rules do, quirks included: each step on both sides; hostile pages."""

import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.archive.reader import read_records
from curate.document.extraction import Extraction, ImageSlot, TextBlock
from curate.document.obelics import extract_obelics
from curate.document.obelics_images import absolute_url, picture_source, rendered_px
from curate.document.obelics_tree import without_comments
from curate.document.parse import parse
from curate.document.settings import DocumentSettings

URL = "https://ex.com/blog/2020/page.html"
END = "END_OF_DOCUMENT_TOKEN_TO_BE_REPLACED"


class Img(str):
    """A picture's URL among texts."""


def parts(html: str, url: str | None = URL) -> list[str]:
    """Texts and pictures of a page, as the published program lists them."""
    return listed(extract_obelics(html, url))


def listed(page: Extraction) -> list[str]:
    """Blocks between two pictures are one text."""
    found: list[str] = []
    for is_text, blocks in groupby(page.blocks, lambda block: isinstance(block, TextBlock)):
        if is_text:
            joined = "".join(block.separator + block.text for block in blocks if isinstance(block, TextBlock))
            found.append(joined.removeprefix("\n\n"))
        else:
            found.extend(Img(block.url) for block in blocks if isinstance(block, ImageSlot))
    return found


def reasons(html: str) -> Counter[str]:
    return Counter(dropped.reason for dropped in extract_obelics(html, URL).dropped)


A = '<img src="/a.jpg">'
IMG_A = Img("https://ex.com/a.jpg")


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f"<p>x</p><figure>{A}<figcaption>y</figcaption></figure>", ["x"]),
        (f"<picture><source srcset=/b.webp>{A}</picture>", []),
        ('<img src="data:image/gif;base64,R0lG" data-src="/a.jpg">', [IMG_A]),
        ('<img src="/blank.gif" data-src="/a.jpg">', [Img("https://ex.com/blank.gif")]),
        ('<img src="data:x,y" data-lazy-src="/a.jpg">', [IMG_A]),
        ('<img srcset="/a.jpg 1x, /b.jpg 2x">', []),
        (f"<div>x<noscript>{A}</noscript></div>", ["x"]),
        ('<img src="https://ex.com/w_300,h_200/a.jpg">', []),
        ('<img src="/my cat.jpg">', []),
        ('<img src="/image/7">', [Img("https://ex.com/image/7")]),
        (f"<ul><li>x {A}</li></ul>", []),
        (f"<table><tr><td>x {A}</td></tr></table>", []),
        ('<base href="https://cdn.org/i/"><img src="a.jpg">', [IMG_A]),
        ('<img src="../a.jpg">', [IMG_A]),
        ('<img src="//cdn.org/a.jpg">', [Img("http://cdn.org/a.jpg")]),
        ('<img src="javascript:void(0)">', [Img("https://ex.com/javascript:void(0)")]),
        ('<img src="/t.gif" width=1 height=1>', [Img("https://ex.com/t.gif")]),
        ('<p>a <img src="/smile.png" alt=":)"> b</p>', ["a", Img("https://ex.com/smile.png"), "b"]),
        (A + A, [IMG_A, IMG_A]),
        (f'<div style="display:none">x{A}</div><p hidden>y', ["x", IMG_A, "y"]),
        (f'<div id="comments"><p>First!</p>{A}</div>', ["First!", IMG_A]),
        ('<nav>x</nav><div class="navbar navbar-default">y</div>', ["y"]),
        ('<div class="footer x">x</div><div id="site-footer">y</div>', ["y"]),
        ('<p>l1<br>l2<br class="x">l3</p>', ["l1\nl2l3"]),
        ("<p>l1<BR>l2<br  />l3</br>l4</p>", ["l1\nl2\nl3\nl4"]),
        ("<p>a</p><script>s='<!--'</script><p>b</p><script>t='-->'</script><p>c</p>", ["a\n\nc"]),
        ("<p>a #BR_TAG# b</p>", ["a\nb"]),
        ('<div class="update-box">own<p>inner</p></div>', ["inner"]),
        ("<x-y>a</x-y><amp-img src=/a.jpg></amp-img><pre>b</pre><form>c</form><header><h1>d</h1></header>e", ["e"]),
        ('<div style="background-image:url(/a.jpg)"><svg><text>x</text></svg></div>', []),
        ("<p>a&nbsp;b &amp; c</p>", ["a\xa0b & c"]),
    ],
)  # fmt: skip
def test_hard_cases_come_out_as_published(html: str, expected: list[str]) -> None:
    assert parts(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        # comments: to the next end, also where the parser would end them earlier; an open one is the parser's affair
        ("<p>a<!-- x -->b</p><p>c</p>", ["ab\n\nc"]),
        ("<p>a<!-->b<p>c--><p>d<!--->e--></p>", ["a\n\nd"]),
        ("<p>a<!-- b <p>c", ["a"]),
        # footer classes, any case, but not on html; more-link
        ('<p class="FOOTER">a<p class="footers">b<p class="x site-info">c', ["b"]),
        ('<html class="footer"><p>a', ["a"]),
        ("<p>a <a class='more-link'>more</a></p><p>b", [f"a {END}\n\nb"]),
        ("<li class=more-link>a</li>", [END]),
        ("<div class='footer more-link'>a</div>b", ["b"]),
        # unwrapped, stripped, kept by the name without digits
        ("<p>a<a href=/><b>b</b></a><code>c</code><span></span>d", ["abcd"]),
        ("<p>a<label>b</label>c<p7>d</p7>", ["acd"]),
        ("<title>a</title><section><title>b</title></section>", ["b"]),
        # special divs: the whole attribute (of a class without the space around it), of a div only
        *[(f'<div {name}="{word}">a</div>b', ["b"]) for name in ("id", "class", "title") for word in ("menu", "nav")],
        ('<div class="menu ">a</div><div id="menu ">b</div><div class="menu x">c</div>', ["b\nc"]),
        ('<section id="menu">a</section>', ["a"]),
        # dates: a div's direct text, also what was unwrapped, its line breaks and its token
        ('<div class="x post-date">a<span>b</span><br><a class=more-link>c</a><p>d</div>', ["d"]),
        ('<p class="date">a</p><div class="Date">b</div><div id="date">c</div>', ["a\n\nb\nc"]),
        # empty leaves take the space around words with them; a line break or a picture holds them
        ("a<div> </div>b", ["ab"]),
        ("a<div><p></p> <ul><li>x</ul></div>b", ["ab"]),
        ("a<div><br></div>b", ["a\nb"]),
        ('a<div> <img src="//bad:1/x"> </div>b', ["a\nb"]),
        ('a<div> <video src="/v.mp4"></video> </div>b', ["a\nb"]),
        ('a<div> <video><source src="/v.mp4"></video> </div>b', ["ab"]),
        ('a<div> <video src="/v,1.mp4"></video> </div>b', ["ab"]),
        # unnesting drops the white space of a wrapper, and so a word's end
        ("a<blink> <blink>b</blink></blink>c", ["abc"]),
        ("a<blink> <h>b</h></blink>c", ["a bc"]),
        ("a<blink> <blink>b</blink><blink>c</blink></blink>d", ["a bcd"]),
        ("<div>a<div>b</div></div>c", ["a\nb\nc"]),
        # parsed again: neighbours grow together, a heading ends a heading around it
        ("<p>#BR_<b></b>TAG#a #BR_<img>TAG# b", ["a\nb"]),
        ("<h1>a<span><h2>b</h2></span>c</h1>d", ["a\n\nb\n\ncd"]),
    ],
)  # fmt: skip
def test_each_step_on_both_sides(html: str, expected: list[str]) -> None:
    assert parts(html) == expected


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a</p>b", "a\n\nb"),
        ("<div>a</div>b", "a\nb"),
        ("<div>a<p>b</p></div>c", "a\n\nb\n\nc"),
        ("<section><div>a</div></section><div>b", "a\nb"),
        ("<h7>a</h7>b", "ab"),
        ("<h7>a </h7>b", "a b"),
        ("<h7>a\t\n </h7>b", "a b"),
        ("<div>a <br></div> b", "a\nb"),
        ("<h7>a<br></h7><h7><br>b</h7>", "a\nb"),
        ("<h7>a<br><br></h7>b", "a\n\nb"),
        ("<h7>a<br><br><br><br></h7>b", "a\n\n\nb"),
        ("<h7>a<br> <br></h7><p>&nbsp;x</p>", "a\n\nx"),
        ("<p>a</p><div><img src=//x></div><div>b</div>", "a\n\nb"),
        ("<p> a </p>", "a"),
        ("<p>a\tb &lt;c&gt; &amp;lt;</p>", "a b <c> &lt;"),
        ("a<p><img src=//x></p>b", "ab"),
        ("a<video src=/v.mp4>x</video>b", "ab"),
        ("a <img src=//x> b", "a b"),
        ("<ul>a</ul><dl>b<dd>c</dd></dl>", "a\n\nb\nc"),
    ],
)
def test_texts_are_joined_by_the_strongest_separator(html: str, text: str) -> None:
    assert parts(html) == [text]


def test_a_text_is_split_into_paragraphs_that_tell_their_element() -> None:
    html = "<h1>a</h1><p>b<br><br><br>c</p><div>d</div>" + A + "<p>e</p>"
    blocks = extract_obelics(html, URL).blocks
    texts = [(block.text, block.block, block.separator) for block in blocks if isinstance(block, TextBlock)]
    expected = [("a", "h1", 2), ("b", "p", 2), ("c", "p", 3), ("d", "div", 2), ("e", "p", 2)]
    assert texts == [(text, block, "\n" * newlines) for text, block, newlines in expected]


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("http://a.com/x.jpg", "http://a.com/x.jpg"),
        ("https://a-b.co.uk/?x", "https://a-b.co.uk/?x"),
        ("https://a.com", "https://a.com"),
        ("https://a.com./x", "https://a.com./x"),
        ("https://a.com/x\n", "https://a.com/x"),
        ("https://1.2.3.44/x", "https://1.2.3.44/x"),
        ("https://1.2.3.4/x", None),
        ("https://a.com:8080/x", None),
        ("https://localhost/x", None),
        ("https://müller.de/x", None),
        ("https://u@a.com/x", None),
        ("https://-a.com/x", None),
        ("https://a-.com/x", None),
        ("https://a..com/x", None),
        (f"https://{'a' * 63}.com/x", f"https://{'a' * 63}.com/x"),
        (f"https://{'a' * 64}.com/x", None),
        ("https://a.com?", None),
        ("https://a.com#x", None),
        ("https://a.com/x\ty", None),
        ("httpx://a.com/x", None),
        ("x.jpg", "https://ex.com/x.jpg"),
        ("/d/x.jpg", "https://ex.com/d/x.jpg"),
        ("./d/.../x.jpg", "https://ex.com/d/x.jpg"),
        ("v2./x.jpg", "https://ex.com/v2x.jpg"),
        ("..//x.jpg", "https://ex.com/x.jpg"),
        ("//a.com/x.jpg", "http://a.com/x.jpg"),
        ("HTTP://a.com/x.jpg", "https://ex.com/HTTP://a.com/x.jpg"),
        ("ftp://a.com/x.jpg", "https://ex.com/ftp://a.com/x.jpg"),
        ("\nhttp://a.com/x.jpg", None),
    ],
)
def test_which_addresses_are_completed_and_taken(source: str, url: str | None) -> None:
    assert absolute_url(source, "ex.com") == url


@pytest.mark.parametrize("page", [None, "", "ex.com/a", "http://localhost/", "http://ex.com:8080/", "http://[::1/"])
def test_relative_addresses_need_a_page_with_a_plain_host(page: str | None) -> None:
    assert parts(A + '<img src="http://b.org/b.jpg">', page) == [Img("http://b.org/b.jpg")]


def test_sources_are_tried_in_the_published_order() -> None:
    names = "src data-src data-src-fg data-scroll-image srcset data-lateloadsrc data-img-src data-original"
    names += " data-gt-lazy-src data-lazy data-lazy-src src2"
    attributes: dict[str, str | None] = {name: f"/{name}.jpg" for name in reversed(names.split())}
    for name, refused in zip(names.split(), [None, "", "a,b", "a b"] * 3, strict=True):
        assert picture_source(attributes) == (name, f"/{name}.jpg")
        attributes[name] = refused
    assert picture_source({**attributes, "data-other": "/a.jpg"}) is None


@pytest.mark.parametrize(
    ("size", "px"),
    [("150", 150), (" 150 ", 150), ("150px", 150), ("150px;", 150), ('150"', 150), ("150.9", 150), ("-1", -1),
     ("50%", None), ("auto", None), ("", None), (None, None), ("12.5px", None), ("9" * 99, 2**31 - 1),
     ("9" * 9999, None), ("1.e999", None)],
)  # fmt: skip
def test_rendered_sizes(size: str | None, px: int | None) -> None:
    assert rendered_px(size) == px


def test_a_slot_says_what_the_page_says() -> None:
    html = '<p><img data-src="b.jpg" src="data:x,y" alt="A  <br>cat" width="20%" height="40px" title="t"></p>'
    (slot,) = extract_obelics(html, URL).blocks
    assert isinstance(slot, ImageSlot)
    assert (slot.url, slot.candidates, slot.found_in) == ("https://ex.com/b.jpg", ("https://ex.com/b.jpg",), "data-src")
    assert (slot.alt, slot.rendered_width_px, slot.rendered_height_px) == ("A  <br>cat", None, 40)
    assert (slot.title, slot.caption, slot.region, slot.reason) == (None, None, "main", None)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p class=footer>x<b>y", {"footer_class": 1}),
        ("<p class=site-info>x", {"footer_class": 1}),
        ("<p>a<a class=more-link>x", {"more_link": 1}),
        (f"<ul><li>x{A}{A}</li></ul>", {"stripped_tag": 3, "empty_element": 1}),
        (f"<div id=nav>x{A}</div>", {"special_div": 2}),
        ("<div class=date>x<br> <p>y", {"date_class_text": 1}),
        (f"<figure>{A}<figcaption>x</figcaption></figure>", {"figure_without_source": 2}),
        (f"<picture><source srcset=/b>{A}</picture>", {"picture_without_source": 2}),
        ("<img><img src='/a b'>", {"image_without_source": 2}),
        ("<img src='http://a.com:1/x'>", {"invalid_url": 1}),
        ("<video src=/a><nav>x</nav></video><audio>y</audio>", {"not_a_picture": 1, "audio_without_source": 1}),
        ("a<br class=x>b<br>c", {"line_break_with_attributes": 1}),
        ("<div><div> <i></i></div></div>", {"empty_element": 1}),
        ("<p>a<i>b</i> <img src=/a.jpg></p>", {}),
    ],
)
def test_what_is_lost_has_a_reason_that_names_the_rule(html: str, expected: dict[str, int]) -> None:
    assert reasons("<html><head></head><body>a" + html) == Counter({"stripped_tag": 1}) + Counter(expected)


def test_a_lost_node_tells_its_path_and_how_its_text_begins() -> None:
    dropped = extract_obelics(f"<div class='box wide'><ul><li>one <b>two</b> {'x' * 99}{A}", URL, explain=True).dropped
    item, picture = (d for d in dropped if "li" in d.path.split("/"))
    assert (item.path, picture.path) == ("html/body/div.box/ul/li", "html/body/div.box/ul/li/img")
    assert item.text == ("one two " + "x" * 99)[:80]
    assert picture.node > item.node
    deep = extract_obelics("<div>" * 500 + "<nav>x", URL, explain=True).dropped[-1]
    assert 190 < len(deep.path) <= 200
    assert deep.path.endswith("/div/nav")


@pytest.mark.parametrize(("paragraphs", "status"), [(91, "ok"), (92, "too_large")])
def test_a_page_is_judged_by_its_own_length_and_not_by_what_is_made_of_it(paragraphs: int, status: str) -> None:
    found = extract_obelics("<p>a<p>b&<p>" * paragraphs, URL, DocumentSettings(max_page_bytes=1_100))
    assert (found.status, bool(found.blocks)) == (status, status == "ok")


WORDS = st.text("abc ,\n\t\xa0<&#;\"'/", max_size=6)
NAMES = "p div span h1 h2 ul li table td figure picture video section nav pre a br x-y title"
TAGS = st.sampled_from(NAMES.split())
VALUES = st.sampled_from(["footer", "date x", "nav", "more-link", "/a.jpg", "a,b", "//c.org/d", "n", ""])
PIECES = st.one_of(
    WORDS,
    st.builds("<{} class='{}' id='{}'>".format, TAGS, VALUES, VALUES),
    st.builds("<{}>".format, TAGS),
    st.builds("</{}>".format, TAGS),
    st.builds("<img src='{}' data-src='{}' width={}>".format, VALUES, VALUES, WORDS),
    st.sampled_from(
        ["<!--", "-->", "<?x?>", "<br>", "#BR_TAG#", "<script>", "</script>", "<svg>", "<body>", "\0", "&#13;"]
    ),
)
PAGES = st.lists(PIECES, max_size=40).map("".join)


@settings(deadline=None)
@given(PAGES, st.one_of(st.none(), st.just(URL), WORDS))
def test_any_page_gives_blocks_in_order(html: str, url: str | None) -> None:
    found = extract_obelics(html, url, explain=True)
    assert found.blocks == extract_obelics(html, url).blocks
    for block in found.blocks:
        if isinstance(block, TextBlock):
            assert block.text == block.text.strip() != ""
            assert "\n\n" not in block.text
            assert block.separator.isspace()
            assert block.separator.count("\n") >= 2
            letters = block.text.replace(END, "").replace("\n", "")
            assert set(letters) <= set(html + " &<>\N{REPLACEMENT CHARACTER}")
        else:
            assert block.url.startswith(("http://", "https://"))
    assert all(len(d.path) <= 200 and len(d.text) <= 80 and d.reason for d in found.dropped)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30, unique=True), st.data())
def test_texts_and_pictures_stay_in_the_order_of_the_page(names: list[str], data: st.DataObject) -> None:
    shapes = ["<p>{}</p>", "<div><p>{}</p></div>", "<img src=/{}.jpg>", "<p><a><img src=/{}.jpg></a></p>"]
    html = "".join(data.draw(st.sampled_from(shapes)).format(name) for name in names)
    found = [part[-5] if isinstance(part, Img) else part.replace("\n", "") for part in parts(html)]
    assert "".join(found) == "".join(names)


def lines_run(work: Callable[[], Any]) -> int:
    """How many lines of the preset's own code a call runs."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace if "document/obelics" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    "bomb",
    [
        "<div><div>", "<div></div>", "<!--", "<!-- -->", "<p>", "<p> <br>", "x<b> </b>", "<br>", "<ul><li>",
        "<h7><br></h7><div> <img src=//x></div>", "<img src=/a.jpg>", "<a class='footer date'><img>",
        "<div class=date>x", "<section> <section>", "<video><p>", "<figure><img src=/a.jpg>",
    ],
)  # fmt: skip
def test_work_grows_with_the_page_and_no_faster(bomb: str) -> None:
    once, twice = (lines_run(lambda n=n: extract_obelics(bomb * n, URL)) for n in (250, 500))  # type: ignore[misc]
    assert twice <= 2.2 * once + 100


def test_long_runs_of_space_are_cut_at_their_end_only() -> None:
    html = "<h7>" + "<br>" * 20_000 + "</h7>" + "<div> <img src=//x></div>" * 5_000 + "x"
    assert lines_run(lambda: parts(html)) < 100 * 25_000
    assert parts("a" + html) == ["a" + "\n" * 14_998 + "x"]


DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def real_pages() -> Iterator[tuple[str, str]]:
    """HTML and URL of every page at hand: gold pages, a book, old books, archives."""
    with tarfile.open(DATA / "htmlonly" / "readability-dev.tar.gz") as archive:
        for member in archive:
            if member.name.endswith("source.html"):
                yield archive.extractfile(member).read().decode("utf-8", "replace"), URL  # type: ignore[union-attr]
    for page in sorted(path for path in (DATA / "web").glob("*/**/*.htm*") if path.is_file()):
        yield page.read_bytes().decode("utf-8", "replace"), URL
    for path in sorted((DATA / "web" / "warc").iterdir()):
        with path.open("rb") as file:
            for record in read_records(file):
                if "html" in record.http_headers.get("content-type", ""):
                    yield record.payload.decode("utf-8", "replace"), record.url or ""


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is not beside this checkout")
def test_every_picture_of_a_real_page_is_a_slot_or_has_a_reason() -> None:
    count = 0
    for html, url in real_pages():
        found = extract_obelics(html, url)
        tree = parse(without_comments(html))
        slots = {block.node for block in found.blocks if isinstance(block, ImageSlot)}
        left_out = {dropped.node for dropped in found.dropped}
        assert {node for node, tag in enumerate(tree.tags) if tag == "img"} <= slots | left_out, url
        assert not slots & left_out
        assert all(part and part == part.strip() for part in listed(found))
        count += 1
    assert count > 300
