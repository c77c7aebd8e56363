"""What the formats for documents share: pictures that did not come, text between two pictures, JPEG where it must be.

Consumers join the texts of a document with a blank or with nothing, so blocks of text that follow one another are made
one text here, with the separators they had on the page; else paragraphs and list items run into each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

from curate.fetch.header import explain, read_header
from curate.fetch.image import ImageSettings, process
from curate.fetch.status import FetchStatus
from curate.sample import Document, Picture, Text

__all__ = ["Missing", "about_picture", "aligned", "as_jpeg", "page_facts", "readable", "runs", "settle"]

Missing = Literal["slot", "drop_slot", "drop_document"]
"""What becomes of a picture that is not there: its place stays, its place goes, or its document stays out."""

NEVER_ASKED = "never_fetched"
"""Counts a slot without a status."""

Run: TypeAlias = str | Picture
"""A stretch of text, or one picture."""

_JPEG = ImageSettings(resize_mode="no")


def settle(
    document: Document, missing: Missing, usable: Callable[[Picture], Picture], counts: Counter[str]
) -> tuple[Document, str | None]:
    """The document as it may leave, and the reason why it may not: `picture_missing`, `no_picture` or `no_text`.

    `usable` makes of a picture what the format takes. Counts `slots` and, for those without a picture,
    `missing.<status>`.
    """
    parts = tuple(usable(p) if isinstance(p, Picture) and p.image is not None else p for p in document.parts)
    document = replace(document, parts=parts)
    slots = [part for part in document.parts if isinstance(part, Picture)]
    absent = [part for part in slots if part.image is None]
    counts["slots"] += len(slots)
    counts.update(f"missing.{part.status or NEVER_ASKED}" for part in absent)
    if absent and missing == "drop_document":
        return document, "picture_missing"
    if missing == "drop_slot":
        document = replace(document, parts=tuple(p for p in document.parts if isinstance(p, Text) or p.image))
    if not any(isinstance(part, Picture) for part in document.parts):
        return document, "no_picture"
    if not any(isinstance(part, Text) and part.text.strip() for part in document.parts):
        return document, "no_text"
    return document, None


def runs(document: Document) -> list[Run]:
    """Pictures and the texts between them; empty texts are passed over."""
    found: list[Run] = []
    for part in document.parts:
        if isinstance(part, Picture):
            found.append(part)
        elif part.text.strip() and found and isinstance(found[-1], str):
            found[-1] += part.separator + part.text
        elif part.text.strip():
            found.append(part.text)
    return found


def aligned(document: Document) -> tuple[list[str | None], list[Picture | None]]:
    """Texts and pictures as two lists of one length, exactly one of the two at each place."""
    order = runs(document)
    texts = [run if isinstance(run, str) else None for run in order]
    return texts, [None if isinstance(run, str) else run for run in order]


def readable(picture: Picture, formats: Collection[str]) -> Picture:
    """The picture as its readers take it, by what its bytes are and not by its name; without bytes and with a status
    where nobody could open it.

    It becomes a JPEG where it is in none of `formats` (extensions), or has 16 bits a value: Pillow, by which nearly all
    readers open it, makes such a picture white when it makes it RGB.
    """
    if picture.image is None:
        return picture
    try:
        header = read_header(picture.image)
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes, and a picture has a status
        status, _ = explain(error, picture.image)
        return replace(picture, image=None, extension="", status=status.value)
    picture = replace(picture, extension=header.extension)
    deep = header.image.mode.startswith("I")
    return picture if picture.extension in formats and not deep else as_jpeg(picture)


def as_jpeg(picture: Picture) -> Picture:
    """The picture with its own bytes where they are a JPEG, else encoded as one; without bytes where that fails."""
    if picture.image is None or picture.extension in ("jpg", "jpeg"):
        return picture
    found = process(picture.image, _JPEG)
    if found.status is FetchStatus.SUCCESS:
        return replace(picture, image=found.data, extension="jpg")
    return replace(picture, image=None, extension="", status=found.status.value)


def page_facts(columns: Mapping[str, object]) -> dict[str, object]:
    """OBELICS' `general_metadata`: where the page came from."""
    names = {"url": "url", "source_file": "warc_filename", "source_offset": "warc_record_offset"}
    names["source_length"] = "warc_record_length"
    return {theirs: columns.get(ours) for ours, theirs in names.items()}


def about_picture(picture: Picture, page: object) -> dict[str, object]:
    """OBELICS' names for what is known of a picture, and ours for what it has no name for; unknown ones left out."""
    own = picture.columns
    known = {
        "document_url": page,
        "src": picture.url,
        "alt_text": own.get("alt"),
        "rendered_width": own.get("rendered_width_px"),
        "rendered_height": own.get("rendered_height_px"),
        "original_width": own.get("original_width"),
        "original_height": own.get("original_height"),
        "format": {"jpg": "jpeg"}.get(picture.extension, picture.extension) or None,
        "title": own.get("title"),
        "caption": own.get("caption"),
        "status": picture.status,
    }
    return {name: value for name, value in known.items() if value is not None}
