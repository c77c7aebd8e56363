"""The order of a stage: every example once, the same for any rank, shares as the mixture says."""

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from loader_stages import TOKENS, flat, numbers_only, plan, planned, stage

from curate.errors import ConfigError
from curate.handover.stages import MixtureSource

A, B, C = MixtureSource("a", "pairs"), MixtureSource("b", "text"), MixtureSource("c", "text")


@pytest.fixture(scope="module")
def handover(tmp_path_factory):
    """Three sources of 230, 70 and 41 examples in shards of 20; the tokens of a text differ."""
    lengths = {"a": ("pairs", [5] * 230), "b": ("text", [50 + n for n in range(70)]), "c": ("text", [1] * 41)}
    return numbers_only(tmp_path_factory.mktemp("numbers") / "set", lengths, 20)


@pytest.mark.parametrize("window", [1, 2, 16])
def test_an_epoch_without_weights_has_every_example_once(handover, window):
    keys = flat(planned(handover, stage(A, B, C, epochs=1), window=window))
    assert len(keys) == 341
    assert set(Counter(keys).values()) == {1}


def test_epochs_follow_one_another_in_orders_of_their_own(handover):
    keys = flat(planned(handover, stage(A, B, epochs=2)))
    first, second = keys[:300], keys[300:]
    assert sorted(first) == sorted(second)
    assert first != second


def test_a_source_of_one_window_is_drawn_anew_in_each_pass(handover):
    keys = flat(planned(handover, stage(B, epochs=2)))
    assert sorted(keys[:70]) == sorted(keys[70:])
    assert keys[:70] != keys[70:]


def test_half_an_epoch_is_half_of_it(handover):
    keys = flat(planned(handover, stage(A, epochs=1.5)))
    assert len(keys) == 345
    assert keys[:230] == flat(planned(handover, stage(A, epochs=1)))


@pytest.mark.parametrize(("repeat", "least", "most"), [(0.0, 0, 0), (1.0, 70, 70), (2.0, 140, 140), (2.2, 143, 168)])
def test_repeat_says_how_often_an_example_comes_up_in_an_epoch(handover, repeat, least, most):
    keys = flat(planned(handover, stage(C, replace(B, repeat=repeat), epochs=1)))
    times = Counter(key for key in keys if key.startswith("b"))
    assert least <= sum(times.values()) <= most
    assert all(math.floor(repeat) <= n <= math.ceil(repeat) for n in times.values())
    assert Counter(keys)["c3"] == 1


def test_another_half_is_repeated_in_the_next_epoch(handover):
    half = [key for key in flat(planned(handover, stage(replace(B, repeat=0.5), C, epochs=2))) if key[0] == "b"]
    assert 50 <= len(half) <= 90
    assert len(set(half)) > 45


def test_the_order_is_the_seeds(handover):
    chosen = stage(A, B, epochs=1)
    assert planned(handover, chosen, 3) == planned(handover, chosen, 3)
    assert planned(handover, chosen, 3) != planned(handover, chosen, 4)


def test_copies_of_a_row_do_not_lie_side_by_side(tmp_path):
    handover = numbers_only(tmp_path / "set", {"b": ("text", [9] * 200)}, 50, copies=4)
    rows = [int(key[1:]) // 4 for key in flat(planned(handover, stage(B, epochs=1)))]
    assert sum(one == other for one, other in pairwise(rows)) < 20, "of 200"


def test_stages_of_one_seed_have_orders_of_their_own(handover):
    one, other = (flat(planned(handover, replace(stage(A, epochs=1), name=name))) for name in ("one", "other"))
    assert sorted(one) == sorted(other)
    assert one != other


@pytest.mark.parametrize(("window", "least", "most"), [(1, 10, 20), (2, 30, 40), (16, 150, 230)])
def test_the_examples_of_a_shard_lie_within_their_window(handover, window, least, most):
    keys = flat(planned(handover, stage(A, epochs=1), window=window))
    places = [[place for place, key in enumerate(keys) if int(key[1:]) // 20 == shard] for shard in range(12)]
    spans = [own[-1] - own[0] + 1 for own in places]
    assert max(spans) <= most
    assert np.median(spans) >= least


def test_shards_of_other_sources_and_their_numbers_change_nothing(tmp_path):
    """What holds of packing: the order within a window is of what rows are, and windows are of the source's shards."""
    alone = numbers_only(tmp_path / "alone", {"b": ("text", [9] * 50)}, 50)
    cut = numbers_only(tmp_path / "cut", {"b": ("text", [9] * 50)}, 10)
    assert planned(alone, stage(B, epochs=1)) == planned(cut, stage(B, epochs=1)), "one window, in one shard or in five"
    assert planned(cut, stage(B, epochs=1), window=2) != planned(cut, stage(B, epochs=1))


def test_shares_by_sample_are_within_binomial_bounds_over_100_000_draws(handover):
    weights = {"a": 0.5, "b": 0.3, "c": 0.2}
    drawn = plan(handover, stage(*(replace(s, weight=weights[s.name]) for s in (A, B, C)), samples=100_000), batch=1000)
    for _ in drawn.batches():
        pass
    for name, weight in weights.items():
        found = drawn.counts()[name]["examples"]
        assert abs(found - 100_000 * weight) < 4 * math.sqrt(100_000 * weight * (1 - weight))
        assert found != round(100_000 * weight), "draws, not a schedule"


def test_shares_by_token_are_off_by_one_example_at_most(handover):
    sources = [replace(A, weight=3.0), replace(B, weight=1.0), replace(C, weight=0.5)]
    drawn = plan(handover, stage(*sources, unit="token", samples=20_000))
    for batch in drawn.batches():
        if batch.number % 100 == 0 and batch.number:
            tokens = {name: own["tokens"] for name, own in drawn.counts().items() if name}
            assert abs(tokens["a"] / 3 - tokens["b"]) <= 120
            assert abs(tokens["c"] / 0.5 - tokens["b"]) <= 120
    assert drawn.counts()["a"]["tokens"] == drawn.counts()["a"]["examples"] * (5 + TOKENS)


@pytest.mark.parametrize(("longer", "unit"), [("cut", "token"), ("leave_out", "token"), ("leave_out", "sample")])
def test_shares_are_of_what_a_row_takes(handover, longer, unit):
    """30 of the 70 texts have more than 89 tokens; they were given a share that nobody trained on."""
    sources = [replace(A, weight=1.0), replace(B, weight=1.0)]
    chosen = stage(*sources, unit=unit, sequence_tokens=89, samples=6_000)
    drawn = plan(handover, chosen, longer=longer)
    for _ in drawn.batches():
        pass
    counts = drawn.counts()
    assert (counts["a"][f"longer_{longer.replace('leave', 'left')}"], counts["b"]["examples"] > 0) == (0, True)
    assert counts["b"][f"longer_{longer.replace('leave', 'left')}"] > 150
    if unit == "token":
        assert abs(counts["a"]["tokens"] - counts["b"]["tokens"]) <= 89
    else:
        assert abs(counts["a"]["examples"] - 3_000) < 4 * math.sqrt(1_500)


def test_by_gradient_every_batch_has_a_micro_batch_of_each_source(handover):
    sources = [replace(A, weight=2.0), replace(B, weight=1.0)]
    for batch in planned(handover, stage(*sources, unit="gradient", steps=30), batch=9):
        assert [row[0][0] for row in batch] == ["a"] * 6 + ["b"] * 3
    fixed = [replace(A, batch=2), replace(B, batch=1)]
    assert planned(handover, stage(*fixed, unit="gradient", steps=9), batch=9) == planned(
        handover, stage(*sources, unit="gradient", steps=9), batch=9
    )


@pytest.mark.parametrize(
    ("length", "batches"), [({"steps": 7}, 7), ({"samples": 25}, 4), ({"tokens": 73}, 2), ({"epochs": 0.5}, 15)]
)
def test_a_stage_is_as_long_as_it_says(handover, length, batches):
    assert len(planned(handover, stage(A, **length))) == batches


def test_weighted_epochs_are_as_many_draws_as_there_are_examples(handover):
    keys = flat(planned(handover, stage(replace(B, weight=1.0), replace(C, weight=1.0), epochs=2)))
    assert len(keys) == 2 * 111 + 2, "to the end of the batch"


def test_a_weighted_stage_of_less_than_one_draw_has_an_end(handover):
    assert len(planned(handover, stage(replace(C, weight=1.0), epochs=0.01), most=9)) == 1


def test_repeat_counts_for_nothing_where_there_are_weights(handover):
    keys = flat(planned(handover, stage(replace(B, weight=1.0, repeat=0.5), epochs=1)))
    assert len(set(keys[:70])) == 70


@pytest.mark.parametrize(("unit", "tokens"), [("samples", None), ("tokens", 60)])
def test_a_batch_counts_rows_or_tokens(handover, unit, tokens):
    batches = planned(handover, stage(A, batch_unit=unit, steps=5), batch=tokens or 7)
    assert {len(batch) for batch in batches} == {7}, "60 tokens are reached by seven pairs of 9"


def test_an_example_that_is_passed_over_moves_no_other(tmp_path):
    lengths = {"a": ("pairs", [5] * 30), "b": ("text", [7] * 30)}
    handover = numbers_only(tmp_path / "set", lengths, 10)
    both = flat(planned(handover, stage(A, B, epochs=1)))
    drawn = plan(handover, stage(A, replace(B, min_images=1, max_images=3), epochs=1))
    keys = [item.window.places[0].keys for batch in drawn.batches() for (item,) in batch.rows]
    assert len(keys) == 30
    assert drawn.counts()["b"]["images_out_of_range"] == 30
    assert flat(planned(handover, stage(A, replace(B, min_images=1), epochs=1))) == [k for k in both if k[0] == "a"]


@pytest.mark.parametrize(
    ("sources", "settings", "options", "examples"),
    [
        ([A, replace(B, min_images=1)], {"epochs": 5}, {}, 1150),
        ([replace(B, repeat=0.01)], {"samples": 20}, {}, 24),
        ([B], {"epochs": 10, "sequence_tokens": 89}, {"longer": "leave_out"}, 400),
    ],
)
def test_a_source_that_gives_few_examples_is_not_given_up(handover, monkeypatch, sources, settings, options, examples):
    monkeypatch.setattr("curate.train.data.stream.PATIENCE", 0)
    assert len(flat(planned(handover, stage(*sources, **settings), **options))) == examples


def test_what_is_passed_over_for_its_pictures_was_not_too_long(handover):
    drawn = plan(handover, stage(A, replace(B, min_images=1), epochs=1, sequence_tokens=20), longer="cut")
    assert sum(1 for _ in drawn.batches())
    assert (drawn.counts()["b"]["longer_cut"], drawn.counts()["b"]["images_out_of_range"]) == (0, 70)


@pytest.mark.parametrize(
    ("sources", "settings", "options", "words"),
    [
        ([MixtureSource("d", "text")], {}, {}, "has no source 'd'"),
        ([MixtureSource("a", "text")], {}, {}, "of kind pairs, and the stage says text"),
        ([replace(B, captions={"web": 1.0})], {}, {}, "captions of source b are for pairs"),
        ([replace(B, weight=1.0, min_images=1)], {}, {}, "as many pictures as min_images = 1"),
        ([replace(B, min_images=1)], {"steps": 3}, {}, "as many pictures as min_images = 1"),
        ([replace(C, repeat=0.0), replace(B, repeat=0.5, min_images=1)], {}, {}, "no example of source b"),
        ([B], {"sequence_tokens": 9}, {"longer": "leave_out"}, "and at most 9 tokens .longer = 'leave_out'"),
        ([replace(B, weight=1.0)], {"sequence_tokens": 9}, {"longer": "leave_out"}, "at most 9 tokens"),
        ([A, B], {"unit": "gradient", "sequence_tokens": 9}, {"longer": "leave_out"}, "no example of source b"),
        ([replace(B, repeat=0.0)], {}, {}, "repeat = 0 for all sources"),
        ([A, B], {"unit": "gradient"}, {"batch": 1}, "batch = 1 is below the 2 sources"),
        ([A], {"packing": True}, {}, "has no sequence_tokens"),
        ([A], {"sequence_tokens": 9}, {"tokenizer": "bert"}, "no tokenizer 'bert'"),
        ([A], {}, {"batch": 0}, "batch = 0"),
        ([A], {}, {"window": 0}, "window = 0"),
    ],
)
def test_what_cannot_be_drawn_is_said(handover, sources, settings, options, words):
    with pytest.raises(ConfigError, match=words):
        planned(handover, stage(*sources, **settings), most=1, **options)
