"""CapFilt on the toy web: what captions made by a model, and a filter over them, are worth to the next model.

    python -m bench.capfilt [--out FILE] [--seeds 0 1 2] [--steps 600 1000] [--variants web C F CF clean]
    python -m bench.capfilt --small          an easier world and a shorter training
    python -m bench.capfilt --table          only print what FILE has

A web of 8,000 pairs in which 40 % of the captions are wrong, and 1,500 clean pairs. A captioner and a filter, two
models with the same loss and nothing else in common, learn from both; the captioner writes one caption a picture
(nucleus, p = .9), and the filter keeps a text, whoever wrote it, when its log-likelihood is above a threshold that is
chosen on clean pairs which neither has seen, never on the oracle. Then new captioners are trained from nothing for the
same number of steps: on the web's captions (`web`), these and the synthetic ones (`C`), the web's that the filter kept
(`F`), both kinds that it kept (`CF`), and the web's that are right by the oracle (`clean`); the clean pairs go into
each. What is told is how many of their captions of 1,000 new pictures are exact. After BLIP (Li et al. 2022), table 1.

One process on one thread; every result is a line of FILE at once, so what was killed goes on, and several processes may
share FILE, each with seeds of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from bench.capfilt_data import WORLDS, Pairs, Plan, altered, clean_pairs, draws, web_pairs
from bench.capfilt_notes import Notes, result_name, table
from curate.manifest import fingerprint
from curate.models.captioner import Sampling, seeds_of
from curate.models.device import computes, work_on
from curate.models.toy import load_toy_captioner
from curate.models.toy_captioner import ToyCaptioner
from curate.models.toy_captioning import ToyCaptioning
from curate.models.toy_words import PADDING
from curate.train.toy_captioner_fit import RATE, fit_captioner, lm_loss, save_captioner
from curate.train.toy_evaluation import auc, exact_ratio, greedy_captions, likelihoods
from curate.train.toy_fit import Course

RESULTS = Path(__file__).resolve().parent / "results"
NUCLEUS = Sampling("nucleus", top_p=0.9, min_tokens=0, repetition_penalty=1.0)
LONGEST = 17
"""Numbers in the longest toy caption, with start and end."""
SMALL = Plan(web=6_000, teaching_steps=500, held_out=500, world="small")
"""For a test: an easier world, in which 400 steps are what 600 to 1,000 are in the other."""
VARIANTS = ("web", "C", "F", "CF", "clean")


class Experiment:
    """One seed of a plan; what a step needs of earlier ones is taken from `folder`, or made."""

    def __init__(self, plan: Plan, seed: int, folder: Path, notes: Notes) -> None:
        self.plan, self.seed, self.notes = plan, seed, notes
        self.folder = folder / fingerprint(asdict(plan))[:8] / f"seed{seed}"
        self.world = WORLDS[plan.world]

    @cached_property
    def web(self) -> Pairs:
        return web_pairs(self.seed, self.plan.web, self.world)

    @cached_property
    def clean(self) -> Pairs:
        return clean_pairs(self.seed, self.plan.clean, "clean", self.world)

    @cached_property
    def held_out(self) -> Pairs:
        return clean_pairs(self.seed, self.plan.held_out, "held out", self.world)

    def teacher(self, name: Literal["captioner", "filter"]) -> ToyCaptioner:
        """The captioner or the filter: the same web and clean pairs, other weights, another order."""
        path = self.folder / name / "model.safetensors"
        if not (path.with_name("toy.json")).exists():
            known = np.arange(self.plan.clean) < self.plan.clean - self.plan.calibration
            course = self._course(name, self.plan.teaching_steps)
            started = time.process_time()
            model = _train(self.web + self.clean.rows(known), course, self.plan.compiled)
            if name == "captioner":
                course = self._course(name, self.plan.tuning_steps)
                model = _train(self.clean.rows(known), course, self.plan.compiled, model)
            spent = time.process_time() - started
            save_captioner(model, path.parent, {"name": f"capfilt {name}", "seed": str(self.seed)})
            self.notes.add(self.seed, name, {**self._measured(model), "cpu_s": spent})
        return load_toy_captioner(path)

    def synthetic(self) -> Pairs:
        """The web's pictures with the captioner's captions."""
        path = self.folder / "synthetic.json"
        if not path.exists():
            worker = ToyCaptioning(self.teacher("captioner"), "captioner", "bf16", "cpu")
            seeds = seeds_of([f"web {row}" for row in range(len(self.web))], self.seed)
            started = time.process_time()
            texts = [own[0].text for own in worker.generate(list(self.web.views), 1, NUCLEUS, seeds)]
            spent = time.process_time() - started
            _write(path, texts)
            self.notes.add(self.seed, "synthetic", {"captions": len(texts), "cpu_s": spent})
        return self.web.told(json.loads(path.read_text()))

    def filtered(self, pairs: Pairs, name: str) -> Pairs:
        """The pairs that the filter keeps; how many it should have kept is noted."""
        if self.plan.kept == "all":
            return pairs
        scores, right = self._scores(pairs, name), pairs.right
        kept = scores >= self._threshold()
        both = int((kept & right).sum())
        found = {
            "right": float(right.mean()),
            "kept": float(kept.mean()),
            "precision": both / max(1, int(kept.sum())),
            "recall": both / max(1, int(right.sum())),
        }
        self.notes.add(self.seed, f"filtered {name}", found)
        return pairs.rows(kept)

    def variant(self, name: str) -> Pairs:
        """What a new captioner learns from."""
        web = self.web
        if name == "C":
            web = web + self.synthetic()
        elif name == "F":
            web = self.filtered(web, "web")
        elif name == "CF":
            web = self.filtered(web, "web") + self.filtered(self.synthetic(), "synthetic")
        elif name == "clean":
            web = web.rows(web.right)
        return web + self.clean

    def new(self, variant: str, steps: int) -> None:
        """Train a new captioner and note what it is worth."""
        pairs = self.variant(variant)
        started = time.process_time()
        model = _train(pairs, self._course("new", steps), self.plan.compiled)
        spent = time.process_time() - started
        found = {"texts": len(pairs), **self._measured(model), "cpu_s": spent}
        self.notes.add(self.seed, result_name(variant, steps), found)

    def _course(self, name: str, steps: int) -> Course:
        return Course(10 * self.seed + ("new", "captioner", "filter").index(name), steps, _half(), _say)

    def _measured(self, model: ToyCaptioner) -> dict[str, float]:
        views, wrong = self.held_out.views, altered(self.held_out, self.seed + 1_000)
        told = greedy_captions(model, views)
        right = likelihoods(model, views, self.held_out.captions)
        return {
            "exact": exact_ratio(told, self.held_out.scenes),
            "auc": auc(right, likelihoods(model, views, wrong.captions)),
        }

    def _scores(self, pairs: Pairs, name: str) -> npt.NDArray[np.float32]:
        path = self.folder / f"scores_{name}.json"
        if not path.exists():
            _write(path, likelihoods(self.teacher("filter"), pairs.views, pairs.captions).tolist())
        return np.array(json.loads(path.read_text()), np.float32)

    def _threshold(self) -> float:
        """Between clean pairs that the filter has not seen and the same with one attribute altered."""
        own = self.clean.rows(np.arange(self.plan.clean) >= self.plan.clean - self.plan.calibration)
        right, wrong = self._scores(own, "right"), self._scores(altered(own, self.seed), "wrong")
        bound, accuracy = _parted(right, wrong)
        self.notes.add(self.seed, "threshold", {"threshold": bound, "accuracy": accuracy})
        return bound


def run(notes: Notes, plan: Plan, seed: int, asked: Iterable[tuple[str, int]]) -> None:
    """Make what is not in the notes yet: new captioners of each (variant, steps), and what they need."""
    work_on(0, threads=1)
    torch.set_num_threads(1)
    experiment = Experiment(plan, seed, notes.path.with_suffix(""), notes)
    for variant, steps in asked:
        if result_name(variant, steps) not in notes.all().get(seed, {}):
            experiment.new(variant, steps)


def _train(pairs: Pairs, course: Course, compiled: bool, start: ToyCaptioner | None = None) -> ToyCaptioner:
    """A captioner from nothing, or one that goes on."""
    loss_of = _compiled() if compiled else lm_loss
    rate = RATE if start is None else RATE / 4
    return fit_captioner(course, draws(pairs, course.seed, course.steps), start, rate, loss_of)


@cache
def _compiled() -> Any:
    """The loss as one piece of machine code, which wants texts of one length."""

    def loss_of(model: ToyCaptioner, pictures: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return fast(model, pictures, functional.pad(tokens, (0, LONGEST - tokens.shape[1]), value=PADDING))

    fast = torch.compile(lm_loss, dynamic=False)
    return loss_of


def _parted(right: npt.NDArray[np.float32], wrong: npt.NDArray[np.float32]) -> tuple[float, float]:
    """The bound that puts most of `right` above it and of `wrong` below, and the share that is on its side."""
    scores = np.sort(np.concatenate([right, wrong]))
    bounds = (scores[1:] + scores[:-1]) / 2
    sides = np.searchsorted(np.sort(wrong), bounds) + len(right) - np.searchsorted(np.sort(right), bounds)
    best = int(np.argmax(sides))
    return float(bounds[best]), float(sides[best]) / len(scores)


def _half() -> bool:
    return computes("bf16", torch.device("cpu")) is torch.bfloat16


def _write(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(json.dumps(values))
    beside.replace(path)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Make what is asked for and print the table."""
    parser = argparse.ArgumentParser(description="CapFilt on the toy web")
    parser.add_argument("--out", type=Path, default=RESULTS / "capfilt.jsonl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs="+", help="of new captioners: 600 1000, or 400 with --small")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--small", action="store_true", help="an easier world and a shorter training, for a test")
    parser.add_argument("--compile", action="store_true", help="compile the training step, where there is a compiler")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    plan = replace(SMALL if options.small else Plan(), compiled=options.compile)
    steps = options.steps or ([400] if options.small else [600, 1_000])
    notes = Notes(options.out, plan)
    if not options.table:
        for seed in options.seeds:
            run(notes, plan, seed, [(v, s) for s in steps for v in options.variants])
    print(table(notes.all(), options.variants, steps))


if __name__ == "__main__":
    main()
