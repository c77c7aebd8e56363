"""The losses of a stage, and their gradient over a batch that is computed in units.

Next tokens are added over the units and divided by the whole batch's number, which is known before. The contrastive
loss compares all pairs of the batch, so embeddings are computed first, without gradient, and gathered; every worker
then has the same slopes by embedding, and each unit goes through the towers again with its own (Gao et al. 2021): one
more pass forward, and the same gradient however the batch is cut. Hard negatives of the matching loss are drawn within
a unit, as ALBEF draws them within a GPU's batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from curate.train.contrastive import contrastive_loss
from curate.train.itm import draws, hard_negatives, itm_loss
from curate.train.lm import IGNORED
from curate.train.spread_training import Peers
from curate.train.stages.collate import Unit
from curate.train.stages.model import StageModel
from curate.train.stages.ordered_sum import OrderedSum, by_unit, unit_order
from curate.train.stages.rows import Placed, Writing, rows_of
from curate.train.stages.settings import GENERATIVE

__all__ = ["LOSSES", "Objectives", "sigmoid_loss"]

LOSSES = ("contrastive", "itm", *GENERATIVE)


@dataclass(frozen=True)
class Objectives:
    """The losses of a stage by their weights. `half` computes products in bfloat16."""

    model: StageModel
    weights: Mapping[str, float]
    writing: Writing
    peers: Peers
    device: torch.device
    half: bool
    seed: int

    def gradient(self, step: int, units: Sequence[Unit]) -> dict[str, float]:
        """Put the gradient of a batch into the parameters; the mean of each loss. `units` are this worker's: number u
        of them all is the (u // world)-th of worker u % world."""
        learned = [tensor for tensor in self.model.parameters() if tensor.requires_grad]
        norms = _summed([torch.cat([unit.norms, unit.counts]) for unit in units], self.peers, self.device)
        pairs = int(_summed([torch.tensor([len(unit.shown)]) for unit in units], self.peers, self.device).item())
        parted = self._weighs("contrastive") and len(units) * self.peers.world > 1
        slopes, told, extra = self._contrast(step, units, learned) if parted else ([], {}, [])
        total = OrderedSum(self.peers)
        for number in unit_order(len(units)):
            for tensor in learned:
                tensor.grad = None
            place = (step, number * self.peers.world + self.peers.rank)
            sums = self._unit(place, units[number], (norms, pairs), slopes[number] if slopes else None)
            parts = [torch.zeros_like(t) if t.grad is None else t.grad for t in learned]
            total.add(torch.cat([*(part.flatten().float() for part in parts), sums]))
        whole = total.total()
        _put(learned, whole, extra)
        sums = whole[len(whole) - len(LOSSES) :].tolist()
        counts = [1.0, max(pairs, 1) * 3.0, *norms[-len(GENERATIVE) :].tolist()]
        means = {name: value / count for name, value, count in zip(LOSSES, sums, counts, strict=True) if count}
        return {name: value for name, value in {**means, **told}.items() if self._weighs(name)}

    def embeddings(self, unit: Unit) -> tuple[Tensor, Tensor, Tensor]:
        """Of the pairs of a unit, without gradient: pictures and texts, unit float32 (m, c), and `alike`."""
        own = _on(unit, self.device)
        with torch.no_grad(), self._cast():
            if len(own.shown):
                return *self._embedded(own, self._seen(own)[1]), own.alike
            none = torch.zeros(0, self.model.heads.text.out_features, device=self.device)
        return none, none, own.alike.reshape(0, 2)

    def losses(self, units: Sequence[Unit]) -> dict[str, tuple[float, float]]:
        """Sums of each generative loss and how many tokens they are over, without gradient; this worker's alone."""
        found = dict.fromkeys(GENERATIVE, (0.0, 0.0))
        with torch.no_grad():
            for unit in units:
                own = _on(unit, self.device)
                _, sums = self._generative(own, self._seen(own)[0], torch.ones_like(own.norms))
                for name, value, count in zip(GENERATIVE, sums.tolist(), unit.counts.tolist(), strict=True):
                    found[name] = found[name][0] + value, found[name][1] + count
        return found

    def _weighs(self, name: str) -> bool:
        return self.weights.get(name, 0) > 0

    def _unit(
        self, place: tuple[int, int], unit: Unit, sizes: tuple[Tensor, int], slopes: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Put the gradient of one unit into the parameters; its sums of the losses, float32 (5,)."""
        norms, pairs = sizes
        own = _on(unit, self.device)
        with _draws_of(self.seed, place, self.device), self._cast():
            seen, vectors = self._seen(own)
            loss, sums = self._generative(own, seen, norms[: len(own.norms)])
            compared, matched = torch.zeros(2, device=self.device)
            if (self._weighs("contrastive") or self._weighs("itm")) and len(own.shown):
                both = self._embedded(own, vectors)
                if slopes is not None:
                    weighed = (both[0] * slopes[0]).sum() + (both[1] * slopes[1]).sum()
                    loss = loss + self.weights["contrastive"] * weighed
                elif self._weighs("contrastive"):
                    compared = self._comparison(*both, own.alike)
                    loss = loss + self.weights["contrastive"] * compared
                if self._weighs("itm"):
                    matched = self._matching(place, own, seen, both[0] @ both[1].T)
                    loss = loss + self.weights["itm"] * matched / (3 * max(pairs, 1))
        if loss.requires_grad:
            loss.backward()
        return torch.cat([torch.stack([compared.detach(), matched.detach()]).float(), sums])

    def _comparison(self, pictures: Tensor, texts: Tensor, alike: Tensor) -> Tensor:
        """The contrastive loss of pairs, those with the same text or picture not held against one another."""
        same = (alike[:, None] == alike).any(dim=-1).fill_diagonal_(False)
        heads = self.model.heads
        if heads.bias is None:
            return contrastive_loss(pictures, texts, heads.log_scale, same)
        return sigmoid_loss(pictures, texts, heads.log_scale, heads.bias, same)

    def _seen(self, unit: Unit) -> tuple[Tensor, Tensor]:
        if len(unit.views):
            return self.model.look(unit.views)
        empty = torch.zeros(0, 1, 1, device=self.device)
        return empty, empty

    def _generative(self, unit: Unit, seen: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
        """The weighed sum of the next tokens' losses, and their plain sums by objective, float32 (3,)."""
        sums = torch.zeros(len(GENERATIVE), device=self.device)
        where = unit.rows.targets != IGNORED
        if not bool(where.any()):
            return sums.sum(), sums
        logits = self.model.logits(self.model.read(unit.rows, seen)[where])
        each = functional.cross_entropy(logits, unit.rows.targets[where], reduction="none")
        shares = unit.shares[where] / norms.clamp(min=1e-12).to(each.dtype)[unit.groups[where]]
        for number in range(len(GENERATIVE)):
            sums[number] = each.detach()[unit.objectives[where] == number].sum()
        return (each * shares).sum(), sums

    def _embedded(self, unit: Unit, vectors: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.encode_pictures(vectors[unit.shown]), self.model.encode_texts(unit.texts)

    def _contrast(
        self, step: int, units: Sequence[Unit], learned: Sequence[Tensor]
    ) -> tuple[list[tuple[Tensor, Tensor]], dict[str, float], list[Tensor | None]]:
        """The slopes of the contrastive loss by each unit's embeddings, the loss, and its gradient by temperature."""
        pieces = []
        for number, unit in enumerate(units):
            with _draws_of(self.seed, (step, number * self.peers.world + self.peers.rank), self.device):
                pieces.append(self.embeddings(unit))
        pictures, texts, alike = (by_unit([piece[k] for piece in pieces], self.peers) for k in range(3))
        sizes = [len(piece) for piece in pictures]
        leaves = [torch.cat(parts).requires_grad_() for parts in (pictures, texts)]
        if not sum(sizes):
            return [], {}, []
        for tensor in learned:
            tensor.grad = None
        loss = self._comparison(leaves[0], leaves[1], torch.cat(alike))
        loss.backward()
        extra = [None if t.grad is None else t.grad * self.weights["contrastive"] for t in learned]
        split = [leaf.grad.split(sizes) for leaf in leaves if leaf.grad is not None]
        own = range(self.peers.rank, len(sizes), self.peers.world)
        return [(split[0][u], split[1][u]) for u in own], {"contrastive": float(loss.detach())}, extra

    def _matching(self, place: tuple[int, int], unit: Unit, seen: Tensor, similarity: Tensor) -> Tensor:
        """The summed loss of each pair against a wrong text and a wrong picture, both nearly right."""
        count = len(unit.shown)
        same = (unit.alike[:, None] == unit.alike).any(dim=-1)
        drawn = draws(self.seed * 1_000_003 + place[0], place[1], count).to(self.device)
        scaled = similarity * self.model.heads.log_scale.exp()
        text, picture = hard_negatives(scaled, same, drawn[0]), hard_negatives(scaled.T, same, drawn[1])
        own, shown = list(range(count)), unit.shown.tolist()
        wanted = [*zip(own, own, strict=True), *zip(text.choice.tolist(), own, strict=True)]
        wanted += zip(own, picture.choice.tolist(), strict=True)
        packs = [[Placed(unit.scripts[words], [shown[look]])] for words, look in wanted]
        rows = rows_of(packs, self.writing).on(self.device)
        hidden = self.model.read(rows, seen)
        last = (rows.documents >= 0).sum(dim=1) - 1
        told = self.model.heads.match(hidden[torch.arange(len(hidden), device=self.device), last]).float()[:, 0]
        return itm_loss(told[:count], told[count:], torch.cat([text.there, picture.there]))

    def _cast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)


def sigmoid_loss(pictures: Tensor, texts: Tensor, log_scale: Tensor, bias: Tensor, same: Tensor) -> Tensor:
    """SigLIP's loss (Zhai et al. 2023): each picture and each text is right or wrong by itself, the sum over all, by
    the number of pairs. `same` bool (n, n): pairs that are not asked."""
    logits = log_scale.exp() * (pictures @ texts.T) + bias
    right = 2 * torch.eye(len(logits), device=logits.device) - 1
    return functional.softplus(-right * logits).masked_fill(same, 0.0).sum() / len(logits)


def _summed(own: Sequence[Tensor], peers: Peers, device: torch.device) -> Tensor:
    """The sum of a small vector over all units, added in their order, float64."""
    every = by_unit([each.double().to(device)[None] for each in own], peers)
    return torch.cat(every).cumsum(dim=0)[-1]


def _put(learned: Sequence[Tensor], whole: Tensor, extra: Sequence[Tensor | None]) -> None:
    """Take the gradient apart again; `extra` is what every worker has alike."""
    start = 0
    for number, tensor in enumerate(learned):
        own = whole[start : start + tensor.numel()].view_as(tensor).to(tensor.dtype)
        start += tensor.numel()
        more = extra[number] if extra else None
        tensor.grad = own.clone() if more is None else own + more


def _on(unit: Unit, device: torch.device) -> Unit:
    moved = {name: value.to(device) for name, value in vars(unit).items() if isinstance(value, Tensor)}
    return Unit(**{**vars(unit), **moved, "rows": unit.rows.on(device)})


@contextmanager
def _draws_of(seed: int, place: tuple[int, int], device: torch.device) -> Iterator[None]:
    """torch's random numbers of a unit of a step, for models that drop some of their numbers in training."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed * 1_000_003 + place[0]) * 1_009 + place[1])
        yield
