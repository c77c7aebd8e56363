"""Our way of picking tokens inside transformers' own `generate`, which knows the cache of every architecture.

`generate` asks a processor of logits at every step. This one applies our rules, draws by the random number of this
caption and this place, and leaves the drawn token alone, so that nothing is left to a generator of random numbers that
goes on from batch to batch. It keeps what was picked and how likely the bare model held it, since what `generate`
returns differs: some architectures put the prompt before the text, some do not. Of beams it keeps the likeliest tokens
of each, a superset of those that the search can take: 12 numbers a beam and step with 3 beams and 3 ends, and not the
logits of a whole vocabulary, which are 600 kB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.models.captioner import Sampling
from curate.models.decoding import Decoded
from curate.models.picks import Rules, drawn, rules_of

__all__ = ["KeyedBeams", "KeyedPicks"]


class _Processor:
    """What both have in common. `ends`: the tokens that end a text; `forced`: how many tokens stand at the start of
    every text whatever the model says (`forced_bos_token_id`), which are part of no text."""

    def __init__(self, sampling: Sampling, ends: Sequence[int], forced: int) -> None:
        self.sampling, self.ends = sampling, tuple(ends)
        self.place = -forced
        self._rules: Rules | None = None

    def _scores(self, logits: Tensor, whole: Tensor, input_ids: Tensor) -> Tensor:
        """Those to pick by. A token of the prompt that the model cannot say, as that of a picture, has no penalty."""
        if self._rules is None:
            ends = torch.tensor([end for end in self.ends if 0 <= end < logits.shape[1]], device=logits.device)
            self._rules = rules_of(self.sampling, ends.long(), logits.shape[1])
        had = input_ids
        if had.shape[1]:
            had = torch.where((had >= 0) & (had < logits.shape[1]), had, had[:, -1:])
        return self._rules.scores(logits, whole, had, self.place)


class KeyedPicks(_Processor):
    """For greedy and drawn texts. `draws`: float64 (rows, max_tokens), None for greedy."""

    def __init__(
        self, sampling: Sampling, draws: npt.NDArray[np.float64] | None, ends: Sequence[int], forced: int = 0
    ) -> None:
        super().__init__(sampling, ends, forced)
        self._draws = draws
        self._picked: list[Tensor] = []
        self._likely: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits float32 (rows, vocabulary) to 0 for the token that was picked and minus infinity for all others."""
        if self.place < 0:
            self.place += 1
            return scores
        whole = scores.logsumexp(1)
        tokens = self._pick(self._scores(scores, whole, input_ids))[:, None]
        self._likely.append(scores.gather(1, tokens)[:, 0] - whole)
        self._picked.append(tokens[:, 0])
        self.place += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens, 0.0)

    def _pick(self, scores: Tensor) -> Tensor:
        if self._draws is None:
            return scores.argmax(1)
        numbers = torch.from_numpy(np.ascontiguousarray(self._draws[:, self.place])).to(scores.device)
        tokens, undecided = drawn(scores, numbers, self.sampling)
        if undecided is not None and bool(undecided.any()):
            tokens = torch.where(undecided, drawn(scores, numbers, self.sampling, scores.shape[1]).tokens, tokens)
        return tokens

    def texts(self, sequences: Any) -> list[Decoded]:
        """What was picked in each row. `sequences`: what `generate` returned, which is not needed."""
        tokens = torch.stack(self._picked, 1).tolist()
        likely = torch.stack(self._likely, 1).double().tolist()
        return [self._text(*row) for row in zip(tokens, likely, strict=True)]

    def _text(self, tokens: list[int], likely: list[float]) -> Decoded:
        for place, token in enumerate(tokens):
            if token in self.ends:
                return Decoded(tokens[:place], sum(likely[: place + 1]), "stop")
        return Decoded(tokens, sum(likely), "length")


class KeyedBeams(_Processor):
    """For beams, which transformers searches for: our rules, and what the bare model made of each token."""

    def __init__(self, sampling: Sampling, ends: Sequence[int], forced: int = 0) -> None:
        super().__init__(sampling, ends, forced)
        self._forced = forced
        self._known: list[tuple[Tensor, Tensor]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Log-probabilities float32 (rows, vocabulary) to those that are searched by."""
        if self.place < 0:
            self.place += 1
            return scores
        ruled = self._scores(scores, scores.new_zeros(len(scores)), input_ids)
        most = max(2, 1 + len(self.ends)) * self.sampling.beams
        ids = ruled.topk(min(most, ruled.shape[1])).indices
        self._known.append((ids, scores.gather(1, ids)))
        self.place += 1
        return ruled

    def texts(self, found: Any) -> list[Decoded]:
        """The texts that `generate` returned, with `sequences` and `beam_indices`, int64 (texts, length) each. Where
        the rules left fewer texts than were asked for, its rows are empty: these are the text before them again."""
        rows = found.beam_indices.tolist()
        length = found.beam_indices.shape[1]
        tokens = found.sequences[:, found.sequences.shape[1] - length :].tolist()
        known = [(ids.tolist(), likely.tolist()) for ids, likely in self._known]
        made: list[Decoded] = []
        for text in zip(tokens, rows, strict=True):
            empty = bool(made) and text[1][0] < 0
            made.append(made[-1] if empty else self._text(*text, known))
        return made

    def _text(
        self, tokens: list[int], rows: list[int], known: Sequence[tuple[list[list[int]], list[list[float]]]]
    ) -> Decoded:
        """`rows`: the row of the processor's that each token comes from; below 0 behind the end."""
        own = [(token, row) for token, row in zip(tokens, rows, strict=True) if row >= 0][self._forced :]
        likely = 0.0
        for (token, row), (ids, values) in zip(own, known, strict=False):
            likely += values[row][ids[row].index(token)] if token in ids[row] else float("nan")
        words = [token for token, _ in own]
        if words and words[-1] in self.ends:
            return Decoded(words[:-1], likely, "stop")
        return Decoded(words, likely, "length")
