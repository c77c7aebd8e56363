"""What became of the fetches, by class of cause and by host.

A host is one entry of a table in bounded memory (as `tally`): its rows, those kept, those that succeeded, and its
failures by status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.fetch.status import FetchStatus
from curate.report.counting.tally import MOST_SHOWN, Tally, by_value, texts_of
from curate.report.counting.values import HOST
from curate.report.facts import Counted, Download

__all__ = ["Downloads", "class_of"]

MOST_HOSTS = 100_000
"""Counted at once: some 50 MB."""
MOST_STATUSES = 1_000
SUCCEEDED = ("success", "ok")
STATUS = ("fetch_status", "page_status", "status")
"""Where a table says what became of a row: ours of pictures, of pages, and img2dataset's."""
CAUSE = "error_message"
"""What img2dataset says of a row that failed."""
Own = FetchStatus
CLASSES: Mapping[str, tuple[FetchStatus, ...]] = {
    "success": (Own.SUCCESS,),
    "address": (Own.INVALID_URL, Own.ADDRESS_REFUSED),
    "robots": (Own.ROBOTS_DISALLOWED, Own.ROBOTS_UNREACHABLE, Own.OPTED_OUT),
    "network": (
        *(Own.HOST_SUSPENDED, Own.DNS_ERROR, Own.CONNECT_ERROR, Own.TLS_ERROR),
        *(Own.TIMEOUT, Own.TOO_SLOW, Own.CONNECTION_LOST),
    ),
    "http": (
        *(Own.NOT_FOUND, Own.GONE, Own.RATE_LIMITED, Own.CLIENT_ERROR),
        *(Own.SERVER_ERROR, Own.BAD_REDIRECT, Own.TOO_MANY_BYTES, Own.EMPTY_BODY),
    ),
    "page": (Own.NOT_HTML,),
    "picture": (
        *(Own.NOT_AN_IMAGE, Own.IMAGE_TRUNCATED, Own.IMAGE_BROKEN, Own.IMAGE_UNSUPPORTED),
        *(Own.IMAGE_TOO_SMALL, Own.IMAGE_TOO_LARGE, Own.ASPECT_RATIO_TOO_LARGE, Own.HASH_MISMATCH),
    ),
    "generation": (Own.NO_CAPTION, Own.GENERATION_REFUSED),
}
_CLASS = {str(status): name for name, own in CLASSES.items() for status in own}


def class_of(status: str) -> str:
    """The class of a status: a key of CLASSES, or `other` for one that is not ours."""
    return "success" if status in SUCCEEDED else _CLASS.get(status, "other")


@dataclass
class Host:
    """One host's rows."""

    rows: int = 0
    kept: int = 0
    succeeded: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def fetched(self) -> int:
        """Rows of which it is known what became of their fetch; the others were never asked for."""
        return self.succeeded + self.failures.total()


@dataclass
class Downloads:
    """Statuses and hosts of a unit. `asked`: whether any row has a status."""

    most: int = MOST_HOSTS
    statuses: Tally = field(default_factory=lambda: Tally(MOST_STATUSES))
    hosts: dict[str, Host] = field(default_factory=dict)
    rows: int = 0
    kept: int = 0
    without: int = 0
    least: int = 0

    def add(self, columns: pa.Table, keep: npt.NDArray[np.bool_]) -> None:
        """Count a shard."""
        name = next((own for own in STATUS if own in columns.column_names), None)
        status = columns[name].combine_chunks() if name else pa.nulls(len(columns), pa.string())
        if name == "status" and CAUSE in columns.column_names:
            status = pc.coalesce(columns[CAUSE].combine_chunks(), status.cast(pa.large_string()))
        self.statuses.add(status, keep)
        if HOST not in columns.column_names:
            return
        hosts = columns[HOST].combine_chunks()
        words, rows, kept = by_value(hosts, keep)
        for word, own, left in zip(words, rows, kept, strict=True):
            host = self.hosts.get(word) or self.hosts.setdefault(word, Host())
            host.rows, host.kept = host.rows + own, host.kept + left
        self.rows, self.kept = self.rows + sum(rows), self.kept + sum(kept)
        self.without += len(keep) - sum(rows)
        self._outcomes(hosts, status)
        if len(self.hosts) > self.most:
            self._forget()

    def download(self, pages: Downloads | None = None) -> Download | None:
        """Statuses, those of `pages` by the same classes after the word `pages`, and the hosts that were asked for
        either, by fetches; None where nothing was fetched."""
        units = (self, pages or Downloads())
        statuses = (*self._told(), *((f"pages: {kind}", status, rows) for kind, status, rows in units[1]._told()))
        hosts: dict[str, Host] = {}
        for name, own in (pair for unit in units for pair in unit.hosts.items() if pair[1].fetched):
            host = hosts.setdefault(name, Host())
            host.succeeded += own.succeeded
            host.failures.update(own.failures)
        asked = sorted(hosts.items(), key=lambda one: (-one[1].fetched, one[0]))[:MOST_SHOWN]
        return Download(statuses, tuple(_told(*one) for one in asked)) if statuses else None

    def counted(self) -> Counted | None:
        """Hosts as counted values; None where no row has one."""
        if not self.rows:
            return None
        shown = self._ordered()[:MOST_SHOWN]
        others = self.rows - sum(own.rows for _, own in shown), self.kept - sum(own.kept for _, own in shown)
        return Counted("hosts", tuple((n, own.rows, own.kept) for n, own in shown), others, self.without, self.least)

    def _told(self) -> tuple[tuple[str, str, int], ...]:
        """Class, status and rows, the most frequent first."""
        ordered = sorted(self.statuses.counts.items(), key=lambda one: (-one[1][0], one[0]))
        told = tuple((class_of(status), status, rows) for status, (rows, _) in ordered[:MOST_SHOWN])
        rest = self.statuses.rows - sum(rows for _, _, rows in told)
        return told + ((("other", "all others", rest),) if rest else ())

    def _outcomes(self, hosts: pa.Array, status: pa.Array) -> None:
        known = pc.and_(pc.is_valid(hosts), pc.is_valid(status))
        coded = [own.filter(known).dictionary_encode() for own in (hosts, status)]
        names, causes = (texts_of(own.dictionary) for own in coded)
        place, cause = (np.asarray(own.indices).astype(np.int64) for own in coded)
        pairs, rows = np.unique(place * max(len(causes), 1) + cause, return_counts=True)
        for pair, own in zip(pairs.tolist(), rows.tolist(), strict=True):
            host, word = self.hosts[names[pair // len(causes)]], causes[pair % len(causes)]
            if word in SUCCEEDED:
                host.succeeded += own
            else:
                host.failures[word] += own

    def _ordered(self) -> list[tuple[str, Host]]:
        return sorted(self.hosts.items(), key=lambda one: (-one[1].rows, one[0]))

    def _forget(self) -> None:
        ordered = self._ordered()
        self.least += ordered[self.most // 2][1].rows
        self.hosts = dict(ordered[: self.most // 2])


def _told(name: str, host: Host) -> tuple[str, int, int, str]:
    worst = min(host.failures.items(), key=lambda one: (-one[1], one[0]), default=("", 0))
    return name, host.fetched, host.succeeded, worst[0]
