"""The loop that makes texts of a model which tells the logits of the next token: greedy, drawn, or by beams.

One loop for all models, so that a sampling means the same with each, and a caption depends on its picture, its numbers
and the settings alone: each row is computed by itself, rows that are finished go on in the arithmetic (with a token
that is thrown away), so shapes never depend on what the others say, and no generator is asked for random numbers. A GPU
is asked whether all rows are finished every four steps only, since each question empties its queue. 256 rows of 45
tokens take .5 ms a step on one core beside the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.models.beam_search import beam_search
from curate.models.captioner import Finish, Sampling
from curate.models.device import sent
from curate.models.picks import Rules, drawn, rules_of

__all__ = ["Decoded", "Decoder", "decode", "rows_each"]

STEPS_UNASKED = 4


class Decoder(Protocol):
    """A model that goes on with texts: a row is one text, and keeps what it needs of the tokens it was given."""

    def start(self, prompt: Tensor) -> Tensor:
        """Read the prompts, int64 (rows, p); those of one picture stand together and are equal. Gives the logits of the
        first token, float32 (rows, vocabulary)."""

    def step(self, tokens: Tensor) -> Tensor:
        """Read one more token of each row, int64 (rows,). Gives the logits of the next one, float32 (rows,
        vocabulary); the next call may write into the same memory."""

    def reorder(self, rows: Tensor) -> None:
        """From now on row i goes on from what row `rows[i]`, int64 (rows,), of the same picture was."""


class Decoded(NamedTuple):
    """A text in tokens, without prompt and end; otherwise as `curate.models.captioner.Generated`."""

    tokens: list[int]
    log_probability: float
    finish: Finish


def rows_each(sampling: Sampling, n: int) -> int:
    """How many rows of a decoder each picture takes for `n` texts. Raises ValueError for an `n` that cannot be."""
    if n < 1 or (sampling.method == "greedy" and n > 1) or (sampling.method == "beam" and n > sampling.beams):
        most = {"greedy": "1", "beam": f"beams = {sampling.beams}"}.get(sampling.method, "any number")
        raise ValueError(f"{n} captions a picture by {sampling.method!r}, which gives from 1 to {most}")
    return sampling.beams if sampling.method == "beam" else n


def decode(
    decoder: Decoder,
    prompt: Tensor,
    sampling: Sampling,
    draws: npt.NDArray[np.float64] | None,
    end_ids: Sequence[int],
    n: int,
) -> list[list[Decoded]]:
    """`n` texts of each picture; those of beams with the best first.

    `prompt`: int64 (pictures, p), p 1 or more, on the device of the decoder, which has `rows_each` rows a picture.
    `draws`: `curate.models.captioner.uniforms`, float64 (pictures, n, max_tokens or more); None for greedy and beam.
    `end_ids`: the tokens that end a text, at least one. The end is not among the tokens, and is in the log-probability
    where it came. Of `max_tokens` picks the last may be the end. The temperature is for drawing alone.

    Beams are those of transformers with length_penalty 1 and early_stopping off: the penalty is on log-probabilities,
    and a finished text counts by what it has for each of its tokens and the end. One beam is greedy.
    """
    rows = rows_each(sampling, n)
    ends = sent(torch.tensor(list(end_ids)), prompt.device)
    with torch.inference_mode():
        prompts = prompt.repeat_interleave(rows, 0)
        logits = decoder.start(prompts)
        rules = rules_of(sampling, ends, logits.shape[1])
        if sampling.method == "beam" and rows > 1:
            texts = beam_search(decoder, logits, prompts, rules, rows)
        else:
            texts = _one_a_row(decoder, logits, prompts, rules, draws)
    found = [_decoded(tokens, log_probability, end_ids) for tokens, log_probability in texts]
    return [found[first : first + n] for first in range(0, len(found), rows)]


def _one_a_row(
    decoder: Decoder, logits: Tensor, prompts: Tensor, rules: Rules, draws: npt.NDArray[np.float64] | None
) -> list[tuple[list[int], float]]:
    numbers = None
    if rules.sampling.method in ("nucleus", "top_k"):
        assert draws is not None, "texts that are drawn need their random numbers"
        numbers = sent(torch.from_numpy(draws.reshape(len(prompts), -1)), prompts.device)
    loop = _Loop(decoder, prompts, rules, numbers)
    texts = loop.run(logits, sure=not prompts.is_cuda)
    return loop.run(decoder.start(prompts), sure=True) or [] if texts is None else texts


@dataclass(frozen=True)
class _Loop:
    """Texts that are independent of each other, one a row."""

    decoder: Decoder
    prompts: Tensor
    rules: Rules
    numbers: Tensor | None
    """float64 (rows, length), or None for greedy."""

    def run(self, logits: Tensor, sure: bool) -> list[tuple[list[int], float]] | None:
        """Tokens, -1 after the end, and log-probability of each row. Unless `sure`, the likeliest tokens alone are
        ranked, and None is told when these were not enough once: then it is run again."""
        (rows, given), length = self.prompts.shape, self.rules.sampling.max_tokens
        had = torch.cat([self.prompts, self.prompts.new_zeros((rows, length))], 1)
        out = self.prompts.new_full((rows, length), -1)
        done = torch.zeros(rows, dtype=torch.bool, device=had.device)
        summed = torch.zeros(rows, dtype=torch.float64, device=had.device)
        doubts = torch.zeros((), dtype=torch.bool, device=had.device)
        for place in range(length):
            whole = logits.logsumexp(1)
            scores = self.rules.scores(logits, whole, had[:, : given + place], place)
            tokens, undecided = self._picked(scores, place, sure)
            summed += (logits.gather(1, tokens[:, None])[:, 0] - whole).masked_fill(done, 0)
            out[:, place] = tokens.masked_fill(done, -1)
            if undecided is not None:
                doubts |= (undecided & ~done).any()
            done |= self.rules.is_end(tokens)
            had[:, given + place] = tokens
            if place + 1 == length:
                break
            if not had.is_cuda or place % STEPS_UNASKED == STEPS_UNASKED - 1:
                all_done, doubtful = torch.stack([done.all(), doubts]).tolist()
                if doubtful:
                    return None
                if all_done:
                    break
            logits = self.decoder.step(tokens)
        return None if bool(doubts) else list(zip(out.tolist(), summed.tolist(), strict=True))

    def _picked(self, scores: Tensor, place: int, sure: bool) -> tuple[Tensor, Tensor | None]:
        """Tokens, int64 (rows,), and which of them are undecided, if any may be."""
        if self.numbers is None:
            return scores.argmax(1), None
        numbers, sampling = self.numbers[:, place], self.rules.sampling
        tokens, undecided = drawn(scores, numbers, sampling)
        if undecided is None or not sure:
            return tokens, undecided
        rows = undecided.nonzero()[:, 0]
        if len(rows):
            tokens[rows] = drawn(scores, numbers, sampling, scores.shape[1], rows).tokens
        return tokens, None


def _decoded(tokens: list[int], log_probability: float, end_ids: Sequence[int]) -> Decoded:
    """A text of picked tokens, -1 after the end."""
    if -1 in tokens:
        tokens = tokens[: tokens.index(-1)]
    if tokens and tokens[-1] in end_ids:
        return Decoded(tokens[:-1], log_probability, "stop")
    return Decoded(tokens, log_probability, "length")
