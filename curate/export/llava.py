"""LLaVA's annotations: one JSON array of conversations, pictures in a folder, and LLaVA-NeXT's list of data sets.

    SOURCE.json    [{"id", "image": name, or of several pictures [names], "conversations": [{"from", "value"}, ...]}]
    llava.yaml     datasets: [{json_path, sampling_strategy}], a data set per source of a hand-over

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
    from_and_value,
    one_or_list,
)
from curate.export._documents import with_options
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
        image = {"image": one_or_list(entry.images)} if entry.images else {}
        return [{"id": entry.id, **image, "conversations": from_and_value(entry.talk)}]

    def finish(self, target: Storage, joined: Sequence[Joined]) -> None:
        own = [f"  - json_path: {json.dumps(each.path(target))}\n    sampling_strategy: all\n" for each in joined]
        target.write("llava.yaml", "".join(["datasets:\n", *own] if own else ["datasets: []\n"]).encode())
