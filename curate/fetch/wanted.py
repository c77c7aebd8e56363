"""What a client is out for, pictures or pages: what it says it accepts, and which answers it does not read."""

from __future__ import annotations

from dataclasses import dataclass

from curate.fetch.exchange import Verdict
from curate.fetch.status import FetchStatus

__all__ = ["PAGES", "PICTURES", "Wanted"]


@dataclass(frozen=True)
class Wanted:
    """`accept` and `accept_encoding` are sent. `content_types`: bodies of other types are not read; empty: any is.

    A body for which a server names no type is read, whatever it turns out to be.
    """

    accept: str
    accept_encoding: str
    content_types: frozenset[str] = frozenset()

    def refusal(self, content_type: str | None) -> Verdict | None:
        """Why a body with this Content-Type header is not read, if so."""
        named = (content_type or "").partition(";")[0].strip().lower()
        if not self.content_types or not named or named in self.content_types:
            return None
        return FetchStatus.NOT_HTML, f"content type {named[:80]}"


PICTURES = Wanted("image/*, */*;q=0.5", "identity, gzip;q=0.5, deflate;q=0.5")
"""Pictures gain nothing from compression, yet some servers compress without being asked."""

PAGES = Wanted(
    "text/html, application/xhtml+xml, */*;q=0.1",
    "gzip, deflate",
    frozenset(
        {
            "text/html",
            "application/xhtml+xml",
            "application/vnd.wap.xhtml+xml",
            "unknown/unknown",
            "application/unknown",
            "*/*",
        }
    ),
)
