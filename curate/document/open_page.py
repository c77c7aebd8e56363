"""One page to look at: an HTML file, or a record of a web archive, extracted as a run would extract it.

    page.html          a file; `url` is the address that it is read as, for its links
    a.warc.gz@12345    the record that begins at this byte, as `source_file` and `source_offset` of a document say

A saved page lies beside its pictures, so those below its own folder are shown, up to 20 MB each. Where folders above it
are called as in `url`, those below them are too: `--url http://h/book/pages/1.html` of `book/pages/1.html` leads to
`book/images/`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from curate.archive.reader import read_records
from curate.document.extraction import Extraction, TextBlock
from curate.document.settings import DocumentSettings
from curate.errors import SourceError
from curate.sample import Document, Part, Picture, Text
from curate.storage import Storage

__all__ = ["HERE", "OpenPage", "is_page", "open_page"]

HERE = "http://page.invalid/"
"""The address of a file whose own is not known."""

NOT_PAGES = (".tar", ".parquet")
SLASHES_OF_A_HOST = 2
"""`http://host` has two; each folder adds one."""
MOST_PICTURE_BYTES = 20_000_000

SIGNATURES = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp"}


@dataclass(frozen=True)
class OpenPage:
    """A page as it was found, and what extraction made of it. `folder`, which is called `base` as a URL, is where its
    pictures may lie."""

    place: str
    url: str
    found: Extraction
    folder: Path | None = None
    base: str = ""

    def document(self) -> Document:
        """What would go on to the filters: blocks without a reason, and the pictures that lie beside the page."""
        found = self.found
        columns: dict[str, object] = {"title": found.title, "url": self.url, "html_language": found.language}
        columns |= {"document_status": found.status, "document_detail": found.detail}
        return Document(Path(self.place).name, tuple(self._parts()), columns)

    def _parts(self) -> list[Part]:
        parts: list[Part] = []
        for block in self.found.blocks:
            if block.reason is not None:
                continue
            if isinstance(block, TextBlock):
                parts.append(Text(block.text, block.block, block.separator))
                continue
            own = {"alt": block.alt, "title": block.title, "caption": block.caption, "section": block.section}
            sizes = {"rendered_width_px": block.rendered_width_px, "rendered_height_px": block.rendered_height_px}
            slot = Picture(block.url, columns={**own, **sizes})
            parts.append(_with_bytes(slot, self._beside(block.url)))
        return parts

    def _beside(self, url: str) -> Path | None:
        """The file that a URL of the page stands for: below the page's folder, links followed, or None."""
        if self.folder is None or not url.startswith(self.base):
            return None
        path = (self.folder / _unquoted(re.split("[?#]", url[len(self.base) :])[0])).resolve()
        inside = path.is_relative_to(self.folder.resolve()) and path.is_file()
        return path if inside and path.stat().st_size <= MOST_PICTURE_BYTES else None


def is_page(place: str) -> bool:
    """Whether this names a page, not a shard: a file that is no part of a data set, or ARCHIVE@OFFSET."""
    archive, _, offset = place.rpartition("@")
    if archive and offset.isascii() and offset.isdigit():
        return True
    return os.path.isfile(place) and not place.endswith(NOT_PAGES)


def open_page(place: str, url: str | None = None) -> OpenPage:
    """Read and extract one page; see the module's docstring. Raises SourceError where there is none."""
    archive, _, offset = place.rpartition("@")
    if not os.path.isfile(place) and archive and offset.isascii() and offset.isdigit():
        return _from_archive(place, archive, int(offset))
    try:
        with open(place, "rb") as file:
            body = file.read(DocumentSettings().max_page_bytes + 1)
    except OSError as error:
        raise SourceError(f"cannot read {place}: {error.strerror}") from error
    address = url or HERE + Path(place).name
    return OpenPage(place, address, _extract(body, address, None), *_folder_of(Path(place).absolute(), address))


def _folder_of(page: Path, url: str) -> tuple[Path, str]:
    """The highest folder that the page's path and its URL have in common, and its URL."""
    folder, base = page.parent, url.rpartition("/")[0]
    while base.count("/") > SLASHES_OF_A_HOST and base.rpartition("/")[2] == folder.name:
        folder, base = folder.parent, base.rpartition("/")[0]
    return folder, base + "/"


def _from_archive(place: str, archive: str, offset: int) -> OpenPage:
    folder, _, name = archive.rpartition("/")
    try:
        with Storage(folder or ".").open(name) as file:
            record = next(read_records(file, offset), None)
    except FileNotFoundError:
        raise SourceError(f"there is no archive {archive}") from None
    except OSError as error:
        raise SourceError(f"cannot read {archive}: {error.strerror or error}") from error
    if record is None or record.offset != offset:
        after = f"the next one is {archive}@{record.offset}" if record is not None else "none follows"
        raise SourceError(f"no record begins at byte {offset} of {archive}; {after}")
    if record.problem is not None and not record.payload:
        raise SourceError(f"the record at {place} is broken: {record.problem}: {record.detail}")
    found = _extract(record.payload, record.url, record.http_headers.get("content-type"))
    return OpenPage(place, record.url or HERE, found)


def _extract(body: bytes, url: str | None, content_type: str | None) -> Extraction:
    from curate.document.extract import extract  # needs the extra `web`, which other uses of `curate show` do not

    return extract(body, url, content_type, explain=True)


def _unquoted(path: str) -> str:
    """The path of a URL as a file is called; NUL, which no name has, as a question mark."""
    raw = re.sub(b"%([0-9a-fA-F]{2})", lambda found: bytes([int(found[1], 16)]), path.encode("utf-8", "replace"))
    return raw.replace(b"\0", b"?").decode("utf-8", "replace")


def _with_bytes(slot: Picture, path: Path | None) -> Picture:
    if path is None:
        return slot
    data = path.read_bytes()
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    kind = "webp" if webp else next((k for start, k in SIGNATURES.items() if data.startswith(start)), None)
    return slot if kind is None else replace(slot, image=data, extension=kind)
