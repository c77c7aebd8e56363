"""The `[document]` section of a config: which rules turn a page into a document, and how much of a page is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curate.config import require_range

__all__ = ["DocumentSettings"]


@dataclass(frozen=True)
class DocumentSettings:
    """`mode`: "default", or "obelics" for the published rules with their quirks.

    A page above `max_page_bytes`, nested deeper than `max_depth` elements or with more than `max_nodes` nodes is not
    parsed and keeps its row with that reason.
    """

    mode: Literal["default", "obelics"] = "default"
    max_page_bytes: int = 10_000_000
    max_depth: int = 2_000
    max_nodes: int = 200_000

    def __post_init__(self) -> None:
        require_range("max_page_bytes", self.max_page_bytes, 1_000, 1_000_000_000)
        require_range("max_depth", self.max_depth, 10, 100_000)
        require_range("max_nodes", self.max_nodes, 100, 10_000_000)
