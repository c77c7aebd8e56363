"""From a part of a batch to tensors: rows of places, pictures as bytes, captions apart, and what each token weighs.

Pictures that were decoded and made small are kept, up to 256 MB of them: a toy picture is 3 kB, and a second epoch then
decodes nothing. A picture that cannot be decoded leaves its example without it; a pair without its picture teaches
nothing and is left out, and both are counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.filter import Pixels
from curate.handover.augment import View
from curate.handover.layout import Example, pictures_of
from curate.handover.stages import MixtureSource, TrainingStage
from curate.sample import Sample
from curate.train.lm import IGNORED
from curate.train.stages.masks import ALL_PREVIOUS, LAST_IMAGE, NEXT_IMAGE
from curate.train.stages.rows import Placed, Rows, Script, Writing, rows_of
from curate.train.stages.settings import FROM_PAIRS, GENERATIVE, feeds, objective_for, weight_of

__all__ = ["COUNTED", "Collator", "Given", "Reading", "Unit"]

MOST_KEPT_BYTES = 256 << 20
ENTRY_BYTES = 256
"""What a kept picture, or one that cannot be decoded, takes beside its pixels: its name and its place."""


@dataclass(frozen=True)
class Given:
    """An example of a batch: where it comes from, whether its text sees the next picture (p_next was drawn), and what
    of its picture is seen (None: all)."""

    example: Example
    source: MixtureSource
    next_image: bool = False
    view: View | None = None


@dataclass(frozen=True)
class Reading:
    """How pictures and captions are read. `decode` gives pixels or None, `prepare` makes uint8 (size, size, 3) of them;
    `tokenize_text` gives int64 (m, t) of captions, None for the language model's own words."""

    decode: Callable[[bytes], Pixels | None]
    prepare: Callable[[Pixels], Any]
    size: int
    tokenize_text: Callable[[Sequence[str]], Tensor] | None = None


@dataclass(frozen=True)
class Unit:
    """One of the parts in which a batch is computed.

    `rows` are learned token by token; `shares` float32 (n, l) is what a place's loss weighs before the division,
    `groups` int64 (n, l) by which of the sums `norms` float64 (g,) it is divided, `objectives` int64 (n, l) the number
    in GENERATIVE that it counts for, `counts` float64 (3,) how many places each has. `views` uint8 (p, size, size, 3).
    Pairs: `texts` int64 (m, t), `scripts` and `shown`, the number of a pair's picture among the views; `alike` int64
    (m, 2) tells which have the same text or picture.
    """

    rows: Rows
    shares: Tensor
    groups: Tensor
    objectives: Tensor
    norms: Tensor
    counts: Tensor
    views: Tensor
    texts: Tensor
    shown: Tensor
    alike: Tensor
    scripts: Sequence[Script] = ()


COUNTED = ("examples", "unreadable_examples", "unreadable_pictures", "pairs_left_out", "cut")
"""What is counted of a unit: examples that came, what of them could not be read, pairs without their picture, and
examples that did not fit into their row."""


class Collator:
    """Makes units of a stage. `counted` by the names of COUNTED, of the last unit."""

    def __init__(self, stage: TrainingStage, writing: Writing, reading: Reading) -> None:
        self._stage, self._writing, self._reading = stage, writing, reading
        self._pictures = Kept(reading)
        self._writings = {
            source.name: replace(writing, most=min(source.sequence_tokens or writing.most, writing.most))
            for source in stage.mixture.sources
        }
        self._sources = [source.name for source in stage.mixture.sources]
        self.counted: Counter[str] = Counter()

    def unit(self, packs: Sequence[Sequence[Given]]) -> Unit:
        """The unit of some rows of examples."""
        self.counted = Counter()
        views: list[Any] = []
        packed, pairs = [], []
        for pack in packs:
            placed = [self._placed(given, views) for given in pack]
            there = [each for each in placed if each is not None]
            pairs += [each for each in there if self._is_pair(each[0])]
            packed.append([each for each in there if objective_for(each[0].source, self._stage)])
        packed = [pack for pack in packed if pack]
        rows = rows_of([[placed for _, placed in pack] for pack in packed], self._writing)
        size = self._reading.size
        stacked = np.stack(views) if views else np.zeros((0, size, size, 3), np.uint8)
        weighed, captions = self._weighed(packed, rows), self._captions(pairs, views)
        return Unit(rows=rows, views=torch.from_numpy(stacked), **weighed, **captions)

    def _placed(self, given: Given, views: list[Any]) -> tuple[Given, Placed] | None:
        """The example as it is written, its pictures among the views; None for a pair that lost its picture."""
        self.counted["examples"] += 1
        data = [part.image for part in pictures_of(given.example)]
        found = [None if own is None else self._pictures.view(own, given.view) for own in data]
        self.counted["unreadable_pictures"] += sum(view is None for view in found)
        if isinstance(given.example, Sample) and found[0] is None:
            self.counted["pairs_left_out"] += 1
            return None
        numbers = []
        for view in found:
            numbers.append(-1 if view is None else len(views))
            if view is not None:
                views.append(view)
        script = Script(self._writings[given.source.name], [view is not None for view in found], _rule(given))
        script.write(given.example, given.source.prompt)
        self.counted["cut"] += script.cut
        return given, Placed(script, numbers)

    def _is_pair(self, given: Given) -> bool:
        """Whether the contrastive or the matching loss learns from it."""
        return any(feeds(given.source, self._stage, name) for name in FROM_PAIRS)

    def _weighed(self, packed: Sequence[Sequence[tuple[Given, Placed]]], rows: Rows) -> dict[str, Tensor]:
        """What each place's loss weighs, by which sum it is divided, for which objective it counts; both sums."""
        gradient = self._stage.mixture.unit == "gradient"
        shares = np.zeros(rows.targets.shape, np.float32)
        groups, objectives = (np.zeros(rows.targets.shape, np.int64) for _ in range(2))
        norms, counts = np.zeros(len(self._sources) if gradient else 1), np.zeros(len(GENERATIVE))
        learned = (rows.targets != IGNORED).numpy()
        for row, pack in enumerate(packed):
            for number, (given, _) in enumerate(pack):
                where = (rows.documents[row] == number).numpy()
                asked = int(learned[row][where].sum())
                name = objective_for(given.source, self._stage)
                group = self._sources.index(given.source.name) if gradient else 0
                share, norm = _share(self._stage.loss_norm, asked)
                weight = weight_of(self._stage, name) * given.source.loss_weight
                shares[row, where], groups[row, where] = share * weight, group
                objectives[row, where] = GENERATIVE.index(name)
                norms[group] += norm
                counts[GENERATIVE.index(name)] += asked
        found = {"shares": shares, "groups": groups, "objectives": objectives, "norms": norms, "counts": counts}
        return {name: torch.from_numpy(values) for name, values in found.items()}

    def _captions(self, pairs: Sequence[tuple[Given, Placed]], views: Sequence[Any]) -> dict[str, Any]:
        """Captions, the numbers of their pictures, what tells both apart, and the pairs as they are written."""
        texts = [given.example.caption or "" for given, _ in pairs if isinstance(given.example, Sample)]
        shown = [placed.views[0] for _, placed in pairs]
        tokens = self.tokens(texts)
        told = [
            [_number(text.encode("utf-8", "replace")) for text in texts],
            [_number(views[n].tobytes()) for n in shown],
        ]
        alike = torch.tensor(told, dtype=torch.int64).T.contiguous()
        scripts = [placed.script for _, placed in pairs]
        return {"texts": tokens, "shown": torch.tensor(shown, dtype=torch.int64), "alike": alike, "scripts": scripts}

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Captions for the contrastive loss, int64 (m, t)."""
        if self._reading.tokenize_text is not None:
            return self._reading.tokenize_text(texts) if texts else torch.zeros(0, 1, dtype=torch.int64)
        words = self._writing.words
        rows = [[words.start, *words.encode(text)[: self._writing.most - 2], words.end] for text in texts]
        tokens = torch.full((len(rows), max(map(len, rows), default=1)), words.padding, dtype=torch.int64)
        for row, numbers in enumerate(rows):
            tokens[row, : len(numbers)] = torch.tensor(numbers)
        return tokens


class Kept:
    """Pictures made ready, by their bytes."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._views: dict[bytes, Any] = {}
        self._bytes = 0

    def view(self, data: bytes, view: View | None = None) -> Any:
        """uint8 (size, size, 3) of a picture, or of the `view` of it, which another epoch draws anew and nobody keeps;
        None for what cannot be decoded."""
        if view is not None:
            pixels = self._reading.decode(data)
            return None if pixels is None else self._reading.prepare(view.of(pixels))
        name = hashlib.blake2b(data, digest_size=16).digest()
        if name in self._views:
            return self._views[name]
        pixels = self._reading.decode(data)
        made = None if pixels is None else np.array(self._reading.prepare(pixels))  # a crop would keep what it is of
        size = ENTRY_BYTES + (0 if made is None else made.nbytes)
        if self._bytes + size <= MOST_KEPT_BYTES:
            self._views[name] = made
            self._bytes += size
        return made


def _rule(given: Given) -> int:
    if given.source.image_mask == "all_previous":
        return ALL_PREVIOUS
    return NEXT_IMAGE if given.next_image else LAST_IMAGE


def _share(norm: str, asked: int) -> tuple[float, float]:
    """What each of an example's `asked` tokens weighs, and what the example adds to the divisor."""
    if norm == "token" or not asked:
        return 1.0, float(asked)
    return (1 / asked, 1.0) if norm == "sample" else (asked**-0.5, asked**0.5)


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)
