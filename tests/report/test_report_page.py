"""The report in a real browser: sliders that answer, galleries that open, hostile words that stay words."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import open_browser, open_page
from page_facts import HOSTILE, Numbers, draws, facts, hostile

from curate.report.page.report import render

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "report.html"
    target.write_bytes(render(facts()).encode())
    return target


@pytest.fixture(scope="module")
def hostile_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "hostile.html"
    target.write_bytes(render(hostile()).encode())
    return target


def _bounds(box: Any) -> tuple[float, float]:
    """What the page says is to be written into the config."""
    return _ends(box.locator("pre").inner_text())


def _ends(written: str) -> tuple[float, float]:
    (table,) = tomllib.loads(written)["filters"].values()
    ends = {name.partition("_")[0]: value for name, value in table.items()}
    return ends.get("min", float("-inf")), ends.get("max", float("inf"))


def _answer(box: Any) -> int:
    return _number(box.locator(".answer").inner_text())


def _number(told: str) -> int:
    return int(told.split(" of ")[0].replace(",", ""))


SEEN = """(box, bound) => {
    const slider = box.querySelector(`input[data-bound=${bound}]`);
    const told = [".answer", "pre"].map(name => box.querySelector(name).innerText);
    return [...told, slider.getAttribute("aria-valuetext"), slider.parentElement.querySelector("output").innerText];
}"""
"""What a move of a slider changes, asked at once."""


def test_the_count_follows_a_slider(browser: Any, page_file: Path) -> None:
    with open_page(browser, page_file, viewport=WIDE) as page:
        for name, bound in (("similarity", "min"), ("words", "min"), ("words", "max"), ("variance", "max")):
            place = list(draws()).index(name) + 1
            _move(page, page.locator(f"#unit1-h{place}-box"), bound, draws()[name])


def _move(page: Any, box: Any, bound: str, numbers: Numbers) -> None:
    """By keys and by the mouse: the count is that of the rows within what the page says to write."""
    slider, line = box.locator(f"input[data-bound={bound}]"), box.locator(f".now.{bound}")
    now, where = _answer(box), line.get_attribute("x1")
    assert now == numbers.stay(*_bounds(box))
    assert "stay with the bounds as they are" in box.locator(".answer").inner_text()
    slider.focus()
    seen = set()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft", "PageUp", "Home", "End"):
        page.keyboard.press(key)
        answer, written, value, output = box.evaluate(SEEN, bound)
        seen.add(_number(answer))
        assert _number(answer) == numbers.stay(*_ends(written)), key
        assert value == output
    assert len(seen) > 3
    assert line.get_attribute("x1") != where
    assert "no bound" in box.inner_text() or bound == "min"
    area = slider.bounding_box()
    page.mouse.click(area["x"] + area["width"] * 0.4, area["y"] + area["height"] / 2)
    told = box.locator(".answer").inner_text()
    assert _answer(box) == numbers.stay(*_bounds(box))
    assert re.fullmatch(rf"[\d,]+ of 907 would stay; now {now}( \([+−]\d+\))?", told)
    box.get_by_role("button").click()
    assert _answer(box) == now
    assert box.get_by_role("button").is_disabled()
    assert line.get_attribute("x1") == where


def test_without_a_script_all_is_shown_but_the_sliders(browser: Any, page_file: Path) -> None:
    with open_page(browser, page_file, viewport=WIDE, java_script_enabled=False) as page:
        assert not page.locator(".sliders").first.is_visible()
        assert page.locator("#unit1-h1-box svg").is_visible()
        assert page.locator("#unit1-h1-box .answer").inner_text().endswith("of 907 stay with the bounds as they are")
        tile = page.locator("details.tile").first
        tile.locator("summary").click()
        assert tile.get_by_text("Against it").is_visible()


def test_galleries_show_and_open_by_keyboard(browser: Any, page_file: Path) -> None:
    with open_page(browser, page_file, viewport=WIDE) as page:
        widths = page.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
        assert len(widths) > 8
        assert min(widths) > 0
        assert all(page.eval_on_selector_all("img", "all => all.map(one => one.alt)"))
        tile = page.locator("details.tile").nth(1)
        small = tile.bounding_box()["width"]
        tile.locator("summary").focus()
        page.keyboard.press("Enter")
        assert tile.get_by_text("00000001", exact=True).is_visible()
        assert tile.bounding_box()["width"] > 2 * small
        link = tile.get_by_role("link")
        assert link.get_attribute("href") == "https://example.org/1.jpg"
        assert {"noreferrer", "noopener"} <= set(link.get_attribute("rel").split())
        page.keyboard.press("Enter")
        assert not link.is_visible()


def test_nothing_is_asked_of_the_network(browser: Any, hostile_file: Path) -> None:
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(hostile_file.as_uri())
    context.close()
    assert [url for url in asked if not url.startswith("data:image/")] == [hostile_file.as_uri()]


def test_the_policy_refuses_what_slips_in(browser: Any, page_file: Path) -> None:
    """A script, a picture and a style that somebody put into the page do nothing."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.hacked = 1";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", '<i id=i style="color: red" onclick="window.hacked = 1">x</i>');
        document.getElementById("i").click();
    }""")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("getComputedStyle(document.getElementById('i')).color") != "rgb(255, 0, 0)"
    context.close()


def test_hostile_words_are_words(browser: Any, hostile_file: Path) -> None:
    with open_page(browser, hostile_file, viewport=WIDE) as page:
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.scripts.length") == 2
        assert page.get_by_text("bold", exact=True).count() == 0
        assert page.locator("h1").inner_text() == HOSTILE[1]
        assert page.title() == HOSTILE[1]
        links = page.eval_on_selector_all("a", "all => all.map(one => one.getAttribute('href'))")
        assert links
        assert all(href.startswith("#") for href in links)
        text = page.evaluate("document.documentElement.outerHTML")
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b\x7f\ud800-\udfff]", text)
        assert "{{ 7 * 7 }}" in text
        assert "x" * 300 in text
        assert max(map(len, re.findall("x{301,}", text)), default=0) <= 12_000, "a document's text may be longer"
        assert "(100,000 letters)" in text
        box = page.locator("#unit1-h2-box")
        box.locator("input").first.focus()
        page.keyboard.press("ArrowRight")
        assert HOSTILE[1] in box.locator("pre").inner_text()
        assert "would stay" in box.locator(".answer").inner_text()


def test_no_page_scrolls_sideways(browser: Any, page_file: Path, hostile_file: Path) -> None:
    for file in (page_file, hostile_file):
        with open_page(browser, file, viewport=PHONE) as page:
            page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
            for size in (PHONE, WIDE):
                page.set_viewport_size(size)
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], (file.name, size)
                if file == page_file:  # the words of reasons are read without scrolling their table
                    cut = ".scroll:has(.tight)", "all => all.map(one => one.scrollWidth - one.clientWidth)"
                    assert page.eval_on_selector_all(*cut) == [0]


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (colour) => {
        const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = colour.map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = rgba(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return rgba(getComputedStyle(document.body).backgroundColor);
    };
    const found = {};
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
        const style = getComputedStyle(element);
        const colours = [rgba(element.tagName === "text" ? style.fill : style.color), ground(element)];
        const [high, low] = colours.map(light).sort((a, b) => b - a);
        const ratio = (high + 0.05) / (low + 0.05);
        const name = element.tagName + "." + (element.getAttribute("class") || "");
        found[name] = Math.min(found[name] || 99, ratio);
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_in_both_schemes(browser: Any, page_file: Path, scheme: str) -> None:
    with open_page(browser, page_file, viewport=WIDE, color_scheme=scheme) as page:
        found = page.evaluate(CONTRAST)
        assert len(found) > 25
        assert "text.f-ink" in found
        assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
        colours = "one => getComputedStyle(one).fill"
        dark = page.eval_on_selector(".f-kept", colours) == "rgb(94, 202, 189)"
        assert dark == (scheme == "dark")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_page_can_be_read_by_who_does_not_see_it(browser: Any, page_file: Path) -> None:
    with open_page(browser, page_file, viewport=WIDE) as page:
        levels = [
            int(name[1])
            for name in page.eval_on_selector_all("h1, h2, h3, h4, h5, h6", "all => all.map(one => one.tagName)")
        ]
        assert levels.count(1) == 1
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
        assert len(ids) == len(set(ids))
        targets = page.eval_on_selector_all("a[href^='#']", "all => all.map(one => one.getAttribute('href').slice(1))")
        assert set(targets) <= set(ids)
        assert len(set(targets)) > 10
        assert page.locator("th:not([scope])").count() == 0
        assert page.locator("table:not(:has(caption))").count() == 0
        names = page.eval_on_selector_all("svg[role=img]", "all => all.map(one => one.getAttribute('aria-label'))")
        assert any(name.startswith("Histogram of clip_similarity: 900 samples from") for name in names)
        assert all(names)
        assert all(page.eval_on_selector_all("input", "all => all.map(one => one.getAttribute('aria-label'))"))
        assert page.locator("html[lang=en]").count() == 1
        assert page.locator("main").count() == 1


def test_the_contents_follow_the_page_and_fold_on_a_phone(browser: Any, page_file: Path) -> None:
    with open_page(browser, page_file, viewport=PHONE, reduced_motion="reduce") as page:
        assert not page.locator(".toc.wide").is_visible()
        contents = page.locator("details.toc")
        contents.locator("summary").click()
        contents.get_by_role("link", name="Histograms").click()
        assert page.evaluate("location.hash") == "#unit1-histograms"
        assert contents.get_attribute("open") is None
    with open_page(browser, page_file, viewport=WIDE, reduced_motion="reduce") as page:
        assert page.locator(".toc.wide").is_visible()
        assert not page.locator("details.toc").is_visible()
        page.locator(".toc.wide a[href='#downloads']").click()
        page.locator(".toc.wide a[href='#downloads'][aria-current]").wait_for()
