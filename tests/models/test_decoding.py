"""The decoding loop, beside transformers' own `generate` on a tiny GPT-2 with random weights, and by tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import curate.models.decoding
from curate.models.captioner import Sampling, uniforms
from curate.models.decoding import Decoded, _Loop, decode, rows_each
from curate.models.picks import drawn, rules_of

END = 7
WORDS = 60
PROMPT = [3, 11]


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return random_gpt2(5)


def random_gpt2(seed: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=WORDS, n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.35)
    model = GPT2LMHeadModel(config).eval()
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 0.3)
    return model


class Rereading:
    """Reads the whole text again for every token; what it read is `seen`, and `calls` counts the steps."""

    def __init__(self, model: Any) -> None:
        self.model, self.calls = model, 0
        self.seen = torch.zeros((0, 0), dtype=torch.int64)

    def start(self, prompt: torch.Tensor) -> torch.Tensor:
        self.seen, self.calls = prompt, 0
        return self._last()

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen = torch.cat([self.seen, tokens[:, None]], 1)
        return self._last()

    def reorder(self, rows: torch.Tensor) -> None:
        self.seen = self.seen[rows]

    def _last(self) -> torch.Tensor:
        return self.model(self.seen).logits[:, -1].float()


class Table:
    """Tells the same logits at every place, (places, vocabulary), whatever was said."""

    def __init__(self, logits: Sequence[Sequence[float]]) -> None:
        self.logits, self.place, self.rows = torch.tensor(logits), 0, 0

    def start(self, prompt: torch.Tensor) -> torch.Tensor:
        self.place, self.rows = 0, len(prompt)
        return self.logits[0].expand(self.rows, -1).clone()

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        self.place += 1
        return self.logits[self.place % len(self.logits)].expand(self.rows, -1).clone()

    def reorder(self, rows: torch.Tensor) -> None:
        pass


def prompts(pictures: int = 5) -> torch.Tensor:
    """Another first token for each picture."""
    return torch.tensor([[PROMPT[0] + 4 * number, PROMPT[1]] for number in range(pictures)])


def theirs(model: Any, ids: torch.Tensor, n: int = 1, **more: Any) -> list[list[int]]:
    """transformers' texts, without prompt and end."""
    ends = more.pop("ends", END)
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), eos_token_id=ends, pad_token_id=0, do_sample=False,
            num_return_sequences=n, **more,
        )[:, ids.shape[1] :].tolist()  # fmt: skip
    stops = [ends] if isinstance(ends, int) else ends
    return [row[: next((place for place, token in enumerate(row) if token in stops), len(row))] for row in out]


def without_padding(rows: list[list[int]], ours: list[Decoded]) -> list[list[int]]:
    """Rows of one length have zeros behind a text that the length cut off in the middle of others."""
    lengths = [len(text.tokens) for text in ours]
    return [row[:n] + [token for token in row[n:] if token] for row, n in zip(rows, lengths, strict=True)]


@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
@pytest.mark.parametrize("least", [0, 6])
@pytest.mark.parametrize("ends", [[END], [END, 9, 30, 31, 32]])
def test_greedy_texts_are_those_of_transformers(gpt2: Any, penalty: float, least: int, ends: list[int]) -> None:
    sampling = Sampling("greedy", max_tokens=18, min_tokens=least, repetition_penalty=penalty)
    found = decode(Rereading(gpt2), prompts(), sampling, None, ends, 1)
    more = {"max_new_tokens": 18, "min_new_tokens": least, "repetition_penalty": penalty, "ends": ends}
    ours = [row[0].tokens for row in found]
    assert ours == theirs(gpt2, prompts(), **more)
    assert all(len(tokens) >= least for tokens in ours)


@pytest.mark.parametrize("penalty", [1.0, 1.4])
@pytest.mark.parametrize(("beams", "n"), [(3, 1), (3, 3), (4, 2)])
@pytest.mark.parametrize("ends", [[END], [END, 9, 30]])
@pytest.mark.parametrize("least", [0, 5])
def test_texts_of_beams_are_those_of_transformers(
    gpt2: Any, penalty: float, beams: int, n: int, ends: list[int], least: int
) -> None:
    sampling = Sampling("beam", beams=beams, max_tokens=14, min_tokens=least, repetition_penalty=penalty)
    found = decode(Rereading(gpt2), prompts(), sampling, None, ends, n)
    more = {"max_new_tokens": 14, "min_new_tokens": least, "repetition_penalty": penalty, "ends": ends}
    flat = [text for row in found for text in row]
    assert [len(row) for row in found] == [n] * 5
    expected = theirs(gpt2, prompts(), n, num_beams=beams, length_penalty=1.0, early_stopping=False, **more)
    assert [text.tokens for text in flat] == without_padding(expected, flat)


@pytest.mark.parametrize("seed", [0, 4])
@pytest.mark.parametrize("beams", [2, 3])
def test_a_picture_that_is_done_stays_as_it_is(seed: int, beams: int) -> None:
    """While others go on, its unfinished texts may become better than what it has: it is closed all the same."""
    model, ends = random_gpt2(seed), [END, 9, 30]
    sampling = Sampling("beam", beams=beams, max_tokens=30, min_tokens=0, repetition_penalty=1.0)
    flat = [text for row in decode(Rereading(model), prompts(12), sampling, None, ends, beams) for text in row]
    more = {"max_new_tokens": 30, "num_beams": beams, "length_penalty": 1.0, "early_stopping": False, "ends": ends}
    assert [text.tokens for text in flat] == without_padding(theirs(model, prompts(12), beams, **more), flat)
    assert {text.finish for text in flat} == {"stop", "length"}


DRAWING = [
    Sampling("nucleus", max_tokens=12, min_tokens=2),
    Sampling("nucleus", top_p=0.7, top_k=20, temperature=1.6, max_tokens=12, min_tokens=0, repetition_penalty=1.4),
    Sampling("top_k", top_k=5, max_tokens=12, min_tokens=0, repetition_penalty=1.0),
]
ALL = [*DRAWING, Sampling("greedy", max_tokens=12), Sampling("beam", beams=4, max_tokens=12, repetition_penalty=1.3)]


def texts(model: Any, sampling: Sampling, pictures: Sequence[int], n: int = 1, ends: Sequence[int] = (END,)) -> Any:
    """Of the pictures with these numbers."""
    draws = uniforms([number + 50 for number in pictures], n, sampling.max_tokens)
    return decode(Rereading(model), prompts(12)[list(pictures)], sampling, draws, ends, n)


@pytest.mark.parametrize("sampling", ALL)
def test_a_text_does_not_depend_on_those_beside_it(gpt2: Any, sampling: Sampling) -> None:
    n = 1 if sampling.method == "greedy" else 3
    together = texts(gpt2, sampling, range(8), n)
    for part in ([3], [6, 1, 4], [7, 6, 5, 4, 3, 2, 1, 0], [2, 2]):
        found = texts(gpt2, sampling, part, n)
        assert [[t.tokens for t in row] for row in found] == [[t.tokens for t in together[p]] for p in part]
    assert len({tuple(t.tokens) for row in together for t in row}) >= 8


@pytest.mark.parametrize("sampling", DRAWING)
def test_one_more_text_changes_none_of_the_others(gpt2: Any, sampling: Sampling) -> None:
    more = texts(gpt2, sampling, range(4), 5)
    fewer = texts(gpt2, sampling, range(4), 2)
    both = [
        (one, other) for row, of_two in zip(more, fewer, strict=True) for one, other in zip(row, of_two, strict=False)
    ]
    assert [(one.tokens, one.finish) for one, _ in both] == [(other.tokens, other.finish) for _, other in both]
    # twenty rows and eight are other products to the library, whose last bits depend on what the process did before
    assert [one.log_probability for one, _ in both] == pytest.approx(
        [other.log_probability for _, other in both], rel=1e-6
    )
    assert all(len({tuple(text.tokens) for text in row}) > 1 for row in more)


@pytest.mark.parametrize("sampling", ALL)
@pytest.mark.parametrize("ends", [[END], [END, 9, 30, 31, 32]])
def test_the_log_probability_is_that_of_the_bare_model(gpt2: Any, sampling: Sampling, ends: list[int]) -> None:
    n = 1 if sampling.method == "greedy" else 3
    found = texts(gpt2, sampling, range(6), n, ends)
    finishes = set()
    for prompt, row in zip(prompts(12).tolist(), found, strict=False):
        for text in row:
            finishes.add(text.finish)
            ids = torch.tensor([[*prompt, *text.tokens]])
            logs = gpt2(ids).logits[0].log_softmax(1)[len(prompt) - 1 :]
            told = logs[:-1].gather(1, torch.tensor(text.tokens)[:, None]).sum()
            possible = [told + logs[-1, end] for end in ends] if text.finish == "stop" else [told]
            assert min(abs(text.log_probability - float(value.detach())) for value in possible) < 1e-4
            assert not set(text.tokens) & set(ends)
    assert "stop" in finishes or len(ends) == 1


LIKELY_END = [[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 2.0]]
"""Token 2 is the likeliest at first, then 3, which ends."""


@pytest.mark.parametrize(
    ("least", "most", "tokens", "finish", "steps"),
    [
        (0, 1, [2], "length", 0),
        (0, 2, [2], "stop", 1),
        (1, 5, [2], "stop", 1),
        (2, 5, [2, 2, 2], "stop", 3),
        (3, 3, [2, 2, 2], "length", 2),
        (4, 4, [2, 2, 2, 2], "length", 3),
    ],
)
def test_where_a_text_ends(least: int, most: int, tokens: list[int], finish: str, steps: int) -> None:
    table = Table(LIKELY_END)
    sampling = Sampling("greedy", min_tokens=least, max_tokens=most, repetition_penalty=1.0)
    (found,), (other,) = decode(table, torch.zeros((2, 1), dtype=torch.int64), sampling, None, [3], 1)
    logs = torch.tensor(LIKELY_END).log_softmax(1)
    expected = sum(
        float(logs[place % 2, token]) for place, token in enumerate([*tokens, 3][: len(tokens) + (finish == "stop")])
    )
    assert (found.tokens, found.finish, table.place) == (tokens, finish, steps)
    assert found.log_probability == pytest.approx(expected, abs=1e-5)
    assert other == found


@pytest.mark.parametrize(("share", "tokens"), [(1.0, [2, 0, 2, 0]), (0.3, [2, 0, 2, 0]), (0.2, [2, 0, 2]), (0.1, [2])])
def test_a_text_ends_where_the_end_is_likely_enough(share: float, tokens: list[int]) -> None:
    """Probabilities of the end: .05, .15, .05, .25."""
    rows = torch.tensor([[0.05, 0.1, 0.8, 0.05], [0.7, 0.05, 0.1, 0.15], [0.05, 0.1, 0.8, 0.05], [0.7, 0.05, 0, 0.25]])
    sampling = Sampling("greedy", min_tokens=0, max_tokens=4, repetition_penalty=1.0, stop_probability=share)
    table = Table(rows.log().clamp(min=-50).tolist())
    ((found,),) = decode(table, torch.zeros((1, 1), dtype=torch.int64), sampling, None, [3], 1)
    assert (found.tokens, found.finish) == (tokens, "length" if len(tokens) == 4 else "stop")


def test_a_text_of_no_tokens() -> None:
    sampling = Sampling("nucleus", min_tokens=0)
    table = Table([[0.0, 0.0, 0.0, 40.0]])
    found = decode(table, torch.zeros((1, 1), dtype=torch.int64), sampling, uniforms([1], 2, 20), [3], 2)
    assert found == [[Decoded([], pytest.approx(0, abs=1e-6), "stop")] * 2]
    assert table.place == 0


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0, 5.0], [0.0, -50.0, -50.0, 1.0]])
def test_beams_that_find_no_text_have_no_log_probability(logits: list[float]) -> None:
    """The end is forced at once, so there is one text, which is empty; what else is told must not pass for another."""
    sampling = Sampling("beam", beams=3, min_tokens=0, repetition_penalty=1.0, stop_probability=0.5)
    (found,) = decode(Table([logits]), torch.zeros((1, 1), dtype=torch.int64), sampling, None, [3], 3)
    assert found[0] == Decoded([], pytest.approx(float(torch.tensor(logits).log_softmax(0)[3]), abs=1e-5), "stop")
    assert all(np.isnan(text.log_probability) for text in found[1:])


def test_one_beam_is_greedy(gpt2: Any) -> None:
    greedy, beam = Sampling("greedy", max_tokens=9), Sampling("beam", beams=1, max_tokens=9)
    assert texts(gpt2, greedy, range(5)) == texts(gpt2, beam, range(5))


@pytest.mark.parametrize(
    ("method", "beams", "n", "rows"),
    [
        ("greedy", 3, 1, 1),
        ("greedy", 3, 2, 0),
        ("beam", 3, 3, 3),
        ("beam", 3, 1, 3),
        ("beam", 3, 4, 0),
        ("nucleus", 3, 40, 40),
        ("nucleus", 3, 0, 0),
        ("top_k", 3, 1, 1),
    ],
)
def test_rows_of_a_picture(method: Any, beams: int, n: int, rows: int) -> None:
    sampling = Sampling(method, top_k=5, beams=beams)
    if rows:
        assert rows_each(sampling, n) == rows
        return
    with pytest.raises(ValueError, match=f"{n} captions a picture by '{method}'"):
        rows_each(sampling, n)


def flat(vocabulary: int) -> tuple[Table, torch.Tensor, Any]:
    """Logits so flat that the likeliest tokens are not enough, for three pictures with two texts each."""
    logits = torch.randn(5, vocabulary, generator=torch.Generator().manual_seed(1)).tolist()
    return Table(logits), torch.zeros((3, 1), dtype=torch.int64), uniforms([4, 5, 6], 2, 5)


def test_tokens_beyond_the_likeliest_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(max_tokens=5)
    found = decode(*flat(5_000)[:2], sampling, flat(5_000)[2], [9], 2)
    monkeypatch.setattr(
        curate.models.decoding, "drawn", lambda s, u, how, _=0, only=None: drawn(s, u, how, s.shape[1], only)
    )
    assert decode(*flat(5_000)[:2], sampling, flat(5_000)[2], [9], 2) == found


def test_what_is_drawn_again_is_weighed_among_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows need it depends on the pictures beside, and a sum over fewer rows may have other last bits."""
    weigh, rows, again = torch.Tensor.logsumexp, set(), []

    def watched(*given: Any) -> Any:
        again.append(len(given[4]) if len(given) > 4 else 0)
        return drawn(*given)

    monkeypatch.setattr(curate.models.decoding, "drawn", watched)
    monkeypatch.setattr(torch.Tensor, "logsumexp", lambda s, *a, **more: rows.add(len(s)) or weigh(s, *a, **more))
    table, prompt, draws = flat(5_000)
    told, spread = table.step, torch.tensor([1.0, 9, 9, 9, 1, 9])[:, None]
    monkeypatch.setattr(table, "step", lambda tokens: told(tokens) * spread)
    decode(table, prompt, Sampling(max_tokens=5), draws, [9], 2)
    assert any(0 < some < 6 for some in again)
    assert rows == {6}


@pytest.mark.parametrize(("vocabulary", "answers"), [(5_000, False), (4_000, True)])
def test_what_is_not_watched_says_when_it_was_not_sure(vocabulary: int, answers: bool) -> None:
    """As on a GPU, which is not asked at every step: the texts are then made once more."""
    table, prompt, draws = flat(vocabulary)
    rules = rules_of(Sampling(max_tokens=5), torch.tensor([9]), vocabulary)
    loop = _Loop(table, prompt.repeat_interleave(2, 0), rules, torch.from_numpy(draws.reshape(6, -1)))
    found = loop.run(table.start(prompt.repeat_interleave(2, 0)), sure=False)
    assert (found is not None) == answers
    if found:
        assert found == loop.run(table.start(prompt.repeat_interleave(2, 0)), sure=True)


@pytest.mark.parametrize("sampling", ALL)
def test_a_model_that_overflows_still_gives_texts(sampling: Sampling) -> None:
    table = Table([[float("nan")] * 50, [float("inf")] * 50])
    draws = uniforms([3], 1, 12)
    ((found,),) = decode(table, torch.zeros((1, 1), dtype=torch.int64), sampling, draws, [END], 1)
    assert all(0 <= token < 50 for token in found.tokens)
    assert not np.isfinite(found.log_probability)


@pytest.mark.parametrize("rows", [[0], [0, 1, 2, 3]])
def test_rows_that_are_finished_change_nothing(rows: list[int]) -> None:
    """They are read on beside the others, and what they say is thrown away."""
    sampling = Sampling("greedy", min_tokens=0, max_tokens=6, repetition_penalty=1.0)

    class Sooner(Table):
        def step(self, tokens: torch.Tensor) -> torch.Tensor:
            logits = super().step(tokens)
            logits[rows, 3] = 50.0
            return logits

    found = decode(Sooner([[0.0, 1.0, 0.0, -9.0]]), torch.zeros((4, 1), dtype=torch.int64), sampling, None, [3], 1)
    assert [len(row[0].tokens) for row in found] == [1 if row in rows else 6 for row in range(4)]
