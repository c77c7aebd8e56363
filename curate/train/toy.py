"""Makes the toy models that come with the program: `curate train tiny`.

One after the other, because matcher and captioner start from the dual encoder: 60 CPU seconds from there teach the
matcher more than 120 from random weights. On one thread, because sums then have one order, and the same seed gives the
same bytes on the same kind of machine; matrices of this size gain nothing from a second core. That one draws the next
batch's pictures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from curate.config import require_range
from curate.errors import ConfigError
from curate.models.device import computes, torch_threads
from curate.models.toy import load_toy_captioner, load_toy_clip, load_toy_matcher, save_toy
from curate.models.weights import TOY_FILES
from curate.storage import plain_errors
from curate.train.toy_captioner_fit import TOWER_RATE, captioner_from, drawn_captions, fit_captioner
from curate.train.toy_evaluation import EVALUATION_SEED, draw_pairs, evaluate, exact_ratio, greedy_captions
from curate.train.toy_fit import Course, Say, fit_clip, fit_matcher

__all__ = ["REPORT", "TinySettings", "train_tiny"]

REPORT = "toy_report.json"


@dataclass(frozen=True)
class TinySettings:
    """`steps` of the toy dual encoder, `matcher_steps` of the toy matcher, `captioner_steps` of the toy captioner, each
    with 128 pictures.

    `precision`: `auto` computes in bfloat16 where the CPU has it (2.3 times as fast), else, and with `fp32`, in
    float32. `rows` of the toy web that the report is about. Raises ValueError for numbers out of range.
    """

    seed: int = 0
    steps: int = 1_600
    matcher_steps: int = 450
    captioner_steps: int = 1_200
    precision: Literal["auto", "fp32"] = "auto"
    rows: int = 2_000

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0, 2**32)
        require_range("steps", self.steps, 1, 1_000_000)
        require_range("matcher_steps", self.matcher_steps, 1, 1_000_000)
        require_range("captioner_steps", self.captioner_steps, 1, 1_000_000)
        require_range("rows", self.rows, 50, 1_000_000)

    @property
    def command(self) -> str:
        """What makes the same files again on a machine of the same kind."""
        told = f"curate train tiny --seed {self.seed} --steps {self.steps} --matcher-steps {self.matcher_steps}"
        told += f" --captioner-steps {self.captioner_steps}"
        return told + (" --precision fp32" if self.precision == "fp32" else "")


def train_tiny(settings: TinySettings, out: Path, say: Say = lambda text: None) -> dict[str, Any]:
    """Train the toy models, write them and REPORT to the folder `out`; answers the report. `say` is told how it goes.

    Raises StageError when a loss is not finite, StorageError for a folder that cannot be written to.
    """
    files = {kind: _file(out, path.name) for kind, path in TOY_FILES.items()}
    half = settings.precision == "auto" and computes("bf16", torch.device("cpu")) is torch.bfloat16
    about = {"command": settings.command, "precision": "bf16" if half else "fp32", "seed": str(settings.seed)}
    started, spent = time.monotonic(), time.process_time()
    with _alone():
        clip = fit_clip(Course(settings.seed, settings.steps, half, say))
        save_toy(clip, files["clip"], {"name": "toy clip", "steps": str(settings.steps), **about})
        matcher = fit_matcher(clip, Course(settings.seed + 1, settings.matcher_steps, half, say))
        save_toy(matcher, files["matcher"], {"name": "toy matcher", "steps": str(settings.matcher_steps), **about})
        _fit_captioner(settings, files, {"steps": str(settings.captioner_steps), **about}, say)
        seconds = {"wall_s": time.monotonic() - started, "cpu_s": time.process_time() - spent}
        say(f"measuring on {settings.rows:,} rows of the toy web")
        pairs = draw_pairs(EVALUATION_SEED, settings.rows)
        captioner = load_toy_captioner(files["captioner"])
        table = evaluate(load_toy_clip(files["clip"]), load_toy_matcher(files["matcher"]), pairs, captioner)
        exact = exact_ratio(greedy_captions(captioner, pairs.views), pairs.scenes)
    report = {"auc": table, "exact_captions": exact, **seconds, **about}
    with plain_errors(f"write {out / REPORT}"):
        (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return report


def _fit_captioner(settings: TinySettings, files: Mapping[str, Path], about: Mapping[str, str], say: Say) -> None:
    """From the dual encoder's file, so that from the one that is shipped the captioner alone can be made again."""
    seed, steps = settings.seed + 2, settings.captioner_steps
    course = Course(seed, steps, about["precision"] == "bf16", say)
    start = captioner_from(load_toy_clip(files["clip"]), seed)
    captioner = fit_captioner(course, drawn_captions(seed, steps), start, TOWER_RATE)
    save_toy(captioner, files["captioner"], {"name": "toy captioner", **about})


def _file(folder: Path, name: str) -> Path:
    """A file of the folder, which is made."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder for the toy models")
    with plain_errors(f"write {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / name


@contextmanager
def _alone() -> Iterator[None]:
    """One thread, because sums then always have the same order, and random numbers that leave others' alone."""
    with torch_threads(1), torch.random.fork_rng(devices=[]):
        yield
