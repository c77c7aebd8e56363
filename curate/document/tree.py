"""A parsed page as flat lists in document order: what every later step walks, with no recursion and no parser objects.

Node 0 is the `html` element. A node's subtree is the slice `number + 1 : ends[number]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["TEXT", "Tree"]

TEXT = "#text"


@dataclass(frozen=True)
class Tree:
    """One entry per node in every list. Comments, doctypes and processing instructions are not nodes.

    `tags`: lower-case element names, TEXT for a text. `parents`: number of the parent (-1 for node 0). `ends`: number
    behind the last node of the subtree. `texts`: decoded text of a text node, "" for an element. `attributes`: of an
    element, names in lower case, values decoded, None for an attribute without a value; empty for most nodes.
    """

    tags: list[str]
    parents: list[int]
    ends: list[int]
    texts: list[str]
    attributes: list[Mapping[str, str | None]]

    def __len__(self) -> int:
        return len(self.tags)
