"""A real filter for tests of what earlier filters leave."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Filter, Verdict, between


@dataclass(frozen=True)
class Size(Filter):
    """Keeps sizes of at least `min`."""

    min: float = 3.0
    reads: ClassVar[tuple[str, ...]] = ("size",)
    reasons: ClassVar[Mapping[str, str]] = {"too_small": "small"}

    def judge(self, columns: pa.Table) -> Verdict:
        return between(columns["size"], self.min, None, "too_small", "")
