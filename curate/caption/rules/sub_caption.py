"""Keeps pieces of a long caption: a sentence or a run of words, drawn at random; the rule of CLIPS.

A contrastive text tower learns more from a short part of a long synthetic caption than from all of it, which CLIPS
calls an inverse effect of length; it draws such a part, trains on it beside the web's caption, and lets a decoder learn
the whole. So the whole stays in the captioner's column, and the pieces are a view. Which pieces a row gets follows from
what the row is (`curate.dedup.identity`), not from where it lies or from what was drawn before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.rule import WEB, Choice, Rule
from curate.caption.rules._candidates import NOT_WANTED, Candidates, as_lists, place_in_row
from curate.caption.rules._repeats import first_equal
from curate.caption.rules._required import check_names, require_captioner
from curate.caption.rules._sources import CAPTION, Numbers, Source, web, written_by
from curate.config import require_range
from curate.dedup.digest import Digests, join_digests
from curate.dedup.identity import IDENTITY, identities_of, keyed
from curate.errors import ShardError
from curate.text import SPACE

__all__ = ["SubCaption", "sentences_of"]

ABBREVIATIONS = r"\b(Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|vs|[Nn]o|[A-Z])\. "
"""A point behind one of these ends no sentence."""
NO_BREAK, BREAK = "\x1f", "\n"
"""Neither is left in a text whose white space was made single."""


@dataclass(frozen=True)
class SubCaption(Rule):
    """`captioner`: of the config. Each of its captions gives `count` different pieces, fewer where it has fewer:
    `sentences` that follow one another (1 where nothing is said), or so many `words`. A shorter caption is taken whole.
    `include_web`: the web's caption stands beside them. `seed`: another one gives other pieces. `refuse_faulty`:
    captions with a fault give none."""

    captioner: str
    count: int = 1
    sentences: int | None = None
    words: int | None = None
    include_web: bool = True
    seed: int = 0
    refuse_faulty: bool = True

    source: ClassVar[str] = "CLIPS (Liu et al. 2024)"

    def __post_init__(self) -> None:
        check_names(captioner=self.captioner)
        require_range("count", self.count, 1, 1_000)
        require_range("sentences", self.sentences, 1, 1_000)
        require_range("words", self.words, 1, 100_000)
        require_range("seed", self.seed, 0, 2**63 - 1)
        if self.sentences is not None and self.words is not None:
            raise ValueError(f"sentences = {self.sentences} and words = {self.words} are both given; keep one")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(c for source in self._sources for c in source.columns), *IDENTITY)))

    def require(self, models: Mapping[str, Any]) -> None:
        require_captioner(models, self.captioner)

    def choose(self, columns: pa.Table) -> Choice:
        found = Candidates(columns, self._sources)
        if not self.include_web:
            found.refuse(found.of(WEB), NOT_WANTED)
        found.refuse_repeated()
        own, pieces = self._pieces(found, _identities(columns))
        whole = np.flatnonzero(found.left & found.of(WEB))
        places = np.concatenate([whole, own])
        texts = pa.concat_arrays([found.texts.take(pa.array(whole)), pieces])
        order = np.argsort(found.row[places], kind="stable")
        rows, texts = found.row[places][order], texts.take(pa.array(order))
        new = np.flatnonzero(first_equal(rows, texts) == np.arange(len(rows)))
        origins, nothing = found.origins(places[order][new]), np.full(len(new), np.nan)
        return found.choice_of(rows[new], texts.take(pa.array(new)), origins, nothing, np.ones(len(new)))

    def _pieces(self, found: Candidates, identities: Digests) -> tuple[Numbers, pa.Array]:
        """For each piece that is drawn the place of its caption, int64, and its text, large_string."""
        of_captioner = found.of(self.captioner)
        number = np.zeros(len(found.row), np.int64)
        number[of_captioner] = place_in_row(found.row[of_captioner])
        captions = np.flatnonzero(found.left & of_captioner)
        plain = _single_spaced(found.texts.take(pa.array(captions)))
        parts = sentences_of(plain) if self.words is None else pc.split_pattern(plain, " ")
        have = np.asarray(pc.list_value_length(parts)).astype(np.int64)
        size = np.minimum(have, self.words or self.sentences or 1)
        caption, start = self._drawn(identities[found.row[captions]], number[captions], have - size + 1)
        begin = (np.cumsum(have) - have)[caption] + start
        length = size[caption]
        flat = np.repeat(begin - (np.cumsum(length) - length), length) + np.arange(length.sum())
        runs = as_lists(length, parts.flatten().take(pa.array(flat)).cast(pa.string()))
        return captions[caption], pc.binary_join(runs, " ").cast(pa.large_string())

    def _drawn(self, identities: Digests, number: Numbers, starts: Numbers) -> tuple[Numbers, Numbers]:
        """Which captions, and at which of their `starts` each, int64: `count` of each caption without repetition."""
        caption = np.repeat(np.arange(len(starts)), starts)
        start = place_in_row(caption)
        about = np.stack([number[caption], start], axis=1).astype(np.uint64)
        drawn = keyed(join_digests(identities[caption], about), self.seed)
        bits = np.uint64(max(1, len(starts).bit_length()))
        order = np.argsort(caption.astype(np.uint64) << (np.uint64(64) - bits) | drawn >> bits, kind="stable")
        taken = order[place_in_row(caption[order]) < self.count]
        return caption[taken], start[taken]

    @property
    def _sources(self) -> tuple[Source, Source]:
        return web(), written_by(self.captioner, refuse_faulty=self.refuse_faulty)


def sentences_of(texts: pa.Array) -> pa.ListArray:
    """The sentences of texts whose white space is single, list of string or large_string; at least one each.

    One ends at . ! ? or … and the quotes and brackets behind it, before white space, and at their Chinese forms."""
    held = pc.replace_substring_regex(texts, pattern=ABBREVIATIONS, replacement=r"\1." + NO_BREAK)
    cut = pc.replace_substring_regex(held, pattern=r"""([.!?…]["'”’)\]]*) """, replacement=r"\1" + BREAK)
    cut = pc.replace_substring_regex(cut, pattern=r"([。！？]+[”’」』）]*) ?", replacement=r"\1" + BREAK)
    whole = pc.replace_substring(pc.utf8_rtrim(cut, characters=BREAK), NO_BREAK, " ")
    return pc.split_pattern(whole, BREAK)


def _single_spaced(texts: pa.Array) -> pa.Array:
    return pc.utf8_trim(pc.replace_substring_regex(texts, pattern=f"[{SPACE}]+", replacement=" "), characters=" ")


def _identities(columns: pa.Table) -> Digests:
    """Who the rows are. Raises ShardError for what is no text."""
    return identities_of(pa.table({name: _text(columns, name) for name in (*IDENTITY, CAPTION)}))


def _text(columns: pa.Table, name: str) -> pa.ChunkedArray:
    try:
        return columns[name].cast(pa.large_string())
    except pa.ArrowException:
        kind = columns.schema.field(name).type
        raise ShardError(f"{name} is a column of {kind}, and pieces are drawn by its text") from None
