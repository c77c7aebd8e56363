"""Embeddings as DataComp keeps them: `00000.npz` with `NAME_img` and `NAME_txt` of every model that asks for it.

It lies beside the shard, float16, a row per row of the sample table. Name the models `b32` and `l14` to have DataComp's
own names: its readers take one file for all models. So another model rewrites the file (5 kB a row, both of DataComp's
models) from columns that are there, and none of them is computed anew. An npz has no nulls: a row without an embedding
is zero here, which has similarity 0 to everything and is the nearest of nothing. DataComp's `dedup` is of a model of
its own.
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
    """Writes the file beside a shard. `models`: their names in the config."""

    models: tuple[str, ...]

    name: ClassVar[str] = "npz_embeddings"

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(column for model in self.models for column in (image_embedding(model), text_embedding(model)))

    @property
    def writes(self) -> tuple[str, ...]:
        return ()

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        arrays: dict[str, Any] = {}
        for model in self.models:
            columns = shard.columns([image_embedding(model), text_embedding(model)])
            for key, column in zip((f"{model}_img", f"{model}_txt"), columns.columns, strict=True):
                arrays[key] = embeddings_of(column)[0].astype(np.float16)
        path = attempt.path(f"{shard.id}.npz")
        with plain_errors(f"write {path}"):
            np.savez(path, **arrays)
        attempt.counts["in"] = len(next(iter(arrays.values())))
