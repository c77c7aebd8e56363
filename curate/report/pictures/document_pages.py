"""Interleaved documents as a reader sees them."""

from __future__ import annotations

from collections.abc import Sequence

from curate.report.pictures.drawing import Draw
from curate.sample import Document
from curate.shard import Shard

__all__ = ["documents"]


def documents(shards: Sequence[Shard], draw: Draw) -> tuple[Document, ...]:
    """Some kept documents, then one or two dropped ones; none where shards have no documents. `Picture.image` are
    thumbnails; a slot without one keeps its place and its status, `withheld` where the picture is not to be shown.
    Texts are cut, and a document that is cut says so at its end."""
    return ()
