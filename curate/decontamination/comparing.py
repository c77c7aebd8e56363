"""Scorers that compare rows with an evaluation index: near embeddings, which are slow, and all else, which is fast.

The cosine of each picture with its nearest is written whatever it is, so that the least one can be changed without the
index being searched again; the fast part is done again when a bound changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.decontamination.index import (
    EvaluationIndex,
    IndexSettings,
    build_index,
    default_folder,
    open_index,
    read_card,
    sets_fingerprint,
)
from curate.decontamination.searching import HASHED, Bounds, Kind, find_matches, first_matches, nearest_pictures
from curate.errors import ConfigError
from curate.filter import Batch, Scorer
from curate.models.embeddings import embeddings_of
from curate.models.pair_scores import image_embedding

__all__ = ["BY", "SURENESS", "CompareWithEvaluations", "Evaluations", "NearestEvaluation"]

SURENESS: tuple[Kind, ...] = ("hash", "pixels", "pdq", "phash", "embedding", "caption", "ngram")
BY = "evaluation_overlap_by"
SET = "evaluation_overlap_set"
ITEM = "evaluation_overlap_item"
BITS = "evaluation_overlap_bits"
COSINE = "evaluation_embedding_similarity"
NEAREST = "evaluation_embedding_item"


@dataclass(frozen=True)
class Evaluations:
    """Which index: of these `sets`, in `folder` ("" for the default one), built so, with the embeddings of `scorer`."""

    sets: tuple[str, ...]
    folder: str
    settings: IndexSettings
    scorer: Scorer | None = None

    @property
    def mark(self) -> str:
        """The fingerprint of sets and settings; of an index that came without its sets, that of its contents."""
        return sets_fingerprint(self.sets, self.settings) if self.sets else read_card(Path(self.folder)).digest

    def build(self) -> None:
        """Have the index built, unless it is there. Raises ConfigError, for one that is another too."""
        if self.sets:
            threads = min(8, os.cpu_count() or 1)
            build_index(self.sets, self._place(), self.settings, self.scorer, threads)
        self.open()

    def open(self) -> EvaluationIndex:
        """The index, which `build` has held against its sets: a worker need not see them where a folder is given.
        Raises ConfigError as `open_index`."""
        return open_index(self._place(), self.settings)

    def told(self) -> str:
        """What the index holds, in words; "" as long as there is none."""
        try:
            return read_card(self._place()).words()
        except ConfigError:
            return ""

    def _place(self) -> Path:
        return Path(self.folder) if self.folder else default_folder(self.mark)


@dataclass(frozen=True)
class NearestEvaluation(Scorer):
    """The largest cosine of each picture with one of the index, and whose it is; null without an embedding. `model` is
    its name in the config."""

    evaluations: Evaluations
    model: str

    name: ClassVar[str] = "evaluation_embedding"
    writes: ClassVar[Mapping[str, pa.DataType]] = {COSINE: pa.float32(), NEAREST: pa.int64()}

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model),)

    @property
    def gpus(self) -> float:
        return 1.0

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "index": self.evaluations.mark, "model": self.model}

    def require(self) -> None:
        self.evaluations.build()

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        rows, known = embeddings_of(batch.columns[0])
        index = self.evaluations.open()
        if len(index.embeddings) and rows.shape[1] != index.embeddings.shape[1]:
            raise ConfigError(
                f"the evaluation index has embeddings of {index.embeddings.shape[1]} numbers, and "
                f"{self.reads[0]} has {rows.shape[1]}; build it with the same model"
            )
        cosine, item = nearest_pictures(index, rows)
        none = ~known | (item < 0)
        cosine[none] = 0
        return {COSINE: pa.array(cosine.astype(np.float32), mask=none), NEAREST: pa.array(item, mask=none)}


@dataclass(frozen=True)
class CompareWithEvaluations(Scorer):
    """What each row is like: by which of `by`, of which set, which item, and by how many bits near hashes differ; null
    where it is like nothing. `min_cosine` is there where `by` has embeddings."""

    evaluations: Evaluations
    by: tuple[Kind, ...]
    bounds: Bounds
    min_cosine: float | None = None

    name: ClassVar[str] = "evaluation_overlap"
    writes: ClassVar[Mapping[str, pa.DataType]] = {
        BY: pa.string(),
        SET: pa.string(),
        ITEM: pa.string(),
        BITS: pa.int16(),
    }

    @property
    def reads(self) -> tuple[str, ...]:
        near = (COSINE, NEAREST) if "embedding" in self.by else ()
        return (*dict.fromkeys(column for kind in self.by for column in HASHED.get(kind, ())), *near)

    def identity(self) -> Any:
        bounds = {"by": list(self.by), "min_cosine": self.min_cosine, **vars(self.bounds)}
        return {"scorer": self.name, "version": self.version, "index": self.evaluations.mark, "bounds": bounds}

    def provenance(self) -> Mapping[str, str]:
        told = self.evaluations.told()
        return {"evaluations": told} if told else {}

    def require(self) -> None:
        self.evaluations.build()

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        index = self.evaluations.open()
        found = [(k, find_matches(index, k, batch.columns, self.bounds)) for k in self.by if k != "embedding"]
        kinds, items, bits = first_matches(found, len(batch))
        if "embedding" in self.by:
            self._add_near(batch.columns, kinds, items, bits)
        none = items < 0
        rows = index.items.take(pa.array(items, mask=none))
        return {
            BY: pa.array(kinds, pa.string()),
            SET: rows["set"].cast(pa.string()),
            ITEM: rows["name"].cast(pa.string()),
            BITS: pa.array(bits.astype(np.int16), mask=bits < 0),
        }

    def _add_near(self, columns: pa.Table, kinds: list[str | None], items: Any, bits: Any) -> None:
        """Rows whose embedding is near, unless something surer was found."""
        near = pc.fill_null(pc.greater_equal(columns[COSINE], pa.scalar(self.min_cosine, pa.float32())), False)
        surer = SURENESS[: SURENESS.index("embedding")]
        whose = columns[NEAREST].to_pylist()
        for row in np.flatnonzero(np.asarray(near)).tolist():
            if kinds[row] not in surer:
                kinds[row], items[row], bits[row] = "embedding", whose[row], -1
