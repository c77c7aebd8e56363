"""Annotations for the fine-tuning programs of Qwen-VL: a line per conversation for Qwen2-VL to Qwen3-VL, or Qwen-VL's.

    qwen3-vl   SOURCE.jsonl {"id", "image": name or [names], "conversations": [{"from": "human" or "gpt", "value"}]}
               qwen.json    {SOURCE: {"annotation_path", "data_path"}}, for qwenvl/data/__init__.py; half of a source is
                            asked for by its name: `--dataset_use SOURCE%50`; for each stage of a hand-over
                            qwen.STAGE.txt has what to ask for
    qwen-vl    SOURCE.json  [{"id", "conversations": [{"from": "user" or "assistant", "value"}]}], with pictures in the
                            text: "Picture 1: <img>images/00000/KEY.jpg</img>"; they are opened as they stand there,
                            so its program is started in the export's folder

The newer programs fail on an example, and after some tries on the training, where the user's turns have not as many
`<image>` as there are files; for the answer they take the text as it is (QwenLM/Qwen3-VL, qwen-vl-finetune,
qwenvl/data/data_processor.py, _build_messages; before it data_qwen.py). Qwen-VL: QwenLM/Qwen-VL, finetune.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar, Literal, get_args

from curate.errors import ConfigError
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
from curate.registry import nearest
from curate.storage import Storage

__all__ = ["Qwen", "export"]

Form = Literal["qwen3-vl", "qwen-vl"]
TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<img>", "</img>")


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Qwen. Raises ConfigError."""
    return export_annotations(with_options(Qwen, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class Qwen(ConversationFormat):
    """`form`: that of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, or that of the first Qwen-VL."""

    name: ClassVar[str] = "qwen"
    marks: ClassVar[tuple[str, ...]] = (*ConversationFormat.marks, *TOKENS)

    form: Form = "qwen3-vl"

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ConfigError(f"--form {self.form} is unknown; {nearest(self.form, list(get_args(Form)))}")
        super().__post_init__()

    @property
    def is_array(self) -> bool:
        return self.form == "qwen-vl"

    def records(self, entry: Entry) -> Sequence[Mapping[str, Any]]:
        if self.form == "qwen-vl":
            return [{"id": entry.id, "conversations": _in_text(entry)}]
        return [llava_record(entry)]

    def finish(self, target: Storage, joined: Sequence[Joined], epochs: Epochs) -> None:
        if self.form == "qwen-vl":
            return
        known = {own.called: {"annotation_path": own.path(target), "data_path": target.root} for own in joined}
        target.write("qwen.json", json.dumps(known, indent=1, ensure_ascii=False).encode())
        for stage, wanted in epochs.items():
            names = [part for own in joined if own.source in wanted for part in _named(own, wanted[own.source])]
            target.write(f"qwen.{safe_name(stage)}.txt", ",".join(names).encode() + b"\n")


def _named(own: Joined, wanted: int) -> list[str]:
    """What `--dataset_use` asks for: the source as often as it is read whole, and a part of it in whole percent."""
    whole, rest = portions(own.records, wanted)
    percent = max(1, round(100 * rest / own.records)) if rest else 0
    return [own.called] * (whole + percent // 100) + [f"{own.called}%{percent}"] * (0 < percent < 100)


def _in_text(entry: Entry) -> list[dict[str, str]]:
    """The turns with their pictures named in the text, numbered through the conversation."""
    names, number = iter(entry.images), count(1)
    return [
        {"from": turn.role, "value": turn.value(lambda _: f"Picture {next(number)}: <img>{next(names)}</img>")}
        for turn in entry.talk.turns
    ]
