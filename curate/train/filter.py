"""Trains a data filtering network: a small CLIP, fine-tuned on clean pairs, whose similarity then judges a pool.

Fang et al. 2023 (DFN) keep the best 15 % of 12.8 billion pairs by a ViT-B/32 and train better models on them than on
the choice of better classifiers; that the filter's own data are clean counts for more than its accuracy. Steps: look
for pairs of an evaluation in the clean set, train, average the weights with the start's, write a folder that
`[models.NAME] weights = "FOLDER"` names, score a sample of the pool with it and say which threshold keeps how much.

The folder is written beside its final name and renamed when all is in it, so there is never half a model.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from curate.config import build, read_toml
from curate.errors import ConfigError, CurateError
from curate.manifest import write_parquet
from curate.models.clip import clip_fingerprint, readable
from curate.models.device import device, torch_threads, work_on
from curate.models.settings import TOY, ModelSettings, check_model_name
from curate.models.towers import Towers, open_towers
from curate.models.weights import is_toy, weights_digest
from curate.stage import settings_of
from curate.storage import plain_errors
from curate.train.calibration import CalibrateSettings, calibrate, fits, score_pairs, separation
from curate.train.caption_place import require_free
from curate.train.contrastive import DualEncoder, Inputs, Trainer, TrainingSettings, inputs_of
from curate.train.folder import mix, tensors_of, write_model
from curate.train.overlap import EvaluationSettings, Overlap, find_overlap
from curate.train.pairs import Pairs, PairSource, open_pairs
from curate.train.stream import batches, cropping, draw_order

__all__ = ["FilterSettings", "read_settings", "train_filter"]

CROP_RATIO = 0.9
NAME = "dfn"
MOST_LOSSES = 1_000
PACKAGES = ("curate-vl", "torch", "open_clip_torch", "safetensors", "numpy", "pillow")

Say = Callable[[str], None]


@dataclass(frozen=True)
class FilterSettings:
    """A config of `curate train filter`. `model` is the start; `calibrate` and `evaluation` may be left out."""

    clean: PairSource
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    calibrate: CalibrateSettings | None = None
    evaluation: EvaluationSettings | None = None

    def __post_init__(self) -> None:
        if self.model.kind != "clip":
            raise ValueError(f"kind = {self.model.kind!r} in [model]: a filter is trained from a CLIP")
        if self.model.weights == TOY and (self.training.crop_ratio or 1) < 1:
            raise ValueError(
                f"crop_ratio = {self.training.crop_ratio!r}: the toy learns where shapes are; leave it out"
            )

    @property
    def crop_ratio(self) -> float:
        """Least share of a picture's area that a crop leaves."""
        usual = 1.0 if is_toy(self.model) else CROP_RATIO
        return usual if self.training.crop_ratio is None else self.training.crop_ratio


@dataclass
class Report:
    """What is written to `training.json` and shown."""

    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    table: pa.Table | None = None

    @contextmanager
    def timing(self, phase: str) -> Iterator[None]:
        """Adds the seconds of a phase."""
        started = time.monotonic()
        yield
        self.seconds[phase] = round(time.monotonic() - started, 3)


def read_settings(path: Path) -> FilterSettings:
    """The settings in a TOML file. Raises ConfigError."""
    return build(FilterSettings, read_toml(path), "")


def train_filter(settings: FilterSettings, out: Path, say: Say = lambda text: None) -> dict[str, Any]:
    """Train, calibrate, and write the folder `out`; answers what to show. `say` is told how it goes.

    Raises ConfigError for a config that cannot be run, for an overlap with the evaluation where `action` is `refuse`,
    and for a folder that holds something; StageError when the loss is not finite.
    """
    require_free(out)
    threads = settings.training.threads or torch.get_num_threads()
    work_on(0, threads)
    report = Report()
    with report.timing("read"):
        clean = open_pairs(settings.clean)
        if len(clean) < 2:
            raise ConfigError("[clean] has a single pair, and a loss compares several; name more shards")
    say(f"clean set: {len(clean):,} pairs of {clean.rows:,} rows")
    pool = _pool(settings, report)
    _check_overlap(settings, clean, threads, report, say)
    with _beside(out) as folder, torch_threads(threads):
        with report.timing("train"):
            _train(settings, clean, folder, report, say)
        trained = replace(settings.model, architecture="", weights=str(folder))
        if pool is not None:
            with report.timing("calibrate"), _surviving(report, say):
                _calibrate(settings, pool, trained, folder, report)
        _describe(settings, trained, folder, report)
    return _shown(settings, out, report)


def _pool(settings: FilterSettings, report: Report) -> Pairs | None:
    """The pairs of `[calibrate]`, opened before hours of training rather than after them. Raises ConfigError."""
    if settings.calibrate is None:
        return None
    try:
        with report.timing("read_pool"):
            return open_pairs(settings.calibrate.source())
    except CurateError as error:
        raise ConfigError(f"[calibrate] {error}") from error


@contextmanager
def _surviving(report: Report, say: Say) -> Iterator[None]:
    """What fails inside is told, and costs the table alone: the weights took hours."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the model is whole
        report.facts["calibration_failed"] = f"{type(error).__name__}: {error}"
        say(f"warning: the model is written, but not all of its calibration: {report.facts['calibration_failed']}")


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder next to `out` that takes its name when all went well, and is gone when not."""
    folder = out.parent / f".{out.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        with plain_errors(f"write {out}"):
            folder.mkdir(parents=True)
        yield folder
        with plain_errors(f"write {out}"):
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_overlap(settings: FilterSettings, clean: Pairs, threads: int, report: Report, say: Say) -> None:
    if settings.evaluation is None:
        return
    with report.timing("overlap"):
        found = find_overlap(clean, settings.evaluation, threads)
    report.facts["overlap"] = _overlap_facts(found)
    if found.pairs and settings.evaluation.action == "refuse":
        raise ConfigError(f'{found.words()}; or write action = "warn" in [evaluation]')
    if found.pairs:
        say(f"warning: {found.words()}")


def _overlap_facts(found: Overlap) -> dict[str, Any]:
    return {
        "evaluation_images": found.images,
        "evaluation_captions": found.captions,
        "clean_pairs": found.looked_at,
        "clean_pairs_in_evaluation": found.pairs,
        **found.counts,
        "examples": found.examples,
    }


def _train(settings: FilterSettings, clean: Pairs, folder: Path, report: Report, say: Say) -> None:
    """Train and write the model; losses and counts go to the report."""
    towers, chosen = open_towers(settings.model), settings.training
    where, steps, broken = device(settings.model.device), chosen.steps_for(len(clean)), set[int]()
    start = tensors_of(towers.module)
    model = DualEncoder(towers).to(where)
    look = cropping(clean, towers.prepare, settings.crop_ratio, chosen.seed)
    batch = min(chosen.batch, len(clean))
    say(f"training {towers.name} on {where}: {steps:,} steps of {batch:,} pairs")
    stream = batches(clean, look, batch, chosen.seed, torch.get_num_threads(), broken)
    with closing(stream), torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(chosen.seed)
        trainer = Trainer(model, model.log_scale, chosen, steps, half=settings.model.precision != "fp32")
        losses = trainer.run(_inputs(stream, towers, clean), say)
    write_model(folder, mix(tensors_of(towers.module), start, chosen.ensemble), towers, settings.model)
    report.facts |= {
        "start": towers.name,
        "start_digest": weights_digest(settings.model),
        "clean_set": clean.digest(),
        "clean_pairs": len(clean),
        "unreadable_pictures": len(broken),
        "unreadable_examples": [clean.key(row) for row in sorted(broken)[:20]],
        "steps": steps,
        "batch": batch,
        "batch_in_memory": min(trainer.piece, batch),
        "first_loss": losses[0],
        "last_loss": float(np.mean(losses[-max(1, steps // 20) :])),
        "losses": losses[:: -(-steps // MOST_LOSSES)],
    }


def _inputs(stream: Iterator[Any], towers: Towers, clean: Pairs) -> Iterator[Inputs]:
    return (inputs_of(batch, towers, clean.picture[batch.rows], readable) for batch in stream)


def _calibrate(settings: FilterSettings, pool: Pairs, trained: ModelSettings, folder: Path, report: Report) -> None:
    """Score a sample of the pool with the model as it lies in its folder; write the table."""
    chosen = settings.calibrate
    if chosen is None:
        return
    threads = torch.get_num_threads()
    rows = draw_order(pool, settings.training.seed)[: chosen.rows or None].tolist()
    scores = score_pairs(pool, rows, trained, threads)
    defects: Sequence[str | None] = pool.defects.take(pa.array(rows, pa.int64())).to_pylist()
    labelled = any(label is not None for label in defects)
    report.facts |= {
        "pool": pool.digest(),
        "pool_pairs": len(pool),
        "pool_sample": len(rows),
        "pool_unscored": int(np.isnan(scores).sum()),
    }
    table = calibrate(scores, chosen.fractions, fits(defects) if labelled else None)
    write_parquet(table, folder / "calibration.parquet")
    report.table = table
    if labelled:
        before = score_pairs(pool, rows, settings.model, threads)
        report.facts["auc"] = {
            label: {"start": old, "trained": new}
            for (label, old), new in zip(
                separation(before, defects).items(), separation(scores, defects).values(), strict=True
            )
        }


def _describe(settings: FilterSettings, trained: ModelSettings, folder: Path, report: Report) -> None:
    """Write `training.json`: everything that made this model, and how it went."""
    about = {
        "settings": settings_of(settings),
        **report.facts,
        "weights_digest": weights_digest(trained),
        "fingerprint": clip_fingerprint(trained),
        "seconds": report.seconds,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }
    (folder / "training.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _shown(settings: FilterSettings, out: Path, report: Report) -> dict[str, Any]:
    """What the command prints: numbers, the table, and the lines of a config that use the model."""
    facts = report.facts
    shown: dict[str, Any] = {
        name: facts[name] for name in ("clean_pairs", "unreadable_pictures", "steps", "first_loss", "last_loss")
    }
    if "overlap" in facts:
        shown["overlap"] = [{name: n for name, n in facts["overlap"].items() if name != "examples"}]
    if report.table is not None:
        shown["calibration"] = report.table.to_pylist()
        shown |= {name: facts[name] for name in ("pool_sample", "pool_unscored")}
    if "calibration_failed" in facts:
        shown["calibration_failed"] = facts["calibration_failed"]
    if "auc" in facts:
        shown["auc"] = [{"caption": label, **pair} for label, pair in facts["auc"].items()]
    name = _model_name(out)
    precision = f'precision = "{settings.model.precision}"\n'
    lines = (
        f'[models.{name}]\nweights = "{out}"\n{precision}\n[filters.clip_similarity]\nmodel = "{name}"\nfraction = 0.15'
    )
    return shown | {"written_to": str(out), "seconds": sum(report.seconds.values()), "config": f"\n{lines}"}


def _model_name(out: Path) -> str:
    try:
        check_model_name(out.name)
    except ValueError:
        return NAME
    return out.name
