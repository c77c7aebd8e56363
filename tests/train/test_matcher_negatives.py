"""Hard negatives: drawn by likeness, never a pair that is right, the same for the same step; and the loss over them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from curate.train.itm import LEAST_WEIGHT, draws, hard_negatives, itm_loss


@settings(max_examples=200, deadline=None)
@given(
    pictures=st.lists(st.integers(0, 3), min_size=2, max_size=12),
    scale=st.sampled_from([0.0, 1.0, 1_000.0]),
    drawn=st.sampled_from([0.0, 0.5, 1 - 2.0**-53]),
    seed=st.integers(0, 1_000),
)
def test_a_negative_is_never_of_the_same_picture(pictures, scale, drawn, seed):
    numbers = torch.tensor(pictures)
    same = numbers[:, None] == numbers
    similarity = scale * torch.randn(len(numbers), len(numbers), generator=torch.Generator().manual_seed(seed))
    found = hard_negatives(similarity, same, torch.full((len(numbers),), drawn, dtype=torch.float64))
    others = ~same.all(dim=1)
    assert torch.equal(found.there, others)
    rows = torch.arange(len(numbers))[others]
    assert not same[rows, found.choice[others]].any()


def test_draws_follow_the_weights():
    similarity, same = torch.tensor([[5.0, 0.0, 2.0, 1.0]]), torch.tensor([[True, False, False, False]])
    weights = (similarity.softmax(1) + LEAST_WEIGHT).masked_fill(same, 0.0)[0]
    drawn = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:-1]
    found = hard_negatives(similarity.repeat(20_000, 1), same.repeat(20_000, 1), drawn).choice
    shares = torch.bincount(found, minlength=4) / 20_000
    assert torch.allclose(shares, weights / weights.sum(), atol=1e-3)


def test_the_least_likely_still_has_a_chance():
    similarity, same = torch.tensor([[100.0, 0.0, 0.0]]), torch.tensor([[True, False, False]])
    for drawn, wanted in ((0.25, 1), (0.75, 2)):
        assert hard_negatives(similarity, same, torch.tensor([drawn], dtype=torch.float64)).choice.item() == wanted


def test_what_is_drawn_depends_on_seed_and_step_alone():
    assert torch.equal(draws(3, 7, 5), draws(3, 7, 5))
    assert not torch.equal(draws(3, 7, 5), draws(3, 8, 5))
    assert not torch.equal(draws(3, 7, 5), draws(4, 7, 5))
    both = draws(0, 0, 1_000)
    assert both.shape == (2, 1_000)
    assert ((both >= 0) & (both < 1)).all()


def test_the_loss_is_that_of_a_head_with_two_outputs():
    random = torch.Generator().manual_seed(0)
    heads = torch.randn(9, 2, generator=random)
    labels = torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0])
    odds = heads[:, 1] - heads[:, 0]
    found = itm_loss(odds[:3], odds[3:], torch.ones(6, dtype=torch.bool))
    assert float(found) == pytest.approx(float(functional.cross_entropy(heads, labels, reduction="sum")), rel=1e-5)


def test_a_pair_that_is_not_there_costs_nothing():
    right, wrong = torch.tensor([0.0]), torch.tensor([50.0, 0.0])
    found = itm_loss(right, wrong, torch.tensor([False, True]))
    assert float(found) == pytest.approx(2 * math.log(2))
    assert np.isfinite(float(found))
