"""A real book: every figure in its place, with its legend. Told by an independent reading of the same files."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from curate.document.extract import extract
from curate.document.extraction import ImageSlot, TextBlock

PAGES = sorted((Path(__file__).parents[3] / "shared" / "data" / "web" / "openstax").rglob("*.html"))
pytestmark = pytest.mark.skipif(not PAGES, reason="the book's pages are not beside the checkout")


class Reading(HTMLParser):
    """Pictures of a page with the letters that stand before each, and legends, in the order of the file."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pictures: list[tuple[str, str]] = []
        self.legends: list[str] = []
        self.letters = ""
        self.legend: list[str] | None = None
        self.in_body = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.in_body |= tag == "body"
        if tag == "img":
            self.pictures.append((dict(attributes)["src"].rpartition("/")[2], self.letters))
        if tag == "figcaption":
            self.legend = []

    def handle_endtag(self, tag):
        if tag == "figcaption":
            self.legends.append(" ".join("".join(self.legend).split()))
            self.legend = None

    def handle_data(self, data):
        self.letters += letters(data) if self.in_body else ""
        if self.legend is not None:
            self.legend.append(data)


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def test_every_figure_of_the_book_is_in_its_place_with_its_legend():
    figures = 0
    for path in PAGES:
        wanted = Reading(path.read_text("utf-8"))
        found = extract(path.read_bytes(), f"http://book.test/pages/{path.name}")
        before, pictures, legends = "", [], []
        for block in found.blocks:
            if isinstance(block, TextBlock):
                before += letters(block.text)
            elif isinstance(block, ImageSlot):
                assert block.reason is None, (path.name, block)
                pictures.append((block.url.rpartition("/")[2], before))
                legends.append(block.caption)
        assert pictures == wanted.pictures, path.name
        assert legends == wanted.legends, path.name
        figures += len(pictures)
    assert figures == 328


def test_the_book_s_text_is_there_and_nothing_else():
    for path in PAGES:
        wanted = Reading(path.read_text("utf-8")).letters
        found = extract(path.read_bytes(), f"http://book.test/pages/{path.name}")
        assert letters("".join(b.text for b in found.blocks if isinstance(b, TextBlock))) == wanted, path.name
