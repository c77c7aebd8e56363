"""Which pages are not given to the parser, and why.

The parser is linear on what people write, and quadratic or worse on what nobody writes: measured with lexbor 2 in
selectolax 1.0.2, 100,000 `<div>` inside one another take 49 s, 20,000 attributes of one tag 0.6 s, and 10,000 times
`<font size=1><p>`, each size another, make 50 million nodes. So a page is judged first, in two steps:

1. Numbers that bound the harm whatever the page says, from the places of its `<` by numpy, in 0.2 ms. All but one in a
   hundred pages are through then: few tags, few formatting elements with attributes, no long tag.
2. For the others, the tags are read one after another (`scan`), and the parser's work is estimated (`effort`).

What is deeper than `max_depth` and still harmless is found by the walk over the parsed page.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.document.effort import FORMATTING, MOST_ALIKE, Effort
from curate.document.scan import scan_tags
from curate.document.settings import DocumentSettings

__all__ = ["PageRefusedError", "check_page"]

MAX_TAGS = 25_000
"""Below, no nesting takes the parser longer than 1 s."""
MAX_STEPS = 400_000_000
"""Elements that are looked at to see which is closed: some 2 to 10 ns each."""
MAX_REOPENED = 3_000_000
"""Elements that the parser makes because a formatting element was not closed: 0.8 us and 100 bytes each."""
MAX_COMPARED = 600_000_000
"""Pairs of attributes that are compared, 1.6 ns each."""
MAX_ROOMS = 5_000
"""Tables, buttons or objects inside one another."""
MAX_NAMES = 50_000
"""Different names: the parser's hash table takes 0.5 s for so many, 20 s for 200,000."""
_WORD = 7
_POWERS = np.uint64(256) ** np.arange(_WORD, dtype=np.uint64)
_CODES = np.array([int.from_bytes(name, "little") for name in sorted(FORMATTING)], np.uint64)


class PageRefusedError(ValueError):
    """A page that is not parsed. `status`: too_large, too_deep, too_many_nodes, too_many_attributes,
    too_many_names or too_tangled; `detail` is a sentence."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def check_page(html: bytes, settings: DocumentSettings) -> None:
    """Raises PageRefusedError for a page that would take the parser too long."""
    if len(html) > settings.max_page_bytes:
        raise PageRefusedError("too_large", f"{len(html)} bytes, of at most {settings.max_page_bytes}")
    starts, tags = _places(html)
    if len(starts) > settings.max_nodes:
        raise PageRefusedError("too_many_nodes", f"{len(starts)} tags, of at most {settings.max_nodes} nodes")
    if not _is_harmless(html, starts, tags):
        _refuse_harmful(html)


def _places(html: bytes) -> tuple[npt.NDArray[np.int64], int]:
    """Where start tags may begin, and how many tags there may be, end tags included."""
    data = np.frombuffer(html + b" ", np.uint8)
    opens = np.flatnonzero(data == ord("<"))
    following = data[np.minimum(opens + 1, len(html))]
    starts = opens[((following | 32) - ord("a")) < 26]
    return starts, len(starts) + int(np.count_nonzero(following == ord("/")))


def _is_harmless(html: bytes, starts: npt.NDArray[np.int64], tags: int) -> bool:
    """The first step: bounds that hold however the tags are nested."""
    if tags > MAX_TAGS:
        return False
    lasting = MOST_ALIKE * len(FORMATTING)
    if (lasting + len(starts)) * tags > MAX_REOPENED:
        lasting += _formatting_with_attributes(html, starts)
        if lasting * tags > MAX_REOPENED:
            return False
    ends = _ends(html, starts)
    # 50,000 different names have three letters and a separator on average.
    return _are_few((ends - starts) / 2, 2) or _are_few(_attributes(html, starts, ends))


def _are_few(attributes: npt.NDArray[Any], alike: int = 1) -> bool:
    """Whether so many attributes of each tag are no harm, if `alike` of them have the same name."""
    return bool(attributes.sum() <= alike * MAX_NAMES and np.square(attributes, dtype=np.float64).sum() <= MAX_COMPARED)


def _formatting_with_attributes(html: bytes, starts: npt.NDArray[np.int64]) -> int:
    """How many tags begin like a formatting element's and do not end behind its name."""
    data = np.frombuffer(html + b" " * (_WORD + 1), np.uint8)
    letters = data[starts[:, None] + np.arange(1, _WORD + 1)] | 32
    in_name = np.logical_and.accumulate(letters >= ord("a"), axis=1)
    codes = (letters * in_name).astype(np.uint64) @ _POWERS
    named = np.isin(codes, _CODES)
    ends = starts[named] + 1 + in_name[named].sum(axis=1)
    return int(np.count_nonzero(data[ends] != ord(">")))


def _ends(html: bytes, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first `>` of each tag, by which it ends unless it stands in a quoted value."""
    closes = np.flatnonzero(np.frombuffer(html, np.uint8) == ord(">"))
    return np.append(closes, len(html))[np.searchsorted(closes, starts)]


def _attributes(html: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many attributes each tag may have: before each stands a blank, a slash or a quote."""
    data = np.frombuffer(html, np.uint8)
    separates = (data <= ord(" ")) | (data == ord("/")) | (data == ord('"')) | (data == ord("'"))
    begins = np.flatnonzero(separates[:-1] & ~separates[1:])
    return np.searchsorted(begins, ends) - np.searchsorted(begins, starts)


def _refuse_harmful(html: bytes) -> None:
    """The second step."""
    effort = Effort()
    for tag in scan_tags(html):
        effort.add(tag)
        if effort.steps > MAX_STEPS or len(effort.rooms) > MAX_ROOMS:
            raise PageRefusedError("too_deep", f"{effort.depth} elements inside one another, with more tags to come")
        if effort.reopened > MAX_REOPENED:
            raise PageRefusedError("too_tangled", f"formatting that is not closed makes over {MAX_REOPENED} elements")
        if effort.compared > MAX_COMPARED:
            raise PageRefusedError("too_many_attributes", f"{len(tag.attributes)} in one tag, or many in many")
        if len(effort.names) > MAX_NAMES:
            raise PageRefusedError("too_many_names", f"more than {MAX_NAMES} names of elements and attributes")
