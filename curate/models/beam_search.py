"""Beam search as transformers does it with length_penalty 1 and early_stopping off, so that its captions are the same.

Of each picture the `beams` best unfinished texts go on. From all their continuations the best (ends + 1) x beams are
taken; of the first `beams` of these the finished ones enter the list of finished texts, which are ranked by their
log-probability per token, the end counted. A picture is done when its best unfinished text, by the same measure and at
its present length, is no better than the worst of a full list. What a picture finds depends on it alone: one that is
done is computed on beside the others, and its list is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from curate.models.picks import Rules

__all__ = ["beam_search"]

NEVER = -1e9
"""Below every score: of what is no candidate."""
STEPS_UNASKED = 4


class _Goes(Protocol):
    def step(self, tokens: Tensor) -> Tensor: ...

    def reorder(self, rows: Tensor) -> None: ...


@dataclass
class _Texts:
    """Texts of each picture, the best first."""

    tokens: Tensor
    """int64 (pictures, texts, length), -1 where nothing stands yet."""
    scores: Tensor
    """float32 (pictures, texts): log-probability with the penalty; of finished texts per token."""
    plain: Tensor
    """float32 (pictures, texts): log-probability of the bare model."""

    def best(self, scores: Tensor, count: int) -> tuple[_Texts, Tensor]:
        """The `count` texts that are best by `scores`, with these for their own, and where they stood."""
        scores, places = scores.topk(count, 1)
        whole = places[:, :, None].expand(-1, -1, self.tokens.shape[2])
        return _Texts(self.tokens.gather(1, whole), scores, self.plain.gather(1, places)), places

    def beside(self, other: _Texts) -> _Texts:
        pairs = ((self.tokens, other.tokens), (self.scores, other.scores), (self.plain, other.plain))
        return _Texts(*(torch.cat(pair, 1) for pair in pairs))


def beam_search(
    decoder: _Goes, logits: Tensor, prompts: Tensor, rules: Rules, beams: int
) -> list[tuple[list[int], float]]:
    """`beams` texts of each picture, the best first: tokens, -1 after the end, and the bare model's log-probability,
    which is not a number where there are not so many texts (the end was forced at once, say).

    `logits`: those after the prompts, float32 (pictures x beams, vocabulary); `prompts`: int64 (pictures x beams, p).
    """
    pictures, length = len(prompts) // beams, rules.sampling.max_tokens
    running, finished = (_none(pictures, beams, length, logits) for _ in range(2))
    running.scores[:, 0] = running.plain[:, 0] = 0
    full = torch.zeros((pictures, beams), dtype=torch.bool, device=logits.device)
    open_ = torch.ones((pictures, 1), dtype=torch.bool, device=logits.device)
    first_rows = torch.arange(pictures, device=logits.device)[:, None] * beams
    for place in range(length):
        had = torch.cat([prompts, running.tokens[:, :, :place].reshape(len(prompts), -1).clamp(min=0)], 1)
        found, parents = _continued(running, logits, had, rules, place)
        last = place + 1 == length
        ended = rules.is_end(found.tokens[:, :, place].flatten()).view(parents.shape) | last
        taken = ended & (torch.arange(parents.shape[1], device=logits.device) < beams)
        per_token = (found.scores / (place + 1)).masked_fill(~(taken & open_), NEVER)
        both = finished.beside(found)
        finished, places = both.best(torch.cat([finished.scores, per_token], 1), beams)
        full = torch.cat([full, taken & open_], 1).gather(1, places)
        if last:
            break
        running, places = found.best(found.scores.masked_fill(ended, NEVER), beams)
        worst = finished.scores.amin(1, keepdim=True).masked_fill(~full.all(1, keepdim=True), NEVER)
        open_ = open_ & (running.scores[:, :1] / (place + 1) > worst)
        if _asked(place, logits) and not bool(open_.any()):
            break
        decoder.reorder((parents.gather(1, places) + first_rows).flatten())
        logits = decoder.step(running.tokens[:, :, place].flatten())
    plain = finished.plain.masked_fill(finished.plain <= NEVER / 2, torch.nan)
    flat = finished.tokens.flatten(0, 1).tolist(), plain.flatten().tolist()
    return list(zip(*flat, strict=True))


def _none(pictures: int, beams: int, length: int, like: Any) -> _Texts:
    scores = torch.full((pictures, beams), NEVER, dtype=torch.float32, device=like.device)
    tokens = torch.full((pictures, beams, length), -1, dtype=torch.int64, device=like.device)
    return _Texts(tokens, scores, scores.clone())


def _asked(place: int, logits: Tensor) -> bool:
    """Whether to wait for the device, to see if all is done."""
    return not logits.is_cuda or place % STEPS_UNASKED == STEPS_UNASKED - 1


def _continued(running: _Texts, logits: Tensor, had: Tensor, rules: Rules, place: int) -> tuple[_Texts, Tensor]:
    """The best continuations of each picture by one token, and the beam that each goes on from."""
    (pictures, beams), vocabulary = running.scores.shape, logits.shape[1]
    plain = logits.log_softmax(1)
    scores = rules.scores(plain, plain.new_zeros(len(plain)), had, place)
    scores = (scores.view(pictures, beams, -1) + running.scores[:, :, None]).view(pictures, -1)
    best, places = scores.topk(min((1 + len(rules.ends)) * beams, scores.shape[1]), 1)
    parents, added = places // vocabulary, places % vocabulary
    whole = parents[:, :, None].expand(-1, -1, running.tokens.shape[2])
    tokens = running.tokens.gather(1, whole)
    tokens[:, :, place] = added
    own = running.plain.gather(1, parents) + plain.view(pictures, -1).gather(1, places)
    return _Texts(tokens, best, own), parents
