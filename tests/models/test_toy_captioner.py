"""The toy captioner as a network: its words, what a word may see, its likelihood, and one word at a time."""

from random import Random

import pytest
import torch

from curate.models.toy_captioner import (
    CAPTION_WORDS,
    COMMA,
    END,
    PLACES,
    ToyCaptioner,
    caption_text,
    caption_tokens,
    log_likelihood,
)
from curate.models.toy_decoder import ToyDecoder, memory_of
from curate.models.toy_words import PADDING, START, UNKNOWN, VOCABULARY, tokenize
from curate.toyweb.caption import WORDINGS, describe, parse
from curate.toyweb.scene import random_scene


@pytest.fixture(scope="module")
def model() -> ToyCaptioner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        made = ToyCaptioner().eval()
        for parameter in made.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.fixture(scope="module")
def pictures(model) -> torch.Tensor:
    with torch.inference_mode():
        return model.picture(torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(1)))


def decoder_of(model: ToyCaptioner, pictures: torch.Tensor, each: int) -> ToyDecoder:
    """With what another one left in its memory."""
    memory = memory_of(model, len(pictures) * each)
    return ToyDecoder(model, pictures, each, memory.fill_(torch.nan))


def texts(n: int) -> list[str]:
    random = Random(3)
    return [describe(random_scene(random), number % WORDINGS) for number in range(n)]


@pytest.mark.parametrize("wording", range(WORDINGS))
def test_every_wording_comes_back_from_its_numbers_and_parses(wording: int) -> None:
    random = Random(wording)
    for _ in range(100):
        scene = random_scene(random)
        numbers = caption_tokens([describe(scene, wording)])[0].tolist()
        assert numbers[0] == START
        assert numbers[-1] == END
        assert UNKNOWN not in numbers
        assert len(numbers) - 2 <= PLACES - 1, "the longest has a place, and so does its end"
        assert parse(caption_text(numbers[1:])) == scene


def test_words_have_the_numbers_that_the_other_toys_have() -> None:
    assert CAPTION_WORDS[: len(VOCABULARY)] == VOCABULARY
    ours, theirs = caption_tokens(["Two red circles"])[0].tolist(), tokenize(["two red circles"])[0].tolist()
    assert ours == [*theirs[:4], END]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", [START, END]),
        ("a", [START, VOCABULARY.index("a"), END]),
        ("on,ON ,", [START, VOCABULARY.index("on"), COMMA, VOCABULARY.index("on"), COMMA, END]),
        ("étoile_2.", [START, UNKNOWN, UNKNOWN, END]),
        ("a " * (PLACES - 1), [START, *[VOCABULARY.index("a")] * (PLACES - 1), END]),
        ("a " * PLACES, [START, *[VOCABULARY.index("a")] * PLACES]),
        ("a " * 5_000, [START, *[VOCABULARY.index("a")] * PLACES]),
        ("x" * 100_000, [START, UNKNOWN, END]),
        ("\0\ud800\u202e", [START, END]),
    ],
)
def test_any_text_has_numbers(text: str, numbers: list[int]) -> None:
    assert caption_tokens([text]).tolist() == [numbers]


def test_shorter_texts_are_filled_up() -> None:
    tokens = caption_tokens(["a red star", "a"])
    assert tokens.shape == (2, 5)
    assert tokens[1].tolist() == [START, VOCABULARY.index("a"), END, PADDING, PADDING]
    assert caption_tokens([]).shape == (0, 1)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([END, 5], ""), ([VOCABULARY.index("a"), COMMA, VOCABULARY.index("red"), END], "a, red")],
)
def test_a_text_ends_at_its_end(numbers: list[int], text: str) -> None:
    assert caption_text(numbers) == text


@pytest.mark.parametrize("place", [1, 2, 9, PLACES - 1])
def test_a_word_sees_no_later_one(model, pictures, place: int) -> None:
    tokens = caption_tokens([*texts(5), "of " * 50])[:, :PLACES]
    changed = tokens.clone()
    changed[:, place:] = COMMA
    with torch.inference_mode():
        before, after = model(pictures, tokens), model(pictures, changed)
    assert torch.allclose(before[:, :place], after[:, :place], atol=1e-4)
    assert not torch.allclose(before[:, place:], after[:, place:], atol=1e-2)


def test_it_looks_at_the_picture_and_says_no_padding(model, pictures) -> None:
    tokens = caption_tokens(["a red star above a blue star"] * 6)[:, :-1]
    with torch.inference_mode():
        logits = model(pictures, tokens)
    assert (logits.shape, logits.dtype) == ((6, tokens.shape[1], len(CAPTION_WORDS)), torch.float32)
    assert (logits[1:, :, 3:] - logits[0, :, 3:]).abs().amax() > 0.1
    never = [number for number in range(len(CAPTION_WORDS)) if (logits[..., number] == -torch.inf).all()]
    assert never == [PADDING, START]
    assert logits[..., [n for n in range(len(CAPTION_WORDS)) if n not in never]].isfinite().all()


def test_the_likelihood_is_that_of_the_words_and_the_end(model, pictures) -> None:
    told = [*texts(4), "", "a " * 50]
    tokens = caption_tokens(told)
    with torch.inference_mode():
        found = log_likelihood(model, pictures, tokens)
        for row, text in enumerate(told):
            own, summed = caption_tokens([text])[0].tolist(), 0.0
            for place, number in enumerate(own[1:], 1):
                logits = model(pictures[row : row + 1], torch.tensor([own[:place]]))[0, -1]
                summed += float(logits.double().log_softmax(0)[number])
            assert float(found[row]) == pytest.approx(summed, abs=1e-3)


@pytest.mark.parametrize("each", [1, 3])
def test_one_word_at_a_time_is_all_at_once(model, pictures, each: int) -> None:
    tokens = caption_tokens([*texts(5), "a " * 50])[:, :PLACES].repeat_interleave(each, 0)
    with torch.inference_mode():
        whole = model(pictures.repeat_interleave(each, 0), tokens)
        whole[..., UNKNOWN] = -torch.inf
        decoder = decoder_of(model, pictures, each)
        steps = [decoder.start(tokens[:, :3]), *(decoder.step(tokens[:, place]) for place in range(3, PLACES))]
        for place, logits in enumerate(steps, 2):
            assert logits.dtype == torch.float32
            assert torch.allclose(logits, whole[:, place], atol=2e-4)


def test_rows_go_on_from_others(model, pictures) -> None:
    tokens, rows = caption_tokens(texts(6))[:, :9], torch.tensor([1, 1, 3, 2, 5, 4])
    with torch.inference_mode():
        pictures = pictures[:3]
        decoder, plain = decoder_of(model, pictures, 2), decoder_of(model, pictures, 2)
        decoder.start(tokens[:, :5])
        decoder.reorder(rows)
        plain.start(tokens[rows, :5])
        for place in range(5, 9):
            assert torch.allclose(decoder.step(tokens[:, place]), plain.step(tokens[:, place]), atol=1e-5)


def test_a_decoder_can_start_again(model, pictures) -> None:
    tokens = caption_tokens(texts(6))
    with torch.inference_mode():
        decoder = decoder_of(model, pictures, 1)
        first = [decoder.start(tokens[:, :1]).clone(), decoder.step(tokens[:, 1]).clone()]
        again = [decoder.start(tokens[:, :1]), decoder.step(tokens[:, 1])]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
