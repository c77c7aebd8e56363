"""The language modelling loss: which places are asked, and what it is, against transformers' own count."""

import numpy as np
import pytest
import torch

from curate.train.lm import IGNORED, lm_loss, lm_targets


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [(0, [[5, 6, 9], [7, 9, IGNORED]]), (1, [[IGNORED, 6, 9], [IGNORED, 9, IGNORED]]),
     (2, [[IGNORED, IGNORED, 9], [IGNORED, IGNORED, IGNORED]])],
)  # fmt: skip
def test_words_and_end_are_asked_prompt_and_padding_are_not(prompt, wanted):
    tokens = torch.tensor([[1, 5, 6, 9], [1, 7, 9, 0]])
    assert lm_targets(tokens, 0, prompt).tolist() == wanted
    assert tokens.tolist() == [[1, 5, 6, 9], [1, 7, 9, 0]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_a_count_by_hand(smoothing):
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(2, 3, 5)), np.array([[1, 4, IGNORED], [0, IGNORED, 2]])
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    own = [
        (1 - smoothing) * logs[row, place, word] + smoothing * logs[row, place].mean()
        for row, words in enumerate(targets)
        for place, word in enumerate(words)
        if word != IGNORED
    ]
    found = lm_loss(torch.from_numpy(logits), torch.from_numpy(targets), smoothing)
    assert float(found) == pytest.approx(-sum(own), rel=1e-5)


def test_pieces_add_up_to_the_whole():
    logits, targets = torch.randn(6, 4, 7), torch.randint(0, 7, (6, 4))
    parts = sum(lm_loss(logits[start : start + 2], targets[start : start + 2], 0.1) for start in (0, 2, 4))
    assert float(parts) == pytest.approx(float(lm_loss(logits, targets, 0.1)), rel=1e-5)
