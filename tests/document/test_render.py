"""A document as a reader sees it, and nothing in it that a terminal or a browser would obey."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.document.extraction import Dropped, Extraction, ImageSlot, TextBlock
from curate.document.render import as_html, as_text, plain
from curate.document.styles import STYLE
from curate.document.why import why_document, why_page
from curate.sample import Document, Part, Picture, Text

JPEG = b"\xff\xd8\xff bytes of a picture"


def document(*parts: Part, **columns: object) -> Document:
    return Document("00000000007", parts, {"url": "http://h/page", **columns})


def test_text_of_every_kind() -> None:
    found = as_text(
        document(
            Text("A heading", "h2"),
            Text("word " * 30),
            Text("one", "li"),
            Text("two", "li", "\n"),
            Text("a = 1\n  b", "pre"),
            Text("said", "blockquote"),
            Picture("http://h/a.jpg", JPEG, "jpg", "success", {"alt": "a cat", "width": 640, "height": 480}),
            Picture("http://h/b.jpg", status="not_found", columns={"caption": "Below it"}),
            Picture("http://h/c.jpg"),
            title="The title",
        ),
        40,
    )
    assert found == (
        "The title\n=========\nhttp://h/page\n\n"
        "A heading\n---------\n\n"
        + ("word " * 8).strip() + "\n" + ("word " * 8).strip() + "\n" + ("word " * 8).strip() + "\n"
        + ("word " * 6).strip() + "\n\n"
        "- one\n- two\n\n"
        "    a = 1\n      b\n\n"
        "> said\n\n"
        '[picture 640x480 "a cat" | here]\n http://h/a.jpg\n\n'
        "[picture | not_found]\n http://h/b.jpg\n Below it\n\n"
        "[picture | not fetched]\n http://h/c.jpg\n"
    )  # fmt: skip


def test_a_heading_of_the_page_stands_for_its_title() -> None:
    page = document(Text("Heading", "h1"), title="Heading | Site")
    assert "Heading | Site" not in as_text(page)
    assert "<h1>Heading</h1>" in as_html(page)
    assert as_html(page).count("<h1>") == 1
    assert "<h1>Only a title</h1>" in as_html(document(Text("x"), title="Only a title"))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"keep": False, "drop_reason": "too_few_words"}, "left out of the data set: too_few_words"),
        ({"document_status": "too_large", "document_detail": "12 MB"}, "no document: too_large 12 MB"),
        ({"keep": True, "document_status": "ok"}, None),
        ({}, None),
    ],
)
def test_what_became_of_the_document(columns: dict[str, object], words: str | None) -> None:
    text, page = as_text(document(Text("x"), **columns)), as_html(document(Text("x"), **columns))
    assert (words or "left out") in text or words is None
    assert ('class="left-out"' in page) == (words is not None)


def test_a_caption_that_the_text_repeats_is_shown_once() -> None:
    slot = Picture("u", JPEG, "jpg", columns={"caption": "Figure 1"})
    assert as_html(document(slot, Text("Figure 1", "figcaption"))).count("Figure 1") == 1
    assert as_html(document(slot, Text("Other"))).count("Figure 1") == 1
    assert as_text(document(slot, Text("a"), Text("b"), Text("c"), Text("Figure 1"))).count("Figure 1") == 2


def test_pictures_stand_inside_the_page_or_say_why_not() -> None:
    page = as_html(
        document(
            Picture("http://h/a", JPEG, "jpg", columns={"alt": 'a "cat"'}),
            Picture("http://h/b", b"II*", "tif"),
            Picture("http://h/<c>", status="robots_denied", columns={"rendered_width_px": 3, "rendered_height_px": 4}),
        )
    )
    data = base64.b64encode(JPEG).decode()
    assert f'<img src="data:image/jpeg;base64,{data}" alt="a &quot;cat&quot;" title="http://h/a">' in page
    assert "here, but no browser shows .tif" in page
    assert "robots_denied · 3x4" in page
    assert page.count("<img") == 1


def test_the_page_forbids_all_but_its_own_style() -> None:
    page = as_html(document(Text("x")))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert policy[1] == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert f"<style>{STYLE}</style>" in page
    assert page.index("Content-Security-Policy") < page.index("<title>") < page.index("<style>")


class Seen(HTMLParser):
    """Elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


ANYTHING = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["<script>x</script>", '"><img src=x onerror=y>', "</style><b>", "<!--", "\x1b[2J", "\u202etxt", "&lt;", "]]>"]
)
BLOCKS = st.sampled_from(["p", "h1", "h3", "li", "tr", "pre", "blockquote", "figcaption", "script", "x onload=y"])
PARTS = st.one_of(
    st.builds(Text, ANYTHING, BLOCKS),
    st.builds(lambda u, s, a: Picture(u, None, "", s, {"alt": a, "caption": a}), ANYTHING, ANYTHING, ANYTHING),
    st.builds(lambda u, a: Picture(u, JPEG, "jpg", "success", {"alt": a, "caption": a}), ANYTHING, ANYTHING),
)


@given(st.lists(PARTS, max_size=6), ANYTHING, ANYTHING)
def test_no_text_becomes_an_element(parts: list[Part], title: str, language: str) -> None:
    seen = Seen()
    seen.feed(as_html(document(*parts, title=title, html_language=language)))
    known = {"html", "head", "meta", "title", "style", "body", "main", "p", "h1", "h3", "ul", "li", "div", "pre"}
    assert seen.tags <= known | {"blockquote", "figure", "figcaption", "img", "br", "span"}
    assert seen.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "src", "alt", "title"}


@given(st.lists(PARTS, max_size=6), ANYTHING)
def test_no_text_moves_the_cursor(parts: list[Part], title: str) -> None:
    found = as_text(document(*parts, title=title))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", found)
    found.encode()


def test_plain_keeps_what_is_writing() -> None:
    assert plain("a\tb\nc é 漢 \u200d\xa0") == "a\tb\nc é 漢 \u200d\xa0"
    assert plain("\x1b[31m\r\u202e\ud800") == "\ufffd[31m\ufffd\ufffd\ufffd"


def test_a_word_of_a_megabyte_takes_no_time() -> None:
    assert len(as_text(document(Text("x" * 1_000_000)))) > 1_000_000


FOUND = Extraction(
    blocks=(
        TextBlock("The text of\nthe page", 3, "p", score=0.9),
        ImageSlot("http://h/a.jpg", 5, alt="a cat", score=0.8),
        TextBlock("Home | About", 9, "li", region="navigation", reason="navigation", score=0.1),
    ),
    dropped=(Dropped(12, "html/body/script", "script", "var x"), Dropped(2, "html/body/\x1bdiv", "hidden")),
    charset="utf-8",
    charset_rule="meta",
)


def test_why_of_a_page() -> None:
    told = why_page(FOUND)
    assert (told["status"], told["charset"], told["told_by"]) == ("ok", "utf-8", "meta")
    assert [(b["block"], b["in_output"], b["reason"], b["region"], b["words"]) for b in told["blocks"]] == [
        ("p", True, None, "main", "The text of the page"),
        ("picture", True, None, "main", "http://h/a.jpg a cat"),
        ("li", False, "navigation", "navigation", "Home | About"),
    ]
    assert told["not_in_output"] == [
        {"node": 2, "reason": "hidden", "path": "html/body/\ufffddiv", "words": ""},
        {"node": 12, "reason": "script", "path": "html/body/script", "words": "var x"},
    ]


def test_why_of_a_document() -> None:
    parts = (
        Text("kept", columns={"keep": True, "region": "main", "region_score": 0.9}),
        Text("too short", columns={"keep": False, "drop_reason": "too_few_words", "region": "main"}),
        Text("Home", "li", columns={"keep": False, "drop_reason": "boilerplate", "region_reason": "navigation"}),
        Picture("u", status="not_found", columns={"keep": False, "fetch_status": "not_found", "alt": "x " * 99}),
    )
    told = why_document(document(*parts, keep=True, nodes_dropped=[("script", 2), ("hidden", 5)], html_bytes=9))
    assert [(b["in_output"], b["reason"]) for b in told["blocks"]] == [
        (True, None),
        (False, "too_few_words"),
        (False, "navigation"),
        (False, "not_found"),
    ]
    assert told["not_in_output"] == [{"reason": "hidden", "nodes": 5}, {"reason": "script", "nodes": 2}]
    assert told["keep"] is True
    assert all(len(b["words"]) <= 80 for b in told["blocks"])
