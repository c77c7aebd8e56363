"""A model's embeddings as DataComp keeps them: `00000.npz` with `NAME_img` and `NAME_txt`, float16, a row per row.

Name the models `b32` and `l14` to have DataComp's own names. An npz has no nulls: a row without an embedding is zero
here, which has similarity 0 to everything and is the nearest of nothing. Several models share one file in DataComp;
here each writes `00000.NAME.npz`, so that one model can be computed anew without the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curate.manifest import Attempt
from curate.models.embeddings import embeddings_of
from curate.models.pair_scores import image_embedding, text_embedding
from curate.shard import Shard
from curate.stage import Runtime, Stage
from curate.storage import plain_errors

__all__ = ["EmbeddingsNpz"]


@dataclass(frozen=True)
class EmbeddingsNpz(Stage):
    """Writes the file beside a shard."""

    model: str

    name: ClassVar[str] = "npz"

    @property
    def label(self) -> str:
        return f"{self.name}_{self.model}"

    @property
    def reads(self) -> tuple[str, ...]:
        return (image_embedding(self.model), text_embedding(self.model))

    @property
    def writes(self) -> tuple[str, ...]:
        return ()

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        columns = shard.columns(list(self.reads))
        (images, _), (texts, _) = (embeddings_of(column) for column in columns.columns)
        arrays: dict[str, Any] = {
            f"{self.model}_img": images.astype(np.float16),
            f"{self.model}_txt": texts.astype(np.float16),
        }
        path = attempt.path(f"{shard.id}.{self.model}.npz")
        with plain_errors(f"write {path}"):
            np.savez(path, **arrays)
        attempt.counts["in"] = columns.num_rows
