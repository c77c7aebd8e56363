"""The plan: rows follow from seed and number alone, shares are as configured, and captions are as their labels say."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_scenes import differences

from curate.toyweb.caption import parse
from curate.toyweb.defects import CLEAN, DEFECTS, NEAR_COPIES, shares
from curate.toyweb.plan import BLOCKED_HOST, FORBIDDEN_HOST, HOSTS, Plan, row_number

ROWS = 3000
COPIES = ("exact_copy", *NEAR_COPIES)
BAD_WORDS = {
    "boilerplate",
    "file_name",
    "url_caption",
    "repetition",
    "symbols",
    "too_short",
    "too_long",
    "other_language",
}


@pytest.fixture(scope="module")
def rows():
    return list(Plan(0).rows(0, ROWS))


def of(rows, defect):
    found = [row for row in rows if row.defect == defect]
    assert found, defect
    return found


def test_rows_follow_from_seed_and_number_alone(rows):
    again = Plan(0)
    for number in (2999, 0, 1, 1500, 600, 2):
        assert again.row(number) == rows[number]
    assert [r.url for r in Plan(1).rows(0, 50)] != [r.url for r in rows[:50]]


def test_a_far_row_needs_none_of_the_others():
    assert Plan(0).row(10**9).number == 10**9


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_shares_are_as_configured(seed):
    """A binomial draw would be within 4 sigma almost surely; this sequence is much closer than that."""
    plan, count = Plan(seed), 20_000
    found = Counter(plan.label(n)[0] for n in range(count))
    for defect, share in shares({}).items():
        assert abs(found[defect] - share * count) <= 2 * (share * (1 - share) * count) ** 0.5, defect


@pytest.mark.parametrize("seed", range(8))
def test_six_hundred_rows_hold_every_label(seed):
    assert {Plan(seed).label(n)[0] for n in range(600)} == set(DEFECTS)


def test_shares_can_be_set():
    plan = Plan(3, {"icon": 0.3, "other_scene": 0.0})
    found = Counter(plan.label(n)[0] for n in range(2000))
    assert abs(found["icon"] - 600) <= 10
    assert found["other_scene"] == 0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"icons": 0.1}, "no label 'icons'"),
        ({CLEAN: 0.1}, "no label 'clean'"),
        ({"icon": -0.1}, "from 0 to 1"),
        ({"icon": 1.1}, "from 0 to 1"),
        ({"icon": 0.5, "banner": 0.5}, "leave nothing"),
    ],
)
def test_wrong_shares_are_refused(overrides, words):
    with pytest.raises(ValueError, match=words):
        Plan(0, overrides)


def test_variants_spread_evenly_over_a_label(rows):
    forms = Counter(1 + int(row.variant * 8) for row in of(rows[:600], "orientation"))
    assert set(forms) == set(range(1, 9))


def test_urls_are_distinct_and_name_their_row(rows):
    assert len({row.url for row in rows}) == ROWS
    for row in rows:
        assert row_number(row.url.split("/", 3)[3]) == row.number
    assert any("," in row.url for row in rows)
    assert any("&" in row.url for row in rows)


@pytest.mark.parametrize(
    "path", ["/robots.txt", "/", "/img/12.jpg", "/img/000012", "/img/٠٠٠٠٠٠.jpg", "/img/x000012.jpg"]
)
def test_other_paths_name_no_row(path):
    assert row_number(path) is None


def test_captions_are_true_unless_their_label_says_otherwise(rows):
    for row in rows:
        if row.defect in BAD_WORDS:
            assert parse(row.caption) is None
        elif row.defect in ("other_scene", "wrong_attribute"):
            assert parse(row.caption) not in (None, row.scene)
        else:
            assert parse(row.caption) == row.scene


def test_a_wrong_attribute_is_one_attribute(rows):
    for row in of(rows, "wrong_attribute"):
        assert differences(parse(row.caption), row.scene) == 1


WORTHLESS = {
    "file_name": lambda text: text.lower().endswith((".jpg", ".jpeg", ".png")),
    "url_caption": lambda text: ".example/" in text,
    "repetition": lambda text: max(Counter(text.replace(",", "").split()).values()) >= 5,
    "symbols": lambda text: sum(c.isalpha() for c in text) < 0.2 * len(text),
    "too_short": lambda text: len(text) <= 4 and " " not in text,
    "too_long": lambda text: 600 <= len(text.split()) <= 1200,
    "boilerplate": lambda text: 5 < len(text) < 40,
}


@pytest.mark.parametrize("defect", WORTHLESS)
def test_worthless_captions_are_worthless_in_their_own_way(rows, defect):
    found = [row.caption for row in of(rows, defect)]
    assert all(map(WORTHLESS[defect], found))
    assert len(set(found)) >= min(len(found), 5)


def test_the_dice_of_two_purposes_are_independent():
    assert Plan(0).random(7, "scene").random() != Plan(0).random(7, "caption").random()


def test_copies_copy_an_earlier_clean_row(rows):
    for defect in COPIES:
        for row in of(rows, defect):
            original = rows[row.original]
            assert original.number < row.number
            assert original.defect == CLEAN
            assert row.url != original.url
            assert row.scene == (original.scene.mirrored() if defect == "near_mirrored" else original.scene)
    assert all((row.original is not None) == (row.defect in COPIES) for row in rows)


def test_hosts_belong_to_their_labels(rows):
    assert {row.url.split("/")[2] for row in of(rows, "blocked_host")} == {BLOCKED_HOST}
    forbidden = {row.url.split("/")[2] for row in of(rows, "robots_forbidden")}
    assert forbidden == {FORBIDDEN_HOST, HOSTS[0]}
    assert {row.url.split("/")[2] for row in of(rows, CLEAN)} == set(HOSTS)


@given(st.integers(0, 2**63), st.integers(0, 10**9))
def test_every_row_of_every_seed_is_sound(seed, number):
    row = Plan(seed).row(number)
    assert row.defect in DEFECTS
    assert 0 <= row.variant < 1
    assert row.url.startswith("http://")
    assert row.extension in ("jpg", "png", "webp", "gif")
