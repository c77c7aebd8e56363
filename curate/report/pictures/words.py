"""Strangers' words, made fit to be shown: decoded whatever their bytes are, without controls, cut."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from curate.document.render import plain
from curate.fetch.members import python_values

__all__ = ["MOST_LETTERS", "number_told", "texts_of", "told"]

MOST_LETTERS = 300
"""Of a text below a picture."""


def told(text: object, most: int = MOST_LETTERS) -> str:
    """At most `most` letters on one line, without controls, marks that turn the writing direction, and half
    characters; the last letter is an ellipsis where there was more. None is no letters."""
    whole = "" if text is None else str(text)
    line = " ".join(plain(whole[: 8 * most]).split())
    return line if len(line) <= most and len(whole) <= 8 * most else line[: most - 1].rstrip() + "…"


def texts_of(column: pa.Array | pa.ChunkedArray) -> Sequence[str | None]:
    """The values of a column as text: bytes that are no UTF-8 are replaced, what is no text is told as Python does."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return texts_of(column.cast(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = column.cast(pa.large_binary())
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return [_text(value) for value in python_values(chunked)]


def number_told(value: float) -> str:
    """`12345.0 -> "12,345"`, `0.2799981 -> "0.279998"`."""
    return f"{int(value):,}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
