"""Which source is next: four rules, each of which needs a few numbers alone to go on where it was put down.

    by repeat    no weights: an epoch has each example `repeat` times, sources mixed by what is left of each, like
                 cards of a pack; so every example comes exactly once where `repeat` is 1
    by sample    a draw for each example, from the weights
    by token     the source whose share of all tokens so far is furthest below its weight: deficit round robin with
                 single examples for quanta (Shreedhar and Varghese 1995), off by one example at most
    by gradient  one source alone; each has a lane, and a step takes a micro-batch of every lane

0.3 to 0.6 us a choice for a few sources.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from curate.train.data.draws import Uniforms, stream_seed
from curate.train.data.stream import Stream
from curate.train.data.window import Item, passes_of

__all__ = ["ByRepeat", "BySample", "ByToken", "Chooser", "OneSource"]


class Chooser(Protocol):
    """Draws examples from streams."""

    def draw(self) -> Item | None:
        """The next example; None where there is none left."""

    def state(self) -> list[int]:
        """Numbers from which `restore` goes on."""

    def restore(self, state: Sequence[int]) -> None:
        """Go on where a chooser of the same streams was; they have been put to their own places before."""


class ByRepeat:
    """Epochs without weights; `epochs` of them, the last of which may be a part of one, or 0 for no end."""

    def __init__(self, streams: Sequence[Stream], seed: int, epochs: float) -> None:
        self._streams, self._seed, self._epochs = streams, seed, epochs
        self._sizes = [stream.size * passes_of(stream.source) for stream in streams]
        self._whole = sum(self._sizes)
        self.restore([0, 0, *[0] * len(streams)])

    def draw(self) -> Item | None:
        while not self._epochs or self.epoch * self._whole + self.place < self._epochs * self._whole:
            if self.place == self._whole:
                self.restore([self.epoch + 1, 0, *[0] * len(self._sizes)])
                continue
            stream = self._streams[self._next()]
            found = stream.next()
            if found is not None:
                return found
            if stream.barren and all(own.barren or not passes_of(own.source) for own in self._streams):
                raise stream.nothing_fits()
        return None

    def _next(self) -> int:
        """A source by what is left of each, without putting back."""
        ticket = int(self._uniforms.at(self.place) * (self._whole - self.place))
        self.place += 1
        for number, left in enumerate(self._left):
            if ticket < left:
                self._left[number] -= 1
                return number
            ticket -= left
        raise AssertionError("what is left of the sources is what is left of the epoch")

    def state(self) -> list[int]:
        return [self.epoch, self.place, *(size - left for size, left in zip(self._sizes, self._left, strict=True))]

    def restore(self, state: Sequence[int]) -> None:
        self.epoch, self.place, *taken = state
        self._left = [size - own for size, own in zip(self._sizes, taken, strict=True)]
        self._uniforms = Uniforms(stream_seed(self._seed, "epoch", self.epoch))


class BySample:
    """Weights by sample: independent draws, without end."""

    def __init__(self, streams: Sequence[Stream], weights: Sequence[float], seed: int) -> None:
        self._streams, self.place = streams, 0
        total = sum(weights)
        self._ends = [end / total for end in accumulate(weights)][:-1]
        self._uniforms = Uniforms(stream_seed(seed, "sources"))

    def draw(self) -> Item | None:
        self.place += 1
        return self._streams[bisect_right(self._ends, self._uniforms.at(self.place - 1))].wanted()

    def state(self) -> list[int]:
        return [self.place]

    def restore(self, state: Sequence[int]) -> None:
        (self.place,) = state


class ByToken:
    """Weights by token, without end."""

    def __init__(self, streams: Sequence[Stream], weights: Sequence[float]) -> None:
        self._streams = streams
        self._per_token = [1 / weight for weight in weights]
        self.consumed = [0] * len(streams)

    def draw(self) -> Item | None:
        shares = [tokens * each for tokens, each in zip(self.consumed, self._per_token, strict=True)]
        number = shares.index(min(shares))
        found = self._streams[number].wanted()
        self.consumed[number] += max(found.tokens, 1)
        return found

    def state(self) -> list[int]:
        return list(self.consumed)

    def restore(self, state: Sequence[int]) -> None:
        self.consumed = list(state)


class OneSource:
    """The only source of a lane, without end."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def draw(self) -> Item | None:
        return self._stream.wanted()

    def state(self) -> list[int]:
        return []

    def restore(self, state: Sequence[int]) -> None:
        """The stream knows its place."""
