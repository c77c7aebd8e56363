"""The toy captioner's speed: drawn captions per CPU second on one thread, beside the loop that forgets everything.

    python -m bench.toy_captioner [--pictures 4096] [--rounds 3]

Both draw one caption a picture (nucleus, p = .9) from prepared pictures, the picture tower included. The naive loop is
that of open_clip's CoCa and of LAION-COCO's captioner: one picture at a time, and for each word all words before it are
computed again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.models.captioner import Sampling, uniforms
from curate.models.toy import load_toy_captioner, normalized
from curate.models.toy_captioner import END, PLACES, ToyCaptioner, caption_text
from curate.models.toy_captioning import ToyCaptioning
from curate.models.toy_words import START, UNKNOWN
from curate.train.toy_data import BATCH, draw_batch

RESULT = Path(__file__).resolve().parent / "results" / "toy_captioner.json"
NUCLEUS = Sampling("nucleus", top_p=0.9, min_tokens=0, repetition_penalty=1.0)
PEER = 2_775
"""Captions per CPU second of the prototype that this project started from."""


def naive(model: ToyCaptioner, view: Any, seed: int) -> str:
    """One caption of one picture, without anything kept."""
    numbers = uniforms([seed], 1, NUCLEUS.max_tokens)[0, 0]
    said = [START]
    with torch.inference_mode():
        for number in numbers[: PLACES - 1]:
            logits = model(model.picture(normalized(view[None])), torch.tensor([said]))[0, -1]
            logits[UNKNOWN] = -torch.inf
            chances, order = logits.double().softmax(dim=-1).sort(descending=True)
            chances = chances * (chances.cumsum(dim=0) - chances < NUCLEUS.top_p)
            reached = chances.cumsum(dim=0)
            said.append(int(order[torch.searchsorted(reached, float(number) * reached[-1], right=True)]))
            if said[-1] == END:
                break
    return caption_text(said[1:])


def measured(make: Callable[[Sequence[Any], Sequence[int]], list[str]], views: Sequence[Any], rounds: int) -> float:
    """Captions per CPU second: the best of some rounds, after one on a few pictures."""
    seeds = list(range(len(views)))
    make(views[:8], seeds[:8])
    best = 0.0
    for _ in range(rounds):
        started = time.process_time()
        make(views, seeds)
        best = max(best, len(views) / (time.process_time() - started))
    return best


def main() -> None:
    """Print the table, and keep the numbers."""
    parser = argparse.ArgumentParser(description="the toy captioner's speed")
    parser.add_argument("--pictures", type=int, default=4_096)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    views = list(np.concatenate([draw_batch(77, n).views for n in range(-(-options.pictures // BATCH))]))
    views = views[: options.pictures]
    found = {"naive, fp32": measured(_naively, views[:128], options.rounds)}
    for precision in ("fp32", "bf16"):
        worker = ToyCaptioning(load_toy_captioner(), "toy captioner", precision, "cpu")  # type: ignore[arg-type]
        found[f"ours, {precision}"] = measured(_by(worker), views, options.rounds)
    print("| program | captions per CPU second | against naive | against the prototype |\n|---|---|---|---|")
    for name, rate in found.items():
        print(f"| {name} | {rate:,.0f} | {rate / found['naive, fp32']:.1f}x | {rate / PEER:.2f}x |")
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


def _naively(views: Sequence[Any], seeds: Sequence[int]) -> list[str]:
    model = load_toy_captioner()
    return [naive(model, view, seed) for view, seed in zip(views, seeds, strict=True)]


def _by(worker: ToyCaptioning) -> Callable[[Sequence[Any], Sequence[int]], list[str]]:
    def make(views: Sequence[Any], seeds: Sequence[int]) -> list[str]:
        return [own[0].text for own in worker.generate(views, 1, NUCLEUS, seeds)]

    return make


if __name__ == "__main__":
    main()
