"""Which sentence a picture stands before: found by similarity of embeddings, or as the page has it.

MMC4's corpus was made from pages whose order was lost, so it assigns pictures to sentences by similarity; its rules are
`by_similarity`. Where the order is known, `in_order` keeps it. OmniCorpus measured both: the page's own order is better
for a model that reads pictures in line, similarity for one with cross-attention.

The assignment is scipy's, cubic at worst: 5 to 250 ms for 1,000 pictures by 1,000 sentences, so `MOST_CELLS` bounds
a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MIN_SIMILARITY", "MOST_CELLS", "Placement", "by_similarity", "in_order"]

MIN_SIMILARITY = 0.15
"""MMC4's threshold, of CLIP ViT-L/14's cosine."""

MOST_CELLS = 1_000_000
"""Pictures times sentences of one document."""

NEVER = -1.0
"""Stands for a similarity that is not known: the lowest cosine."""


@dataclass(frozen=True)
class Placement:
    """Where the pictures of a document go.

    `sentences`: per picture the sentence that it stands before, None where it is left out. `similarities`: per picture
    the cosine with that sentence, or 1.0 by order; 0.0 where it is left out. `texts`: per sentence the text of the
    document that it is, None for an empty sentence that holds the place of one more picture.
    """

    sentences: tuple[int | None, ...]
    similarities: tuple[float, ...]
    texts: tuple[int | None, ...]

    def reading_order(self) -> list[int]:
        """The pictures that stay, in order of their sentences; two at one sentence in their own order."""
        placed = [(sentence, i) for i, sentence in enumerate(self.sentences) if sentence is not None]
        return [i for _, i in sorted(placed)]


def by_similarity(matrix: npt.NDArray[Any], min_similarity: float = MIN_SIMILARITY) -> Placement:
    """MMC4's rules on cosines of shape (pictures, sentences), -1 to 1; not-a-number where one is not known.

    A picture with no sentence at `min_similarity` or above is left out. The others are assigned one to one so that the
    sum is largest; with more pictures than sentences, those left over go to the sentence most like them. Raises
    ValueError above MOST_CELLS.
    """
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    if matrix.ndim != 2 or matrix.size > MOST_CELLS:
        raise ValueError(f"a matrix of shape {matrix.shape}: two dimensions, at most {MOST_CELLS:,} cells")
    pictures, texts = matrix.shape
    known = np.nan_to_num(matrix.astype(np.float64), nan=NEVER)
    best = known.max(axis=1) if texts else np.full(pictures, NEVER)
    taken = np.flatnonzero((best >= min_similarity) & (best > NEVER)) if texts else np.empty(0, np.int64)
    sentence = dict(zip(taken.tolist(), known[taken].argmax(axis=1).tolist() if texts else [], strict=True))
    rows, columns = linear_sum_assignment(known[taken], maximize=True)
    sentence.update(zip(taken[rows].tolist(), columns.tolist(), strict=True))
    similarities = (float(known[i, sentence[i]]) if i in sentence else 0.0 for i in range(pictures))
    return Placement(tuple(sentence.get(i) for i in range(pictures)), tuple(similarities), tuple(range(texts)))


def in_order(is_picture: Sequence[bool]) -> Placement:
    """The page's own order, one entry per part: a picture stands before the text that follows it.

    A sentence holds one picture, for OpenFlamingo's loader throws further ones away. So the pictures of a row stand
    before empty sentences, the last of them before the text. Behind the last text, the first picture takes that text
    if it has none yet.
    """
    sentences: list[int | None] = []
    texts: list[int | None] = []
    waiting, number = 0, 0
    for picture in is_picture:
        if picture:
            waiting += 1
            continue
        sentences.extend(range(len(texts), len(texts) + waiting))
        texts.extend([None] * (waiting - 1))
        texts.append(number)
        number, waiting = number + 1, 0
    last = len(texts) - 1
    if waiting and texts and last not in sentences:
        sentences.append(last)
        waiting -= 1
    sentences.extend(range(len(texts), len(texts) + waiting))
    texts.extend([None] * waiting)
    return Placement(tuple(sentences), (1.0,) * len(sentences), tuple(texts))
