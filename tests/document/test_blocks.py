"""Blocks and slots: what ends a block, what it is called, white space, legends, twins; nothing lost or invented."""

import html as html_module
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.document.charset import decode
from curate.document.extract import extract
from curate.document.extraction import Block, Extraction, ImageSlot, TextBlock
from curate.document.parse import parse
from curate.document.regions import Regions
from curate.document.tree import TEXT
from curate.document.walk import walk
from curate.fetch.url import parse_url

PAGE = parse_url("https://ex.com/blog/page.html")
A = '<img src="/a.jpg">'


def walked(html: str) -> list[Block]:
    """The blocks of a page all of whose nodes are content."""
    return walked_with_dropped(html)[0]


def walked_with_dropped(html: str) -> tuple[list[Block], dict[int, str]]:
    tree = parse(html)
    everything = Regions(["main"] * len(tree), [None] * len(tree), [1.0] * len(tree))
    blocks, dropped = walk(tree, everything, PAGE)
    return blocks, {node.node: node.reason for node in dropped}


def shown(blocks: Iterable[Block]) -> list[str]:
    """Texts as they are, slots as `[path|legend]`."""
    return [
        block.text
        if isinstance(block, TextBlock)
        else f"[{block.url.removeprefix('https://ex.com')}{f'|{block.caption}' if block.caption else ''}]"
        for block in blocks
    ]


def called(html: str) -> str:
    """Names of the blocks, with `/` where two stand on lines next to each other."""
    parts = []
    for block in walked(html):
        if isinstance(block, TextBlock):
            parts += ["/" if block.separator == "\n" else " ", block.block]
        else:
            parts += [" ", "[]"]
    return "".join(parts).strip()


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        # White space, and where it does not count.
        ("<p>  a \n\t b&nbsp;&nbsp;c\u2003d\u3000e  </p>", ["a b c d e"]),
        ("<p>a<b> b</b><i> c </i>d</p>", ["a b c d"]),
        ("<p>a<b>b</b>c<wbr>d</p>", ["abcd"]),
        ("<p>a</p> \n <p> </p>&nbsp;<p>b</p>", ["a", "b"]),
        ("<p>e\u0301</p>", ["\u00e9"]),
        ("<p>\u00a0</p><p>\u200b</p>", ["\u200b"]),
        # Line breaks that the page asks for.
        ("<p>a<br>b<br/><br>c<br></p>", ["a\nb\nc"]),
        ("<p><br>a<BR class=x>b</p><br>c", ["a\nb", "c"]),
        # What begins and ends a block.
        ("a<p>b</p>c<div>d<div>e</div>f</div>g", ["a", "b", "c", "d", "e", "f", "g"]),
        ("<h1>a</h1><ul><li>b<ul><li>c</ul>d</ul><dl><dt>e<dd>f</dl><hr>g", ["a", "b", "c", "d", "e", "f", "g"]),
        ("<blockquote>a<p>b</blockquote><address>c</address><center>d</center>e", ["a", "b", "c", "d", "e"]),
        ("<details><summary>a</summary>b</details><fieldset><legend>c</legend>d</fieldset>", ["a", "b", "c", "d"]),
        ("<x-y>a <my-b>b</my-b></x-y> c<p>d", ["a b c", "d"]),
        # Tables: a line of cells, but cells with blocks or pictures in them are no lines.
        ("<table><caption>a</caption><tr><th>b<th>c<tr><td>d<td> e </table>", ["a", "b | c", "d | e"]),
        ("<table><tr><td><b>a</b> b<td>c</table>", ["a b | c"]),
        ("<table><tr><td><p>a</p><p>b</p><td>c</table>", ["a", "b", "c"]),
        (f"<table><tr><td>a<td>{A}b</table>", ["a", "[/a.jpg]", "b"]),
        ("<table><tr><td>a<table><tr><td>b<td>c</table><td>d</table>", ["a", "b | c", "d"]),
        # Kept as it is.
        ("<pre>\n a\n\n   b  c\n</pre>", [" a\n\n   b  c"]),
        ("<pre>a<br>b <b>c</b>\n d</pre>", ["a\nb c\n d"]),
        ("<pre> \n </pre><p>x", ["x"]),
        # A picture parts a sentence, and a sign does not.
        (f"<p>a {A} b", ["a", "[/a.jpg]", "b"]),
        ("<p>a <img class=emoji src=/e.png alt=':)'> b", ["a :) b"]),
        ("<p><img src=https://s.w.org/images/core/emoji/1.png alt='x'>y", ["xy"]),
        ("<p>a <img class=emoji src=/e.png> b", ["a", "[/e.png]", "b"]),
        # What is no text.
        ("<p>a<script>b</script><style>c</style><template>d</template>e", ["ae"]),
        ("<p>a<select><option>b</select><textarea>c</textarea><input value=d><button>e</button>f", ["af"]),
        ("<h3><button>a</button></h3><p>b", ["a", "b"]),
        ("<p>a<iframe>b</iframe><object>c</object><video>d</video><svg><text>e</text></svg>f", ["af"]),
    ],
)  # fmt: skip
def test_blocks(html: str, expected: list[str]) -> None:
    assert shown(walked(html)) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>a<div>b</div><section>c</section>d", "p p p p"),
        ("<h1>a</h1><h6>b</h6><pre>c</pre><blockquote>d<p>e</p></blockquote>", "h1 h6 pre blockquote p"),
        ("<ul><li>a<li>b<li><div>c</div></ul><p>d", "li/li/li p"),
        ("<ul><li>a</ul><p>b</p><ul><li>c</ul>", "li p li"),
        ("<dl><dt>a<dd>b<dt>c</dl>", "dt/dd/dt"),
        ("<table><tr><td>a<td>b<tr><td>c</table>d", "tr/tr p"),
        ("<table><tr><td><p>a</p></table>", "p"),
        (f"<ul><li>a{A}b</ul>", "li [] li"),
        (f"<figure>{A}<figcaption>a</figcaption></figure>", "[] figcaption"),
        (f"<div class=wp-caption>{A}<p class=wp-caption-text>a</p></div>", "[] figcaption"),
        (f"<div>{A}<div class='Image-Caption big'><span>a</span></div></div>", "[] figcaption"),
        ("<p class=captioned>a", "p"),
        ("<details><summary>a</summary>b</details>", "summary p"),
    ],
)
def test_blocks_are_called_after_their_element(html: str, expected: str) -> None:
    assert called(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f"<p>x<figure>{A}<figcaption>The <b>cat</b>.</figcaption></figure><p>y",
         ["x", "[/a.jpg|The cat.]", "The cat.", "y"]),
        (f"<figure><figcaption>l</figcaption>{A}</figure>", ["l", "[/a.jpg|l]"]),
        (f"<figure>{A}<img src=/b.jpg><figcaption>l</figcaption></figure>", ["[/a.jpg|l]", "[/b.jpg|l]", "l"]),
        (f"<figure>{A}</figure><figure><img src=/b.jpg><figcaption>l</figcaption></figure>",
         ["[/a.jpg]", "[/b.jpg|l]", "l"]),
        (f"<figure><figure>{A}<figcaption>i</figcaption></figure><figure><img src=/b.jpg></figure></figure>",
         ["[/a.jpg|i]", "i", "[/b.jpg|i]"]),
        (f"<div class=wp-caption>{A}<p class=wp-caption-text>l</p></div>", ["[/a.jpg|l]", "l"]),
        (f"{A}<p>between</p><p class=image-caption>l</p>", ["[/a.jpg]", "between", "l"]),
        (f"<figure>{A}<p>not a legend</p></figure>", ["[/a.jpg]", "not a legend"]),
    ],
)  # fmt: skip
def test_legends(html: str, expected: list[str]) -> None:
    assert shown(walked(html)) == expected


LATE = "<img class=lazy data-src=/a-300.jpg>"
FULL = f"<noscript>{A}</noscript>"


@pytest.mark.parametrize(
    ("html", "expected", "reasons"),
    [
        # Late, and for browsers without scripts: one picture, before or behind.
        (f"<p>x{LATE}{FULL}", ["x", "[/a-300.jpg]"], ["noscript_copy"]),
        (f"<p>x{LATE} \n {FULL}y", ["x", "[/a-300.jpg]", "y"], ["noscript_copy"]),
        (f"<p>x{FULL}{LATE}", ["x", "[/a.jpg]"], ["noscript_copy"]),
        (f"<p>x<picture>{LATE}</picture><span>{FULL}</span>", ["x", "[/a-300.jpg]"], ["noscript_copy"]),
        ("<p>x<img src='data:x'>" + FULL, ["x", "[/a.jpg]"], ["data_url"]),
        # A preview gives way.
        (f"<p>x<img src=/tiny.jpg>{FULL}", ["x", "[/a.jpg]"], ["noscript_copy"]),
        # Not twins: with something between, or both of a kind.
        (f"<p>x{LATE}y{FULL}", ["x", "[/a-300.jpg]", "y", "[/a.jpg]"], []),
        (f"<p>x{LATE}<p></p>{FULL}", ["x", "[/a-300.jpg]", "[/a.jpg]"], []),
        (f"<p>x{LATE}<br>{FULL}", ["x", "[/a-300.jpg]", "[/a.jpg]"], []),
        ("<p>x<img src=/b.jpg><img src=/c.jpg>", ["x", "[/b.jpg]", "[/c.jpg]"], []),
        (f"<p>x{FULL}<noscript><img src=/b.jpg></noscript>", ["x", "[/a.jpg]", "[/b.jpg]"], []),
        # A gallery of such pairs.
        (f"<p>x{LATE}{FULL}<img data-src=/b-3.jpg><noscript><img src=/b.jpg></noscript>",
         ["x", "[/a-300.jpg]", "[/b-3.jpg]"], ["noscript_copy"] * 2),
        # The same resource twice.
        (f"<p>x{A}y{A}{LATE}", ["x", "[/a.jpg]", "y", "[/a-300.jpg]"], ["duplicate_image"]),
        (f"<p>{A}<img src=http://ex.com/a.jpg>", ["[/a.jpg]"], ["duplicate_image"]),
        (f"<p>{A}<img src=/a.jpg?x>", ["[/a.jpg]", "[/a.jpg?x]"], []),
    ],
)  # fmt: skip
def test_twins_and_clones(html: str, expected: list[str], reasons: list[str]) -> None:
    blocks, dropped = walked_with_dropped(html)
    assert shown(blocks) == expected
    assert [reason for reason in dropped.values() if reason != "head"] == reasons


def test_a_twin_adds_its_addresses() -> None:
    (slot,) = walked(LATE + FULL)
    assert isinstance(slot, ImageSlot)
    assert [url[len("https://ex.com") :] for url in slot.candidates] == ["/a-300.jpg", "/a.jpg"]
    assert slot.found_in == "data-src"
    (slot,) = walked(f"<p><img src=/tiny.jpg>{FULL}")
    assert isinstance(slot, ImageSlot)
    assert (slot.url, slot.found_in) == ("https://ex.com/a.jpg", "noscript")


def test_the_clone_in_the_content_is_the_one_that_is_kept() -> None:
    tree = parse(f"<div>{A}</div><p>x{A}")
    first = tree.tags.index("img")
    reasons: list[str | None] = [None] * len(tree)
    reasons[first] = "navigation"
    blocks, _ = walk(tree, Regions(["main"] * len(tree), reasons, [1.0] * len(tree)), PAGE)
    assert [(block.reason) for block in blocks] == ["duplicate_image", None, None]


def test_the_section_is_the_last_heading_of_the_content() -> None:
    html = f"{A}<h1>One</h1><img src=/b.jpg><h2>Two <i>and</i></h2><p>x</p><img src=/c.jpg>"
    assert [block.section for block in walked(html) if isinstance(block, ImageSlot)] == [None, "One", "Two and"]


def test_a_block_has_the_region_of_its_text() -> None:
    tree = parse("<p>a<i>b</i>c")
    inside = tree.tags.index("i") + 1
    reasons: list[str | None] = [None] * len(tree)
    reasons[inside] = "advertisement"
    regions = Regions(["main"] * len(tree), reasons, [1.0] * len(tree))
    assert [(b.text, b.reason) for b in walk(tree, regions, PAGE)[0] if isinstance(b, TextBlock)] == [
        ("a", None),
        ("b", "advertisement"),
        ("c", None),
    ]


def test_explained_nodes_say_where_they_stood() -> None:
    html = "<div class='x y'><p>a<script>  var  b\n = 1; " + "c" * 200 + "</script>"
    (script,) = [node for node in extract(html.encode(), None, explain=True).dropped if node.reason == "script"]
    assert script.path == "html/body/div.x/p/script"
    assert script.text.startswith("var b = 1; ccc")
    assert len(script.text) <= 80


def test_plain_text_is_taken_line_by_line() -> None:
    found = extract(b"", None, text="One  line\n\n Two\u00a0lines \r\n")
    assert shown(found.blocks) == ["One line", "Two lines"]
    assert extract(b"", None, text=" \n").status == "empty"


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("<title> A \n title </title>", "A title"),
        ("<title>A title | Site</title><meta property=og:title content='A title'>", "A title"),
        ("<meta property=og:title content=''><title>A title</title>", "A title"),
        ("", "A heading"),
    ],
)
def test_titles(head: str, title: str) -> None:
    found = extract(f"<html lang=en-GB>{head}<body><h1>A <b>heading</b></h1><p>x".encode(), None)
    assert (found.title, found.language) == (title, "en-GB")


def test_canonical_url() -> None:
    page = b"<link rel=Canonical href=/c?x#y><p>x"
    assert extract(page, "https://ex.com/a").canonical_url == "https://ex.com/c?x"
    assert extract(page, None).canonical_url is None


WORDS = st.text(alphabet="ab\u00e9\u0301\u00a0&<>\"' \n\t\u200b中", max_size=8).map(html_module.escape)
SOUP = st.lists(
    st.one_of(
        WORDS,
        st.sampled_from(
            ["<p>", "</p>", "<div>", "</div>", "<b>", "</b>", "<br>", "<ul>", "<li>", "</ul>", "<table>", "<tr>",
             "<td>", "</table>", "<pre>", "</pre>", "<h2>", "</h2>", "<script>", "</script>", "<noscript>",
             "</noscript>", "<a>", "</a>", "<figure>", "</figure>", "<figcaption>", "</figcaption>", "<select>",
             "</select>", "<button>",
             "</button>", "<blockquote>", "<template>", "</template>", "<x-y>", "<svg>", "</svg>", "<!-- c -->",
             "<div hidden>", "<nav>", "<img src=/a>", "<img src=/b.jpg>", "<img>", "<img class=emoji alt=':)'>"]
        ),
    ),
    max_size=40,
).map("".join)  # fmt: skip


def letters(text: str) -> str:
    """A text without what the walk may add or take: white space, the bar between cells, forms of one letter."""
    return "".join(unicodedata.normalize("NFD", text).replace("|", "").split())


@given(SOUP)
@example("<pre> a </pre>")
@example("<table><tr><td>a<td>b")
def test_every_letter_is_in_a_block_or_under_what_was_left_out(html: str) -> None:
    """In order, and none that is not the page's."""
    tree = parse(html)
    everything = Regions(["main"] * len(tree), [None] * len(tree), [1.0] * len(tree))
    blocks, dropped = walk(tree, everything, PAGE)
    gone = {at for node in dropped for at in range(node.node, tree.ends[node.node])}
    emoji = {node.node for node in dropped if node.reason == "emoji"}
    expected = [
        tree.attributes[at].get("alt") or "" if at in emoji else tree.texts[at]
        for at in range(len(tree))
        if at in emoji or (tree.tags[at] == TEXT and at not in gone)
    ]
    assert letters("".join(b.text for b in blocks if isinstance(b, TextBlock))) == letters("".join(expected))
    slots = [block.node for block in blocks if isinstance(block, ImageSlot)]
    assert slots == [at for at in range(len(tree)) if tree.tags[at] == "img" and at not in gone]


@given(SOUP)
def test_reading_twice_is_reading_once(html: str) -> None:
    assert extract(html.encode(), PAGE.url) == extract(html.encode(), PAGE.url)


def rewritten(found: Extraction) -> str:
    """A page of the blocks alone."""
    return "".join(
        f"<p>{html_module.escape(block.text).replace(chr(10), '<br>')}</p>"
        if isinstance(block, TextBlock)
        else f'<img src="{html_module.escape(block.url)}">'
        for block in found.blocks
        if block.reason is None
    )


@given(SOUP.filter(lambda html: "<pre>" not in html))
def test_a_page_of_its_blocks_has_the_same_blocks(html: str) -> None:
    first = Extraction(tuple(walked(html)))
    again = walked(rewritten(first))
    assert shown(again) == [
        part.partition("|")[0].rstrip("]") + "]" if part.startswith("[/") else part for part in shown(first.blocks)
    ]


@given(st.binary(max_size=400), st.one_of(st.none(), st.text(max_size=30)))
@example(b"<base href='//'><img src=x>", "http://[")
@example(b"<img src=http://[::1 srcset='http://] 1x'><a href='http://['><img src=/a>", PAGE.url)
def test_no_bytes_raise(body: bytes, url: str | None) -> None:
    found = extract(body, url)
    assert found.status in ("ok", "empty")
    for block in found.blocks:
        (block.text if isinstance(block, TextBlock) else block.url).encode()


def test_with_explain_every_node_is_told_of():
    html = "<p>a <b>b</b><i></i></p><div><span> </span></div><hr><script>x</script><ul><li><img src=a.jpg></ul>"
    found = extract(html.encode(), "http://x.test/", explain=True)
    told = [(one.path.rpartition("/")[2], one.reason) for one in found.dropped if one.reason != "head"]
    assert told == [("i", "empty_element"), ("div", "empty_element"), ("hr", "empty_element"), ("script", "script")]
    assert not [one for one in extract(html.encode(), "http://x.test/").dropped if one.reason == "empty_element"]


@pytest.mark.parametrize("name", ["openstax", "sites"])
def test_on_real_pages_no_node_is_left_untold(name):
    pages = sorted((Path(__file__).parents[3] / "shared" / "data" / "web" / name).rglob("*.htm*"))[:5]
    if not pages:
        pytest.skip("the books are not beside the checkout")
    for path in pages:
        body = path.read_bytes()
        found = extract(body, f"http://book.test/{path.name}", explain=True)
        tree = parse(decode(body).text, blanks=False)
        inside = {block.node for block in found.blocks}
        for one in found.dropped:
            inside.update(range(one.node, tree.ends[one.node]))
        for node in range(len(tree) - 1, 0, -1):
            if node in inside or tree.tags[node] == "br":
                inside.add(tree.parents[node])
        blocks = {block.node for block in found.blocks}
        for node in range(1, len(tree)):
            if tree.parents[node] in blocks and tree.tags[node] == TEXT:
                inside.add(node)
        words = [
            tree.tags[n] for n in range(len(tree)) if n not in inside and tree.tags[n] in ("div", "p", "img", "hr")
        ]
        assert words == [], path.name
