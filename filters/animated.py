"""Drops animated pictures: what is stored is their first frame, often blank or a title, not what the caption tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from curate.filter import Filter, Verdict, verdict


@dataclass(frozen=True)
class Animated(Filter):
    """Keeps pictures of one frame. One that was never read is kept: fetch_status answers for it."""

    reads: ClassVar[tuple[str, ...]] = ("animated",)
    reasons: ClassVar[Mapping[str, str]] = {"animated_picture": "the picture is an animation"}

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(len(columns), ("animated_picture", columns["animated"]))
