"""Regions of a page: each rule on both sides, pages that are no article, the gold, and time on hostile nesting."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.extraction_gold import ARCHIVE, PAGE_URL, gold_pages, judge, summary
from curate.document.extract import extract
from curate.document.extraction import ImageSlot, TextBlock
from curate.document.parse import parse
from curate.document.regions import score_regions
from curate.document.regions_marks import LONGEST_NAME, read_marks, words_of
from curate.document.regions_measure import measure
from curate.document.tree import TEXT, Tree
from curate.toyweb.pages import page
from curate.toyweb.plan import Plan

SENTENCE = "The river turns here, slows down, and leaves behind the sand that it carried from the hills. "
LONG = SENTENCE * 4
STORY = f"<h2>Rivers</h2><p>{LONG}</p><p>{LONG}</p><p>{LONG}</p>"
LINKS = "".join(f'<li><a href="/{n}">Another story of the day</a></li>' for n in range(8))


def shown(html: str) -> dict[str, tuple[str, str | None, float]]:
    """Region, reason and score of each text and each picture, by what it says or its src."""
    tree = parse(html)
    regions = score_regions(tree)
    assert len(regions.names) == len(regions.reasons) == len(regions.scores) == len(tree)
    assert all(0 <= score <= 1 for score in regions.scores)
    found = {}
    for node, tag in enumerate(tree.tags):
        name = tree.texts[node].strip() if tag == TEXT else tree.attributes[node].get("src")
        if name:
            found[name] = (regions.names[node], regions.reasons[node], regions.scores[node])
    return found


def reason(html: str, said: str) -> str | None:
    return next(found[1] for name, found in shown(html).items() if said in name)


def article(inside: str) -> str:
    return f"<body><article>{STORY}{inside}<p>{LONG}</p></article></body>"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("<p>XX</p>", None),
        ("<div>XX says a man in the street.</div>", None),
        ("<nav><p>XX</p></nav>", "navigation"),
        ('<div role="navigation">XX</div>', "navigation"),
        ('<div role="main">XX says a man in the street.</div>', None),
        ("<footer>XX</footer>", "footer"),
        ("<aside>XX</aside>", "aside"),
        ("<dialog>XX</dialog>", "cookie_notice"),
        ('<div role="alert">XX</div>', "cookie_notice"),
        ("<p hidden>XX</p>", "hidden"),
        ('<p style="Display : NONE">XX</p>', "hidden"),
        ('<p style="display:inline">XX</p>', None),
        ('<p style="visibility: hidden">XX</p>', "hidden"),
        ('<p style="overflow:hidden">XX</p>', None),
        ('<p aria-hidden="true">XX</p>', "hidden"),
        ('<p aria-hidden="false">XX</p>', None),
        ('<p aria-hidden="true" class="fallback-image">XX</p>', None),
        ('<div id="disqus_thread">XX</div>', "comments_section"),
        ('<div class="comments-content">XX says a man in the street.</div>', None),
        ('<section class="SiteFooter">XX</section>', "footer"),
        ('<div class="related-posts">XX</div>', "related_links"),
        ('<div class="advert">XX</div>', "advertisement"),
        ('<div class="cookie-bar">XX</div>', "cookie_notice"),
        ('<p class="rss">XX</p>', "share_buttons"),
        ('<p class="across">XX</p>', None),
        ('<table><tr><td class="menu">XX</td></tr></table>', None),
        (f'<div class="share"><p>XX {SENTENCE}</p></div>', "share_buttons"),
        (f'<div class="share"><p>XX {LONG * 2}</p></div>', "unlikely_name"),
        (f'<div class="share story"><p>XX {LONG * 2}</p></div>', None),
        ('<h2 class="widget">XX</h2>', "unlikely_heading"),
        ('<h2 class="widget entry">XX</h2>', None),
        (f'<div class="widget"><p>XX {SENTENCE}</p></div>', "unlikely_name"),
        ("<button>XX</button>", "form"),
        ("<object>XX</object>", "player"),
        ("<form><p>XX</p><input><input></form>", "form"),
        (f"<form><p>XX {LONG}</p><p>{LONG}</p><input></form>", None),
        ("<div><p>Advertisement</p><p></p></div>", "advertisement"),
        ("<script>XX</script>", "not_rendered"),
        ("<style>XX</style>", "not_rendered"),
    ],
)
def test_a_part_of_an_article_stays_or_has_a_reason(part, expected):
    said = "Advertisement" if "Advertisement" in part else "XX"
    html = article(part)
    assert reason(html, said) == expected
    assert reason(html, "The river") is None


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (f"<div><p>XX said it and went on for a little while.</p><ul>{LINKS}</ul></div>", "link_list"),
        (f"<div><p>XX {LONG} {LONG}</p><ul>{LINKS}</ul></div>", None),
        (f"<div><p>XX:</p><ul>{LINKS}</ul></div>", None),
        ("<div><p>XX has been said by a man who stood in the street <a href='/'>there</a></p><p>a</p></div>", None),
        (
            "<div><p>XX has been said by a man who stood in <a href='/'>the street there</a></p><p>a</p></div>",
            "link_list",
        ),
        ("<div><p>XX has been said by <a href='/'>a man who stood in the street</a></p><p>a</p></div>", "link_list"),
        ('<div class="entry"><p>XX has been said by <a href="/">a man there</a></p><p>a</p></div>', None),
        ('<div class="entry"><p>XX by <a href="/">a man who stood in the street</a></p><p>a</p></div>', "link_list"),
        (
            "<div><p>XX is a note of which <a href='#n'>we know a little more than that</a></p><p>and</p></div>",
            None,
        ),
        ("<div><h3>XX</h3><p></p></div>", "low_text_density"),
        ("<div><h3>XX</h3><p>said</p></div>", None),
        (f"<div><h3>XX {SENTENCE}</h3><p></p></div>", None),
    ],
)
def test_links_and_density_decide_on_a_box_in_an_article(part, expected):
    assert reason(article(part), "XX") == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<div><p>One line.</p><section><img src="p1"></section><section><img src="p2"></section></div>', None),
        ('<div><div><p>x</p></div><section><img src="p1"><img src="p2"><img src="p3"></section></div>', "images"),
        ('<div><p>One.</p><section><img src="p1"></section></div>', None),
        ('<figure><div><section><img src="p1"><img src="p2"><img src="p3"></section></div></figure>', None),
        ('<ul><li><img src="p1"></li><li><img src="p2"></li><li><img src="p3"></li></ul>', None),
        ('<ul><li><img src="p1"><b>a</b></li><li><img src="p2"></li><li><img src="p3"></li></ul>', "images"),
    ],
)
def test_pictures_stay_with_text_in_figures_and_in_galleries(html, expected):
    found = shown(article(html))["p1"][1]
    assert found == (expected and "more_images_than_text")


ROW = '<tr><td><a href="/">XX</a></td><td>1</td></tr>'


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (f"<table>{ROW * 3}</table>", "link_list"),
        (f"<table>{ROW * 10}</table>", None),
        (f"<table><tr>{'<td><a href=/>XX</a></td>' * 2}</tr></table>", "link_list"),
        (f"<table><tr>{'<td><a href=/>XX</a></td>' * 5}</tr>{ROW}</table>", "link_list"),
        (f"<table>{('<tr>' + '<td><a href=/>XX</a></td>' * 5 + '</tr>') * 2}</table>", None),
        (f"<table><tr><th>a</th></tr>{ROW}</table>", None),
        (f'<table summary="of links">{ROW}</table>', None),
        (f'<table role="presentation"><tr><th>a</th></tr>{ROW}</table>', "link_list"),
        (f"<div><table><tr><th>a</th></tr>{ROW}</table></div>", None),
    ],
)
def test_tables_of_data_stay_and_tables_of_links_go(table, expected):
    assert reason(article(table), "XX") == expected


@pytest.mark.parametrize(
    ("name", "beside", "excused", "weight"),
    [
        ("", None, False, 0),
        ("story", None, False, 25),
        ("widget", None, False, -25),
        ("story-widget", None, False, 0),
        ("main-menu", "navigation", True, 25),
        ("NAV", "navigation", False, 0),
        ("unavailable", None, False, 0),
        ("top-rss", "share", False, 0),
        ("x" * LONGEST_NAME + " menu", None, False, 0),
    ],
)
def test_words_of_a_name(name, beside, excused, weight):
    assert words_of(name[:LONGEST_NAME])[:3] == (beside, excused, weight)
    assert not read_marks(parse(f"<body><div class='{name}'>")).beside or beside


def test_the_article_is_found_among_other_boxes():
    teaser = f"<div class='teaser'><h3><a href='/x'>Other</a></h3><p>Short words. {SENTENCE}</p></div>"
    html = (
        f"<body><div><p>Top of the page, since 1999.</p></div><div><div>{STORY}</div></div><div>{teaser}</div></body>"
    )
    assert reason(html, "The river") is None
    assert reason(html, "Top of the page") == "outside_main_content"
    assert reason(html, "Other") == "outside_main_content"


@pytest.mark.parametrize(
    ("neighbour", "expected"),
    [
        (f"<p>XX {SENTENCE}</p>", None),
        ("<p>XX said so. Yes.</p>", None),
        ("<p>XX said so</p>", "outside_main_content"),
        (f"<p>XX <a href='/'>{SENTENCE}</a></p>", "outside_main_content"),
        (f"<div>XX <p>{LONG}</p><p>{LONG}</p></div>", None),
    ],
)
def test_neighbours_of_the_winner_join_it(neighbour, expected):
    html = f"<body><div>{neighbour}<div class='story'><div>{STORY}</div><div>{STORY}</div></div></div></body>"
    assert reason(html, "XX") == expected


@pytest.mark.parametrize("posts", [2, 3, 10])
def test_a_thread_keeps_every_post(posts):
    thread = "".join(f"<div class='box'><b>user</b><div>Post{n}: {LONG} {LONG}</div></div>" for n in range(posts))
    found = shown(f"<body><nav>All boards</nav><div id='thread'>{thread}</div></body>")
    assert [name[:4] for name, (_, why, _) in found.items() if name.startswith("Post") and why is None] == [
        "Post"
    ] * posts
    assert found["All boards"][1] == "navigation"


@pytest.mark.parametrize(
    "html",
    [
        "XX",
        "<p>XX</p>",
        "<b>XX</b> and <i>YY</i>",
        "<body><div><h1>XX</h1><div><img src='p1'></div><span>12 EUR</span></div></body>",
        f"<body><nav>a</nav><div><h1>XX</h1><ul>{LINKS}</ul></div></body>",
        "<body style='display:none'><p>XX</p></body>",
        "<table><tr><td>XX</td><td>1</td></tr></table>",
        f"<body><div class='comment'>XX {LONG}{LONG}</div><div class='comment'>{LONG}{LONG}</div></body>",
        "<body><div class='comment'><p><a href='/'>XX, the first of many links</a></p><p>a</p></div></body>",
        f"<body><div class='sidebar-layout'>XX <p>{LONG}</p><p>{LONG}</p></div><p>{LONG} {LONG}</p></body>",
    ],
)
def test_a_page_that_is_no_article_keeps_its_content(html):
    assert all(why is None for name, (_, why, _) in shown(html).items() if name.startswith(("XX", "YY", "p1")))


def test_comments_are_no_content_even_where_they_are_most_of_the_page():
    html = f"<body><article>{STORY}</article><div id='comments'>XX <p>{LONG * 9}</p></div></body>"
    assert reason(html, "XX") == "comments_section"
    assert reason(html, "Rivers") is None


def test_posts_in_pairs_are_one_thread():
    pair = f"<div>{f'<div><b>user</b><div>Post: {LONG}{LONG}</div><p>so</p></div>' * 2}</div>"
    found = parse(f"<body><p>Board</p><div id='all'>{pair * 2}</div></body>")
    reasons = score_regions(found).reasons
    assert [reasons[n] for n, text in enumerate(found.texts) if text.startswith("Post")] == [None] * 4


@pytest.mark.parametrize(("name", "expected"), [("story", None), ("other", "outside_main_content")])
def test_a_neighbour_with_the_winners_name_needs_fewer_points(name, expected):
    text = f"<p>{LONG}{LONG}</p>" * 8
    weak = f"<div class='{name}'><section><p>XX is a line of some words</p><p>b</p></section><p>c</p></div>"
    html = f"<body><div><div class='story'>{text}</div>{weak}</div></body>"
    assert reason(html, "XX") == expected


def test_a_box_of_linked_text_does_not_win():
    linked = f"<p><a href='/'>XX {LONG}</a></p>" * 9
    html = f"<body><div><div>{linked}</div></div><div><div>{STORY}</div></div></body>"
    assert reason(html, "XX") == "outside_main_content"
    assert reason(html, "Rivers") is None


@pytest.mark.parametrize(
    ("inside", "runs"),
    [
        ("a<br>b", 1),
        ("a<br><br>b", 2),
        ("a<br> <br>b", 2),
        ("a<p>b</p>c", 3),
        ("a <b>c</b> <img src=p> d", 1),
        (" ", 0),
    ],
)
def test_runs_of_text_end_at_blocks_and_at_two_line_breaks(inside, runs):
    tree = parse(f"<body><div>{inside}</div></body>")
    assert len(measure(tree, read_marks(tree), []).runs) == runs


def test_a_noscript_belongs_where_it_stands():
    html = article('<noscript><img src="p1"></noscript>') + '<noscript><img src="p2"></noscript>'
    assert shown(html)["p1"][1] is None
    assert shown(html)["p2"][1] == "outside_main_content"


def test_scores_tell_content_from_links_and_long_text_outside_from_short():
    html = (
        f"<body><div><p>Outside a little.</p></div><div><p>Outside more, {SENTENCE}</p></div><div>{STORY * 3}"
        "<p>Linked <a href='/'>text</a> of which half</p></div><nav>Here</nav></body>"
    )
    scores = {name[:12]: score for name, (_, _, score) in shown(html).items()}
    assert scores[SENTENCE[:12]] == 1
    assert 0.5 < scores["Linked"] < 1
    assert scores["Here"] == 0
    assert 0 < scores["Outside a li"] < scores["Outside more"] < 0.5


def test_an_empty_tree_and_one_without_a_body():
    assert score_regions(Tree([], [], [], [], [])).names == []
    lone = Tree(["p", TEXT], [-1, 0], [2, 2], ["", "Alone."], [{}, {}])
    assert score_regions(lone).reasons == [None, None]


@given(
    st.recursive(
        st.sampled_from(["text, and more text, that goes on for a while. ", " ", "<br>", "<img src=p>"]),
        lambda inner: st.tuples(
            st.sampled_from(
                ["div", "p", "ul", "li", "table", "tr", "td", "form", "nav", "h1", "span", "a", "noscript"]
            ),
            st.sampled_from(["", " class=menu", " class=story", " hidden", " class='comment share'", " href='#x'"]),
            st.lists(inner, max_size=4),
        ).map(lambda e: f"<{e[0]}{e[1]}>{''.join(e[2])}</{e[0]}>"),
        max_leaves=40,
    )
)
def test_any_page_has_a_verdict_for_every_node(html):
    for name, why, _ in shown(f"<body>{html}</body>").values():
        assert (name == "main") == (why is None)


@pytest.mark.parametrize("tag", ["div", "table", "ul", "form", "nav", "figure", "code", "b", "section"])
def test_time_grows_with_the_nodes_and_not_with_their_square(tag):
    def seconds(depth: int, paragraphs: int) -> float:
        inner, size = 1 + depth, 3 + depth + 2 * paragraphs
        tags = ["html", "body", *[tag] * depth, TEXT, *["p", TEXT] * paragraphs]
        rest = range(3 + depth, size, 2)
        parents = [*range(-1, inner), inner, *(parent for node in rest for parent in (inner, node))]
        ends = [*[size] * (2 + depth), 3 + depth, *(end for node in rest for end in (node + 2, node + 2))]
        texts = [*[""] * (2 + depth), "Few words.", *["", SENTENCE] * paragraphs]
        tree = Tree(tags, parents, ends, texts, [{"class": "menu"} if name == "p" else {} for name in tags])
        started = time.process_time()
        score_regions(tree)
        return time.process_time() - started

    small = min(seconds(150, 1_500) for _ in range(5))
    assert min(seconds(1_200, 12_000) for _ in range(2)) < 8 * 4 * small


def test_the_toy_web_comes_out_exactly():
    for number in range(40):
        made = page(Plan(seed=7), number)
        tree = parse(made.html)
        reasons = score_regions(tree).reasons
        found = []
        for node, tag in enumerate(tree.tags):
            words = " ".join(tree.texts[node].split())
            image = tree.attributes[node].get("data-src") or tree.attributes[node].get("src")
            if reasons[node] is None and (words or (tag == "img" and image)):
                found.append(words or image)
        assert found == [" ".join(part.value.split()) for part in made.parts]


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the gold pages of mozilla/readability are not beside the checkout")
def test_text_and_images_of_the_gold():
    verdicts = []
    for gold in gold_pages():
        kept = [block for block in extract(gold.html, PAGE_URL).blocks if block.reason is None]
        text = "\n".join(block.text for block in kept if isinstance(block, TextBlock))
        images = [(block.url, *block.candidates) for block in kept if isinstance(block, ImageSlot)]
        verdicts.append(judge(gold, text, images))
    found = summary(verdicts)
    assert found.pages == 65
    assert found.f1 >= 0.97
    assert found.micro_f1 >= 0.97
    assert found.image_recall >= 0.93
    assert found.image_precision >= 0.95
    assert found.macro_image_recall >= 0.9
    assert found.macro_image_precision >= 0.95


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the book pages are not beside the checkout")
@pytest.mark.parametrize("folder", ["openstax", "sites"])
def test_pages_of_books_keep_their_text_and_every_picture(folder):
    for path in sorted((ARCHIVE.parents[1] / "web" / folder).rglob("*.htm*")):
        tree = parse(path.read_bytes())
        reasons = score_regions(tree).reasons
        texts = [n for n, tag in enumerate(tree.tags) if tag == TEXT and reasons[n] not in ("not_rendered", "hidden")]
        kept = sum(len(tree.texts[n].strip()) for n in texts if reasons[n] is None)
        assert kept >= 0.97 * sum(len(tree.texts[n].strip()) for n in texts), path.name
        assert all(reasons[n] is None for n, tag in enumerate(tree.tags) if tag == "img"), path.name
