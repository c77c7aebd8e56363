"""All texts of all rows side by side, so that a rule works on arrays: who is refused and why, who is best in its row.

Texts lie one behind the other, first those of the web, then each captioner's; of every text we know its row. A rule
refuses some of them, each with the first reason that fits, and what is left is its answer. On one core 3 M rows a
second with one synthetic caption are judged (`itm_threshold`), and 0.5 M with ten are ranked (`topk_rank`): where
scores are float32, row and score are one number to sort by, which is ten times as fast as to sort by two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.caption.rule import WEB, Choice
from curate.caption.rules._repeats import first_equal
from curate.caption.rules._sources import FlatTexts, Mask, Numbers, Source
from curate.models.caption_scores import captions_column

__all__ = ["NOT_AMONG_BEST", "NOT_JUDGED", "NOT_WANTED", "Candidates", "as_lists", "place_in_row"]

NO_TEXT, REPEATED = "no_text", "repeated_text"
NOT_JUDGED = "text_not_judged"
NOT_AMONG_BEST = "text_not_among_best"
NOT_WANTED = "web_text_not_wanted"


class Candidates:
    """The texts of `columns` that `sources` name. Texts that are faulty, missing or blank are refused from the start.

    `row`: int64 (m,), whose each of the m texts is; `texts`: large_string (m,). Raises ShardError for a column of
    another kind, and for lists that are not as long as the texts'.
    """

    def __init__(self, columns: pa.Table, sources: Sequence[Source]) -> None:
        parts = [FlatTexts(columns, source) for source in sources]
        self.rows = len(columns)
        self._parts = parts
        self._ends = np.cumsum([0, *(len(part.texts) for part in parts)])
        self._words: dict[str, int] = {}
        self._codes = np.full(int(self._ends[-1]), -1, np.int32)
        self.row = np.concatenate([np.repeat(np.arange(self.rows), part.counts) for part in parts])
        self.texts = pa.concat_arrays([part.texts for part in parts])
        for number, part in enumerate(parts):
            self._refuse_faulty(self._span(number), part)
        empty = np.asarray(pc.equal(pc.binary_length(self.texts), 0)) | np.asarray(pc.utf8_is_space(self.texts))
        self.refuse(empty, NO_TEXT)

    @property
    def left(self) -> Mask:
        """Which texts are not refused, bool (m,)."""
        return self._codes < 0

    def of(self, origin: str) -> Mask:
        """Which texts come from there, bool (m,)."""
        found = np.zeros(len(self.row), bool)
        for number, part in enumerate(self._parts):
            found[self._span(number)] = part.source.origin == origin
        return found

    def scores(self, number: int) -> Numbers:
        """The scores of that number of each source, float64 (m,), not a number where there is none."""
        return np.concatenate([part.scores[number] for part in self._parts])

    def below(self, number: int, bound: float) -> Mask:
        """Which texts have no score of at least `bound`, taken in the precision of its column; bool (m,)."""
        return np.concatenate([part.below(number, bound) for part in self._parts])

    def refuse(self, mask: Mask, reason: str) -> None:
        """Give the reason to texts of the mask that have none."""
        self._codes[mask & self.left] = self._words.setdefault(reason, len(self._words))

    def refuse_repeated(self) -> Numbers:
        """Of equal texts of a row, refuse all but the first that is left. Answers the place of that one for each text,
        int64 (m,); its own where it is no repetition."""
        first = first_equal(self.row, self.texts, np.flatnonzero(self.left))
        self.refuse(first != np.arange(len(first)), REPEATED)
        return first

    def refuse_unjudged(self, number: int) -> None:
        """Refuse what has no score of that number."""
        self.refuse(np.isnan(self.scores(number)), NOT_JUDGED)

    def keep_best(self, number: int, most: int) -> None:
        """Keep `most` of each row by score, of equal ones the first; what has none is refused before."""
        self.refuse_unjudged(number)
        order = self.ranked(self.scores(number))
        past = np.zeros(len(self.row), bool)
        past[order[place_in_row(self.row[order]) >= most]] = True
        self.refuse(past, NOT_AMONG_BEST)

    def ranked(self, by: Numbers) -> Numbers:
        """Places of what is left: row by row, the highest of `by` (float64 (m,), no not-a-number) first; int64."""
        places = np.flatnonzero(self.left)
        rows, values = self.row[places], by[places]
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32) + np.float32(0)
        if (narrow == values).all():
            order = np.argsort((rows << 32) | _falling(narrow), kind="stable")
        else:
            order = np.argsort(-values, kind="stable")
            order = order[np.argsort(rows[order], kind="stable")]
        found: Numbers = places[order]
        return found

    def in_order(self) -> Numbers:
        """Places of what is left: row by row, in the order of the sources; int64."""
        places = np.flatnonzero(self.left)
        found: Numbers = places[np.argsort(self.row[places], kind="stable")]
        return found

    def choice(self, order: Numbers, scores: Numbers | None = None, weights: Numbers | None = None) -> Choice:
        """The texts at `order` (places, row by row). `scores`: float64 (m,), None for none; `weights`: the same, to be
        brought to a sum of 1 in each row, None for equal ones."""
        known = np.full(len(order), np.nan) if scores is None else scores[order]
        share = np.ones(len(order)) if weights is None else weights[order]
        return self.choice_of(self.row[order], self.texts.take(pa.array(order)), self.origins(order), known, share)

    def choice_of(self, rows: Numbers, texts: pa.Array, origins: pa.Array, scores: Numbers, weights: Numbers) -> Choice:
        """A choice of these texts, which need not be those of `texts`; `rows` ascend."""
        counts = np.bincount(rows, minlength=self.rows)
        sums = np.bincount(rows, weights, minlength=self.rows)
        share = (weights / sums[rows]).astype(np.float32)
        with np.errstate(over="ignore"):
            narrow = scores.astype(np.float32)
        web_reason, synthetic_reasons = self._reasons()
        return Choice(
            texts=as_lists(counts, texts.cast(pa.string())),
            origins=as_lists(counts, origins),
            scores=as_lists(counts, pa.array(narrow, mask=np.isnan(scores))),
            weights=as_lists(counts, pa.array(share)),
            web_reason=web_reason,
            synthetic_reasons=synthetic_reasons,
        )

    def origins(self, order: Numbers) -> pa.Array:
        """Where the texts at these places come from, string."""
        names = pa.array([part.source.origin for part in self._parts], pa.string())
        return names.take(pa.array(np.searchsorted(self._ends, order, side="right") - 1))

    def _reasons(self) -> tuple[pa.Array, dict[str, pa.Array]]:
        words = pa.array(self._words, pa.string())
        of_web, of_captioners = pa.nulls(self.rows, pa.string()), {}
        for number, part in enumerate(self._parts):
            codes, source = self._codes[self._span(number)], part.source
            if source.origin == WEB:
                by_row = np.full(self.rows, -1, np.int32)
                by_row[part.counts > 0] = codes
                of_web = words.take(pa.array(by_row, mask=by_row < 0))
            elif source.texts == captions_column(source.origin):
                of_captioners[source.origin] = as_lists(
                    part.counts, words.take(pa.array(codes, mask=codes < 0)), part.missing
                )
        return of_web, of_captioners

    def _refuse_faulty(self, span: slice, part: FlatTexts) -> None:
        if part.faults is None:
            return
        encoded = part.faults.dictionary_encode()
        own = [self._words.setdefault(word, len(self._words)) for word in encoded.dictionary.to_pylist()]
        numbers = np.array([*own, -1], np.int32)
        self._codes[span] = numbers[np.asarray(pc.fill_null(encoded.indices, len(own)))]

    def _span(self, number: int) -> slice:
        return slice(int(self._ends[number]), int(self._ends[number + 1]))


def as_lists(counts: Numbers, values: pa.Array, missing: Mask | None = None) -> pa.ListArray:
    """Values cut into lists of so many; null where `missing`."""
    offsets = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))
    mask = pa.array(missing) if missing is not None and missing.any() else None
    return pa.ListArray.from_arrays(offsets, values, mask=mask)


def _falling(scores: npt.NDArray[np.float32]) -> Numbers:
    """Whole numbers of 32 bits, int64, in the opposite order of the scores."""
    bits = scores.view(np.uint32)
    rising = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))
    found: Numbers = (~rising).astype(np.int64)
    return found


def place_in_row(rows: Numbers) -> Numbers:
    """0, 1, ... within each run of equal rows."""
    first = np.flatnonzero(np.append(True, rows[1:] != rows[:-1])[: len(rows)])
    lengths = np.diff(np.append(first, len(rows)))
    found: Numbers = np.arange(len(rows)) - np.repeat(first, lengths)
    return found
