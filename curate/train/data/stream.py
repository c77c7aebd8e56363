"""The examples of one source, pass after pass, in an order that seed and pass alone decide.

A pass takes the shards in a drawn order, `window` of them at a time, and draws the order of all examples of such a
window together: reads stay within a few tars, and neighbours come from 16 shards of 10,000. The tables of the next
window are read while the last eighth of this one is used. What is not wanted now, by its number of pictures or because
a repeat of 2.5 takes half of the third pass, keeps its place in the order and is passed over, so that a filter moves
nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa

from curate.dedup.digest import digest_strings
from curate.errors import ConfigError
from curate.handover.manifest import ShardEntry
from curate.handover.pair_views import VIEW_COLUMNS
from curate.handover.shards import Handover, Places, read_places, text_columns
from curate.handover.stages import MixtureSource
from curate.registry import nearest
from curate.train.data.draws import order_of, stream_seed
from curate.train.data.texts import TEXT_COLUMNS
from curate.train.data.window import (
    LONGER,
    NOT_REPEATED,
    OUT_OF_RANGE,
    WANTED,
    Counting,
    Item,
    Window,
    draw_window,
)

__all__ = ["Stream"]

READERS = 8
PATIENCE = 10_000
"""Examples in a row that may be unfit, where that is more than two passes: a short text may be drawn the next time."""
KEPT = 2
"""Windows, and orders of shards, that are kept: an open row may hold an example of the window before."""
Key = tuple[int, int]


class Stream:
    """One source of a stage, without end. `number` is its place in the mixture; `run` counts passes, `place` examples
    of this pass that were looked at, and `counts` what was passed over, what was longer than its row, and pairs without
    a text that was named. `unfit` are so many that the last ones could in no pass of this kind have been given."""

    def __init__(self, handover: Handover, source: MixtureSource, number: int, counting: Counting) -> None:
        self.source, self.number, self.run, self.place = source, number, 0, 0
        self.counts = {"images_out_of_range": 0, "without_named_caption": 0}
        self._longer_name = LONGER[counting.longer]
        if counting.limit:
            self.counts[self._longer_name] = 0
        self.unfit = 0
        self._storage, self._counting = handover.storage, counting
        self._shards = _checked(handover, source)
        self.size = sum(shard.samples for shard in self._shards)
        self._windows: OrderedDict[Key, Window] = OrderedDict()
        self._ahead: dict[Key, Future[Window]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="windows")
        self._cuts: OrderedDict[int, tuple[list[ShardEntry], list[int]]] = OrderedDict()
        self._begin = self._end = self._warn = 0
        self._tokens: list[int] = []
        self._states = self._fell_back = self._longer = b""

    def next(self) -> Item | None:
        """The next example; None for one that is not wanted."""
        if self.place == self.size:
            self.seek(self.run + 1, 0)
        if not self._begin <= self.place < self._end:
            self._enter()
        place, row = self.place, self.place - self._begin
        self.place += 1
        if place == self._warn:
            self._prepare()
        state = self._states[row]
        if self._longer[row] and state not in (OUT_OF_RANGE, NOT_REPEATED):
            self.counts[self._longer_name] += 1
        if state != WANTED:
            self.counts["images_out_of_range"] += state == OUT_OF_RANGE
            self.unfit = 0 if state == NOT_REPEATED else self.unfit + 1
            return None
        self.unfit = 0
        self.counts["without_named_caption"] += self._fell_back[row]
        return Item(self.number, self.run, place, self._tokens[row], self._window, row)

    def wanted(self) -> Item:
        """The next example that is wanted. Raises ConfigError where none fits."""
        while not self.barren:
            found = self.next()
            if found is not None:
                return found
        raise self.nothing_fits()

    @property
    def barren(self) -> bool:
        """Whether it seems that no example is one that the stage can take."""
        return self.unfit >= max(2 * self.size, PATIENCE)

    def nothing_fits(self) -> ConfigError:
        """What to say of a barren source."""
        source, limit = self.source, self._counting.limit
        images = f"as many pictures as min_images = {source.min_images} and max_images = {source.max_images} ask for"
        row = f", and at most {limit} tokens (longer = {self._counting.longer!r})" if limit else ""
        return ConfigError(f"no example of source {source.name} has {images}{row}; change that")

    def at(self, run: int, place: int) -> Item:
        """The example that `next` gave at this place: of a row that was open when the plan was put down."""
        number = self._number(run, place)
        window, row = self._window_of(run, number), place - self._cut(run)[1][number]
        return Item(self.number, run, place, int(window.tokens[row]), window, row)

    def seek(self, run: int, place: int) -> None:
        """Go on at this place."""
        self.run, self.place, self._begin, self._end = run, place, 0, 0

    def close(self) -> None:
        """End the thread that reads ahead."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _enter(self) -> None:
        """Take the window that the place lies in."""
        number = self._number(self.run, self.place)
        self._begin, self._end = self._cut(self.run)[1][number : number + 2]
        self._warn = self._end - 1 - (self._end - self._begin) // 8
        self._window = self._window_of(self.run, number)
        self._tokens, self._states = self._window.tokens.tolist(), self._window.state.tobytes()
        self._fell_back, self._longer = self._window.fell_back.tobytes(), self._window.longer.tobytes()

    def _prepare(self) -> None:
        """Have the next window read and drawn."""
        run, number = (self.run + 1, 0) if self._end == self.size else (self.run, self._number(self.run, self._end))
        if (run, number) not in self._windows and (run, number) not in self._ahead:
            self._ahead[run, number] = self._pool.submit(self._load, run, self._own(run, number), self._known())

    def _window_of(self, run: int, number: int) -> Window:
        key = (run, number)
        if key not in self._windows:
            ahead = self._ahead.pop(key, None)
            own, known = self._own(run, number), self._known()
            self._windows[key] = ahead.result() if ahead is not None else self._load(run, own, known)
        self._windows.move_to_end(key)
        while len(self._windows) > KEPT:
            self._windows.popitem(last=False)
        return self._windows[key]

    def _known(self) -> dict[str, Places]:
        """Tables that need not be read again: those of a source that is one window."""
        if len(self._shards) > self._counting.window:
            return {}
        return {
            shard.id: places
            for window in self._windows.values()
            for shard, places in zip(window.shards, window.places, strict=True)
        }

    def _load(self, run: int, shards: Sequence[ShardEntry], known: Mapping[str, Places]) -> Window:
        texts = [*TEXT_COLUMNS, *self.source.captions] if self.source.captions else []
        columns = tuple(dict.fromkeys([*texts, *(VIEW_COLUMNS if self._counting.augment else ())]))

        def read(shard: ShardEntry) -> Places:
            found = known.get(shard.id)
            return found or read_places(self._storage, shard, self._counting.tokenizer, columns)

        if self._storage.local is not None:
            return self._drawn(shards, [read(shard) for shard in shards], run)
        with ThreadPoolExecutor(READERS, thread_name_prefix="tables") as pool:
            return self._drawn(shards, list(pool.map(read, shards)), run)

    def _drawn(self, shards: Sequence[ShardEntry], places: Sequence[Places], run: int) -> Window:
        """The window, which keeps what it was drawn by only where the next pass is drawn by the same tables."""
        window = draw_window(self.source, self._counting, shards, places, run)
        if len(self._shards) <= self._counting.window:
            return window
        return replace(window, places=[_thin(own) for own in places])

    def _number(self, run: int, place: int) -> int:
        """Which window of a pass has this place."""
        return int(np.searchsorted(self._cut(run)[1], place, side="right")) - 1

    def _own(self, run: int, number: int) -> list[ShardEntry]:
        window = self._counting.window
        return self._cut(run)[0][number * window : (number + 1) * window]

    def _cut(self, run: int) -> tuple[list[ShardEntry], list[int]]:
        """The shards in the order of a pass, and where each of its windows begins; the last number is the end."""
        if run not in self._cuts:
            digests = digest_strings(pa.array([shard.id for shard in self._shards]))
            order = order_of(digests, stream_seed(self._counting.seed, "shards", self.source.name, run))
            shards = [self._shards[number] for number in order]
            ends = [0, *np.cumsum([shard.samples for shard in shards]).tolist()]
            self._cuts[run] = shards, [*ends[: -1 : self._counting.window], self.size]
        while len(self._cuts) > KEPT:
            self._cuts.popitem(last=False)
        return self._cuts[run]


def _thin(places: Places) -> Places:
    """What reading needs of a shard's tables: 90 bytes a pair instead of 140, and no texts."""
    nothing = np.empty(0, np.int64)
    read = replace(places, images=nothing, width=nothing, height=nothing, picture=nothing)
    return replace(read, identity=np.empty((0, 2), np.uint64), texts=pa.table({}), text_tokens=None)


def _checked(handover: Handover, source: MixtureSource) -> list[ShardEntry]:
    """The shards of a source that have examples, once it is seen that the stage can draw from them."""
    shards = [shard for shard in handover.shards(source.name) if shard.samples]
    kind = next((shard.kind for shard in shards if shard.kind != source.kind), None)
    if not shards:
        raise ConfigError(f"source {source.name} of {handover.storage.root} has no example; take it out of the mixture")
    if kind is not None:
        raise ConfigError(f"source {source.name} is of kind {kind}, and the stage says {source.kind}; change its kind")
    if source.captions and source.kind != "pairs":
        raise ConfigError(f"captions of source {source.name} are for pairs, and it is of kind {source.kind}; drop them")
    origins = {origin for shard in shards for origin in shard.captions}
    if origins and source.captions:
        known = sorted(origins | set(text_columns(handover.storage, shards[0])))
        strange = next((name for name in source.captions if name not in known), None)
        if strange is not None:
            raise ConfigError(f"no pair of source {source.name} has a text {strange!r}; {nearest(strange, known)}")
    return shards
