"""A data set of pairs as a run of ours leaves it, without a model: captions and scores are written by rule.

Row r of a shard has two synthetic captions; the matcher refuses the second, and every fourth web caption. Row 7 of a
shard is in an evaluation. So a shard of eight has seven samples, with seven synthetic texts and five of the web.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from recaption_sets import toy_set

from curate.caption.choose import Choose
from curate.caption.rules.itm_threshold import ItmThreshold
from curate.instruct.stage import TURNS, instruction_columns
from curate.manifest import Attempt
from curate.plan import Job
from curate.registry import filter_class
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.select import Select
from curate.shard import Shard
from curate.source.ingest import ingest, known_cut
from curate.source.webdataset import Adopt, WebDataset
from curate.stage import Runtime, Stage, Step
from curate.storage import Storage

ROWS = 8
MATCHER = {"model": "a matcher", "model_fingerprint": "m" * 16, "model_precision": "fp32"}
CAPTIONER = {
    "model": "/home/somebody/models/a-captioner",
    "model_fingerprint": "c" * 16,
    "model_revision": "r1",
    "decoding": "method='beam' beams=3",
    "seed": "0",
}
LIST = pa.list_(pa.string())


@dataclass(frozen=True)
class Written(Stage):
    """Writes columns of one family as a model would, by the row's number."""

    family: str
    columns: tuple[str, ...]
    told: Mapping[str, str] = field(default_factory=dict)

    name: ClassVar[str] = "score"

    @property
    def label(self) -> str:
        return f"score_{self.family}"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("key",)

    @property
    def writes(self) -> tuple[str, ...]:
        return self.columns

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        keys = shard.columns(["key"])["key"].combine_chunks()
        fields, arrays = [pa.field("key", pa.string())], [keys]
        for column in self.columns:
            kind, value = VALUES[column]
            fields.append(pa.field(column, kind, metadata=dict(self.told) or None))
            arrays.append(pa.array([value(row) for row in range(len(keys))], kind))
        attempt.write_table(shard.table_name(self.family), pa.table(arrays, schema=pa.schema(fields)))
        attempt.counts.update({"in": len(keys), "scored": len(keys)})


SAID = [{"role": "user", "text": "What is it?"}, {"role": "assistant", "text": "A drawing."}]
TALK = instruction_columns("talk")
NOTHING = (pa.string(), lambda row: None)
VALUES: Mapping[str, Any] = {
    **dict.fromkeys(TALK, NOTHING),
    TALK[0]: (TURNS, lambda row: SAID if row % 2 else None),
    TALK[1]: (pa.string(), lambda row: "detail" if row % 2 else None),
    "synthetic_captions": (LIST, lambda row: [f"drawing number {row}", "something else"]),
    "synthetic_faults": (LIST, lambda row: [None, None]),
    "matcher_probability": (pa.float32(), lambda row: 0.1 if row % 4 == 0 else 0.9),
    "matcher_synthetic_probability": (pa.list_(pa.float32()), lambda row: [0.8, 0.2]),
    "evaluation_overlap_by": (pa.string(), lambda row: "hash" if row == 7 else None),
    "sharpness_score": (pa.float32(), float),
}


def steps(*more: Step) -> tuple[Step, ...]:
    """Adopt, write captions and scores, choose, select; `more` before the selection."""
    choice = filter_class("caption_choice")(view="capfilt")
    overlap = filter_class("evaluation_overlap")(index="nowhere")
    return (
        Adopt(),
        Written("synthetic", ("synthetic_captions",), CAPTIONER),
        Written("synthetic_faults", ("synthetic_faults",)),
        Written("matcher", ("matcher_probability", "matcher_synthetic_probability"), MATCHER),
        Written("evaluation_overlap", ("evaluation_overlap_by",), {"evaluations": "val: 3 pictures"}),
        Choose("capfilt", ItmThreshold("synthetic", "matcher")),
        *more,
        Select((("caption_choice", choice), ("evaluation_overlap", overlap))),
    )


def curate_pairs(folder: Path, tars: int = 2, more: tuple[Step, ...] = ()) -> Path:
    """Run the steps on toy pictures; a second call with `more` runs what is new."""
    raw, target = folder / "raw", folder / "pairs"
    if not raw.exists():
        toy_set(raw, tars, ROWS)
    source = WebDataset(str(raw))
    cut = {"samples_per_shard": 1}
    job = Job(steps(*more), partial(ingest, source, **cut), partial(known_cut, source, **cut), source_columns=None)
    outcome = run_job(job, Storage(str(target)), InlineEngine())
    assert not outcome.failed, outcome.failed
    return target
