"""The scorer of a dual encoder: for every pair the cosine of picture and caption, and both embeddings.

One pass writes all three, because the similarity is taken before embeddings are rounded to 16 bits: the rounding moves
it by up to 5e-4, which is 800 places at a threshold among a million. The columns say in their file which model made
them, and the step's fingerprint covers the same, so another model computes them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.filter import Batch, Pixels, Scorer
from curate.models.device import computed_precision, require_device
from curate.models.embeddings import embedding_column
from curate.models.settings import TOY, ModelSettings
from curate.models.weights import embedding_length

if TYPE_CHECKING:
    from curate.models.clip import Clip

__all__ = ["ScorePairs", "image_embedding", "similarity", "text_embedding"]

BATCH_PICTURES = 256


def similarity(model: str) -> str:
    """The column with the cosine of picture and caption, float32 in -1 to 1."""
    return f"{model}_similarity"


def image_embedding(model: str) -> str:
    """The column with the picture's embedding, float16, of unit length."""
    return f"{model}_image_embedding"


def text_embedding(model: str) -> str:
    """The column with the caption's embedding, float16, of unit length."""
    return f"{model}_text_embedding"


@dataclass(frozen=True)
class ScorePairs(Scorer):
    """`model` is its name in the config. Null where there is no readable picture, and the similarity and the text's
    embedding also where there is no caption, or one of white space alone."""

    model: str
    settings: ModelSettings

    @property
    def name(self) -> str:
        return self.model

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image", "caption")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        columns: dict[str, pa.DataType] = {similarity(self.model): pa.float32()}
        if self.settings.embeddings:
            kind = pa.list_(pa.float16(), embedding_length(self.settings))
            columns |= {image_embedding(self.model): kind, text_embedding(self.model): kind}
        return columns

    @property
    def gpus(self) -> float:
        return 0.0 if self.settings.device == "cpu" else 1.0

    @property
    def batch_pictures(self) -> int:
        return max(BATCH_PICTURES, self.settings.batch)

    def identity(self) -> Any:
        from curate.models.clip import clip_fingerprint

        return {
            "scorer": self.name,
            "version": self.version,
            "model": clip_fingerprint(self.settings),
            "embeddings": self.settings.embeddings,
        }

    def provenance(self) -> Mapping[str, str]:
        """The precision is the one it is computed in here; the fingerprint covers the one that was asked for."""
        from curate.models.clip import clip_fingerprint

        words = " ".join(filter(None, (self.settings.architecture, Path(self.settings.weights).name)))
        return {
            "model": words if self.settings.weights != TOY else "toy CLIP",
            "model_precision": computed_precision(self.settings.precision, self.settings.device),
            "model_fingerprint": clip_fingerprint(self.settings),
        }

    def require(self) -> None:
        from curate.models.towers import require_towers

        require_device(self.settings.device)
        _ = self.writes, self.identity()
        require_towers(self.settings)

    def prepare(self, pixels: Pixels) -> Any:
        return self._clip.prepare(pixels)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        return self.start(batch)()

    def start(self, batch: Batch) -> Callable[[], Mapping[str, pa.Array]]:
        seen = np.array([view is not None for view in batch.pixels], dtype=bool)
        pictures = (
            self._clip.start_pictures([view for view in batch.pixels if view is not None]) if seen.any() else None
        )
        captions = batch.columns["caption"].to_pylist()
        said = np.array([bool(caption and not caption.isspace()) for caption in captions], dtype=bool)
        texts = self._clip.start_texts([c for c, has in zip(captions, said, strict=True) if has])
        return lambda: self._columns((pictures() if pictures else None, seen), (texts(), said))

    def _columns(self, picture: Placed, text: Placed) -> Mapping[str, pa.Array]:
        """What is written. A value that is not finite is no score: the row is null, as one that failed."""
        length = embedding_length(self.settings)
        (images, seen), (texts, said) = _placed(*picture, length), _placed(*text, length)
        both = seen & said
        cosine = np.einsum("nd,nd->n", images, texts).astype(np.float32)
        found = {similarity(self.model): pa.array(cosine, mask=~both)}
        if self.settings.embeddings:
            found[image_embedding(self.model)] = embedding_column(images, seen)
            found[text_embedding(self.model)] = embedding_column(texts, both)
        return found

    @property
    def _clip(self) -> Clip:
        from curate.models.clip import open_clip_model

        return open_clip_model(self.settings)


Placed: TypeAlias = "tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.bool_]]"


def _placed(
    rows: npt.NDArray[np.float32] | None, where: npt.NDArray[np.bool_], length: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Rows at their places among all, zeros elsewhere, and which places hold a finite one."""
    values = np.zeros((len(where), length), np.float32)
    if rows is not None and len(rows):
        values[where] = rows
    finite = np.isfinite(values).all(axis=1)
    values[~finite] = 0
    return values, where & finite
