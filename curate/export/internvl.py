"""InternVL's annotations: a line per conversation with sizes and length, and the meta file that names the data sets.

    SOURCE.jsonl     {"id", "image": name or [names], "width", "height", "length", "conversations"}
    internvl.json    {SOURCE: {"root", "annotation", "data_augment", "repeat_time", "length"}}: `--meta_path`; for
                     each stage of a hand-over internvl.STAGE.json, with what an epoch takes of each source

`length` is what `group_by_length` sorts by; where it is missing, every process of a training tokenises the whole data
set at its start. Here it is an estimate: 4 bytes of text a token, and 256 tokens for each tile of 448 px that the
picture is cut into, the overview counted, as the trainer cuts it. Of several pictures each has its share of the tiles.

A picture whose place is not in the first turn is written as a list of one: for a single name the trainer would put a
place of its own before the first turn, and then fail on a count (OpenGVLab/InternVL, internvl_chat_finetune.py,
multi_modal_get_item; lists go through multi_modal_multi_image_get_item, which leaves turns alone).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curate.config import require_range
from curate.export._annotations import ConversationFormat, Entry, Joined, export_annotations, from_and_value
from curate.export._documents import with_options
from curate.export._epochs import Epochs, portions, share_of
from curate.export._names import safe_name
from curate.export._talk import Shown
from curate.handover.resolution import Resolution
from curate.plan import Job
from curate.storage import Storage

__all__ = ["InternVl", "export"]

MOST_TILES = 12
"""InternVL's own `max_dynamic_patch` where nothing is said."""
TEXT_ALONE_TOKENS = 256
"""A conversation without a picture is given a blank one."""
TOKEN_BYTES = 4


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of InternVl. Raises ConfigError."""
    return export_annotations(with_options(InternVl, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class InternVl(ConversationFormat):
    """`max_dynamic_patch`: most tiles of a picture, 1 to 64, also written into the meta file; 0: MOST_TILES, unsaid, so
    that the trainer's flag holds."""

    name: ClassVar[str] = "internvl"
    marks: ClassVar[tuple[str, ...]] = (*ConversationFormat.marks, "<IMG_CONTEXT>", "<img>", "</img>")

    max_dynamic_patch: int = 0

    def __post_init__(self) -> None:
        require_range("--max-dynamic-patch", self.max_dynamic_patch, 0, 64)
        super().__post_init__()

    @property
    def is_array(self) -> bool:
        return False

    def records(self, entry: Entry) -> Sequence[Mapping[str, Any]]:
        turns = from_and_value(entry.talk)
        record = {"id": entry.id, **_pictures(entry), "length": self._length(entry, turns), "conversations": turns}
        return [record]

    def finish(self, target: Storage, joined: Sequence[Joined], epochs: Epochs) -> None:
        target.write("internvl.json", self._meta(target, [(own, own.records) for own in joined]))
        for stage, wanted in epochs.items():
            chosen = [(own, wanted[own.source]) for own in joined if own.source in wanted]
            target.write(f"internvl.{safe_name(stage)}.json", self._meta(target, chosen))

    def _meta(self, target: Storage, chosen: Sequence[tuple[Joined, int]]) -> bytes:
        """`repeat_time` is a whole number, or below 1 the part of the file that is read from its beginning."""
        most = {"max_dynamic_patch": self.max_dynamic_patch} if self.max_dynamic_patch else {}
        meta: dict[str, Any] = {}
        for own, wanted in chosen:
            place = {"root": target.root, "annotation": own.path(target), "data_augment": False}
            whole, rest = portions(own.records, wanted)
            if whole:
                meta[own.source] = {**place, "repeat_time": whole, "length": own.records, **most}
            if rest:
                part = share_of(own.records, rest)
                meta[f"{own.source}, in part"] = {**place, "repeat_time": part, "length": own.records, **most}
        return json.dumps(meta, indent=1, ensure_ascii=False).encode()

    def _length(self, entry: Entry, turns: Sequence[Mapping[str, str]]) -> int:
        """Tokens, estimated."""
        text = "\n".join(turn["value"] for turn in turns).encode()
        pictures = entry.talk.pictures
        if not pictures:
            return -(-len(text) // TOKEN_BYTES) + TEXT_ALONE_TOKENS
        most = max(1, (self.max_dynamic_patch or MOST_TILES) // len(pictures))
        cut = Resolution(policy="tile", size=448, patch=14, merge=2, max_tiles=most, thumbnail=True)
        sizes = np.array([(shown.width, shown.height) for shown in pictures], np.int64)
        return -(-len(text) // TOKEN_BYTES) + int(cut.image_tokens(sizes[:, 0], sizes[:, 1]).sum())


def _pictures(entry: Entry) -> dict[str, Any]:
    """Names and sizes (px): of one picture shown at once as single values, else as lists."""
    shown = entry.talk.pictures
    if not shown:
        return {}
    if len(shown) == 1 and any(isinstance(part, Shown) for part in entry.talk.turns[0].parts):
        return {"image": entry.images[0], "width": shown[0].width, "height": shown[0].height}
    sizes = {"width_list": [one.width for one in shown], "height_list": [one.height for one in shown]}
    return {"image": list(entry.images), **sizes}
