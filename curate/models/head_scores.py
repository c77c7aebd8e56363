"""The scorer of filters that judge a picture by its embedding and a head of their own: beauty, safety for work.

What they share is everything but the head itself: which embeddings are read, how the head's file is told by its digest,
and what the column says of both models.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.filter import Batch, Scorer
from curate.models.heads import Head, made_on_top, require_length, scores_of
from curate.models.model_files import digest_of
from curate.models.pair_scores import image_embedding

__all__ = ["ScoreByHead"]


@dataclass(frozen=True)
class ScoreByHead(Scorer):
    """A number, float32, of each picture with an embedding by `model`; null for the others. A subclass names itself as
    its filter is called, its one column, and how the file `head` is opened.

    `length` is that of the model's embeddings, where it is known before the run."""

    head: str
    model: str = "clip"
    length: int | None = None

    version: ClassVar[int] = 2
    files: ClassVar[Sequence[str]] = ()
    """What the head consists of where it is a folder."""

    @staticmethod
    @abstractmethod
    def opened(path: Path) -> Head:
        """The head of a file. Raises ConfigError."""

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model),)

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "model": self.model, "head": self._digest}

    def provenance(self) -> Mapping[str, str]:
        return self.made_from({})

    def made_from(self, told: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
        about = {"head": Path(self.head).name, "head_digest": self._digest}
        return made_on_top(told.get(self.reads[0], {}), [self.name, self.version, self._digest], about)

    def require(self) -> None:
        head = self._head
        require_length(head, self.length or head.length, f"[models.{self.model}]")

    @property
    def _digest(self) -> str:
        return digest_of(self.head, f"[filters.{self.name}] head", self.files)

    @property
    def _head(self) -> Head:
        return _loaded(type(self).opened, self.head, self._digest)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        (column,) = self.writes
        return {column: scores_of(self._head, batch.columns[self.reads[0]], self.reads[0])}


@lru_cache(maxsize=8)
def _loaded(opened: Callable[[Path], Head], path: str, digest: str) -> Head:
    return opened(Path(path))
