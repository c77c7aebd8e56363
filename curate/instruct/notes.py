"""What is known of a picture, as lines of text for a model that does not see it: captions, and words with their boxes.

LLaVA-Instruct (Liu et al. 2023) calls it a symbolic representation. Whatever stands in these columns comes from
strangers: of a row at most 16 different captions and 40 boxes are taken, each cut and cleaned as every text that goes
into a prompt, so that the longest notes are some 40,000 characters at the default of 2,000 for a text. A box that is
none is left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate.caption.fuse_texts import cut_text, plain_texts
from curate.errors import ShardError

__all__ = ["Notes", "TextColumn", "notes_of"]

MOST_CAPTIONS = 16
MOST_BOXES = 40
MOST_LABEL_CHARS = 200
MOST_DEPTH = 3
WORDS = ("words", "label", "name", "category")
BOX = ("box", "bbox")


@dataclass(frozen=True)
class TextColumn:
    """A column of text, or of lists of text, and that with their faults; a faulty text is left out."""

    texts: str
    faults: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.texts, self.faults) if self.faults else (self.texts,)


@dataclass(frozen=True)
class Notes:
    """The notes of each row, "" where it has no caption; how many boxes were left out because they are none."""

    rows: tuple[str, ...]
    broken_boxes: int


def notes_of(columns: pa.Table, texts: Sequence[TextColumn], boxes: Sequence[str], most_chars: int) -> Notes:
    """Notes of all rows of `columns`: a line for each caption, then one for each box, `words: [x0, y0, x1, y1]`.

    `boxes`: columns of lists (of lists) of {words, box}, such as `NAME_phrases` of a captioner; a box is left, top,
    right, bottom, each 0 to 1. Raises ShardError for a column of another kind.
    """
    captions = [_sound(columns, column) for column in texts]
    regions = [_regions(columns, name) for name in boxes]
    rows, broken = [], 0
    for row in range(len(columns)):
        lines = [cut_text(text, most_chars) for own in captions for text in own[row]]
        lines = list(dict.fromkeys(" ".join(line.split()) for line in lines if line))[:MOST_CAPTIONS]
        if lines:
            found = [_box_line(region) for own in regions for region in _each(own[row])]
            broken += found.count(None)
            lines += list(dict.fromkeys(line for line in found if line))[:MOST_BOXES]
        rows.append("\n".join(lines))
    return Notes(tuple(rows), broken)


def _sound(columns: pa.Table, column: TextColumn) -> list[list[str | None]]:
    """The texts of each row that have no fault."""
    texts = _plain(columns, column.texts)
    if not column.faults:
        return texts
    kept = []
    for own, wrong in zip(texts, columns[column.faults].to_pylist(), strict=True):
        faults = wrong if wrong is not None else [None] * len(own)
        if len(faults) != len(own):
            raise ShardError(
                f"a row of {column.texts} has {len(own)} texts and {len(faults)} in {column.faults}; let the faults be "
                "computed anew"
            )
        kept.append([text for text, fault in zip(own, faults, strict=True) if fault is None])
    return kept


def _plain(columns: pa.Table, name: str) -> list[list[str | None]]:
    try:
        found = plain_texts(columns[name])
    except pa.ArrowException:
        kind = columns.schema.field(name).type
        raise ShardError(f"{name} is a column of {kind}, and captions are text or lists of it; name another") from None
    return [value if isinstance(value, list) else [value] for value in found]


def _regions(columns: pa.Table, name: str) -> list[Any]:
    kind = columns.schema.field(name).type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_null(kind)):
        raise ShardError(f"{name} is a column of {kind}, and boxes are lists of {{words, box}}; name another")
    found: list[Any] = columns[name].to_pylist()
    return found


def _each(value: Any, depth: int = 0) -> Iterator[Any]:
    """The items of lists of lists."""
    if isinstance(value, list) and depth < MOST_DEPTH:
        for item in value:
            yield from _each(item, depth + 1)
    elif value is not None:
        yield value


def _box_line(region: Any) -> str | None:
    """The line of a box; None for what is none."""
    if not isinstance(region, Mapping):
        return None
    words = next((region[name] for name in WORDS if isinstance(region.get(name), str)), None)
    box: list[Any] = next((region[name] for name in BOX if isinstance(region.get(name), list)), [])
    label = " ".join(cut_text(words, MOST_LABEL_CHARS).split())
    numbers = [round(float(part), 3) for part in box if isinstance(part, int | float) and math.isfinite(part)]
    if not label or len(numbers) != 4 or len(box) != 4 or not all(0 <= part <= 1 for part in numbers):
        return None
    left, top, right, bottom = numbers
    if left >= right or top >= bottom:
        return None
    return f"{label}: [{', '.join(f'{part:.3f}' for part in numbers)}]"
