"""Pages made to do harm: each ends in bounded time and memory, with its blocks or with a reason, and harms no other.

Time is bounded by a clock of this test's own that is generous (10 s where 1 s is meant on a slow machine, and minutes
or hours is what many of these pages take a parser without a guard), so that no test hangs on what it finds. It counts
what this process works, not what else the machine does.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from curate.document.extract import extract
from curate.document.extraction import Extraction
from curate.document.settings import DocumentSettings

MOST_S = 10
MOST_BYTES = 1_500_000_000
URL = "https://ex.com/a/b.html"
REFUSED = ("too_large", "too_deep", "too_many_nodes", "too_many_attributes", "too_many_names", "too_tangled")
NESTED = (
    "div", "span", "p", "a", "b", "font", "nobr", "table", "ul", "li", "dl", "dd", "select", "option", "optgroup",
    "button", "form", "label", "object", "template", "svg", "math", "noscript", "ruby", "rt", "h1", "pre", "figure",
    "picture", "iframe", "textarea", "title", "script", "frameset", "frame", "body", "html", "head", "td", "tr", "col",
    "img", "br", "hr", "x-y", "plaintext", "video", "nav",
)  # fmt: skip
"""One of those that the standard's parser treats alike, or our regions."""


def memory_bytes(what: str) -> int:
    """`VmRSS`, what this process holds now, or `VmHWM`, the most that it held."""
    found = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(found.split()[1]) << 10


@pytest.fixture(scope="module", autouse=True)
def before_bytes() -> int:
    """What the process holds before these pages; the most that it held is counted from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory_bytes("VmRSS")


@contextmanager
def in_time() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done in {MOST_S} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def read(page: str | bytes, content_type: str | None = None) -> Extraction:
    with in_time():
        found = extract(page.encode() if isinstance(page, str) else page, URL, content_type)
    assert found.status in ("ok", "empty", *REFUSED)
    assert (found.status == "ok") or (found.detail and not found.blocks)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tag", NESTED)
def test_fifty_thousand_nested_tags(tag: str) -> None:
    read(f"<{tag}>" * 50_000)
    read(f"<p>x</p><{tag} class='a b'>t" * 8_000)  # tags few enough for the first step of the guard


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    [
        "<b><p>", "<b><i></b></i>", "<a><div>", "<table><tr><td>", "<table><div>", "<table>x", "<b><table>", "<ul><li>",
        "<p><b>", "<svg><foreignObject>", "<math><mi>", "<ruby><rt>", "<select><option>", "<button><p>", "<object><p>",
        "<dl><dd><dt>", "<div></span>", "<span></i>", "<div></p>", "<picture><source srcset='a 1x'><img>", "<h1><h2>",
        "<figure><figcaption>x", "<noscript><img src=x>", "<template><div>", "<form><input>", "<a href=x><img src=y>",
        "<br class=x>", "<!--x--!>", "<img srcset=','>", "<tr><td><table>", "<nav><ul>", "<div hidden>", "</br>",
    ],
)  # fmt: skip
def test_fifty_thousand_in_pairs(pattern: str) -> None:
    read(pattern * 25_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "pattern"),
    [(60_000, pattern) for pattern in (
        "<font color={0}><p>", "<b x={0}>y", "<p><i class={0}>", "<x-{0}>", "<x-{0}></x-{0}>", "<p a{0}>",
        "<body a{0}>", "<html a{0}=1>", "<table><font x={0}>",
    )] + [(30_000, pattern) for pattern in (
        "<p id=a{0}>", "<div class=c{0}>", "<img src=/{0}.jpg>", "<a href=/{0}>x</a>", "<h2>{0}</h2>",
        "<base href=/{0}>", "<meta property=og:title content={0}>", "<link href={0} rel=canonical>", "<a title={0}>",
    )],
)  # fmt: skip
def test_many_that_differ(count: int, pattern: str) -> None:
    """The first ones are refused for that, which takes more than 50,000."""
    read("".join(pattern.format(number) for number in range(count)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        lambda: "<div " + " ".join(f"a{number}=1" for number in range(300_000)) + ">x",
        lambda: "<div " + "a=1 " * 1_000_000 + ">x",
        lambda: "<div class='" + "c " * 1_000_000 + "'>x",
        lambda: "<div style='" + "width:1px;" * 500_000 + "'><img src=/a.jpg style='" + "width:1px;" * 500_000 + "'>",
        lambda: "<div id='" + "x" * 5_000_000 + "'>x",
        lambda: "<img src='/" + "x" * 5_000_000 + "'>",
        lambda: "<img srcset='" + "/a.jpg 1x, " * 500_000 + "'>",
        lambda: "<img srcset='" + ", " * 2_000_000 + "'>",
        lambda: "<img srcset='a " + "(" * 2_000_000 + "'>",
        lambda: "<img " + " ".join(f"data-{number}='/{number}.jpg'" for number in range(5_000)) + ">",
        lambda: "<img alt='" + "a " * 2_000_000 + "' src=/a.jpg>",
        lambda: "<picture>" + "<source srcset=/a.jpg>" * 20_000 + "<img src=/a.jpg>" * 20_000 + "</picture>",
        lambda: "<a href='" + "../" * 1_000_000 + "'><img src='" + "../" * 2_000 + "a.jpg'></a>",
        lambda: "<title>" + "x " * 2_000_000,
        lambda: "<p>" + "x " * 4_000_000,
        lambda: "<p>" + "\u0301" * 2_000_000,
        lambda: "<p>" + "<br>" * 200_000,
        lambda: "<pre>" + "x\n" * 2_000_000,
        lambda: "<p>" + "&amp;" * 1_500_000,
        lambda: "<p>" + "&CounterClockwiseContourIntegral;" * 250_000,
        lambda: "<!--" * 2_000_000,
        lambda: "<!-- x -->" * 900_000,
        lambda: "<!--" + "-" * 9_000_000,
        lambda: "<!-- " + "<p>x</p>" * 500_000,
        lambda: "<script>" + "<!--<script>" * 500_000,
        lambda: "<![CDATA[" * 900_000,
        lambda: "<svg><![CDATA[" * 500_000,
        lambda: "<" * 4_500_000,
        lambda: "<p" * 2_000_000,
        lambda: "</" * 4_000_000,
        lambda: "<?" * 4_000_000,
        lambda: "&" * 9_000_000,
        lambda: "\0" * 9_000_000,
        lambda: "<p>\0</p>" * 45_000,
        lambda: "<div>" * 1_900 + "<div>x</div>" * 45_000,
        lambda: "<div>" * 1_900 + "<p>x<b>y</b></p>" * 20_000,
        lambda: "<figure>" * 1_900 + "<img src=/a.jpg><figcaption>x</figcaption>" * 10_000,
        lambda: "<ul>" * 1_900 + "<li>x" * 10_000,
        lambda: "<table>" * 1_900 + "<tr><td>x" * 10_000,
        lambda: "<table>" + "<tr><td>x" * 45_000,
        lambda: "<div class=comment>x</div>" * 35_000,
    ],
    ids=range(41),
)
def test_bombs(page: Callable[[], str]) -> None:
    """Made when they are read: together they are 190 MB, in every process that collects tests."""
    read(page())


@pytest.mark.parametrize("page", [b"<p>x</p>", b"\0", b"<div>", b"\xff", b"<!--", b"a " * 4])
def test_fifty_megabytes(page: bytes) -> None:
    found = read(page * (50_000_000 // len(page)))
    assert found.status == "too_large"
    assert "50" in found.detail


@pytest.mark.parametrize("charset", ["utf-8", "gb18030", "big5", "shift_jis", "euc-kr", "iso-2022-jp", "utf-16", None])
@pytest.mark.parametrize("byte", [b"\x1b$B", b"\x80", b"\xe4\xb8", b"\0\xd8", b"\x81\x30"])
def test_ten_megabytes_of_wrong_bytes(byte: bytes, charset: str | None) -> None:
    read(byte * (9_999_999 // len(byte)), charset and f"text/html; charset={charset}")


def test_a_bound_of_the_settings_may_be_wider() -> None:
    page = b"<p>" + b"x " * 6_000_000
    assert extract(page, URL).status == "too_large"
    assert extract(page, URL, settings=DocumentSettings(max_page_bytes=20_000_000)).status == "ok"


def test_unclosed_things_end_with_the_page() -> None:
    assert [block.text for block in read("<p>a<!-- b").blocks] == ["a"]
    assert [block.text for block in read("<p>a<script>b").blocks] == ["a"]
    assert [block.text for block in read("<p>a<b title='b").blocks] == ["a"]


def test_memory_stays_bounded(before_bytes: int) -> None:
    """Over all the pages of this module, beside what the process held before."""
    assert memory_bytes("VmHWM") - before_bytes < MOST_BYTES
