"""Image-text pairs from Common Crawl's WAT files, which list every page's links: 20 times smaller than the pages.

The rule is cc2dataset's, which made LAION: an `img` with an alt text is a pair. WAT files hold more than that rule
takes: a page's `<base>`, licence links, `og:image` with its title, and, from some writers, srcset and lazy attributes.
Common Crawl's own have of an image no more than `src`, `alt` and `title`, so lazy images are lost there, and only
the pages themselves (`archives`) have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import pyarrow as pa

from curate.archive.reader import read_records
from curate.archive.record import Record
from curate.errors import SourceError, StorageError
from curate.source.archive_files import COMMON_CRAWL, ArchiveFiles
from curate.source.columns import value_column
from curate.source.open_archive import open_archive
from curate.source.source import no_service

__all__ = ["Wat"]

_BATCH_ROWS = 10_000
_SCHEMA = pa.schema([(name, pa.string()) for name in ("caption", "url", "page_url", "license")])
_LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "src2")
_SETS = ("srcset", "data-srcset", "data-lazy-srcset")
_CANDIDATE = re.compile(r"[\s,]*(\S*[^\s,])(?:\s+([0-9.]{1,9})([wx])|\s*)\s*(?:,|$)")
_LICENSE = re.compile(r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/\S+", re.IGNORECASE)


@dataclass(frozen=True)
class Wat:
    """The `[source]` table with `kind = "wat"`: `path`, or `paths_file` with `prefix`, as for `archives`.

    A row per image with an alt text, once per page: `url` (absolute, http or https; others are left out), `caption`,
    `page_url`, and `license`, the page's first link to a Creative Commons licence. With `og_image` also the page's
    `og:image`, with `og:image:alt` or `og:title` as its caption.

    A record that is no JSON, or that cannot be read, is one row with a null URL: the status `invalid_url`, and so
    counted. A file that cannot be opened ends the cut with SourceError, as an unreadable list of URLs does.
    """

    path: str | None = None
    paths_file: str | None = None
    prefix: str = COMMON_CRAWL
    og_image: bool = False

    def __post_init__(self) -> None:
        self._files()

    def identity(self) -> Any:
        """The files, and whether `og:image` is taken."""
        return self._files().identity() | {"og_image": self.og_image}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        """Per WAT file its rows. Raises SourceError."""
        for file in self._files().list():
            yield self._batches(file.url)

    def known_columns(self) -> tuple[str, ...]:
        return tuple(_SCHEMA.names)

    def serve(self) -> AbstractContextManager[Mapping[str, str]]:
        """The URLs are out in the world: nothing to serve."""
        return no_service()

    def _files(self) -> ArchiveFiles:
        return ArchiveFiles(self.path, self.paths_file, self.prefix)

    def _batches(self, url: str) -> Iterator[pa.RecordBatch]:
        rows: list[tuple[str | None, ...]] = []
        try:
            with closing(open_archive(url)) as file:
                for record in read_records(file):
                    rows += _rows(record, self.og_image)
                    while len(rows) >= _BATCH_ROWS:
                        yield _batch(rows[:_BATCH_ROWS])
                        del rows[:_BATCH_ROWS]
        except StorageError as error:
            raise SourceError(f"{error}; check [source]") from error
        if rows:
            yield _batch(rows)


def _batch(rows: list[tuple[str | None, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch([value_column(list(column), pa.string()) for column in columns], schema=_SCHEMA)


def _rows(record: Record, og_image: bool) -> list[tuple[str | None, ...]]:
    if record.type not in ("metadata", ""):
        return []
    try:
        found = json.loads(record.payload)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return [(None, None, record.url, None)]
    envelope = _mapping(found, "Envelope")
    page_url = _text(_mapping(envelope, "WARC-Header-Metadata"), "WARC-Target-URI")
    html = _mapping(_mapping(_mapping(envelope, "Payload-Metadata"), "HTTP-Response-Metadata"), "HTML-Metadata")
    return _page_rows(page_url, _mapping(html, "Head"), _mappings(html, "Links"), og_image)


def _page_rows(
    page_url: str, head: Mapping[str, Any], links: list[Mapping[str, Any]], og_image: bool
) -> list[tuple[str | None, ...]]:
    base = _joined(page_url, _text(head, "Base"), page_url)
    pairs = [_image(link) for link in links if _text(link, "path").startswith("IMG@/")]
    if og_image:
        pairs.append(_og_image(_mappings(head, "Metas")))
    absolute = ((caption, _joined(base, url, url)) for caption, url in pairs if caption and url)
    once = dict.fromkeys(pair for pair in absolute if pair[1].startswith(("http://", "https://")))
    license_url = _license([*_mappings(head, "Link"), *links]) if once else None
    return [(caption, url, page_url or None, license_url) for caption, url in once]


def _image(link: Mapping[str, Any]) -> tuple[str, str]:
    """Alt text and best address of an image: the largest of a srcset, a lazy attribute, `src`; "" where there is none.

    An entry of one attribute alone (`IMG@/data-src`) has its address in `url`.
    """
    attribute = _text(link, "path").removeprefix("IMG@/").lower()
    values = {attribute: _text(link, "url")} | {name: _text(link, name) for name in (*_SETS, *_LAZY) if name in link}
    largest = (_largest(values[name]) for name in _SETS if name in values)
    plain = (values[name] for name in (*_LAZY, "src") if name in values)
    url = next((u for u in (*largest, *plain) if u and not u.startswith("data:")), "")
    return _text(link, "alt"), url


def _largest(srcset: str) -> str:
    """The candidate with the greatest width or density (WHATWG HTML, 4.8.4.2.1); the first of equal ones."""
    best, best_size = "", -1.0
    for url, size, _ in _CANDIDATE.findall(srcset):
        value = _number(size)
        if value > best_size:
            best, best_size = url, value
    return best


def _number(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0


def _og_image(metas: list[Mapping[str, Any]]) -> tuple[str, str]:
    values: dict[str, str] = {}
    for meta in metas:
        values.setdefault(_text(meta, "property") or _text(meta, "name"), _text(meta, "content"))
    caption = values.get("og:image:alt") or values.get("og:title", "")
    return caption, values.get("og:image") or values.get("og:image:url", "")


def _license(links: list[Mapping[str, Any]]) -> str | None:
    return next((url for url in (_text(link, "url") for link in links) if _LICENSE.fullmatch(url)), None)


def _joined(base: str, url: str, otherwise: str) -> str:
    """An address made absolute, and something else where it is none."""
    try:
        return urljoin(base, url)
    except ValueError:
        return otherwise


def _mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _mappings(parent: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = parent.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    return value.strip() if isinstance(value, str) else ""
