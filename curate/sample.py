"""What one training example is: bytes and words, and where they came from. No behaviour, so anything may import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Conversation", "Document", "Part", "Picture", "Sample", "Text", "Turn"]


@dataclass(frozen=True)
class Sample:
    """One picture and its words.

    `key` is the row's place in the source (img2dataset's rule: shard id, then row, zero padded; no dots).
    `image` are encoded bytes and `extension` says which (jpg, png, webp); `caption` is the alt text, None where
    the source has none. `columns` is the sample's `.json` member.
    """

    key: str
    image: bytes
    extension: str
    caption: str | None = None
    columns: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """One block of text of a document: a paragraph, a heading, a list item, a table row, a legend.

    `block` is the element it came from (p, h1 to h6, li, tr, pre, figcaption, ...); `separator` is what stands
    between it and the text before it ("\\n\\n", or "\\n" inside a list or a table).
    """

    text: str
    block: str = "p"
    separator: str = "\n\n"
    columns: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """The place of a picture in a document, and its bytes if they came.

    `image` is None and `extension` empty where the picture failed; `status` says why, and is "success" where it is
    there, None where it was never asked for. `columns` holds the slot's other columns: alt, title, caption, section.
    """

    url: str
    image: bytes | None = None
    extension: str = ""
    status: str | None = None
    columns: Mapping[str, object] = field(default_factory=dict)


Part: TypeAlias = Text | Picture


@dataclass(frozen=True)
class Document:
    """An interleaved page: text and pictures in reading order. A picture that failed keeps its place and its status.

    `columns` is the document's row: url, title, charset, scores, keep, drop_reason.
    """

    key: str
    parts: tuple[Part, ...]
    columns: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """What one speaker says, in reading order. `role` is "system", "user" or "assistant"."""

    role: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Conversation:
    """Turns of talk about no, one or several pictures: instructions, questions and answers, OCR, grounding.

    `columns` is what else its source says: ratings, the name of the set, boxes.
    """

    key: str
    turns: tuple[Turn, ...]
    columns: Mapping[str, object] = field(default_factory=dict)
