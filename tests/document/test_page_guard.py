"""The guard: what is refused with which reason, what is let through, and that its reading of tags is the parser's."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from curate.document import guard
from curate.document.effort import Effort
from curate.document.guard import PageRefusedError, check_page
from curate.document.scan import read_tag, scan_tags
from curate.document.settings import DocumentSettings

SETTINGS = DocumentSettings()


def refusal(html: str, settings: DocumentSettings = SETTINGS) -> str | None:
    try:
        check_page(html.encode(), settings)
    except PageRefusedError as error:
        return error.status if error.detail else "no detail"
    return None


def effort(html: str) -> Effort:
    found = Effort()
    for tag in scan_tags(html.encode()):
        found.add(tag)
    return found


def numbered(pattern: str, count: int) -> str:
    return "".join(pattern.format(number) for number in range(count))


@pytest.mark.parametrize(
    ("html", "status"),
    [
        ("x" * 1_000, None),
        ("x" * 1_001, "too_large"),
        ("<p>" * 100, None),
        ("<p>" * 101, "too_many_nodes"),
        ("<3 " * 300, None),
    ],
)
def test_bounds_of_the_settings(html: str, status: str | None) -> None:
    assert refusal(html, DocumentSettings(max_page_bytes=1_000, max_nodes=100)) == status


@pytest.mark.parametrize(
    ("html", "status"),
    [
        # Nesting: 100,000 take the parser 49 s.
        ("<div>" * 100_000, "too_deep"),
        ("<DIV class='a b'>" * 100_000, "too_deep"),
        ("<ul><li>" * 50_000, "too_deep"),
        ("<div></x>" * 100_000, "too_deep"),
        ("<div><object></div>" * 50_000, "too_deep"),
        ("<table>" * 100_000, "too_deep"),
        ("<div>x</div>" * 100_000, None),
        ("<ul><li>x</ul>" * 50_000, None),
        ("<p>x" * 100_000, None),
        ("<table><tr><td>x<tr><td>y" * 2_000 + "</table>" * 2_000, None),
        # Formatting that is not closed: 10,000 take the parser 39 s and make 50 million nodes.
        (numbered("<p><font color={}>", 10_000), "too_tangled"),
        (numbered("<b x={}><p>", 10_000), "too_tangled"),
        (numbered("<i class={}>x", 20_000), "too_deep"),
        (numbered("<font x={}><object></font></object><p>", 10_000), "too_tangled"),
        ("<table>" + numbered("<font x={}><tr>", 10_000), "too_tangled"),
        ("<table>" + numbered("<tr><td><font x={}>x", 10_000), None),
        (numbered("<p><font color={}>x</font>", 10_000), None),
        ("<p><font color=red>" * 10_000, None),
        # Attributes: 350,000 in one tag take hours.
        ("<p " + numbered("a{} ", 50_000) + ">", "too_many_attributes"),
        ("<p " + numbered("a{}='>' ", 50_000) + ">" + "<p>" * 25_000, "too_many_attributes"),
        (numbered("<body a{}=1 b c d>", 26_000), "too_many_attributes"),
        (("<p " + numbered("a{} ", 2_000) + ">") * 400, "too_many_attributes"),
        ("<p " + numbered("a{} ", 5_000) + ">", None),
        ("<p a='" + "x y " * 100_000 + "'>", None),
        ("<p>" + "x y " * 100_000, None),
        ("<script>" + "if (a < b) c /= 'd'; " * 20_000 + "</script>", None),
        # Names: 200,000 take 20 s.
        (numbered("<x-{0}></x-{0}>", 60_000), "too_many_names"),
        (numbered("<p a{}>", 60_000), "too_many_names"),
        (numbered("<p id=a{}>", 60_000), None),
        # Nothing that harms.
        ("<!--" * 200_000, None),
        ("<" * 500_000, None),
        ("</p>" * 200_000, None),
        ("&amp;" * 500_000, None),
        ("\0" * 500_000, None),
    ],
)
def test_what_would_take_long_is_refused(html: str, status: str | None) -> None:
    assert refusal(html) == status


@pytest.mark.parametrize(
    ("tag", "name", "attributes", "rest"),
    [
        ("<p>x", b"p", [], "x"),
        ("<IMG SRC=a.jpg>x", b"img", [b"SRC"], "x"),
        ("<a href='>' b>x", b"a", [b"href", b"b"], "x"),
        ('<a href="a>b" title=">">x', b"a", [b"href", b"title"], "x"),
        ("<a href = '>'>x", b"a", [b"href"], "x"),
        ("<a href='a'b='c'>x", b"a", [b"href", b"b"], "x"),
        ("<a/b/c=1/>x", b"a", [b"b", b"c"], "x"),
        ('<a b=c" d=">x', b"a", [b"b", b"d"], ""),
        ('<a b=c"d>">x', b"a", [b"b"], '">x'),
        ('<a ="x>">y', b"a", [b"=", b'"x'], '">y'),
        ("<a b=>x", b"a", [b"b"], "x"),
        ("<a b='", b"a", [b"b"], ""),
        ("<a", b"a", [], ""),
        ("</div x='>'>y", b"div", [b"x"], "y"),
    ],
)
def test_a_tag_ends_where_the_standard_says(tag: str, name: bytes, attributes: list[bytes], rest: str) -> None:
    read = read_tag(tag.encode(), 0)
    assert (read.name, read.is_end) == (name, tag.startswith("</"))
    assert tag[read.end :] == rest
    assert [found for found in read.attributes if found.strip(b'"')] == attributes or tag.startswith('<a ="')


PIECES = st.lists(
    st.sampled_from(
        ["<div>", "<b", "<i>", "</b>", "<div ", " a=", "='", '="', "'", '"', ">", "/>", " x", "=", "/", "t", "<!--",
         "-->", "--!>", "<!x", "<?", "</", "<", "<script>", "</script>", "<textarea>", "</textarea>", "<style>",
         "</STYLE >", "\n"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@given(PIECES)
@example("<!--><div>")
@example("<!---><div>")
@example("<!-- --!><div>")
@example("<!-- --><div> --!><div>")
@example("<script><div></scripts></SCRIPT ><div>")
@example("<textarea><div></textarea><div>")
@example("<svg><style><div></style></svg>")
@example("<!x <div>><?x <div>></ <div>><div>")
def test_tags_are_those_that_the_parser_sees(html: str) -> None:
    """Each `div` of the tree is a start tag that was read; one that has no end gives no element."""
    seen = sum(1 for node in LexborHTMLParser(html).root.traverse() if node.tag == "div")
    read = [tag for tag in scan_tags(html.encode()) if tag.end <= len(html)]
    assert seen == sum(1 for tag in read if tag.name == b"div" and not tag.is_end)


@pytest.mark.parametrize(
    ("html", "depth"),
    [
        ("<div><span>", 2),
        ("<div><span></div>", 0),
        ("<p><p><li><td><br><img>", 0),
        ("<div><table></div>", 2),
        ("<div><table><tr><td><b></table></div>", 0),
        ("<svg><path d=''/><g></svg>", 0),
        ("<object><table></object>", 2),
        ("</div></table></b>", 0),
    ],
)
def test_open_elements_are_counted(html: str, depth: int) -> None:
    assert effort(html).depth == depth


@pytest.mark.parametrize(
    ("html", "reopened"),
    [
        ("<b><div><div>", 2),
        ("<b></b><div>", 0),
        ("<b><b><b><b><b><div>", 3),
        ("<b a><b b><b c><b d><div>", 4),
        ("<b><object><div>", 2 - 1),
        ("<b><object></b></object><div>", 1 + 1),
        ("<b><table><tr><td><div>", 1 + 1 + 1 + 0),
    ],
)
def test_formatting_that_goes_on_is_counted(html: str, reopened: int) -> None:
    assert effort(html).reopened == reopened


def test_the_first_step_bounds_formatting_by_its_tags() -> None:
    html = b"<b><b x><B\ty><big/><bold x><font a=1></b><i"
    starts, tags = guard._places(html)
    assert (len(starts), tags) == (7, 8)
    assert guard._formatting_with_attributes(html, starts) == 5


def test_the_first_step_bounds_attributes_by_their_separators() -> None:
    html = b"<a b c='d' e/f> x y z <p> u"
    starts, _ = guard._places(html)
    ends = guard._ends(html, starts)
    assert html[ends[0] : ends[0] + 1] == b">"
    assert guard._attributes(html, starts, ends).tolist() >= [4, 0]
    assert guard._are_few(np.array([1_000] * 50))
    assert not guard._are_few(np.array([1_000] * 51))


@given(st.binary(max_size=300))
def test_no_bytes_raise(html: bytes) -> None:
    check_page(html, SETTINGS)
    for tag in scan_tags(html):
        assert tag.end <= len(html) + 1
