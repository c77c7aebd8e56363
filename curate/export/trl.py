"""Parquet for TRL's SFTTrainer: pictures in a list, and messages made of blocks that say where each one stands.

    images     list of pictures, in the order of their blocks
    messages   list of {role, content: list of {type, text}}; a block of type "image" takes the next picture
    source     where the example is from

TRL puts all pictures in front of the first user's text where a content is a plain string, so contents are lists of
blocks always (huggingface.co/docs/trl/dataset_formats, "Vision datasets"). What becomes a turn, of pairs and pages too,
says `curate.export._talk`. Parquet gives every block a `text`, null in a picture's. TRL does not pack what has pictures
and its `max_length` cuts their places off: set it to None, or leave long rows out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from curate.export._parquet import LIST_OF_PICTURES, PICTURES, TableFormat, plain, with_features
from curate.export._talk import Said, Talk
from curate.export._write_examples import TalkFormat, export_examples
from curate.handover.layout import Example
from curate.plan import Job
from curate.storage import Storage

__all__ = ["Trl", "export"]

MARKS = (*TalkFormat.marks, "<|image_pad|>", "<|vision_start|>", "<|vision_end|>")
"""What processors of the LLaVA and Qwen-VL families take for a picture's place; a text may not say it."""

_BLOCK = pa.struct({"type": pa.string(), "text": pa.string()})
_MESSAGE = pa.struct({"role": pa.string(), "content": pa.list_(_BLOCK)})
_BLOCKS = {"feature": {"type": plain(), "text": plain()}, "_type": "List"}
_MESSAGES = {"feature": {"role": plain(), "content": _BLOCKS}, "_type": "List"}
SCHEMA = with_features(
    {
        "images": (PICTURES, LIST_OF_PICTURES),
        "messages": (pa.list_(_MESSAGE), _MESSAGES),
        "source": (pa.string(), plain()),
    }
)
CARD = """Examples for TRL's SFTTrainer: `load_dataset` on this folder gives `images` and `messages`. Set
`max_length=None`, since a row that is cut short loses the places of its pictures. `export.json` says what was left out.
"""


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Trl. Raises ConfigError."""
    return export_examples(Trl, source, shard_samples, seed if shuffle else None, options)


@dataclass(frozen=True)
class Trl(TableFormat):
    """Conversations, with blocks for pictures."""

    name: ClassVar[str] = "trl"
    marks: ClassVar[tuple[str, ...]] = MARKS
    schema: ClassVar[pa.Schema] = SCHEMA
    card: ClassVar[str] = CARD
    system: ClassVar[bool] = True

    def cells(self, talk: Talk, example: Example, counts: Counter[str]) -> tuple[dict[str, Any], int] | str:
        messages = [{"role": turn.role, "content": _blocks(turn)} for turn in talk.turns]
        texts = sum(len(part) for turn in talk.turns for part in turn.parts if isinstance(part, str))
        return {"messages": messages}, texts


def _blocks(turn: Said) -> list[dict[str, Any]]:
    """A block for each text, and for the place of each picture."""
    texts = (part if isinstance(part, str) else None for part in turn.parts)
    return [{"type": "image" if text is None else "text", "text": text} for text in texts]
