"""Examples as rows of places: tokens, and the places that pictures fill, with what of it is learned.

A pair is its picture and then its caption; a document its parts in reading order; a conversation its turns, each begun
by who speaks, in words. A picture that is missing leaves no place. What does not fit into a row is cut at the end, a
picture never in the middle; how many examples were cut is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.handover.layout import Example
from curate.sample import Conversation, Document, Part, Sample, Text
from curate.train.lm import IGNORED
from curate.train.stages.masks import ALL_PREVIOUS
from curate.train.stages.words import Words

__all__ = ["Placed", "Rows", "Script", "Writing", "rows_of"]

SPEAKERS = {"system": "", "user": "USER: ", "assistant": "ASSISTANT: "}
"""What a turn begins with, as LLaVA-1.5's template for Vicuna has it."""


@dataclass(frozen=True)
class Rows:
    """Rows of places, int64 (n, l) each but the last.

    `tokens`: padding where there is none. `documents`: the number of a place's document in its row, -1 for nothing.
    `positions`: counted from the start of the document. `pictures`: the number in the row of the picture that fills a
    place, -1 for text. `slots`: where in all tokens of all pictures, one after another, this place's vector stands, -1
    for text. `rules`: which pictures a place sees (`curate.train.stages.masks`). `targets`: the next token, IGNORED
    where it is not learned. `row_pictures` (n, most pictures of a row): which of all pictures, -1 for none.
    """

    tokens: Tensor
    documents: Tensor
    positions: Tensor
    pictures: Tensor
    slots: Tensor
    rules: Tensor
    targets: Tensor
    row_pictures: Tensor

    def on(self, device: torch.device) -> Rows:
        """The same on a device."""
        return Rows(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Writing:
    """How examples are written. `picture_places`: of each picture, its tokens or one. `loss_on` as a stage says;
    `most`: places of an example."""

    words: Words
    picture_places: int
    loss_on: str
    most: int


class Script:
    """One example, place by place, up to `most` of them. `learned`: whether a place's token is; `pictures`: which of
    the example's pictures fills it, -1 for text; `offsets`: with which of its tokens; `cut`: whether the end is gone.
    """

    def __init__(self, writing: Writing, there: Sequence[bool], rule: int = ALL_PREVIOUS) -> None:
        """`there`: which of the example's pictures could be decoded; `rule`: which of them its words see."""
        self.tokens: list[int] = []
        self.learned: list[bool] = []
        self.pictures: list[int] = []
        self.offsets: list[int] = []
        self.rule, self.cut = rule, False
        self._writing, self._there, self._next = writing, there, 0
        self._fill([writing.words.start], False)

    def __len__(self) -> int:
        return len(self.tokens)

    def write(self, example: Example, prompt: str = "") -> Script:
        """Put an example down; `prompt` stands before the caption of a pair and is not learned."""
        if isinstance(example, Sample):
            self._show()
            self._say(prompt, self._writing.loss_on == "all")
            self._say(example.caption or "", True)
            self._end(True)
        elif isinstance(example, Document):
            self._put(example.parts, True)
            self._end(True)
        else:
            self._talk(example)
        return self

    def begin(self, prompt: str, said: Sequence[int]) -> Script:
        """A pair without an end: its picture, the prompt, and tokens that were said so far."""
        self._show()
        self._say(prompt, False)
        self._fill(said, False)
        return self

    def _talk(self, example: Conversation) -> None:
        for turn in example.turns:
            learned = turn.role == "assistant" or self._writing.loss_on != "answers"
            self._say(SPEAKERS[turn.role], self._writing.loss_on == "all")
            self._put(turn.parts, learned)
            if turn.role == "assistant":
                self._end(learned)
            else:
                self._say("\n", False)

    def _put(self, parts: Sequence[Part], learned: bool) -> None:
        before: Part | None = None
        for part in parts:
            if isinstance(part, Text):
                self._say((part.separator if isinstance(before, Text) else "") + part.text, learned)
            else:
                self._show()
            before = part

    def _say(self, text: str, learned: bool) -> None:
        self._fill(self._writing.words.encode(text) if text else [], learned)

    def _end(self, learned: bool) -> None:
        self._fill([self._writing.words.end], learned)

    def _fill(self, numbers: Sequence[int], learned: bool) -> None:
        room = 0 if self.cut else self._writing.most - len(self)
        self.cut = self.cut or len(numbers) > room
        own = list(numbers[:room])
        self._add(own, learned, -1, [0] * len(own))

    def _show(self) -> None:
        """The next of its pictures, whole or not at all."""
        picture, count = self._next, self._writing.picture_places
        self._next += 1
        if self._there[picture] and not self.cut:
            self.cut = len(self) + count > self._writing.most
            if not self.cut:
                self._add([self._writing.words.padding] * count, False, picture, range(count))

    def _add(self, tokens: Sequence[int], learned: bool, picture: int, offsets: Sequence[int]) -> None:
        self.tokens += tokens
        self.learned += [learned] * len(tokens)
        self.pictures += [picture] * len(tokens)
        self.offsets += offsets


@dataclass(frozen=True)
class Placed:
    """An example in a row: how it is written, and the numbers, among all pictures, of those that it has; -1 for one
    that is missing."""

    script: Script
    views: Sequence[int]


def rows_of(packs: Sequence[Sequence[Placed]], writing: Writing) -> Rows:
    """Rows of one or several examples each, filled up to the longest."""
    names = ("tokens", "documents", "positions", "pictures", "slots", "rules", "targets")
    blank = dict(zip(names, (writing.words.padding, -1, 0, -1, -1, 0, IGNORED), strict=True))
    length = max((sum(len(each.script) for each in pack) for pack in packs), default=1)
    arrays = {name: np.full((len(packs), length), value, np.int64) for name, value in blank.items()}
    shown: list[list[int]] = []
    for row, pack in enumerate(packs):
        shown.append([])
        start = 0
        for number, each in enumerate(pack):
            found = _columns(each, writing.picture_places, len(shown[-1]))
            end = start + len(each.script)
            arrays["documents"][row, start:end] = number
            for name, values in found.items():
                arrays[name][row, start:end] = values
            shown[-1] += [view for view in each.views if view >= 0]
            start = end
    most = max(map(len, shown), default=0)
    pictures = np.full((len(packs), most), -1, np.int64)
    for row, views in enumerate(shown):
        pictures[row, : len(views)] = views
    made = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return Rows(**made, row_pictures=torch.from_numpy(pictures))


def _columns(each: Placed, picture_places: int, before: int) -> dict[str, npt.NDArray[np.int64]]:
    """The arrays of one example. `before`: pictures of the row before its own."""
    script = each.script
    tokens, own, learned = np.array(script.tokens), np.array(script.pictures), np.array(script.learned)
    views = np.array([*each.views, -1], np.int64)
    numbers = np.where(views >= 0, before + np.cumsum(views >= 0) - 1, -1)
    targets = np.full(len(tokens), IGNORED, np.int64)
    targets[:-1] = np.where(learned[1:], tokens[1:], IGNORED)
    return {
        "tokens": tokens,
        "positions": np.arange(len(tokens)),
        "pictures": numbers[own],
        "slots": np.where(own >= 0, views[own] * picture_places + np.array(script.offsets), -1),
        "rules": np.full(len(tokens), script.rule),
        "targets": targets,
    }
