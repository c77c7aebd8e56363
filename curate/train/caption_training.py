"""What the trainings of a captioner and of a matcher have in common: pairs, place, report.

A folder that a training wrote says what made it: `training.json` holds the start's fingerprint, the digest of the
pairs, steps and seed, every setting, and the share of weights that it has in common with the model it will work with.
The same start, pairs and settings give the same bytes on one kind of machine.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from curate.errors import ConfigError
from curate.manifest import fingerprint
from curate.models.device import computes, device, torch_threads
from curate.models.settings import Precision
from curate.stage import settings_of
from curate.train.caption_course import Course, CourseSettings, Say, Task
from curate.train.caption_pairs import Deal, caption_batches
from curate.train.caption_place import Place
from curate.train.caption_start import Trainee, is_toy_start
from curate.train.coupling import MOST_SHARED, require_weights, shared_weights, warn_if_coupled
from curate.train.overlap import EvaluationSettings, find_overlap
from curate.train.pairs import Pairs
from curate.train.spread_training import Peers, require_same
from curate.train.stream import cropping

__all__ = ["REPORT", "Computing", "ModelOrder", "shown", "train_model", "unreadable_of"]

REPORT = "training.json"
MOST_LOSSES = 1_000
NAMES = {"captioner": "synthetic", "matcher": "itm"}
"""What configs call them."""
LOOKED_AT = ("captioner", "matcher", "evaluation")
"""Settings of which a model's weights do not depend: they may change while it is trained."""
PACKAGES = ("curate-vl", "torch", "transformers", "safetensors", "numpy", "pillow")


@dataclass(frozen=True)
class ModelOrder:
    """A training as it is asked for. `pairs` opens what it learns from; `partner` is the folder of the model that it
    will work with, empty for none; `open` opens its start; `task` makes what is trained of it; `settings` are all that
    count."""

    kind: Literal["captioner", "matcher"]
    start: str
    pairs: Callable[[], Pairs]
    open: Callable[[], Trainee]
    task: Callable[[Trainee, Pairs, Computing], Task]
    course: CourseSettings
    evaluation: EvaluationSettings | None
    partner: str
    precision: Precision
    device: Literal["auto", "cpu", "cuda"]
    settings: Any


@dataclass(frozen=True)
class Computing:
    """How a task computes: where, in bfloat16 or not, with whom, pairs a step, steps an epoch (at least 1)."""

    device: Any
    half: bool
    peers: Peers
    batch: int
    epoch_steps: float


@dataclass
class _Run:
    order: ModelOrder
    say: Say
    peers: Peers
    facts: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)


def train_model(order: ModelOrder, out: Path, say: Say, peers: Peers) -> dict[str, Any]:
    """Train and write the folder `out`; answers what to show. The first worker alone speaks, writes and answers.

    Raises ConfigError for an order that cannot be carried out, StageError when the loss is not finite.
    """
    run = _Run(order, say if peers.rank == 0 else _silent, peers)
    if order.partner:
        require_weights(order.partner)
    pairs = order.pairs()
    batch = order.course.batch_for(len(pairs), peers.world)
    run.say(f"pairs to learn from: {len(pairs):,}")
    _check_overlap(run, pairs)
    trainee = order.open()
    counted = {name: value for name, value in settings_of(order.settings).items() if name not in LOOKED_AT}
    told = {"start": trainee.start, "pairs": pairs.digest(), "settings": counted, "batch": batch}
    place = Place(out, fingerprint([order.kind, 1, told]))
    place.open(peers)
    run.facts |= {"pairs": len(pairs), "pairs_digest": pairs.digest(), "batch": batch}
    with place.unless_begun(peers):
        _train(run, trainee, pairs, batch, place)
    if peers.rank:
        return {}
    place.finish(lambda folder: _write(run, trainee, folder))
    return shown(out)


def _silent(text: str) -> None:
    return None


def _check_overlap(run: _Run, pairs: Pairs) -> None:
    evaluation = run.order.evaluation
    if evaluation is None or run.peers.rank:
        return
    found = find_overlap(pairs, evaluation, run.order.course.threads or torch.get_num_threads())
    run.facts["overlap"] = {
        "evaluation_images": found.images,
        "evaluation_captions": found.captions,
        "pairs_in_evaluation": found.pairs,
        **found.counts,
        "examples": found.examples,
    }
    if found.pairs and evaluation.action == "refuse":
        raise ConfigError(f'{found.words()}; or write action = "warn" in [evaluation]')
    if found.pairs:
        run.say(f"warning: {found.words()}")


def _train(run: _Run, trainee: Trainee, pairs: Pairs, batch: int, place: Place) -> None:
    """Train; losses and counts go to the report."""
    order, peers = run.order, run.peers
    threads, broken = order.course.threads or torch.get_num_threads(), set[int]()
    with torch_threads(threads):  # which `device` changes
        where = device(order.device)
    with torch_threads(1 if is_toy_start(order.start) else threads), ExitStack() as ends:
        half = computes(order.precision, where) is torch.bfloat16
        steps = order.course.steps_for(len(pairs), batch)
        if trainee.fresh:
            run.say(f"{trainee.name}: the start lacks {trainee.fresh}; these are drawn by the seed")
        run.say(f"training {trainee.name} on {where}: {steps:,} steps of {batch:,} pairs, {peers.world} worker(s)")
        require_same(peers, int(place.training[:15], 16), where, "pairs and start; put both where all see them")
        trainee.module.to(where)
        if order.course.recompute:
            trainee.recompute()
        least = trainee.recipe.crop_ratio if order.course.crop_ratio is None else order.course.crop_ratio
        look = cropping(pairs, trainee.prepare, least, order.course.seed)
        deal = Deal(batch, order.course.seed, threads, peers.rank, peers.world)
        task = order.task(trainee, pairs, Computing(where, half, peers, batch, max(1.0, len(pairs) / batch)))
        course = Course(task, trainee.recipe, order.course, steps, peers, place.folder, run.say, broken)
        losses = course.run(
            lambda first: ends.enter_context(closing(caption_batches(pairs, look, deal, first, broken)))
        )
    unreadable = unreadable_of(broken, len(pairs), peers, where)
    run.facts |= {
        "start": trainee.start,
        "start_name": trainee.name,
        "drawn_by_the_seed": trainee.fresh or None,
        "steps": steps,
        "seed": order.course.seed,
        "workers": peers.world,
        "unreadable_pictures": len(unreadable),
        "unreadable_examples": [pairs.key(row) for row in unreadable[:20]],
        "first": dict(zip(task.losses, losses[0], strict=True)),
        "last": dict(zip(task.losses, np.mean(losses[-max(1, steps // 20) :], axis=0).tolist(), strict=True)),
        "losses": losses[:: -(-steps // MOST_LOSSES)],
    }


def unreadable_of(broken: set[int], pairs: int, peers: Peers, where: Any) -> list[int]:
    """The rows that any of the workers found broken: over several epochs most are found by each of them."""
    if peers.world == 1:
        return sorted(broken)
    found = torch.zeros(pairs, device=where)
    found[sorted(broken)] = 1
    peers.add([found])
    rows: list[int] = found.nonzero().flatten().tolist()
    return rows


def _write(run: _Run, trainee: Trainee, folder: Path) -> None:
    """The model's own files, and `training.json`."""
    order = run.order
    trainee.write(folder)
    if order.partner:
        pair = (folder, order.partner) if order.kind == "captioner" else (order.partner, folder)
        share = _share(pair, run.say)
        run.facts["shares_weights_with"] = {"model": order.partner, "share": share}
        if share is not None and share > MOST_SHARED:
            run.say(f"warning: {warn_if_coupled(*pair)}")
    about = {
        "kind": order.kind,
        "settings": settings_of(order.settings),
        "shares_weights_with": None,
        **run.facts,
        "seconds": round(time.monotonic() - run.started, 3),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }
    (folder / REPORT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _share(pair: tuple[str | Path, str | Path], say: Say) -> float | None:
    """None, and a warning, for a partner that went while the model was trained: that is no reason to lose the model."""
    try:
        return shared_weights(*pair)
    except ConfigError as error:
        say(f"warning: nobody knows how many weights the two have in common: {error}")
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def shown(out: Path) -> dict[str, Any]:
    """What a command prints of a model that was trained: read from its folder."""
    about = json.loads((out / REPORT).read_text("utf-8"))
    names = ("pairs", "unreadable_pictures", "steps", "batch", "workers")
    found: dict[str, Any] = {name: about[name] for name in names}
    for when in ("first", "last"):
        found |= {f"{when}_{name}": loss for name, loss in about[when].items()}
    if about.get("overlap"):
        found["overlap"] = [{name: n for name, n in about["overlap"].items() if name != "examples"}]
    if about["shares_weights_with"]:
        found["shares_weights_with"] = [about["shares_weights_with"]]
    lines = f'[models.{NAMES[about["kind"]]}]\nkind = "{about["kind"]}"\nweights = "{out}"'
    return found | {"seconds": about["seconds"], "written_to": str(out), "config": f"\n{lines}"}
