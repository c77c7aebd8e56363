"""What is picked at each step inside transformers' generate, and what is kept of it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from curate.models.captioner import Sampling, uniforms
from curate.models.keyed_picks import KeyedBeams, KeyedPicks

GREEDY = Sampling("greedy", max_tokens=4, min_tokens=0, repetition_penalty=1.0)
DRAWN = Sampling("nucleus", top_p=1.0, max_tokens=4, min_tokens=0, repetition_penalty=1.0)
NONE = torch.zeros((1, 0), dtype=torch.int64)


def logits(*likely, size=6):
    """Rows whose likeliest token is the given one, with logit 2, all others 0."""
    rows = torch.zeros(len(likely), size)
    rows[torch.arange(len(likely)), torch.tensor(likely)] = 2.0
    return rows


def test_one_token_is_left_and_it_is_certain():
    scores = KeyedPicks(GREEDY, None, [5])(NONE.expand(2, 0), logits(3, 1))
    assert scores.softmax(1).tolist() == [[0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]]


def test_texts_end_at_their_end_and_have_the_bare_model_s_probability():
    picks = KeyedPicks(GREEDY, None, [5, 4])
    for step in (logits(1, 4, 2), logits(5, 1, 2), logits(3, 3, 2)):
        picks(torch.zeros((3, 1), dtype=torch.int64), step)
    one = float(logits(1)[0].log_softmax(0)[1])
    found = picks.texts(None)
    assert [(text.tokens, text.finish) for text in found] == [([1], "stop"), ([], "stop"), ([2, 2, 2], "length")]
    np.testing.assert_allclose([text.log_probability for text in found], [2 * one, one, 3 * one], rtol=1e-6)


def test_forced_tokens_are_left_alone_and_part_of_no_text():
    picks = KeyedPicks(GREEDY, None, [5], forced=1)
    first = torch.full((1, 6), -torch.inf)
    first[0, 2] = 0
    assert picks(NONE, first) is first
    picks(NONE, logits(4))
    assert [text.tokens for text in picks.texts(None)] == [[4]]


def test_the_least_number_of_tokens_counts_without_what_is_forced():
    from dataclasses import replace

    picks = KeyedPicks(replace(GREEDY, min_tokens=2), None, [5], forced=1)
    for step in (logits(0), logits(5), logits(5), logits(5)):
        picks(torch.zeros((1, 1), dtype=torch.int64), step)
    (text,) = picks.texts(None)
    assert (len(text.tokens), text.finish) == (2, "stop")


@pytest.mark.parametrize(("had", "penalised"), [([[1]], True), ([[2]], False), ([[9, 1]], True), ([[-1, 2]], False)])
def test_tokens_that_stand_before_are_penalised_but_for_those_that_cannot_be_said(had, penalised):
    from dataclasses import replace

    rows = torch.tensor([[0.0, 2.0, 0.0, 1.5, 0.0, 0.0]])
    picks = KeyedPicks(replace(GREEDY, repetition_penalty=2.0), None, [5])
    picks(torch.tensor(had), rows)
    assert picks.texts(None)[0].tokens == ([3] if penalised else [1])


@pytest.mark.parametrize("ends", [[], [-1], [99]])
def test_without_an_end_that_can_be_said_every_text_is_cut_off(ends):
    from dataclasses import replace

    picks = KeyedPicks(replace(GREEDY, min_tokens=4), None, ends)
    picks(NONE, logits(5))
    assert picks.texts(None)[0] == ([5], pytest.approx(float(logits(5)[0].log_softmax(0)[5])), "length")


def test_draws_follow_the_probabilities_and_their_own_numbers():
    rows = 4_000
    draws = uniforms(range(rows), 1, 2)[:, 0]
    probabilities = torch.tensor([0.5, 0.25, 0.15, 0.1])
    picks = KeyedPicks(DRAWN, draws, [])
    for _ in range(2):
        picks(NONE.expand(rows, 0), probabilities.log().repeat(rows, 1))
    tokens = np.array([text.tokens for text in picks.texts(None)])
    for place in range(2):
        np.testing.assert_allclose(np.bincount(tokens[:, place], minlength=4) / rows, probabilities, atol=0.03)
    assert (tokens[:, 0] != tokens[:, 1]).mean() > 0.5
    part = KeyedPicks(DRAWN, draws[7:9], [])
    part(NONE.expand(2, 0), probabilities.log().repeat(2, 1))
    assert [text.tokens[0] for text in part.texts(None)] == tokens[7:9, 0].tolist()


def test_a_draw_below_the_likeliest_tokens_of_a_large_vocabulary_is_made_from_all():
    size, rows = 50_000, 64
    draws = uniforms(range(rows), 1, 1)[:, 0]
    picks = KeyedPicks(Sampling("nucleus", top_p=0.999, max_tokens=1, min_tokens=0), draws, [])
    picks(NONE.expand(rows, 0), torch.linspace(1e-3, 0, size).repeat(rows, 1))
    tokens = np.array([text.tokens[0] for text in picks.texts(None)])
    np.testing.assert_allclose(tokens / size, draws[:, 0], atol=0.002)
    assert [text.log_probability for text in picks.texts(None)] == pytest.approx([-np.log(size)] * rows, abs=1e-3)


def test_a_model_that_is_not_a_number_does_not_raise():
    picks = KeyedPicks(DRAWN, uniforms([1], 1, 1)[:, 0], [5])
    picks(NONE, torch.full((1, 6), torch.nan))
    (text,) = picks.texts(None)
    assert np.isnan(text.log_probability)
    assert 0 <= (text.tokens or [5])[0] < 6


def test_beams_keep_what_the_bare_model_made_of_their_tokens():
    sampling = Sampling("beam", beams=2, max_tokens=3, min_tokens=1, repetition_penalty=1.5)
    picks = KeyedBeams(sampling, [5], forced=1)
    forced = torch.zeros(2, 6)
    assert picks(NONE.expand(2, 0), forced) is forced
    first, second = logits(1, 2).log_softmax(1), logits(3, 5).log_softmax(1)
    ruled = picks(torch.tensor([[1], [1]]), first)
    assert ruled[:, 5].tolist() == [-torch.inf] * 2
    assert ruled[0, 1] == pytest.approx(1.5 * float(first[0, 1]))
    assert picks(torch.tensor([[4], [4]]), second)[1, 5] == second[1, 5]
    found = SimpleNamespace(
        sequences=torch.tensor([[9, 0, 1, 3], [9, 0, 2, 5]]), beam_indices=torch.tensor([[0, 0, 0], [0, 1, 1]])
    )
    texts = picks.texts(found)
    assert [(text.tokens, text.finish) for text in texts] == [([1, 3], "length"), ([2], "stop")]
    wanted = [first[0, 1] + second[0, 3], first[1, 2] + second[1, 5]]
    assert [text.log_probability for text in texts] == pytest.approx([float(value) for value in wanted])


def test_a_beam_that_ended_early_is_read_to_its_end():
    picks = KeyedBeams(Sampling("beam", beams=1, max_tokens=3, min_tokens=0, repetition_penalty=1.0), [5])
    for step in (logits(1), logits(5), logits(2)):
        picks(NONE, step.log_softmax(1))
    found = SimpleNamespace(sequences=torch.tensor([[1, 5, 0]]), beam_indices=torch.tensor([[0, 0, -1]]))
    assert [(text.tokens, text.finish) for text in picks.texts(found)] == [([1], "stop")]


def test_where_the_rules_leave_fewer_texts_than_were_asked_for_the_last_stands_again():
    """Else it would be a text without a token, cut off, of probability 1."""
    picks = KeyedBeams(Sampling("beam", beams=2, max_tokens=3, min_tokens=0, repetition_penalty=1.0), [5])
    picks(NONE.expand(4, 0), logits(5, 5, 1, 5).log_softmax(1))
    picks(NONE.expand(4, 0), logits(5, 5, 5, 1).log_softmax(1))
    found = SimpleNamespace(
        sequences=torch.tensor([[5, 0], [0, 0], [1, 5], [5, 0]]),
        beam_indices=torch.tensor([[0, -1], [-1, -1], [2, 2], [3, -1]]),
    )
    texts = picks.texts(found)
    assert [(text.tokens, text.finish) for text in texts] == [([], "stop"), ([], "stop"), ([1], "stop"), ([], "stop")]
    assert texts[0].log_probability == texts[1].log_probability == pytest.approx(float(logits(5)[0].log_softmax(0)[5]))
