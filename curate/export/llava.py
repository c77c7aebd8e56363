"""LLaVA's annotations: one JSON array of conversations, pictures in a folder, and LLaVA-NeXT's list of data sets.

    SOURCE.json    [{"id", "image": name, or of several pictures [names], "conversations": [{"from", "value"}, ...]}]
    llava.yaml     datasets: [{json_path, sampling_strategy}], a data set per source of a hand-over; and for each of
                   its stages llava.STAGE.yaml, with what an epoch takes of each

`--data_path SOURCE.json --image_folder EXPORT` for LLaVA, `--data_path llava.yaml` for LLaVA-NeXT. Its first stage
(`--version plain`) learns two turns, of which it takes the picture and the answer: pairs, with any prompt. Only
LLaVA-NeXT reads several pictures in one conversation; LLaVA 1.5 reads one, and moves its place to the beginning of its
turn. Rules: haotian-liu/LLaVA and LLaVA-VL/LLaVA-NeXT, llava/train/train.py, LazySupervisedDataset and preprocess.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.export._annotations import (
    ConversationFormat,
    Entry,
    Joined,
    export_annotations,
    llava_record,
)
from curate.export._documents import with_options
from curate.export._epochs import Epochs, portions
from curate.export._names import safe_name
from curate.plan import Job
from curate.storage import Storage

__all__ = ["Llava", "export"]


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Llava. Raises ConfigError."""
    return export_annotations(with_options(Llava, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class Llava(ConversationFormat):
    """No settings but those of all conversations."""

    name: ClassVar[str] = "llava"

    def records(self, entry: Entry) -> Sequence[Mapping[str, Any]]:
        return [llava_record(entry)]

    def finish(self, target: Storage, joined: Sequence[Joined], epochs: Epochs) -> None:
        target.write("llava.yaml", _listed(target, [(own, own.records) for own in joined]))
        for stage, wanted in epochs.items():
            chosen = [(own, wanted[own.source]) for own in joined if own.source in wanted]
            target.write(f"llava.{safe_name(stage)}.yaml", _listed(target, chosen))


def _listed(target: Storage, chosen: Sequence[tuple[Joined, int]]) -> bytes:
    """Files, and which of their records: the first ones of a shuffled file are a draw that everybody repeats."""
    lines = []
    for own, wanted in chosen:
        whole, rest = portions(own.records, wanted)
        strategies = ["all"] * whole + [f"first:{rest}"] * bool(rest)
        path = json.dumps(own.path(target), ensure_ascii=False)
        lines += [f"  - json_path: {path}\n    sampling_strategy: {strategy}\n" for strategy in strategies]
    return "".join(["datasets:\n", *lines] if lines else ["datasets: []\n"]).encode()
