"""The columns that a rule reads as flat arrays: every text of a source, and a score and a fault for each.

What others computed may be of any kind and length: a column that does not go with its texts is told by its name, and a
null, in a row or in a list, is a text without a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.faults import faults_column
from curate.caption.rule import WEB
from curate.errors import ShardError
from curate.models.caption_scores import captions_column

__all__ = ["CAPTION", "FlatTexts", "Mask", "Numbers", "Source", "web", "written_by"]

CAPTION = "caption"
"""The column with the web's text."""

Mask: TypeAlias = npt.NDArray[np.bool_]
Numbers: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Source:
    """Where texts come from: the column `texts` of string (one a row) or of lists of string, columns of scores and of
    faults in the same shape. A score without a name is unknown; faults count where their column is named."""

    origin: str
    texts: str
    scores: tuple[str, ...] = ()
    faults: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in (self.texts, *self.scores, self.faults) if name)


def web(*scores: str) -> Source:
    """The captions that came with the pictures."""
    return Source(WEB, CAPTION, scores)


def written_by(captioner: str, *scores: str, refuse_faulty: bool = True) -> Source:
    """The captions of a captioner of the config."""
    return Source(captioner, captions_column(captioner), scores, faults_column(captioner) if refuse_faulty else "")


class FlatTexts:
    """The texts of one source. `texts`: large_string (m,), empty for a null in a list, with U+FFFD for what is no
    UTF-8; `counts`: int64 (n,), how many each row has; `missing`: bool (n,), rows where the column is null; `scores`:
    float64 (m,) each, not a number where there is none; `faults`: string (m,), or None. Raises ShardError, as
    `Candidates`."""

    def __init__(self, columns: pa.Table, source: Source) -> None:
        self.source = source
        self._columns = columns
        texts = _whole(columns, source.texts)
        if pa.types.is_null(texts.type) and source.origin != WEB:
            texts = texts.cast(pa.list_(pa.string()))
        self._lists = _is_list(texts.type)
        if self._lists and source.origin == WEB:
            raise self._other_kind(source.texts, "text")
        self.missing = np.asarray(texts.is_null())
        self.counts = _lengths(texts) if self._lists else (~self.missing).astype(np.int64)
        flat = texts.flatten() if self._lists else texts.drop_null()
        self.texts = _characters(pc.fill_null(self._cast(flat, pa.large_string(), source.texts, "text"), ""))
        self.scores: list[Numbers] = []
        self._kinds: list[pa.DataType] = []
        for name in source.scores:
            self._add_score(name)
        faults = self._aligned(source.faults) if source.faults else None
        self.faults = None if faults is None else self._cast(faults, pa.string(), source.faults, "reasons")

    def below(self, number: int, bound: float) -> Mask:
        """Which texts have no score of at least `bound`, taken in the precision of its column."""
        kind = self._kinds[number]
        exact = kind.to_pandas_dtype()(bound) if kind in (pa.float32(), pa.float16()) else bound
        found: Mask = ~(self.scores[number] >= float(exact))
        return found

    def _add_score(self, name: str) -> None:
        values = self._aligned(name) if name else pa.nulls(len(self.texts), pa.float32())
        kind = values.type
        if pa.types.is_nested(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind):
            raise self._other_kind(name, "numbers")
        floats = self._cast(values, pa.float64(), name, "numbers")
        self._kinds.append(kind)
        self.scores.append(np.asarray(pc.fill_null(floats, np.nan)) + 0.0)

    def _aligned(self, name: str) -> pa.Array:
        """Values of another column, one for each text; null for those of a row where it is null."""
        values = _whole(self._columns, name)
        if _is_list(values.type) != self._lists and not pa.types.is_null(values.type):
            raise self._other_kind(name, f"{'lists' if self._lists else 'one value a row'}, as in {self.source.texts}")
        if not self._lists:
            return values.filter(pa.array(~self.missing))
        known = np.asarray(values.is_valid())
        lengths = _lengths(values)
        wrong = np.flatnonzero(known & (lengths != self.counts))
        if len(wrong):
            first = int(wrong[0])
            raise ShardError(
                f"{name} has {lengths[first]} values for the {self.counts[first]} texts of {self.source.texts} in row "
                f"{_key(self._columns, first)!r}; let both be computed anew"
            )
        if pa.types.is_null(values.type):
            return pa.nulls(len(self.texts))
        flat, there = values.flatten(), np.repeat(known, self.counts)
        places = np.cumsum(there) - 1
        return flat if known.all() else flat.take(pa.array(places, mask=~there))

    def _cast(self, values: pa.Array, kind: pa.DataType, name: str, words: str) -> pa.Array:
        try:
            plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
            return plain.cast(kind)
        except pa.ArrowException:
            raise self._other_kind(name, words) from None

    def _other_kind(self, name: str, words: str) -> ShardError:
        return ShardError(f"{name} is a column of {self._columns.schema.field(name).type}, and a rule needs {words}")


def _characters(texts: pa.Array) -> pa.Array:
    """Texts that any reader can decode: Parquet does not hinder bytes that are no UTF-8."""
    try:
        texts.validate(full=True)
        return texts
    except pa.ArrowInvalid:
        raw = texts.cast(pa.large_binary()).to_pylist()
        return pa.array([text.decode("utf-8", "replace") for text in raw], pa.large_string())


def _whole(columns: pa.Table, name: str) -> pa.Array:
    """A column as one array, and text lists as plain ones."""
    column = columns[name].combine_chunks()
    whole = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
    kind = whole.type
    if pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return whole.cast(pa.list_(kind.value_type))
    return whole


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind))


def _lengths(lists: pa.Array) -> Numbers:
    """Items of each list, int64, 0 for null."""
    if not _is_list(lists.type):
        return np.zeros(len(lists), np.int64)
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)


def _key(columns: pa.Table, row: int) -> Any:
    return columns["key"][row].as_py() if "key" in columns.column_names else row
