"""Pages hold their parts in order, and much that is no part of them."""

from html.parser import HTMLParser

from curate.toyweb.pages import ADS_HOST, PAGES_HOST, ROWS_PER_PAGE, page, page_number
from curate.toyweb.plan import Plan

PLAN = Plan(0)


class Reader(HTMLParser):
    """A plain reading of the page: every text and every picture, in order."""

    def __init__(self):
        super().__init__()
        self.pieces, self.article, self.depth = [], [], 0

    def handle_starttag(self, tag, attrs):
        self.depth += tag == "article"
        if tag == "img":
            values = dict(attrs)
            self._add(values.get("data-src") or values["src"])

    def handle_endtag(self, tag):
        self.depth -= tag == "article"

    def handle_data(self, data):
        if data.strip():
            self._add(data.strip())

    def _add(self, piece):
        self.pieces.append(piece)
        if self.depth:
            self.article.append(piece)


def read(number):
    reader, found = Reader(), page(PLAN, number)
    reader.feed(found.html)
    return reader, found


def test_the_parts_are_the_article_in_reading_order():
    for number in range(200):
        reader, found = read(number)
        assert reader.article == [part.value for part in found.parts], found.url


def test_a_page_shows_its_rows_and_around_them_what_is_not_its_own():
    reader, found = read(7)
    images = [part.value for part in found.parts if part.kind == "image"]
    assert images == [row.url for row in PLAN.rows(7 * ROWS_PER_PAGE, 8 * ROWS_PER_PAGE)]
    rest = [piece for piece in reader.pieces if piece not in reader.article]
    assert sum(ADS_HOST in piece for piece in rest) >= 3
    assert "Home" in rest
    assert any("All rights reserved" in piece for piece in rest)


def test_pages_are_found_by_their_path():
    for number in (0, 7, 1_234_567):
        assert page_number(page(PLAN, number).url.removeprefix(f"http://{PAGES_HOST}")) == number
    for path in ("/", "/story/7.html", "/story/000007.htm", "/story/٠٠٠٠٠٠.html", "/x/story/000007.html"):
        assert page_number(path) is None


def test_the_same_number_is_the_same_page():
    assert page(Plan(0), 3) == page(PLAN, 3)
    assert page(Plan(1), 3) != page(PLAN, 3)
