"""Run a config: bring its data set to what the config says, doing only what is not done yet."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.cli._output import add_format, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from curate.manifest import Entry
    from curate.plan import Job
    from curate.run.scheduler import Outcome
    from curate.shard import Shard
    from curate.storage import Storage

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="a TOML file, e.g. configs/demo.toml")
    parser.add_argument("--out", metavar="DIR", help="folder or fsspec URL of the data set (default: data/NAME)")
    parser.add_argument("--on", choices=("local", "ray", "inline"), default="local", help="where work runs")
    parser.add_argument("--limit", type=int, metavar="N", help="take the first N rows of the source only")
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="serve Prometheus metrics at /metrics while it runs; :9108 is loopback"
    )
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    from curate.cli._progress import progress
    from curate.job import load_job
    from curate.run import make_engine, runtime
    from curate.run.progress import Trouble
    from curate.run.scheduler import run_job
    from curate.storage import Storage

    loaded = load_job(options.config, options.limit)
    storage = Storage(options.out or default_folder(options.config))
    warnings = loaded.job.warnings()
    with progress(loaded.job, options.metrics) as watch:
        for warning in warnings:
            watch(Trouble(warning))
        engine = make_engine(
            options.on, loaded.run, os.environ.get("RAY_ADDRESS"), os.environ.get("CUDA_VISIBLE_DEVICES")
        )
        try:
            with loaded.job.serve() as addresses:
                work = runtime(loaded.run, addresses)
                outcome = run_job(loaded.job, storage, engine, loaded.run, work, watch)
        finally:
            engine.close()
    show(summary(loaded.job, storage, outcome) | ({"warnings": warnings} if warnings else {}), options.format)
    return 1 if outcome.failed else 0


def default_folder(config: Path) -> str:
    """`data/<name of the config>`."""
    return str(Path("data") / config.stem)


def summary(job: Job, storage: Storage, outcome: Outcome) -> dict[str, Any]:
    """What is printed at the end: the funnel, what the truth says where it is known, failed shards, the place."""
    from dataclasses import asdict

    from curate.report.copies_truth import against_copies
    from curate.report.funnel import funnel
    from curate.report.page_truth import against_page_truth
    from curate.report.truth import against_truth
    from curate.select import Decision
    from curate.shard import Shard

    answer: dict[str, Any] = {}
    shards = [Shard(storage, name) for name in sorted(outcome.slices) if name not in outcome.failed]
    decisions = {step.unit: step for step in job.steps if isinstance(step, Decision)}
    for unit, step in decisions.items():
        entries = outcome.manifest.of(step.label)
        reasons = step.story
        answer["funnel" if len(decisions) == 1 else f"funnel_of_{unit}"] = [asdict(r) for r in funnel(entries, reasons)]
        kept, rows = (sum(entry.counts[name] for entry in entries) for name in ("kept", "in"))
        answer[unit] = f"{kept:,} kept of {rows:,}" if rows else "none; check kind and path of [source]"
        truth = against_truth(shards, reasons) if unit == "samples" else []
        truth = against_page_truth(shards) if unit == "documents" else truth
        if truth:
            answer["against_truth"] = truth
    answer |= _beside(job, outcome) | _captions(job, storage, shards, outcome)
    copies = against_copies(shards)
    if copies:
        answer["copies_against_truth"] = copies
    notes = [{"step": step.label, "note": step.about} for step in job.steps if step.about]
    if notes:
        answer["notes"] = notes
    if outcome.failed:
        answer["failed_shards"] = [{"shard": shard, "error": error} for shard, error in sorted(outcome.failed.items())]
    if any(step.label == "handover" for step in job.steps) and not outcome.failed:
        from curate.handover.summary import handover_summary

        answer |= handover_summary(storage)
    answer["work"] = f"{outcome.made} commits made, {outcome.skipped} were there"
    answer["written_to"] = storage.root
    return answer


def _beside(job: Job, outcome: Outcome) -> dict[str, Any]:
    """What steps that decide nothing left out, and what instructions came to."""
    from dataclasses import asdict

    from curate.handover.compose_stage import Compose
    from curate.instruct.stage import Instruct
    from curate.report.beside import CountRow, UnscoredRow, counted, unscored

    def of(*kinds: type) -> list[Entry]:
        return [entry for step in job.steps if isinstance(step, kinds) for entry in outcome.manifest.of(step.label)]

    found: dict[str, Sequence[CountRow | UnscoredRow]] = {
        "not_scored": unscored(of(object)),
        "instructions": counted(of(Instruct), "instructions_"),
        "left_out": counted(of(Compose), "dropped."),
    }
    return {name: [asdict(row) for row in rows] for name, rows in found.items() if rows}


def _captions(job: Job, storage: Storage, shards: Sequence[Shard], outcome: Outcome) -> dict[str, Any]:
    """What an audit found, what views came to, and some texts of each."""
    from curate.caption.audit import AuditGate, audit_of
    from curate.caption.choose import Choose
    from curate.caption.estimate import audit_rows, audit_says
    from curate.caption.yields import yields
    from curate.report.captions import caption_examples
    from curate.report.captions_truth import against_scenes

    answer: dict[str, Any] = {}
    found = audit_of(storage) if any(isinstance(step, AuditGate) for step in job.steps) else None
    if found:
        answer["audit"] = audit_rows(found)
        answer["audit_says"] = audit_says(found)
    views = [step for step in job.steps if isinstance(step, Choose)]
    if views:
        answer |= _yields(yields([entry for step in views for entry in outcome.manifest.of(step.label)]))
        for step in views:
            truth = against_scenes(shards, step.view)
            answer |= {f"{step.view}_against_truth": truth} if truth else {}
            answer[f"examples_of_{step.view}"] = caption_examples(shards, step.view)
    return answer


def _yields(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What each view came to, and below it why texts are not in it."""
    reasons = [
        {"view": line["view"], "reason": reason, "texts": texts}
        for line in found
        for reason, texts in line["reasons"].items()
    ]
    return {
        "views": [{name: value for name, value in line.items() if name != "reasons"} for line in found],
        "not_in_a_view": reasons,
    }
