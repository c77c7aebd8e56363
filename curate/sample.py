"""What one training example is: bytes and words, and where they came from. No behaviour, so anything may import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Sample"]


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
