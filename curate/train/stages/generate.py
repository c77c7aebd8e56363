"""What a stage model says of a picture, by the likeliest token each time.

Without a cache of what was computed before: a caption of twenty words costs twenty passes over short rows, for 300 toy
pictures a second. The trainer is for proof; what it wrote is served by other programs.
"""

from __future__ import annotations

import torch

from curate.train.stages.model import StageModel
from curate.train.stages.rows import Placed, Script, Writing, rows_of

__all__ = ["captions"]


def captions(model: StageModel, views: torch.Tensor, writing: Writing, prompt: str = "", most: int = 32) -> list[str]:
    """A caption of up to `most` tokens for each picture, uint8 (p, size, size, 3), all on the model's device."""
    device, words = views.device, writing.words
    said: list[list[int]] = [[] for _ in range(len(views))]
    open_rows = list(range(len(views)))
    with torch.inference_mode():
        seen = model.look(views)[0] if len(views) else torch.zeros(0, 1, 1, device=device)
        for _ in range(most):
            scripts = [Script(writing, [True]).begin(prompt, said[number]) for number in open_rows]
            packs = [[Placed(script, [number])] for script, number in zip(scripts, open_rows, strict=True)]
            rows = rows_of(packs, writing).on(device)
            hidden = model.read(rows, seen)
            last = (rows.documents >= 0).sum(dim=1) - 1
            told = model.logits(hidden[torch.arange(len(hidden), device=device), last]).argmax(dim=-1).tolist()
            for number, token in zip(open_rows, told, strict=True):
                said[number].append(token)
            open_rows = [number for number in open_rows if said[number][-1] != words.end]
            if not open_rows:
                break
    return [words.decode(numbers) for numbers in said]
