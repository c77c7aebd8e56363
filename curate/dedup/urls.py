"""Documents that are one page: crawls of several months hold it several times.

Two URLs are equal when `curate.fetch.url.parse_url` makes one of them, which is what a crawler would ask for: scheme
and host in lower case, `:80` of http and `:443` of https gone, no fragment (so pages that a script tells apart by
`#!...` are one), `/` for an empty path, no `.` and `..` steps, characters percent-encoded as browsers do; and no `?`
with nothing behind it. Scheme, `www.`, case of the path, order of the query and a slash at the end all count. What is
no http URL is compared as written.

OBELICS (Laurençon et al. 2023) compares URLs as written, and keeps the page of the last archive by name; it removed 116
of 361 million documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from curate.dedup.copies import Copies
from curate.dedup.digest import Digests, digest_strings
from curate.dedup.groups import Rows
from curate.dedup.population import URL_DUPLICATE_OF
from curate.document.select import prefix
from curate.fetch.url import parse_url
from curate.shard import Shard

__all__ = ["UrlDuplicates", "normal_url"]


@dataclass(frozen=True)
class UrlDuplicates(Copies):
    """Writes `url_duplicate_of`: the key of the document kept, of those with this URL; null for that one, for one that
    is alone, and for those that do not take part: dropped in round `documents_round`, or without a URL."""

    name: ClassVar[str] = "url_duplicates"

    @property
    def column(self) -> str:
        return URL_DUPLICATE_OF

    @property
    def reads(self) -> tuple[str, ...]:
        return ("key", "url", "crawl_date", "source_file", self._keep)

    @property
    def _keep(self) -> str:
        return f"{prefix(self.documents_round)}keep"

    def digests(self, shard: Shard) -> tuple[Rows, Digests]:
        columns = shard.columns(["url", self._keep])
        chosen = np.flatnonzero(np.asarray(columns[self._keep]) & np.asarray(columns["url"].is_valid()))
        urls = columns["url"].take(chosen).to_pylist()
        return chosen, digest_strings(pa.array([normal_url(url) for url in urls], pa.large_string()))


def normal_url(url: str) -> str:
    """What is compared: see above."""
    try:
        return parse_url(url).url.removesuffix("?")
    except ValueError:
        return url
