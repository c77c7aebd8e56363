"""LLaMA-Factory's annotations: messages with a list of pictures, plain texts, and the file that describes them.

    SOURCE.jsonl        {"messages": [{"role", "content"}, ...], "images": [names]}; of a source of texts {"text": ...}
    dataset_info.json   {SOURCE: {"file_name", "formatting", "columns", "tags"}}; for each stage of a hand-over
                        {STAGE.SOURCE: {..., "num_samples"}}, what an epoch takes of each source

`dataset_dir: EXPORT`, `dataset: SOURCE`; names of pictures count from `media_dir`, which is the same unless something
else is said. Conversations are for `stage: sft`, texts for `stage: pt`. It passes over a conversation whose roles do
not alternate, and stops at one with other than as many `<image>` as pictures (hiyouga/LLaMA-Factory,
src/llamafactory/data: parser.py, converter.py, mm_plugin.py; data/README.md). Lines instead of an array, because
`datasets` reads those piece by piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.export._annotations import ConversationFormat, Entry, Joined, export_annotations
from curate.export._documents import with_options
from curate.export._epochs import Epochs
from curate.export._talk import IMAGE
from curate.handover.layout import KINDS
from curate.plan import Job
from curate.storage import Storage

__all__ = ["LlamaFactory", "export"]

TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of LlamaFactory. Raises ConfigError."""
    return export_annotations(with_options(LlamaFactory, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class LlamaFactory(ConversationFormat):
    """No settings but those of all conversations."""

    name: ClassVar[str] = "llama_factory"
    takes: ClassVar[tuple[str, ...]] = KINDS
    system: ClassVar[bool] = True

    @property
    def is_array(self) -> bool:
        return False

    def records(self, entry: Entry) -> Sequence[Mapping[str, Any]]:
        said = [{"role": turn.role, "content": turn.value(lambda _: IMAGE)} for turn in entry.talk.turns]
        if len(said) == 1:
            return [{"text": said[0]["content"]}]
        return [{"messages": said, "images": list(entry.images)}]

    def finish(self, target: Storage, joined: Sequence[Joined], epochs: Epochs) -> None:
        known: dict[str, Any] = {own.called: {"file_name": own.file, **_described(own.kind)} for own in joined}
        for stage, wanted in epochs.items():
            for own in (own for own in joined if wanted.get(own.source)):
                known[f"{stage}.{own.called}"] = {**known[own.called], "num_samples": wanted[own.source]}
        target.write("dataset_info.json", json.dumps(known, indent=1, ensure_ascii=False).encode())


def _described(kind: str) -> dict[str, Any]:
    if kind == "text":
        return {"columns": {"prompt": "text"}}
    return {"formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"}, "tags": TAGS}
