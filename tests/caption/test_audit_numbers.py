"""From what a matcher accepts to how many texts are right, and the texts that it is tried on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.caption.audited_texts import agreement, wrong_texts
from curate.caption.estimate import Judged, against_it, audit_rows, estimate


def drawn(dice: np.random.Generator, right: float, accepts: tuple[float, float], rows: int) -> np.ndarray:
    """Whether texts are accepted of which this share is right."""
    good = dice.random(rows) < right
    return (dice.random(rows) < np.where(good, *accepts)).astype(float)


def judged(dice: np.random.Generator, synthetic: float, accepts: tuple[float, float], rows: int) -> Judged:
    clean = [drawn(dice, share, accepts, rows) for share in (1.0, 0.0, synthetic)]
    return Judged(*clean, np.zeros(rows), np.zeros(rows))


@pytest.mark.parametrize(
    ("synthetic", "web", "accepts", "worse"),
    [
        (0.17, 0.5, (0.95, 0.05), True),
        (0.17, 0.5, (0.8, 0.4), True),
        (0.85, 0.6, (0.95, 0.05), False),
        (0.85, 0.6, (0.8, 0.4), False),
        (1.0, 0.0, (1.0, 0.0), False),
        (0.0, 1.0, (1.0, 0.0), True),
    ],
)
def test_shares_are_found_whatever_the_matchers_errors(
    synthetic: float, web: float, accepts: tuple[float, float], worse: bool
) -> None:
    dice = np.random.default_rng(1)
    found = estimate(judged(dice, synthetic, accepts, 6_000), drawn(dice, web, accepts, 6_000))
    assert found["synthetic_right"] == pytest.approx(synthetic, abs=0.03)
    assert found["web_right"] == pytest.approx(web, abs=0.03)
    assert found["worse"] is worse
    assert found["blind"] is False


def test_the_interval_holds_the_truth_nineteen_times_of_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.caption.estimate.RESAMPLES", 300)
    inside = 0
    for seed in range(40):
        dice = np.random.default_rng(seed)
        found = estimate(judged(dice, 0.4, (0.9, 0.2), 300), drawn(dice, 0.6, (0.9, 0.2), 300), seed)
        low, high = found["synthetic_right_interval"]
        inside += low <= 0.4 <= high
        assert low <= found["synthetic_right"] <= high
        assert high - low < 0.25
    assert inside >= 35


def test_a_matcher_that_cannot_tell_says_nothing() -> None:
    dice = np.random.default_rng(2)
    found = estimate(judged(dice, 0.1, (0.5, 0.5), 2_000), drawn(dice, 0.9, (0.5, 0.5), 2_000))
    assert found["blind"] is True
    assert found["worse"] is False
    assert found["synthetic_right"] is None
    assert "does not tell right texts from wrong ones" in str(against_it({**found, "matcher": "itm", "captioner": "c"}))


def test_what_stops_a_run_is_told_with_its_numbers() -> None:
    dice = np.random.default_rng(3)
    found = estimate(judged(dice, 0.2, (1.0, 0.0), 1_000), drawn(dice, 0.6, (1.0, 0.0), 1_000))
    words = str(against_it({**found, "matcher": "itm", "captioner": "synthetic"}))
    assert "'synthetic' are expected to be worse than the web's: right in 0.2" in words
    assert "by 1000 clean pairs and 1000 rows of the web" in words
    assert [row["texts"] for row in audit_rows(found)] == ["right ones", "wrong ones", "synthetic", "web"]
    better = estimate(judged(dice, 0.9, (1.0, 0.0), 1_000), drawn(dice, 0.6, (1.0, 0.0), 1_000))
    assert against_it({**better, "matcher": "itm", "captioner": "synthetic"}) is None


def test_no_text_of_the_web_is_nothing_to_compare_with() -> None:
    found = estimate(judged(np.random.default_rng(4), 0.5, (1.0, 0.0), 100), np.zeros(0))
    assert found["web_right"] is None
    assert found["accepts_web"] is None
    assert found["worse"] is False


def test_the_same_seed_gives_the_same_intervals() -> None:
    clean, web = judged(np.random.default_rng(5), 0.5, (0.9, 0.1), 100), np.ones(50)
    assert estimate(clean, web, 7) == estimate(clean, web, 7)
    assert estimate(clean, web, 7) != estimate(clean, web, 8)


def test_a_wrong_text_is_the_most_alike_of_another_picture() -> None:
    texts = ["two red circles", "two blue circles", "a dog", "circles, red: two", "two red circles here"]
    assert wrong_texts(texts, [0, 1, 2, 3, 0]) == [
        "two blue circles",
        "two red circles",
        "two red circles",
        "two red circles here",
        "circles, red: two",
    ]


@given(st.lists(st.sampled_from(["a b", "a c", "b c d", "", "d"]), min_size=1, max_size=8))
@settings(max_examples=60)
def test_a_wrong_text_is_no_right_one(texts: list[str]) -> None:
    for own, wrong in zip(texts, wrong_texts(texts, range(len(texts))), strict=True):
        assert {*wrong.split()} != {*own.split()} or len({*texts}) == 1


def test_how_alike_texts_are() -> None:
    exact, shared = agreement(
        ["A red circle.", "a dog", "x"], [["a red  circle", "a blue circle"], ["a cat and a dog"], []]
    )
    assert exact.tolist() == [0.5, 0.0, 0.0]
    assert shared.tolist() == pytest.approx([(1 + 2 / 3) / 2, 2 * 2 / 7, 0.0])


@pytest.mark.parametrize("accepts", [(0.5, 0.5), (0.3, 0.7), (0.2, 0.9)])
def test_of_a_matcher_that_cannot_tell_no_interval_is_told(accepts: tuple[float, float]) -> None:
    """Some of the resamples look as if it could; they are no knowledge."""
    dice = np.random.default_rng(8)
    found = estimate(judged(dice, 0.5, accepts, 20), drawn(dice, 0.5, accepts, 20))
    assert found["blind"] is True
    assert found["worse"] is False
    assert found["synthetic_right_interval"] == (0.0, 1.0)
    assert found["web_right_interval"] == (0.0, 1.0)


def test_an_interval_is_wide_where_the_matcher_can_hardly_tell() -> None:
    right, wrong = np.repeat([1.0, 0.0], [11, 9]), np.repeat([1.0, 0.0], [8, 12])
    some = np.repeat([1.0, 0.0], [10, 10])
    found = estimate(Judged(right, wrong, some, some, some), some)
    assert found["blind"] is False
    assert found["synthetic_right_interval"] == (0.0, 1.0)
