"""The flat tree: the shape of the parser's, whatever the page; bounds; what is a node and what is not."""

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser, LexborNode

from curate.document.guard import PageRefusedError
from curate.document.parse import parse
from curate.document.settings import DocumentSettings
from curate.document.tree import TEXT, Tree


def drawn(tree: Tree, number: int = 0) -> str:
    """The tree below a node: `p(a,b(c))`, with texts in quotes. Recursive, for small pages."""
    if tree.tags[number] == TEXT:
        return repr(tree.texts[number])
    inside = []
    child = number + 1
    while child < tree.ends[number]:
        inside.append(drawn(tree, child))
        child = tree.ends[child]
    return tree.tags[number] + (f"({','.join(inside)})" if inside else "")


def body(html: str) -> str:
    tree = parse(html)
    return drawn(tree, tree.tags.index("body"))


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", "body"),
        ("a", "body('a')"),
        ("<p>a<p>b", "body(p('a'),p('b'))"),
        ("<p>a<b>b</b>c<br>d", "body(p('a',b('b'),'c',br,'d'))"),
        ("<p>a<!-- b -->c<?php d ?>e<![CDATA[f]]>", "body(p('a','c','e'))"),
        ("<p>a&amp;&nbsp;&euml;&#0;&#xD800;", "body(p('a&\\xa0ë��'))"),
        ("<p>a\0b", "body(p('ab'))"),
        ("<P CLASS=x>a", "body(p('a'))"),
        # A noscript is read as without scripts, the other raw texts are texts.
        ("<p><noscript><img src=x>a</noscript>b", "body(p(noscript(img,'a'),'b'))"),
        ("<p><textarea><i></textarea><iframe><p></iframe>", "body(p(textarea('<i>'),iframe('<p>')))"),
        ("<p><xmp><b></xmp>", "body(p,xmp('<b>'))"),
        ("<p><script>'<p>'</script><style>p>a</style>", "body(p(script(\"'<p>'\"),style('p>a')))"),
        ("<p><template><img src=x></template>", "body(p(template))"),
        # Foreign elements in lower case.
        ("<svg><foreignObject><p>a</p></foreignObject></svg>", "body(svg(foreignobject(p('a'))))"),
        ("<svg><linearGradient/></svg>", "body(svg(lineargradient))"),
        ("<x-y><amp-img src=a></amp-img>", "body(x-y(amp-img))"),
        # What stands in tables where it must not, goes before them; what is not closed, is.
        ("<table><tr><td>a<b>b</table>c", "body(table(tbody(tr(td('a',b('b'))))),'c')"),
        ("<table>x<tr><td>a", "body('x',table(tbody(tr(td('a')))))"),
        ("<b><p>a</b>b", "body(b,p(b('a'),'b'))"),
        ("<p>a<img src=1>b<image src=2>", "body(p('a',img,'b',img))"),
    ],
)  # fmt: skip
def test_shapes(html: str, expected: str) -> None:
    assert body(html) == expected


def test_frames_are_nodes_and_comments_around_the_page_are_none() -> None:
    assert drawn(parse("<!-- a --><!doctype html><html><frameset><frame src=a></frameset>")) == (
        "html(head,frameset(frame))"
    )
    assert drawn(parse("<!-- a --><html><!-- b --><p>c</html><!-- d -->")) == "html(head,body(p('c')))"


def test_attributes() -> None:
    tree = parse("<img SRC='a&amp;b' alt data-X=1 src=c><p>a")
    image, paragraph = tree.tags.index("img"), tree.tags.index("p")
    assert dict(tree.attributes[image]) == {"src": "a&b", "alt": None, "data-x": "1"}
    assert not tree.attributes[paragraph]
    assert not tree.attributes[paragraph + 1]


@pytest.mark.parametrize("page", [b"a\xff\xfe<p>\xe4", "a\ud800<p>", b"<p>\0\0\0", b"\xef\xbb\xbf<p>a"])
def test_bytes_and_lone_surrogates(page: bytes | str) -> None:
    tree = parse(page)
    assert tree.tags.count("p") == 1
    "".join(tree.texts).encode()


def nested(depth: int) -> str:
    return "<div>" * depth


@pytest.mark.parametrize(
    ("html", "status"),
    [
        (nested(48), None),
        (nested(49), "too_deep"),
        ("<p>a</p>" * 98, None),
        ("<p>a</p>" * 99, "too_many_nodes"),
        ("<p>a</p>" * 100, "too_many_nodes"),
        ("<p>a</p>" * 101, "too_many_nodes"),
    ],
)
def test_bounds(html: str, status: str | None) -> None:
    """html and body count, too; head, beside body, is not around anything."""
    settings = DocumentSettings(max_depth=49, max_nodes=199)
    if status is None:
        parse(html, settings)
        return
    with pytest.raises(PageRefusedError) as refused:
        parse(html, settings)
    assert refused.value.status == status


SOUP = st.lists(
    st.sampled_from(
        ["<p>", "<div class=a>", "</div>", "<b>", "</b>", "<table>", "<tr>", "<td>", "</table>", "<ul>", "<li>",
         "</ul>", "<!-- x -->",
         "<svg>", "</svg>", "<noscript>", "</noscript>", "<select>", "<option>", "<template>", "a ",
         "<frameset>", "</body>", "</html>", "<head>", "<title>", "</title>", "<script>", "</script>", "<br>", "<math>",
         "<img src=x>", "<a href=y>", "</a>", "<button>", "<?x ?>", "</p>"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


def numbered(root: LexborNode) -> list[tuple[str, str]]:
    """Names and texts of the parser's own walk."""
    return [
        (TEXT, node.text_content or "") if node.is_text_node else (str(node.tag).lower(), "")
        for node in root.traverse(include_text=True)
        if node.is_text_node or node.is_element_node
    ]


@given(SOUP)
@example("<!-- x -->")
@example("<frameset></frameset>a")
def test_the_lists_say_what_the_parser_says(html: str) -> None:
    tree = parse(html)
    root = LexborHTMLParser(html, options=1).css_first("html")
    assert root is not None
    assert list(zip(tree.tags, tree.texts, strict=True)) == numbered(root)
    assert len(tree.parents) == len(tree.ends) == len(tree.attributes) == len(tree)
    assert (tree.parents[0], tree.ends[0]) == (-1, len(tree))
    for number in range(1, len(tree)):
        parent = tree.parents[number]
        assert parent < number < tree.ends[number] <= tree.ends[parent]
        assert tree.tags[parent] != TEXT
        assert tree.parents[number] == number - 1 or tree.ends[number - 1] == number


@given(st.binary(max_size=200))
def test_no_bytes_raise(page: bytes) -> None:
    assert len(parse(page)) >= 1


def test_nothing_of_the_parser_is_kept() -> None:
    """A tree holds lists and strings: pages do not pile up."""
    html = "<p>" + "<b>a</b>" * 1_000
    parse(html)
    tracemalloc.start()
    for _ in range(20):
        parse(html)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 500_000


@pytest.mark.parametrize(
    ("html", "texts"),
    [
        ("<div>\n <p>a</p>\n <p>b</p>\n</div>", ["a", "b"]),
        ("<p><b>a</b> <i>b</i></p>", ["a", " ", "b"]),
        ("<p>\n<b>a</b></p>", ["a"]),
        ("<p>a<br> <b>b</b></p>", ["a", "b"]),
        ("<p><img> <b>b</b></p>", [" ", "b"]),
        ("<pre>\n <b>a</b>\n</pre>", [" ", "a", "\n"]),
        ("<p>a</p><pre>x</pre> <p>b</p>", ["a", "x", "b"]),
    ],
)
def test_without_blanks_white_space_that_nobody_sees_is_no_node(html, texts):
    tree = parse(f"<body>{html}</body>", blanks=False)
    assert [text for tag, text in zip(tree.tags, tree.texts, strict=True) if tag == TEXT] == texts
    whole = parse(f"<body>{html}</body>")
    assert len(whole) >= len(tree)
    assert [tag for tag in whole.tags if tag != TEXT] == [tag for tag in tree.tags if tag != TEXT]
