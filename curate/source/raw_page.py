"""A page as a source gives it: bytes and what was said about them. Extraction asks for no more than this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from curate.shard import Shard

__all__ = ["OK", "PageSource", "RawPage"]

OK = "ok"


@dataclass(frozen=True)
class RawPage:
    """One page, or the place of one that could not be had.

    `status` is "ok", or a reason such as `not_html`, `http_404`, `bad_chunks`, `truncated`, with `detail` in words.
    `content_type` is the whole HTTP header; None where there was none. `file`, `offset` and `length` say where it lies:
    the archive (or HTML file) and, in an archive, bytes of the record as it lies there. `date` is ISO 8601 in UTC.
    `text` is set instead of `body` where a source has plain text alone (WET). `row` is the row of the slice that led
    here, where one row leads to one page: its other columns are carried along.
    """

    url: str | None
    body: bytes = b""
    status: str = OK
    detail: str = ""
    content_type: str | None = None
    http_status: int | None = None
    date: str | None = None
    file: str | None = None
    offset: int | None = None
    length: int | None = None
    text: str | None = None
    row: int | None = None


class PageSource(Protocol):
    """A `Source` whose slices lead to pages."""

    def pages(self, rows: pa.Table, shard: Shard) -> Iterator[RawPage]:
        """The pages that the rows of one slice stand for, in order. Nothing about a page raises; a file that cannot
        be opened is one RawPage with that status."""
        ...

    def page_identity(self) -> Any:
        """JSON-like: settings of this source that change pages beyond the rows of the slice."""
        ...
