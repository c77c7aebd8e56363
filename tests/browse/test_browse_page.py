"""`curate browse` as a user meets it: the command, and its pages in a real browser."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import browse_sets as sets
import pytest
from browse_sets import Site
from browser import open_browser, open_page
from document_sets import Page, Slot, Words, jpeg, put_pages

from curate.cli import main
from curate.storage import Storage

CURATE = Path(sys.executable).parent / "curate"
PHONE = {"width": 390, "height": 844}


def _takes_interrupts() -> None:
    """A shell's background job, and all that it starts, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def browsing(*arguments: object) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`curate browse` and the address that it printed."""
    command = [str(CURATE), "browse", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=_takes_interrupts, **pipes) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            assert line, process.communicate()[1]
            yield json.loads(line)["url"], process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browse") / "pairs"
    sets.put_pairs(folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def url(folder: Path, browser: Any) -> Iterator[str]:
    before = sets.digest_of(folder)
    site = Site(folder)
    yield site.server.url
    site.close()
    assert sets.digest_of(folder) == before
    assert not site.told


@contextmanager
def walk(browser: Any, url: str, **context: Any) -> Iterator[Any]:
    """A page that goes on before all its pictures have come, so that requests which are given up are no errors; what
    the console says is."""
    errors: list[str] = []
    opened = browser.new_context(**context)
    try:
        page = opened.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        yield page
        assert not errors, errors
    finally:
        opened.close()


def follow(page: Any, link: Any) -> None:
    """Click and wait for what it leads to."""
    with page.expect_navigation(wait_until="domcontentloaded"):
        link.click()


def shown(page: Any) -> list[str]:
    """The keys of the rows on a page, in its order."""
    return [text.strip() for text in page.locator(".br-key").all_inner_texts()]


def width(picture: Any) -> int:
    """Of a picture, once it has come; an error for one that cannot be shown."""
    picture.scroll_into_view_if_needed()
    found: int = picture.evaluate("async image => { await image.decode(); return image.naturalWidth }")
    return found


def low() -> list[str]:
    places = ((shard, row) for shard in range(sets.SHARDS) for row in range(sets.ROWS))
    return [sets.key_of(*place) for place in places if sets.similarity_of(*place) < 0.2]


def test_a_typed_condition_filters(browser: Any, url: str) -> None:
    with walk(browser, url) as page:
        follow(page, page.get_by_role("link", name="Samples", exact=True))
        page.get_by_label("Condition").fill("clip_similarity < 0.2")
        follow(page, page.get_by_role("button", name="Show"))
        assert shown(page) == low()
        assert page.get_by_role("status").inner_text().startswith(f"{len(low())} samples")
        assert page.get_by_label("Condition").input_value() == "clip_similarity < 0.2"
        page.get_by_label("Condition").fill("clip_similarity < 0.2 and key >= '00001'")
        with page.expect_navigation():
            page.get_by_label("Condition").press("Enter")
        assert shown(page) == [key for key in low() if key >= "00001"]


def test_a_condition_that_cannot_be_is_told_and_kept(browser: Any, url: str) -> None:
    with walk(browser, url + "samples") as page:
        page.get_by_label("Condition").fill('"; drop <b>')
        follow(page, page.get_by_role("button", name="Show"))
        assert page.get_by_role("alert").is_visible()
        assert page.get_by_label("Condition").input_value() == '"; drop <b>'
        assert shown(page) == []
        follow(page, page.get_by_role("link", name="not keep"))
        assert len(shown(page)) == len(low())


def test_pages_follow_one_another_and_come_back(browser: Any, url: str) -> None:
    with walk(browser, url + "samples?size=24&by=key&down=1") as page:
        first, found = shown(page), []
        assert page.get_by_role("link", name="Previous").count() == 0
        while True:
            found += shown(page)
            following = page.get_by_role("link", name="Next")
            if not following.count():
                break
            follow(page, following)
        assert len(found) == sets.SHARDS * sets.ROWS - 1
        assert found == sorted(found, reverse=True)
        page.go_back(wait_until="domcontentloaded")
        follow(page, page.get_by_role("link", name="Previous"))
        page.goto(page.url)
        assert shown(page) == found[24:48]
        assert first == found[:24]


def test_a_row_opens_with_its_picture_history_and_copies(browser: Any, url: str) -> None:
    key = sets.key_of(1, 21)
    with walk(browser, f"{url}samples?where=key+%3D+%27{key}%27") as page:
        follow(page, page.locator(".br-card a"))
        assert width(page.locator("figure img")) == 112
        steps = [text.split()[0] for text in page.locator(".br-history h3").all_inner_texts()]
        assert steps[:3] == ["pairs", "scores", "select"]
        assert page.locator(".br-copies .br-card").count() == 2
        for copy in page.locator(".br-copies img").all():
            assert width(copy) == 112
        follow(page, page.locator(".br-copies a").first)
        assert sets.key_of(0, 21) in page.get_by_role("heading", level=1).inner_text()
        assert "similarity" in page.locator(".br-columns").first.inner_text() + page.inner_text("main")


def test_nothing_that_strangers_wrote_runs_or_leaves_the_page(browser: Any, url: str) -> None:
    places = ["", "samples?size=24", *(f"sample/00000/{sets.key_of(0, row)}" for row in range(len(sets.HOSTILE)))]
    outside: list[str] = []
    with walk(browser, "about:blank") as page:
        page.on("request", lambda request: outside.append(request.url))
        for place in places:
            page.goto(url + place)
            assert page.title() != "owned"
            assert page.locator("h1").count() == 1
            assert page.locator("a[href^='javascript']").count() == 0
    assert outside
    assert [one for one in outside if not one.startswith((url, "data:"))] == []


def test_withheld_pictures_do_not_show_and_broken_ones_say_so(browser: Any, url: str) -> None:
    with open_page(browser, url + "samples?size=24") as page:
        unsafe = page.locator(".br-card", has_text=sets.key_of(0, sets.UNSAFE))
        assert unsafe.locator("img").count() == 0
        assert "withheld: not_safe_for_work" in unsafe.inner_text()
        assert "1 picture here withheld" in page.get_by_role("status").inner_text()
        assert page.get_by_text(sets.key_of(0, sets.HIDDEN)).count() == 0
        assert width(page.locator(".br-card", has_text=sets.key_of(0, sets.BROKEN)).locator("img")) == 160


def test_a_phone_need_not_scroll_sideways(browser: Any, url: str) -> None:
    places = ["", "samples", "samples?where=x", f"sample/00000/{sets.key_of(0, 4)}", "selection?where=keep", "nothing"]
    opened = browser.new_context(viewport=PHONE)
    page = opened.new_page()
    for place in places:
        page.goto(url + place)
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], place
    opened.close()


def test_a_document_shows_what_was_kept_and_what_was_not(browser: Any, tmp_path: Path) -> None:
    parts = [Words("a story"), Slot("http://i/a.jpg", jpeg(1, side=48)), Words("an advertisement", keep=False)]
    put_pages(Storage(str(tmp_path / "pages")), "00000", [Page(parts)])
    with (
        closing(Site(tmp_path / "pages")) as site,
        walk(browser, site.server.url + "samples", viewport=PHONE) as page,
    ):
        follow(page, page.locator(".br-card a"))
        assert "advertisement" not in page.locator(".br-reader").inner_text()
        follow(page, page.get_by_role("link", name="Show dropped parts too"))
        reader = page.locator(".br-reader")
        assert re.search("a story.*an advertisement", reader.inner_text(), re.DOTALL)
        assert reader.locator(".dropped").count() == 1
        assert width(reader.locator("img")) == 48
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_token_opens_every_page(browser: Any, folder: Path) -> None:
    with closing(Site(folder, ask_token=True)) as site, walk(browser, site.server.url) as page:
        page.wait_for_url(re.compile(r"/$"))
        follow(page, page.get_by_role("link", name="Samples", exact=True))
        assert len(shown(page)) == 60
        assert page.evaluate("document.cookie") == ""
        assert width(page.locator(".br-card img").first) == 112


def test_it_tells_where_it_is_and_ends_at_once(folder: Path) -> None:
    with browsing(folder, "--timeout", "2", "--memory", "64MiB") as (url, process):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        assert process.poll() is None
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "holds no data set"),
        (["."], "holds no data set"),
        ([".", "--memory", "lots"], "--memory"),
        ([".", "--memory", "1KiB"], "--memory"),
        ([".", "--memory", "2000TiB"], "--memory"),
        ([".", "--memory", "99999999999999TiB"], "--memory"),
        ([".", "--timeout", "0"], "--timeout"),
        ([".", "--port", "70000"], "--port"),
    ],
)
def test_what_cannot_be_browsed_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["browse", str(tmp_path / arguments[0]), *arguments[1:]]) == 2
    assert words in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_an_address_that_is_taken_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["browse", str(folder), "--host", "203.0.113.7"]) == 2
    assert "--host" not in (told := capsys.readouterr().err)
    assert "cannot answer on 203.0.113.7" in told
