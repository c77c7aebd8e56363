"""The copies that follow, the ring of features, and the targets that are partly an opinion, against counts by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from curate.train.momentum import FeatureQueue, Momentum, itc_loss, soft_targets


def test_a_copy_is_the_moving_mean_of_what_it_follows():
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    slow = Momentum(module, 0.9)
    wanted = module.weight.detach().numpy().copy()
    for _ in range(5):
        with torch.no_grad():
            module.weight.add_(torch.randn_like(module.weight))
        slow.follow(module)
        wanted = 0.9 * wanted + 0.1 * module.weight.detach().numpy()
    assert np.allclose(slow.copy.weight.numpy(), wanted, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in slow.copy.parameters())
    assert module.weight.requires_grad


def test_buffers_of_a_copy_are_those_of_what_it_follows():
    module = nn.BatchNorm1d(2)
    slow = Momentum(module, 0.995)
    module(torch.randn(4, 2))
    slow.follow(module)
    assert torch.equal(slow.copy.running_mean, module.running_mean)


def features(first, count):
    """Rows that say who they are."""
    numbers = torch.arange(first, first + count)
    return numbers[:, None] + torch.tensor([0.0, 0.25]), -numbers[:, None] - torch.tensor([0.0, 0.25]), numbers


@given(size=st.integers(1, 12), batches=st.lists(st.integers(1, 30), max_size=8))
def test_the_ring_holds_the_last_that_came_whatever_the_batches(size, batches):
    queue, seen = FeatureQueue(size, 2, "cpu"), 0
    for count in batches:
        queue.push(*features(seen, count))
        seen += count
    kept = list(range(max(0, seen - size), seen))
    assert sorted(queue.numbers.tolist()) == kept
    assert len(queue) == len(kept)
    assert torch.equal(queue.pictures[:, 0].long(), queue.numbers)
    assert torch.equal(-queue.texts[:, 0].long(), queue.numbers)


def test_the_oldest_give_way_first():
    queue = FeatureQueue(4, 2, "cpu")
    queue.push(*features(0, 3))
    queue.push(*features(3, 3))
    assert queue.numbers.tolist() == [4, 5, 2, 3]


def test_a_queue_of_no_places_stays_empty():
    queue = FeatureQueue(0, 2, "cpu")
    queue.push(*features(0, 3))
    assert queue.pictures.shape == (0, 2)


@pytest.mark.parametrize("pushed", [2, 3, 7])
def test_a_queue_goes_on_from_its_state(pushed):
    one, other = FeatureQueue(5, 2, "cpu"), FeatureQueue(5, 2, "cpu")
    one.push(*features(0, pushed))
    other.restore({name: tensor.clone() for name, tensor in one.state().items()})
    for queue in (one, other):
        queue.push(*features(50, 4))
    assert torch.equal(one.numbers, other.numbers)
    assert torch.equal(one.texts, other.texts)


@pytest.mark.parametrize("opinion", [0.0, 0.4, 1.0])
def test_targets_are_opinion_and_truth(opinion):
    random = np.random.default_rng(0)
    similarity = random.normal(size=(3, 6))
    same = np.zeros((3, 6), bool)
    same[[0, 1, 1, 2], [0, 1, 4, 2]] = True
    softmax = np.exp(similarity) / np.exp(similarity).sum(1, keepdims=True)
    wanted = opinion * softmax + (1 - opinion) * same / same.sum(1, keepdims=True)
    found = soft_targets(torch.from_numpy(similarity), torch.from_numpy(same), opinion)
    assert np.allclose(found.numpy(), wanted)
    assert np.allclose(found.numpy().sum(1), 1)


def test_captions_of_one_picture_are_positives_of_one_another():
    same = torch.tensor([[True, False, True], [False, True, False]])
    found = soft_targets(torch.zeros(2, 3), same, 0.0)
    assert found.tolist() == [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]


def test_the_loss_is_a_cross_entropy_summed_over_rows():
    random = np.random.default_rng(1)
    similarity, targets = random.normal(size=(4, 5)), random.dirichlet(np.ones(5), size=4)
    logs = similarity - np.log(np.exp(similarity).sum(1, keepdims=True))
    found = itc_loss(torch.from_numpy(similarity), torch.from_numpy(targets))
    assert float(found) == pytest.approx(-(logs * targets).sum())
