"""Which pages are not given to the parser, and why: found out in one pass over the bytes, before any harm is done."""

from __future__ import annotations

from curate.document.settings import DocumentSettings

__all__ = ["PageRefusedError", "check_page"]


class PageRefusedError(ValueError):
    """A page that is not parsed. `status`: too_large, too_deep, too_many_nodes, too_tangled; `detail`: a sentence."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def check_page(html: bytes, settings: DocumentSettings) -> None:
    """Raises PageRefusedError for a page that would take the parser too long."""
    if len(html) > settings.max_page_bytes:
        raise PageRefusedError("too_large", f"{len(html)} bytes, of at most {settings.max_page_bytes}")
