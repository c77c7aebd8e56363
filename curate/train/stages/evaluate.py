"""What a stage has learned, measured on what it never saw: scenes of the toy web, or a hand-over that was held out.

Toy scenes have a truth to hold a caption against: `exact_captions` is the share of greedy captions that say all of
their scene, objects, colours, numbers and places, and nothing else. Retrieval is among 100, because among 1,000 toy
scenes most share all but one attribute, and R@1 then says little. A scene that is twice in its pool counts as found by
either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from curate.fetch.image import decode, process
from curate.filter import Pixels
from curate.toyweb.defects import CLEAN, DEFECTS
from curate.toyweb.picture import encode_row
from curate.toyweb.plan import Plan
from curate.toyweb.scene import Scene
from curate.train.stages.collate import Unit
from curate.train.stages.generate import captions
from curate.train.stages.objectives import Objectives
from curate.train.stages.settings import GENERATIVE
from curate.train.toy_evaluation import EVALUATION_SEED, STORED, exact_ratio

__all__ = ["TOY_ROWS", "ToyScenes", "draw_scenes", "held_out", "toy_scores"]

TOY_ROWS = 300
POOL = 100


@dataclass(frozen=True)
class ToyScenes:
    """Clean rows of a toy web: pixels as the pipeline stores them, captions, and what the pictures show."""

    pixels: Sequence[Pixels]
    captions: Sequence[str]
    scenes: Sequence[Scene]


def draw_scenes(rows: int, seed: int = EVALUATION_SEED) -> ToyScenes:
    """The first rows of a toy web with no defects, of a seed that no data set of the demo has; 4 ms each."""
    plan = Plan(seed, {label: 0.0 for label in DEFECTS if label != CLEAN})
    wanted = list(plan.rows(0, rows))
    pixels = [decode(process(encode_row(plan, row), STORED).data) for row in wanted]
    there = [(made, row) for made, row in zip(pixels, wanted, strict=True) if made is not None]
    return ToyScenes([made for made, _ in there], [row.caption for _, row in there], [row.scene for _, row in there])


def toy_scores(objectives: Objectives, scenes: ToyScenes, prepare: Any, tokens: Any) -> dict[str, float]:
    """Of a stage with a contrastive loss, mean R@1 of both ways; of one that learns captions, how many are exact.

    `prepare` makes views of pixels; `tokens` int64 (m, t) of captions."""
    model = objectives.model
    views = torch.from_numpy(np.stack([prepare(pixels) for pixels in scenes.pixels])).to(objectives.device)
    found: dict[str, float] = {}
    if objectives.weights.get("contrastive", 0) > 0:
        with torch.inference_mode():
            pictures = model.encode_pictures(model.look(views)[1])
            texts = model.encode_texts(tokens(scenes.captions).to(objectives.device))
        found["retrieval_at_1_of_100"] = retrieval((pictures @ texts.T).cpu().numpy(), scenes.scenes)
    if any(objectives.weights.get(name, 0) > 0 for name in GENERATIVE):
        found["exact_captions"] = exact_ratio(captions(model, views, objectives.writing), scenes.scenes)
    return found


def retrieval(similarity: npt.NDArray[np.float32], truths: Sequence[object]) -> float:
    """Mean of R@1 from pictures to texts and back, in pools of 100 neighbours; rows that fill no pool are left out
    unless there is but one. `similarity` (n, n), pictures by texts; what is found is right if its truth is equal."""
    size = min(POOL, len(truths))
    hits: list[bool] = []
    for start in range(0, len(truths) - size + 1, size or 1):
        own = slice(start, start + size)
        pool = truths[own]
        for table in (similarity[own, own], similarity[own, own].T):
            hits += [pool[int(best)] == truth for best, truth in zip(table.argmax(axis=1), pool, strict=True)]
    return float(np.mean(hits)) if hits else 0.0


def held_out(objectives: Objectives, batches: Iterable[Sequence[Unit]]) -> dict[str, float]:
    """Over batches that were not trained on: the mean loss a token of each next-token objective; of a stage with a
    contrastive loss, R@1 in pools of 100, where a text that is twice in a pool counts as found by either."""
    sums = {name: np.zeros(2) for name in GENERATIVE}
    embedded = []
    for units in batches:
        for name, told in objectives.losses(units).items():
            sums[name] += told
        embedded += [objectives.embeddings(unit) for unit in units]
    found = {f"held_out_{name}": float(s[0] / s[1]) for name, s in sums.items() if s[1]}
    if objectives.weights.get("contrastive", 0) > 0:
        pictures, texts, alike = (torch.cat([each[part] for each in embedded]) for part in range(3))
        truths = alike[:, 0].tolist()
        found["retrieval_at_1_of_100"] = retrieval((pictures @ texts.T).float().cpu().numpy(), truths)
    return found
