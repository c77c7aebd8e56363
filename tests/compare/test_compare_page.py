"""The page of a comparison, in a browser: galleries of gained and lost samples, and nothing that must not be shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import open_browser, open_page
from comparison_sets import Row, decide_by, write_set

from curate.compare.compare import compare
from curate.compare.page import page
from curate.compare.shown import shown
from curate.compare.sides import Side, config_side, data_side
from curate.config import build_filters
from curate.manifest import write_parquet
from curate.report.pictures.drawing import Draw
from curate.select import Select
from curate.shard import Shard
from curate.storage import Storage
from curate.tombstones import write_dead

EVIL = (
    "<script>document.title = 'taken over'</script><img src=x onerror=alert(1)>",
    "\u202eright to left \u0645\u0631\u062d\u0628\u0627",
    "y" * 100_000,
    "nul \0 and bell \a",
)
HIDDEN = "nobody is shown this caption"
WIDTHS = (1280, 390)


@dataclass(frozen=True)
class Made:
    """A written page, and what it was made of."""

    path: Path
    text: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A keeps evil captions that B drops and drops what B keeps; of two lost rows one is on a hash list of B."""
    folder = tmp_path_factory.mktemp("page")
    captions = [*EVIL, HIDDEN, "seen", "more", "kept by both"]
    rows = [
        Row(f"http://h.test/{n}", caption, f"{n:064x}", "", 10 + n, 2 * n, None, (30 * n, 200, 90))
        for n, caption in enumerate(captions)
    ]
    rows[6] = replace(rows[6], verdict="too_few_words")
    other = [replace(row, verdict="side_too_short<b>" if n < 6 else "") for n, row in enumerate(rows)]
    a, b = write_set(folder / "a", rows, 5), write_set(folder / "b", other, 3)
    write_dead(Shard(b, "00001"), {"000011": "md5"})
    text = page(compare(data_side("A <i>", a), data_side("B", b), 12))
    path = folder / "page.html"
    path.write_bytes(text.encode())
    return Made(path, text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def test_galleries_show_and_captions_are_text(browser: Any, made: Made) -> None:
    with open_page(browser, made.path, viewport={"width": 1280, "height": 900}) as opened:
        assert "A <i> against B" in opened.title()
        assert opened.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        assert opened.locator("#samples-lost").inner_text() == "Lost: kept by A, dropped by B"
        tiles = opened.locator("section.dropped .tile")
        assert (tiles.count(), opened.locator("section.kept .tile").count()) == (5, 1)
        assert "5 of 6 shown; 1 drawn and withheld" in opened.locator("section.dropped p.note").inner_text()
        told = " ".join(tiles.nth(n).locator(".short").inner_text() for n in range(5))
        assert "<script>" in told
        tiles.nth(0).locator("summary").click()
        assert "Against it: side_too_short<b>" in tiles.nth(0).inner_text()
        assert not opened.locator("main b b, main script, main img[src=x]").count()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window(browser: Any, made: Made, width: int) -> None:
    with open_page(browser, made.path, viewport={"width": width, "height": 800}, color_scheme="dark") as opened:
        opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_headings_and_places_are_named(browser: Any, made: Made) -> None:
    with open_page(browser, made.path) as opened:
        levels = opened.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(one => +one.tagName[1])")
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        links = opened.evaluate("[...document.querySelectorAll('nav a')].map(one => one.getAttribute('href'))")
        assert links
        assert all(opened.locator(f"[id='{link[1:]}']").count() == 1 for link in links)
        assert opened.evaluate("[...document.images].every(one => one.alt)")


def test_what_must_not_be_shown_is_only_counted(made: Made) -> None:
    assert HIDDEN not in made.text
    assert len(made.text) < 200_000


def test_a_picture_that_the_config_would_drop_as_unsafe_is_withheld(tmp_path: Path) -> None:
    rows = [Row(f"http://h.test/{n}", f"caption {n}", f"{n:064x}", None, color=(n, 9, 9)) for n in range(4)]
    storage = write_set(tmp_path / "a", rows, 4, decided=False)
    decide_by(storage, {"image_size": {}})
    path = tmp_path / "a" / "00000.safety.parquet"
    score = pa.array([0.0, 0.05, 0.09, 0.02], pa.float32())
    write_parquet(
        pa.table({"key": pq.read_table(tmp_path / "a" / "00000.parquet")["key"], "nsfw_probability": score}), path
    )
    side = _with(storage, {"imported-nsfw": {"column": "nsfw_probability", "max": 0.04}})
    found = compare(data_side("A", storage), side, 12)
    (gallery,) = shown(found, Draw())[0].lost
    assert (gallery.of, len(gallery.tiles), gallery.withheld) == (2, 2, 0)
    nsfw = _with(storage, {"nsfw-strict": {"max": 0.04, "head": "none.zip"}})
    (gallery,) = shown(compare(data_side("A", storage), nsfw, 12), Draw())[0].lost
    assert (gallery.of, gallery.tiles, gallery.withheld) == (2, (), 2)


def test_pictures_share_the_bytes_there_are(made: Made, tmp_path: Path) -> None:
    sets = [Storage(str(made.path.parent / name)) for name in "ab"]
    found = compare(*(data_side(name, one) for name, one in zip("AB", sets, strict=True)), 12)
    galleries = shown(found, Draw(picture_bytes=400))
    assert sum(len(tile.picture) for own in galleries for one in (*own.gained, *own.lost) for tile in one.tiles) <= 400


def test_the_numbers_that_a_filter_looked_at_are_told(tmp_path: Path) -> None:
    rows = [Row(f"http://h.test/{n}", "c", f"{n:064x}", None, 50 + n, color=(n, 9, 9)) for n in range(4)]
    storage = write_set(tmp_path / "a", rows, 2, decided=False)
    decide_by(storage, {"image_size": {"min_side_px": 51}})
    found = compare(data_side("A", storage), _with(storage, {"image_size": {"min_side_px": 53}}), 12)
    (gallery,) = shown(found, Draw())[0].lost
    assert gallery.title == "side_too_short"
    assert gallery.words == "the picture's shorter side is too short"
    assert sorted(tile.numbers["original_width"] for tile in gallery.tiles) == ["51", "52"]


def test_the_same_samples_are_shown_of_the_same_rows(tmp_path: Path) -> None:
    rows = [Row(f"http://h.test/{n}", f"caption {n}", f"{n:064x}", "", color=(n, 9, 9)) for n in range(40)]
    none = [replace(row, verdict="gone") for row in rows]
    pages = []
    for name, order, cut in (("x", 1, 9), ("y", -1, 17)):
        sets = (write_set(tmp_path / f"{name}{n}", own[::order], cut) for n, own in enumerate((rows, none)))
        text = page(compare(*(data_side(side, one) for side, one in zip("AB", sets, strict=True)), 5))
        pages.append(re.findall(r'class="short" dir="auto">([^<]*)', text))
    assert len(pages[0]) == 5
    assert pages[0] == pages[1]


def test_many_reasons_have_no_gallery_each(tmp_path: Path) -> None:
    rows = [Row(f"http://h.test/{n}", "c", f"{n:064x}") for n in range(40)]
    other = [replace(row, verdict=f"reason {n}") for n, row in enumerate(rows)]
    sets = write_set(tmp_path / "a", rows, 40), write_set(tmp_path / "b", other, 40)
    found = compare(*(data_side(name, one) for name, one in zip("AB", sets, strict=True)), 2)
    (own,) = shown(found, Draw())
    assert (len(own.lost), own.left_out) == (24, 16)
    assert "16 further reasons have no gallery" in page(found)


def _with(storage: Storage, filters: dict[str, dict[str, object]]) -> Side:
    return config_side("B", {"filters": filters}, (Select(tuple(build_filters(filters).items())),), storage)
