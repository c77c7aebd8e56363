"""In what pieces pictures and texts go through a model: always of one shape, so that no text depends on its neighbours.

The last bits of a product of matrices depend on their shapes, and with them, now and then, a token. So a piece has its
full number of rows whatever there is to do: it is filled up. Where memory runs out the number is halved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from curate.models.captioner import Sampling
from curate.models.memory import is_memory

__all__ = ["FORMS_SHARE", "ROWS", "Rows", "Unit", "filled"]

ROWS = {"cpu": 16, "cuda": 128}
"""Texts that are written at a time. More are faster on a GPU, where a step takes as long for one as for many; 128
of LLaVA-1.5-7B need some 43 GB beside its weights."""
FORMS_SHARE = 8
"""A unit has this many times fewer pictures where these come in several forms, each with units of its own. Of 256
pictures of textbooks at a time, units of 16 have 34 % more to do than there is, of 32 65 %, and of 64 155 %."""
T = TypeVar("T")


@dataclass(frozen=True)
class Unit:
    """So many pictures, and of each so many texts, the first of them number `begun` of its picture."""

    pictures: int
    texts: int
    begun: int

    def is_smallest(self, sampling: Sampling) -> bool:
        """Whether there is no smaller one: the beams of a picture stay together."""
        return self.pictures == 1 and (self.texts == 1 or sampling.method == "beam")


class Rows:
    """How many texts are written at a time on a device."""

    def __init__(self, where: Any) -> None:
        self._where = where
        self.most = ROWS.get(where.type, ROWS["cpu"])

    def unit(self, n: int, begun: int, sampling: Sampling, in_forms: bool) -> Unit:
        """What goes through at a time where `n` texts of each picture are asked for and `begun` are there."""
        texts = n if sampling.method == "beam" else min(n, self.most)
        each = sampling.beams if sampling.method == "beam" else texts
        return Unit(max(1, self.most // (each * (FORMS_SHARE if in_forms else 1))), texts, begun)

    def tried(self, run: Callable[[], T], smallest: bool) -> T | None:
        """None where memory ran out and less may fit. Raises what `run` raises otherwise. A GPU that failed answers
        nothing more in this process, so the process ends: else each picture to come would fail."""
        import torch

        try:
            return run()
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, torch.AcceleratorError) and not is_memory(error):
                raise SystemExit(f"curate: the GPU of this worker failed: {error}") from error
            if smallest or not is_memory(error):
                raise
        self.most = max(1, self.most // 2)
        if self._where.type == "cuda":
            torch.cuda.empty_cache()  # not above: while the error lives, so does all that filled the memory
        return None


def filled(items: Sequence[T], size: int) -> list[T]:
    """As long as `size`, with the last item again and again."""
    return [*items, *[items[-1]] * (size - len(items))]
