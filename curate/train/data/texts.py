"""Which of a pair's texts is read this time: drawn anew in every pass over a source, from the probabilities of a stage.

A name in `captions` is an origin of texts ("web", "synthetic", "human", ...), or a column of text of the sample table,
or "caption" for the first text. Names that a pair lacks fall out, and the others' probabilities are scaled up; where
none is left the first text is read, and counted. Among several texts of one origin the view's weights decide. The
draw is by seed, pass and what the row is. 10,000 pairs with two texts each take 1 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError
from curate.handover.shards import Places
from curate.train.data.draws import row_uniforms

__all__ = ["FIRST", "TEXT_COLUMNS", "Choices", "choose_texts"]

FIRST = -1
"""The choice of a pair's first text; another negative one, -2 - i, is the text of the i-th name's column."""
CAPTION, ORIGINS, WEIGHTS = "caption", "caption_origins", "caption_weights"
TEXT_COLUMNS = (ORIGINS, WEIGHTS)
UNIT = 2.0**40
"""Chances are whole numbers of 2^-40, so that sums over all pairs of a shard are exact: up to 8 million of them."""
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choices:
    """For each of n pairs: `text` int32, a number in its list of texts, FIRST, or a column's; `tokens` int64 of it (of
    a column's text nobody counts them: those of the first); `fell_back` bool: it has none of the named texts."""

    text: npt.NDArray[np.int32]
    tokens: Numbers
    fell_back: npt.NDArray[np.bool_]


def choose_texts(places: Places, captions: Mapping[str, float], seed: int) -> Choices:
    """The texts of one pass; without `captions` the first of each pair."""
    n = len(places)
    if not captions:
        return Choices(np.full(n, FIRST, np.int32), places.tokens, np.zeros(n, bool))
    starts, chance = _listed(places, captions)
    ends = np.append(0, np.cumsum(chance))
    listed = ends[starts[1:]] - ends[starts[:-1]]
    columns = [(number, _column_chance(places, name, p)) for number, (name, p) in enumerate(captions.items())]
    total = listed + sum((own for _, own in columns), np.zeros(n, np.int64))
    drawn = (row_uniforms(places.identity, seed) * total).astype(np.int64)
    place = np.searchsorted(ends, ends[starts[:-1]] + drawn, side="right") - 1
    text = np.where(drawn < listed, place - starts[:-1], FIRST)
    below = listed
    for number, own in columns:
        code = FIRST if list(captions)[number] == CAPTION else -2 - number
        text = np.where((drawn >= below) & (drawn < below + own), code, text)
        below = below + own
    return Choices(text.astype(np.int32), _tokens(places, text), total == 0)


def _listed(places: Places, captions: Mapping[str, float]) -> tuple[Numbers, Numbers]:
    """int64 (n + 1): where each pair's list of texts begins; and the chance of each text of all lists, in UNITs."""
    if ORIGINS not in places.texts.column_names:
        return np.zeros(len(places) + 1, np.int64), np.empty(0, np.int64)
    lists = places.texts[ORIGINS].combine_chunks()
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0)).astype(np.int64)
    origin = np.asarray(pc.fill_null(pc.index_in(pc.list_flatten(lists), pa.array(list(captions))), len(captions)))
    weight = _weights(places, lists)
    group = np.repeat(np.arange(len(places)), lengths) * (len(captions) + 1) + origin
    sums = np.bincount(group, weight, len(places) * (len(captions) + 1))[group]
    sizes = np.bincount(group, minlength=len(places) * (len(captions) + 1))[group]
    share = np.divide(weight, sums, out=1 / sizes, where=sums > 0)
    named = [0.0 if name in (CAPTION, *places.texts.column_names) else chance for name, chance in captions.items()]
    own = np.array([*named, 0.0])[origin]
    return np.append(0, np.cumsum(lengths)), np.rint(own * share * UNIT).astype(np.int64)


def _weights(places: Places, lists: pa.Array) -> npt.NDArray[np.float64]:
    """The view's weight of each text; even where it gives none."""
    if WEIGHTS not in places.texts.column_names:
        return np.ones(len(pc.list_flatten(lists)))
    told = places.texts[WEIGHTS].combine_chunks()
    if not pc.list_value_length(told).equals(pc.list_value_length(lists)):
        return np.ones(len(pc.list_flatten(lists)))
    weight: npt.NDArray[np.float64] = np.asarray(pc.fill_null(pc.list_flatten(told).cast(pa.float64()), 0.0))
    return np.where((weight > 0) & np.isfinite(weight), weight, 0.0)


def _column_chance(places: Places, name: str, chance: float) -> Numbers:
    """The chance of a name that is a column, for the pairs that have a text there; 0 for a name that is an origin."""
    unit = np.int64(round(chance * UNIT))
    if name == CAPTION:
        return np.full(len(places), unit)
    if name not in places.texts.column_names:
        return np.zeros(len(places), np.int64)
    column = places.texts[name]
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ConfigError(f"captions name the column {name!r}, which holds {column.type} and no text; name another")
    there = pc.fill_null(pc.greater(pc.utf8_length(column), 0), False)
    return np.where(np.asarray(there).astype(bool), unit, 0)


def _tokens(places: Places, text: npt.NDArray[np.int64]) -> Numbers:
    """Tokens of the chosen texts; those of the first text where nobody counted the others."""
    if places.text_tokens is None:
        return places.tokens
    lengths = np.asarray(pc.fill_null(pc.list_value_length(places.text_tokens), 0)).astype(np.int64)
    counts = np.append(np.asarray(pc.fill_null(pc.list_flatten(places.text_tokens), 0)), 0).astype(np.int64)
    known = (text >= 0) & (text < lengths)
    return np.where(known, counts[np.where(known, np.cumsum(lengths) - lengths + text, -1)], places.tokens)
