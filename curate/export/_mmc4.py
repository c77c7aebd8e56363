"""An MMC4 document from one of ours: sentences, pictures, and which belongs to which.

`image_info` and the rows of `similarity_matrix` are sorted by `matched_text_index`. OpenFlamingo's loader keeps
pictures in that order and puts its `<image>` tokens in the order of the sentences, so with any other order it shows a
text the wrong picture. MMC4's own files are not sorted: in the first example of its README the first picture is
matched to the third sentence and the second picture to the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curate.document.placement import MIN_SIMILARITY, MOST_CELLS, Placement, by_similarity, in_order
from curate.errors import ConfigError, ShardError
from curate.export._order import current_shards
from curate.handover.manifest import MANIFEST
from curate.sample import Document, Part, Picture, Text
from curate.storage import Storage

__all__ = ["EMBEDDING", "Mmc4Document", "PlacementRule", "choose_placement", "match"]

PlacementRule = Literal["similarity", "document"]

EMBEDDING = "embedding"
"""Column of parts, of pictures and texts alike: vectors of unit length from one model, fp16 or fp32."""

DIGITS = 6
"""Of a similarity in the file; the assignment is made from what is written, so a reader finds the same one."""


@dataclass(frozen=True)
class Mmc4Document:
    """`sentences`; `pictures` as they are to be read, with `places` (index of their sentence) and `similarities`;
    `matrix` of shape (pictures, sentences)."""

    sentences: list[str]
    pictures: list[Picture]
    places: list[int]
    similarities: list[float]
    matrix: npt.NDArray[np.float64]


def choose_placement(source: Storage, wanted: PlacementRule | None) -> PlacementRule:
    """The rule that was asked for; else by similarity where the parts have embeddings. Raises ConfigError."""
    shards = [] if source.exists(MANIFEST) else current_shards(source, documents=True)
    have = [EMBEDDING in shard.parts.column_files for shard in shards]
    if wanted not in ("similarity", "document", None):
        raise ConfigError(f"--placement {wanted} is not known: similarity or document")
    if wanted != "document" and any(have) and not all(have):
        raise ConfigError(f"{have.count(False)} shards of {source.root} have no column {EMBEDDING!r} of parts; run on")
    if wanted == "similarity" and not any(have):
        raise ConfigError(f"the parts in {source.root} have no column {EMBEDDING!r}; choose --placement document")
    return wanted or ("similarity" if any(have) else "document")


def match(document: Document, rule: PlacementRule, min_similarity: float = MIN_SIMILARITY) -> Mmc4Document | str:
    """The document with its pictures at their sentences, or why there is none: `too_many_parts`, `no_match`."""
    parts = [part for part in document.parts if isinstance(part, Picture) or part.text.strip()]
    texts = [part for part in parts if isinstance(part, Text)]
    pictures = [part for part in parts if isinstance(part, Picture)]
    if len(pictures) * (len(texts) + len(pictures)) > MOST_CELLS:
        return "too_many_parts"
    if rule == "document":
        found = in_order([isinstance(part, Picture) for part in parts])
        matrix = _ones(found)
    else:
        matrix = _cosines(document.key, pictures, texts)
        found = by_similarity(matrix, min_similarity)
    order = found.reading_order()
    if not order:
        return "no_match"
    return Mmc4Document(
        sentences=["" if number is None else texts[number].text for number in found.texts],
        pictures=[pictures[i] for i in order],
        places=[found.sentences[i] or 0 for i in order],
        similarities=[found.similarities[i] for i in order],
        matrix=np.nan_to_num(matrix[order], nan=-1.0),
    )


def _ones(placement: Placement) -> npt.NDArray[np.float64]:
    matrix = np.zeros((len(placement.sentences), len(placement.texts)))
    for picture, sentence in enumerate(placement.sentences):
        matrix[picture, sentence] = 1.0
    return matrix


def _cosines(key: str, pictures: list[Picture], texts: list[Text]) -> npt.NDArray[np.float64]:
    """Shape (pictures, texts); not-a-number where one has no embedding. Raises ShardError for unequal lengths."""
    seen, read = _vectors(key, pictures), _vectors(key, texts)
    size = max([len(v) for v in (*seen, *read)], default=0)
    wrong = sum(len(v) not in (0, size) for v in (*seen, *read))
    if wrong:
        raise ShardError(f"{wrong} embeddings of document {key} have another length than the longest, {size}")
    return np.round(_stacked(seen, size) @ _stacked(read, size).T, DIGITS)


def _vectors(key: str, parts: list[Picture] | list[Text]) -> list[npt.NDArray[np.float64]]:
    return [np.asarray(_embedding(part), np.float64) for part in parts]


def _embedding(part: Part) -> Any:
    found = part.columns.get(EMBEDDING)
    return () if found is None else found


def _stacked(vectors: list[npt.NDArray[np.float64]], size: int) -> npt.NDArray[np.float64]:
    unknown = np.full(size, np.nan)
    return np.array([v if len(v) else unknown for v in vectors]).reshape(len(vectors), size)
