"""The report as bytes: always small enough, always the same, numbers and names told rightly. No browser."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_facts import HOSTILE, draws, facts, hostile, jpeg, tile

from curate.errors import ConfigError
from curate.report.facts import Copies, Counted, Facts, Gallery, Histogram, Unit
from curate.report.page import environment, policy
from curate.report.page.bounded import bounded, thinned, tiles_of
from curate.report.page.plots import bound_edges, drawable, plot
from curate.report.page.report import render
from curate.report.page.sliders import answers, filter_table, with_unit
from curate.report.page.toml import toml_lines
from curate.report.page.view import glances, script_json, sizes, view
from curate.report.page.words import (
    breakable,
    data_uri,
    duration,
    is_numeric,
    number,
    price,
    share,
    size,
    told,
    web_url,
)

LIMIT = 5_000_000


@pytest.fixture(scope="module")
def page() -> str:
    return render(facts())


def with_galleries(own: Facts, *galleries: Gallery) -> Facts:
    return replace(own, units=(replace(own.units[0], galleries=galleries),))


def test_the_same_facts_give_the_same_bytes(page: str) -> None:
    assert render(facts()) == page
    assert "<svg" in page
    assert len(page.encode()) < 200_000


def test_every_section_is_told(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", page.replace("</td>", " ")))
    for words in (
        "600 of 900",
        "66.7%",
        "the caption has too few words",
        "Funnel",
        "Overlap of filters",
        "l13",
        "CC-BY-4.0",
        "clip_similarity near 0.25",
        "1 drawn and withheld",
        "A paragraph.",
        "not_found",
        "30 rows lie in 9 clusters",
        "No copies of this kind",
        "a drawing of a cell",
        "nsfw_probability",
        "12.5 s",
        "1.23 MB",
        "0.0042",
        "filters.clip_similarity.min = 0.25",
        "shard 00003 was set aside",
        "3 of 4 shards",
    ):
        assert words in text, words


def test_of_nothing_there_is_a_page_in_words() -> None:
    page = render(Facts("", (0, 0), ()))
    assert "No step has decided on anything here yet" in page
    assert "<h2" in page
    assert "Funnel" not in page
    empty = Unit("samples", 0, 0, (), {}, None, (), ())
    page = render(Facts("x", (1, 1), (empty,)))
    assert "No filter has dropped anything" in page
    assert "0 of 0 samples" in re.sub("<[^>]+>", "", page).replace("\n", " ")


def test_absurdly_many_and_large_tiles_leave_a_small_page() -> None:
    """20,000 thumbnails of 60 kB are 1.2 GB; evenly spaced ones of every gallery are left."""
    picture = jpeg(1) + bytes(60_000)
    tiles = tuple(replace(tile(place, "y" * 5000), picture=picture) for place in range(500))
    galleries = tuple(Gallery("dropped", f"reason_{place}", tiles, 9000) for place in range(40))
    own = facts()
    page = render(with_galleries(own, *galleries))
    assert 3_000_000 < len(page.encode()) < LIMIT
    left = int(re.search(r"([\d,]+) of 20,004 samples of galleries were left out", page)[1].replace(",", ""))
    assert left == 20_004 - page.count('<details class="tile'), "of copies, captions and documents there are 4"
    assert all(f'id="unit1-g{place}"' in page for place in range(1, 41))


def test_lists_without_end_and_letters_without_end_leave_a_small_page() -> None:
    own = hostile()
    long = tuple("\U0001f4a9\U000e0001" * 5000 + str(place) for place in range(300))
    counted = tuple(Counted(text, tuple((value, 2, 1) for value in long[:30])) for text in long)
    unit = replace(own.units[0], counted=counted, histograms=(), funnel=own.units[0].funnel * 9)
    copies = tuple(Copies(text, 3, 1, ((3, 1),) * 900, (own.units[0].galleries[0],) * 3) for text in long)
    many = dict.fromkeys(long, 1)
    page = render(replace(own, units=(unit,) * 5, copies=copies, troubles=long, withheld=many, about=many, config=many))
    assert len(page.encode()) < LIMIT
    assert "Long lists were cut to 1 in 2" in page


def test_a_picture_that_is_no_thumbnail_is_left_out_and_counted() -> None:
    large = replace(tile(1), picture=jpeg(1) + bytes(200_000))
    own = facts()
    page = render(
        replace(own, units=(replace(own.units[0], galleries=(Gallery("kept", "kept", (large, tile(2)), 2),)),))
    )
    assert "1 pictures are not shown, because they are larger than a thumbnail" in page
    assert len(page) < 300_000


@given(st.integers(0, 400), st.floats(0, 1))
def test_thinning_is_even(count: int, part: float) -> None:
    gallery = Gallery("kept", "kept", tuple(range(count)), count)  # type: ignore[arg-type]
    left = thinned(Facts("", (1, 1), (Unit("samples", 1, 1, (), {}, None, (), (), (gallery,)),)), part)
    shown = left.units[0].galleries[0].tiles
    assert tiles_of(left) == len(shown) == (count if part >= 1 else int(count * part))
    assert sorted({*shown}) == list(shown)
    if len(shown) > 1:
        gaps = [after - before for before, after in itertools.pairwise(shown)]
        assert max(gaps) - min(gaps) <= 1


def test_the_overview_begins_with_pictures_kept_and_dropped() -> None:
    shown = [(one.address, one.words, one.tile.key) for one in glances(facts())]
    assert shown == [
        *(("unit1-g1", "kept", f"{place:08d}") for place in range(5)),
        ("unit1-g2", "too_few_words", "00000000"),
    ]
    assert glances(Facts("", (1, 1), ())) == ()
    assert glances(with_galleries(facts(), Gallery("dropped", "gone", (replace(tile(1), picture=b""),), 1))) == ()


def test_galleries_without_a_picture_are_folded_and_texts_are_not() -> None:
    lost, text = (replace(tile(1), picture=b"", status=status) for status in ("not_found", "text"))
    galleries = (
        Gallery("dropped", "gone", (lost, lost), 9),
        Gallery("dropped", "words", (text,), 1),
        Gallery("dropped", "some", (lost, tile(2)), 2),
    )
    page = render(with_galleries(facts(), *galleries))
    assert page.count("without a picture</summary>") == 1
    assert "<summary>2 without a picture</summary>" in page
    assert page.count('<details class="tile"') >= 5


def test_a_document_is_cut_and_says_so() -> None:
    own = facts()
    (page,) = own.shown
    long = replace(page, parts=page.parts[:2] * 200)
    (cut,) = bounded(replace(own, shown=(long,))).shown
    assert len(cut.parts) == 121
    assert "400 parts" in cut.parts[-1].text
    assert bounded(own).shown == (page,)


@pytest.mark.parametrize(
    ("name", "bound", "place", "setting", "words"),
    [
        ("similarity", "min", 3, "0.1", "0.1"),
        ("similarity", "min", 0, "", "no bound"),
        ("words", "max", 4, "5", "5"),
        ("words", "max", 17, "30", "30"),
        ("words", "max", 18, "31", "31"),
        ("variance", "max", 4, "15.999999999999998", "below 16"),
        ("variance", "max", 12, "3000.0", "3,000"),
        ("variance", "max", 13, "", "no bound"),
        ("variance", "min", 3, "8.0", "8"),
    ],
)
def test_an_edge_is_written_as_the_setting_that_means_it(
    name: str, bound: str, place: int, setting: str, words: str
) -> None:
    histogram = draws()[name].histogram
    (slider,) = (
        one for one in answers(histogram, plot(histogram, "h", "w"), "filters.x").sliders if one.bound == bound
    )
    assert (slider.settings[place], slider.words[place]) == (setting, words)


@pytest.mark.parametrize("name", ["similarity", "words", "variance"])
def test_every_place_of_every_slider_counts_what_its_setting_keeps(name: str) -> None:
    numbers = draws()[name]
    told_one = answers(numbers.histogram, plot(numbers.histogram, "h", "w"), "filters.x")
    assert told_one.kept == numbers.stay(numbers.histogram.min, numbers.histogram.max or math.inf)
    ends = {"min": numbers.histogram.min, "max": numbers.histogram.max or math.inf}
    at = {"min": 0, "max": len(told_one.left)} | {one.bound: one.at for one in told_one.sliders}
    for slider in told_one.sliders:
        for place in range(slider.first, slider.last + 1):
            free = -math.inf if slider.bound == "min" else math.inf
            bounds = ends | {slider.bound: float(slider.settings[place] or free)}
            places = at | {slider.bound: place}
            assert sum(told_one.left[places["min"] : places["max"]]) == numbers.stay(bounds["min"], bounds["max"]), (
                place
            )


def test_sliders_are_for_bounds_that_are_there() -> None:
    free = draws()["free"].histogram
    assert answers(free, plot(free, "h", "w"), "").sliders == ()
    one_sided = draws()["similarity"].histogram
    assert [one.bound for one in answers(one_sided, plot(one_sided, "h", "w"), "").sliders] == ["min"]
    assert bound_edges(one_sided)[1] == len(one_sided.rows)
    assert [one.id for one in view(facts()).units[0].histograms if one.answers.sliders] == [
        "unit1-h1",
        "unit1-h2",
        "unit1-h3",
    ]


@pytest.mark.parametrize(
    ("edges", "rows", "fine"),
    [
        ((0.0, 1.0), (3,), True),
        ((0.0, 0.0, 0.0), (3, 2), True),
        ((-1e299, 1e299), (3,), True),
        ((-1e308, 1e308), (3,), False),
        ((), (), False),
        ((0.0,), (), False),
        ((0.0, math.inf), (3,), False),
        ((0.0, math.nan), (3,), False),
        ((1.0, 0.0), (3,), False),
        ((0.0, 1.0), (3, 4), False),
        (tuple(map(float, range(1002))), (1,) * 1001, False),
    ],
)
@pytest.mark.parametrize("log", [False, True])
def test_what_cannot_be_drawn_is_said(edges: tuple[float, ...], rows: tuple[int, ...], fine: bool, log: bool) -> None:
    own = Histogram("x", edges, rows, rows, filter="f", min=0.0, min_setting="min", log=log)
    assert drawable(own) == fine
    if fine:
        drawn = plot(own, "h", "w")
        assert len(drawn.x) == len(edges)
        assert list(drawn.x) == sorted(drawn.x)
        assert min(drawn.x) >= 0
        ElementTree.fromstring(str(drawn.svg))


def test_a_plot_has_no_inline_style_and_its_own_identifiers() -> None:
    histogram = draws()["words"].histogram
    one, other = (ElementTree.fromstring(str(plot(histogram, name, "what it shows").svg)) for name in ("a", "b"))
    names = {element.get("id") for element in one.iter()} - {None}
    assert names
    assert not names & {element.get("id") for element in other.iter()}
    assert not [element for element in one.iter() if "style" in element.attrib or element.tag.endswith("}style")]
    assert (one.get("role"), one.get("aria-label")) == ("img", "what it shows")
    assert not re.search("#[0-9a-f]{6}|DejaVu|Matplotlib", str(plot(histogram, "a", "w").svg))


@pytest.mark.parametrize(
    ("unit", "name", "table"),
    [
        ("samples", "blur", "filters.blur"),
        ("documents", "text_words", "document_filters.text_words"),
        ("parts", "text_words", "text_filters.text_words"),
        ("parts", "image_size", "picture_filters.image_size"),
        ("documents", "image_count", "document_filters.image_count"),
        ("samples", "a.b", 'filters."a.b"'),
    ],
)
def test_a_filter_is_found_in_its_table(unit: str, name: str, table: str) -> None:
    config = {
        "document_filters": {"text_words": {}},
        "text_filters": {"text_words": {}},
        "picture_filters": {"image_size": {}},
    }
    assert filter_table(config, unit, name) == table


def test_the_json_of_the_page_cannot_end_its_script() -> None:
    text = str(script_json({"</script>": [*HOSTILE, 1.5, None]}))
    assert not set(text) & set("<>&'\u2028")
    assert json.loads(text)["</script>"][0] == HOSTILE[0]


@pytest.mark.parametrize(
    ("rows", "pairs", "shown"),
    [(12, ((2, 3), (3, 2)), ["2", "3"]), (99, ((2, 3), (3, 2)), ["2", "3 or more"]), (0, (), [])],
)
def test_the_last_size_of_clusters_is_open_where_it_holds_larger_ones(
    rows: int, pairs: tuple, shown: list[str]
) -> None:
    assert [words for words, _ in sizes(Copies("bytes", rows, 5, pairs))] == shown


def test_a_config_is_told_as_toml() -> None:
    import tomllib

    config = {"a": {"min": 0.25, "b c": [1, "x\n", {"y": True}], "empty": {}}, "z": 1e-7, 'q"': "é"}
    assert tomllib.loads("\n".join(toml_lines(config))) == config


@pytest.mark.parametrize(
    ("told_as", "expected"),
    [
        (number(1329), "1,329"),
        (number(0.2834), "0.2834"),
        (number(12.0), "12"),
        (number(1e-5), "1e-05"),
        (number(math.nan), "not a number"),
        (number(-math.inf), "-infinity"),
        (number(None), "none"),
        (number(0.0), "0"),
        (share(1, 3), "33.3%"),
        (share(0, 0), "0%"),
        (share(1, 10_000), "<0.1%"),
        (share(99_999, 100_000), ">99.9%"),
        (share(5, 5), "100%"),
        (size(999), "999 B"),
        (size(1000), "1 kB"),
        (size(999_600), "1 MB"),
        (size(3.42e9), "3.42 GB"),
        (duration(0.0421), "0.042 s"),
        (duration(12.54), "12.5 s"),
        (duration(59.97), "1 min"),
        (duration(200), "3 min 20 s"),
        (duration(7500), "2 h 5 min"),
        (duration(97_200), "1 d 3 h"),
        (price(0.000065), "<0.0001"),
        (price(0.0042), "0.0042"),
        (price(1204), "1,204.00"),
        (told("ab", 2), "ab"),
        (told("abc", 2), "ab… (3 letters)"),
        (str(breakable("a_b<")), "a_<wbr>b&lt;"),
        (str(breakable("a_1.b 60.6%")), "a_<wbr>1.<wbr>b 60.6%"),
        (with_unit(150, "side_px"), "150 px"),
        (with_unit(2048, "file_bytes"), "2.05 kB"),
        (with_unit(0.5, "x_ratio"), "0.5"),
        (is_numeric("66.4%"), True),
        (is_numeric("abc%defgh"), False),
        (is_numeric(True), False),
        (is_numeric(3), True),
    ],
)
def test_numbers_and_names_are_told(told_as: object, expected: object) -> None:
    assert told_as == expected


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("https://example.org/a?b=c#d", True),
        ("HTTP://example.org", True),
        ("javascript:alert(1)", False),
        ("https://a b", False),
        ('https://a"onclick', False),
        ("https://a\u202eb", False),
        ("//example.org", False),
        ("data:text/html,x", False),
        ("https://" + "a" * 3000, False),
        (" https://a", False),
        ("", False),
    ],
)
def test_only_addresses_of_the_web_are_links(address: str, fine: bool) -> None:
    assert web_url(address) == (address if fine else "")


def test_a_picture_is_what_begins_as_one() -> None:
    assert data_uri(jpeg(1)).startswith("data:image/webp;base64,")
    assert data_uri(jpeg(1, form="JPEG")).startswith("data:image/jpeg;base64,")
    assert data_uri(b"<svg onload=alert(1)>") == "" == data_uri(b"")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_what_is_not_installed_is_asked_for(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=rf"needs {missing}.*pip install 'curate-vl\[report\]'"):
        render(facts())


def test_templates_of_another_package_have_its_name_before_them() -> None:
    made = environment("curate.report.page")
    assert made.get_template("page/macros.html").module.bar(1, 2)
    assert made.from_string("{{ x }}").render(x="<b>\u202e\ud800") == "&lt;b&gt;\ufffd\ufffd"
    with pytest.raises(Exception, match="undefined"):
        made.from_string("{{ y }}").render()
    assert "script-src 'none'" in policy()
    assert "sha256-" in policy(["x"])
    assert "'unsafe" not in policy(["x"])


@pytest.mark.parametrize(
    ("edges", "rows", "words"),
    [
        ((1.0, 1.0), (9,), "All 9 samples that have a number: 1; 9 kept."),
        ((0.5, 90.0), (9,), "All 9 samples that have a number: 0.5 to 90; 9 kept."),
        ((1.0, 2.0, 5.0), (0, 9), "All 9 samples that have a number: 2 to 4; 9 kept."),
        ((0.5, 1.0, 1.5), (9, 0), "All 9 samples that have a number: 0.5 to 1; 9 kept."),
    ],
)
def test_a_single_bar_is_told_in_words(edges: tuple[float, ...], rows: tuple[int, ...], words: str) -> None:
    unit = Unit("samples", 9, 9, (), {}, None, (Histogram("odd", edges, rows, rows),), ())
    (told_one,) = view(Facts("one", (1, 1), (unit,))).units[0].histograms
    assert (told_one.words, told_one.plot) == (words, None)
