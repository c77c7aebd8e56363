"""The stages of a stages.toml, one after another, on a hand-over: `curate train stages.toml`.

Each stage begins with the weights of the one it names, trains, proves that what is frozen kept its bytes, adds its
adapters to the weights, is measured, and becomes a folder with weights, losses, curve and report; the folder beside it,
`OUT.training`, has those that are done and the state of the one that is not. The same stages, hand-over and seed give
the same weights on one kind of machine, by any power of two of workers up to [model] units.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from curate.errors import StageError
from curate.handover.shards import Handover, open_handover
from curate.handover.stages import Stages, TrainingStage
from curate.manifest import fingerprint
from curate.models.device import device, torch_threads
from curate.stage import settings_of
from curate.storage import plain_errors
from curate.train.caption_place import Place
from curate.train.spread_training import Alone, Peers, require_same
from curate.train.stages.collate import COUNTED
from curate.train.stages.course import LOSSES_FILE, STATE_FILE, Course
from curate.train.stages.curve import curve_svg
from curate.train.stages.freeze import frozen_digests, prepare_parts, require_frozen
from curate.train.stages.lora import merge
from curate.train.stages.model import StageModel, open_model
from curate.train.stages.objectives import LOSSES
from curate.train.stages.ordered_sum import require_units
from curate.train.stages.settings import model_settings
from curate.train.stages.state import load_weights, save_weights
from curate.train.stages.words import open_words
from curate.train.stages.work import Computing, StageWork, evaluated

__all__ = ["REPORT", "StagesOrder", "carry_out", "shown", "train_stages"]

REPORT, STAGE_REPORT, WEIGHTS, CURVE = "training.json", "stage.json", "model.safetensors", "losses.svg"
FIRST_STEPS = 20
"""Steps at both ends over which the report's first and last losses are means."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class StagesOrder:
    """A training as it is asked for. `data`: a hand-over; `evaluation`: "toy" for scenes of the toy web, a hand-over
    that was held out, or "" for nothing. `checkpoint_steps`: how often a state is written; `threads`: that read and
    decode."""

    stages: Stages
    data: str
    out: Path
    evaluation: str = ""
    checkpoint_steps: int = 500
    threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    say: Say = field(default=lambda text: None, compare=False)


@dataclass
class _Run:
    order: StagesOrder
    place: Place
    peers: Peers
    where: torch.device
    handover: Handover


def train_stages(order: StagesOrder, peers: Peers | None = None) -> dict[str, Any]:
    """Train all stages and write the folder `out`; answers its report. Killed and called again, it goes on.

    `out` has a folder of each stage (model.safetensors, losses.jsonl, losses.svg, stage.json), stages.json and
    training.json. The first worker alone speaks, writes and answers. Raises ConfigError for what cannot be trained and
    for a folder that holds something, StageError when a loss is not finite or a frozen tensor changed.
    """
    peers = peers or Alone()
    settings = model_settings(order.stages)
    require_units(settings.units, peers.world)
    handover = open_handover(order.data)
    told = fingerprint(["stages", 1, settings_of(order.stages), handover.digest])
    run = _Run(order, Place(order.out, told), peers, device(order.device), handover)
    run.place.open(peers)
    require_same(peers, int(told[:15], 16), run.where, "stages and hand-over; put both where all see them")
    with torch_threads(1) if run.where.type == "cpu" else nullcontext(), run.place.unless_begun(peers):
        reports = [_stage(run, number) for number in range(len(order.stages.stages))]
    if peers.rank:
        return {}
    run.place.finish(lambda folder: _finish(run, folder, reports))
    return shown(order.out)


def shown(out: Path) -> dict[str, Any]:
    """The report of a finished training."""
    found: dict[str, Any] = json.loads((out / REPORT).read_text("utf-8"))
    return found


def carry_out(order: StagesOrder, gpu: int) -> None:
    """Train on this worker, with the others of the group that this process is in. `gpu`: the number of its own."""
    from curate.models.device import work_on
    from curate.train.spread_training import peers_of_process

    work_on(gpu, order.threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(gpu)
    train_stages(order, peers_of_process())


def _stage(run: _Run, number: int) -> dict[str, Any]:
    """Train one stage, or find it done; its report, for the first worker, which alone may go on to move it."""
    stage = run.order.stages.stages[number]
    folder = run.place.folder / stage.name
    if not (folder / STAGE_REPORT).is_file():
        _train(run, stage, folder)
    require_same(run.peers, number, run.where, "stage")
    if run.peers.rank:
        return {}
    report: dict[str, Any] = json.loads((folder / STAGE_REPORT).read_text("utf-8"))
    return report


def _train(run: _Run, stage: TrainingStage, folder: Path) -> None:
    order, peers = run.order, run.peers
    say = _silent if peers.rank else order.say
    settings, seed = model_settings(order.stages), order.stages.seed
    words = open_words(order.stages.tokenizer, settings.language_model)
    model = open_model(settings, words, seed)
    if stage.init_from:
        load_weights(run.place.folder / stage.init_from / WEIGHTS, model)
    model.to(run.where)
    frozen = prepare_parts(model, stage, seed)
    before = frozen_digests(model)
    work = StageWork(stage, settings, model, words, Computing(run.where, seed, order.stages.tokenizer))
    steps = work.steps(run.handover)
    say(
        f"stage {stage.name}: {steps:,} steps, {sum(frozen.trainable.values()):,} of {sum(frozen.total.values()):,} "
        f"numbers learn, {peers.world} worker(s) on {run.where}"
    )
    started, spent = time.monotonic(), time.process_time()
    with closing(work.batches(run.handover, peers, order.threads)) as batches:
        course = Course(
            stage, work.objectives(peers), frozen.parts, steps, run.place.folder, order.checkpoint_steps, say
        )
        lines = course.run(batches)
        counts = {name: batches.counts[name] for name in COUNTED}
    _require_learned(stage.name, lines, counts)
    require_frozen(model, before, stage.name)
    facts = {
        "stage": stage.name,
        "steps": steps,
        "workers": peers.world,
        "trainable": dict(frozen.trainable),
        "numbers": dict(frozen.total),
        "frozen_tensors_unchanged": len(before),
        "adapters_merged": merge(model),
        **_ends(lines),
        "seconds": round(time.monotonic() - started, 3),
        "cpu_seconds": round(time.process_time() - spent, 3),
        "counts": counts,
    }
    if not peers.rank:
        model.eval()
        facts["evaluation"] = evaluated(work, order.evaluation, order.threads)
        say(f"stage {stage.name}: {json.dumps(facts['evaluation'])}")
        _write_stage(run.place.folder, folder, model, facts, lines)


def _require_learned(stage: str, lines: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> None:
    """Raise StageError where not one example of all steps taught anything: weight decay alone has moved the model."""
    nothing = counts["examples"] == counts["pairs_left_out"] or not any(n in line for line in lines for n in LOSSES)
    if lines and nothing:
        raise StageError(
            f"stage {stage} learned nothing: no example had anything to learn ({json.dumps(counts)}); look at the "
            "hand-over with `curate export --verify`, and at sequence_tokens"
        )


def _silent(text: str) -> None:
    return None


def _ends(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean losses of the first steps and of the last."""
    names = [name for name in LOSSES if any(name in line for line in lines)]
    found = {}
    for which, own in (("first", lines[:FIRST_STEPS]), ("last", lines[-FIRST_STEPS:])):
        told = {name: [line[name] for line in own if name in line] for name in names}
        found[which] = {name: sum(values) / len(values) for name, values in told.items() if values}
    return found


def _write_stage(
    place: Path, folder: Path, model: StageModel, facts: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]
) -> None:
    """The folder of a stage, beside and renamed; its state is of no use then."""
    beside = folder.with_name(f".{folder.name}.part")
    with plain_errors(f"write {folder}"):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        save_weights(beside / WEIGHTS, model)
        (beside / LOSSES_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        (beside / CURVE).write_text(curve_svg(f"stage {facts['stage']}", lines), "utf-8")
        (beside / STAGE_REPORT).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        beside.rename(folder)
        for name in (STATE_FILE, LOSSES_FILE):
            (place / name).unlink(missing_ok=True)


def _finish(run: _Run, folder: Path, reports: Sequence[Mapping[str, Any]]) -> None:
    """All stages, what was trained, and the report."""
    for report in reports:
        shutil.copytree(run.place.folder / report["stage"], folder / report["stage"])
    told = {
        "hand_over": run.order.data,
        "hand_over_digest": run.handover.digest,
        "evaluation": run.order.evaluation,
        "seed": run.order.stages.seed,
        "stages": list(reports),
    }
    stages = _told(asdict(run.order.stages))
    (folder / "stages.json").write_text(json.dumps(stages, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / REPORT).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _told(value: Any) -> Any:
    """The same without what is not set, so that it can be read again: JSON has a null, and TOML has none."""
    if isinstance(value, Mapping):
        return {name: _told(inner) for name, inner in value.items() if inner is not None}
    return [_told(inner) for inner in value] if isinstance(value, list | tuple) else value
