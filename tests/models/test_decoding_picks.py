"""Which token is drawn, beside transformers' warpers and a plain count in numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.models.captioner import Sampling
from curate.models.picks import drawn, rules_of

SAMPLINGS = [
    Sampling("nucleus", top_p=0.9),
    Sampling("nucleus", top_p=0.5, temperature=2.0),
    Sampling("nucleus", top_p=0.8, top_k=12),
    Sampling("nucleus", top_p=0.2427, top_k=40, temperature=0.7),
    Sampling("nucleus", top_p=1e-6),
    Sampling("nucleus", top_p=1.0),
    Sampling("nucleus", top_p=1.0, top_k=9),
    Sampling("top_k", top_k=1),
    Sampling("top_k", top_k=7, temperature=1.5),
    Sampling("top_k", top_k=10_000),
]


def scores_of(seed: int, rows: int, vocabulary: int, steps: float = 0.0, spread: float = 3.0) -> torch.Tensor:
    """Random scores; with `steps`, many of them are equal, as bfloat16 makes them."""
    found = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * spread
    return (found / steps).round() * steps if steps else found


def kept_by_transformers(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities after its warpers, 0 for what they cut off."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers: list[Any] = [TemperatureLogitsWarper(float(sampling.temperature))]
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.method == "nucleus" and sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    for warper in warpers:
        scores = warper(None, scores)
    return scores.double().softmax(1)


def plainly(scores: torch.Tensor, numbers: torch.Tensor, sampling: Sampling) -> list[int]:
    """From the likeliest down, until as much of what is kept is behind as the number says."""
    found = []
    for row, number in zip(kept_by_transformers(scores, sampling).numpy(), numbers.numpy(), strict=True):
        order = np.lexsort((np.arange(len(row)), -row))
        until = np.cumsum(row[order])
        found.append(int(order[min(np.searchsorted(until, number, side="right"), (row > 0).sum() - 1)]))
    return found


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("vocabulary", [3, 45, 700])
def test_tokens_are_those_of_the_kept_in_their_order(sampling: Sampling, vocabulary: int) -> None:
    scores = scores_of(1, 400, vocabulary)
    numbers = torch.linspace(0, 1, 401, dtype=torch.float64)[:-1] + 1e-4
    ours = drawn(scores, numbers, sampling)
    assert ours.undecided is None
    assert ours.tokens.tolist() == plainly(scores, numbers, sampling)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_tokens_come_as_often_as_they_are_likely(sampling: Sampling) -> None:
    count = 20_000
    scores = scores_of(5, 1, 30).expand(count, -1)
    numbers = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    shares = torch.bincount(drawn(scores, numbers, sampling).tokens, minlength=30) / count
    assert torch.allclose(shares.double(), kept_by_transformers(scores[:1], sampling)[0], atol=1.1 / count)


@given(st.integers(0, 10_000), st.sampled_from(SAMPLINGS), st.sampled_from([0.0, 0.5]), st.sampled_from([1.0, 4.0]))
@settings(max_examples=60, deadline=None)
def test_the_likeliest_alone_give_what_all_give(seed: int, sampling: Sampling, steps: float, spread: float) -> None:
    """Or say that they were not enough; also where many tokens are equally likely, whose order is that of their ids."""
    scores = scores_of(seed, 40, 300, steps, spread)
    numbers = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    some, all_ = drawn(scores, numbers, sampling, 32), drawn(scores, numbers, sampling, 300)
    assert all_.undecided is None
    sure = torch.ones(40, dtype=torch.bool) if some.undecided is None else ~some.undecided
    assert some.tokens[sure].tolist() == all_.tokens[sure].tolist()


def test_the_likeliest_are_mostly_enough() -> None:
    scores = scores_of(3, 64, 3_000, spread=5.0)
    numbers = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for sampling in (Sampling(), Sampling("nucleus", top_p=0.2427, top_k=960), Sampling("top_k", top_k=50)):
        found = drawn(scores, numbers, sampling, 256)
        assert found.undecided is not None, sampling
        assert int(found.undecided.sum()) <= 3


@pytest.mark.parametrize(
    ("number", "token"), [(0.0, 1), (0.24, 1), (0.26, 2), (0.49, 2), (0.51, 4), (0.76, 5), (1 - 2**-53, 5)]
)
@pytest.mark.parametrize("candidates", [4, 1_024])
def test_equal_tokens_are_drawn_by_their_ids(number: float, token: int, candidates: int) -> None:
    scores = torch.full((1, 60), -20.0)
    scores[0, [5, 1, 4, 2]] = 3.0
    sampling = Sampling("nucleus", top_p=0.99)
    found = drawn(scores, torch.tensor([number], dtype=torch.float64), sampling, candidates)
    if found.undecided is not None and found.undecided[0]:
        found = drawn(scores, torch.tensor([number], dtype=torch.float64), sampling, 60)
    assert found.tokens.tolist() == [token]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-53])
def test_a_token_that_cannot_be_is_never_drawn(sampling: Sampling, number: float) -> None:
    scores = scores_of(8, 50, 200)
    scores[:, ::2] = -torch.inf
    tokens = drawn(scores, torch.full((50,), number, dtype=torch.float64), sampling).tokens
    assert (tokens % 2).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("vocabulary", [40, 5_000])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_what_is_not_finite_gives_some_token(value: float, vocabulary: int, sampling: Sampling) -> None:
    scores = scores_of(2, 6, vocabulary)
    scores[1] = value
    scores[2, 3] = value
    tokens = drawn(scores, torch.full((6,), 0.7, dtype=torch.float64), sampling, 64).tokens
    assert ((tokens >= 0) & (tokens < vocabulary)).all()


def test_a_row_is_drawn_by_itself() -> None:
    scores, numbers = scores_of(4, 30, 2_000), torch.linspace(0, 0.99, 30, dtype=torch.float64)
    whole = drawn(scores, numbers, Sampling(), 256).tokens.tolist()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert drawn(scores[order], numbers[order], Sampling(), 256).tokens.tolist() == [whole[row] for row in order]
    assert [int(drawn(scores[r : r + 1], numbers[r : r + 1], Sampling(), 256).tokens) for r in range(30)] == whole


@pytest.mark.parametrize("penalty", [0.7, 1.0, 1.3])
def test_the_penalty_is_that_of_transformers(penalty: float) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    logits, had = scores_of(6, 5, 50), torch.randint(0, 50, (5, 9), generator=torch.Generator().manual_seed(1))
    before = logits.clone()
    rules = rules_of(Sampling(min_tokens=0, repetition_penalty=penalty), torch.tensor([2]), 50)
    found = rules.scores(logits, logits.logsumexp(1), had, 3)
    assert torch.equal(found, RepetitionPenaltyLogitsProcessor(penalty)(had, logits.clone()))
    assert torch.equal(logits, before)


@pytest.mark.parametrize(("place", "allowed"), [(0, False), (3, False), (4, True), (9, True)])
def test_the_end_must_wait(place: int, allowed: bool) -> None:
    rules = rules_of(Sampling(min_tokens=4, stop_probability=1e-6), torch.tensor([2, 5]), 50)
    logits = scores_of(6, 5, 50)
    found = rules.scores(logits, logits.logsumexp(1), torch.zeros((5, 1), dtype=torch.int64), place)
    assert bool(found[:, [2, 5]].isfinite().all()) == allowed
    assert bool(found[:, [0, 1, 3, 4]].isfinite().all()) != allowed


@pytest.mark.parametrize(("share", "forced"), [(0.18, False), (0.179, True), (0.17, True)])
@pytest.mark.parametrize("penalty", [1.0, 1.9])
def test_a_likely_end_is_taken(share: float, forced: bool, penalty: float) -> None:
    """By the probability of the bare model: two ends of .0895 each."""
    sampling = Sampling(min_tokens=0, stop_probability=share, repetition_penalty=penalty)
    logits = torch.tensor([[0.0895, 0.0895, 0.421, 0.4]]).log() + 3
    found = rules_of(sampling, torch.tensor([0, 1]), 4).scores(
        logits, logits.logsumexp(1) - 1e-6, torch.tensor([[0, 1]]), 0
    )
    assert found[0, 2:].isinf().all() == forced
    assert found[0, :2].isfinite().all()


@pytest.mark.parametrize("sampling", [s for s in SAMPLINGS if s.top_k != 1])
@pytest.mark.parametrize("place", [4, 5])
def test_all_rules_together_are_those_of_transformers(sampling: Sampling, place: int) -> None:
    """In their order: penalty, the end that must wait, then temperature and the cuts."""
    from transformers import RepetitionPenaltyLogitsProcessor

    count, logits = 4_000, scores_of(9, 1, 30)
    had = logits.topk(4).indices
    rules = rules_of(replace(sampling, repetition_penalty=1.9, min_tokens=5), torch.tensor([7, 9]), 30)
    expected = RepetitionPenaltyLogitsProcessor(1.9)(had, logits.clone())
    expected[:, [7, 9]] = -torch.inf if place < 5 else expected[:, [7, 9]]
    numbers = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    scores = rules.scores(logits, logits.logsumexp(1), had, place).expand(count, -1)
    shares = torch.bincount(drawn(scores, numbers, sampling).tokens, minlength=30) / count
    assert torch.allclose(shares.double(), kept_by_transformers(expected, sampling)[0], atol=1.1 / count)
