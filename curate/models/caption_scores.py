"""The scorer of a captioner: what it says of every picture, each caption whole, with its probability and its end.

Captions are seeded by the digest of the picture's bytes (its key where there is none), so that a picture has the same
ones wherever it lies, whatever is captioned beside it, and after any restart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.filter import Batch, Pixels, Scorer
from curate.manifest import fingerprint
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, seeds_of
from curate.models.device import computed_precision, require_device
from curate.models.open_captioner import asked_prompt, captioner_digest, require_captioner
from curate.models.opened import opened_captioner
from curate.models.settings import TOY, settings_that_count

__all__ = ["PHRASE", "WriteCaptions", "captions_column"]

BATCH_PICTURES = 256
"""As many as a back end computes at once, or more; it cuts them into units of its own."""
PHRASE = pa.struct({"words": pa.string(), "box": pa.list_(pa.float32(), 4), "score": pa.float32()})
"""`box`: left, top, right, bottom, 0 to 1 of width or height."""


def captions_column(captioner: str) -> str:
    """The column with a captioner's texts, list of string."""
    return f"{captioner}_captions"


@dataclass(frozen=True)
class WriteCaptions(Scorer):
    """`captioner` is its name in the config, NAME in what it writes, where each list has one item a caption:
    `NAME_captions` (string), `NAME_log_probability` (float32, null where an engine does not tell), `NAME_tokens`
    (int32), `NAME_finish` (`stop` or `length`) and, with boxes, `NAME_phrases` (list of PHRASE). Null where there is
    no readable picture."""

    captioner: str
    settings: CaptionerSettings

    @property
    def name(self) -> str:
        return self.captioner

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image", "sha256", "key")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        columns = {
            captions_column(self.captioner): pa.list_(pa.string()),
            f"{self.captioner}_log_probability": pa.list_(pa.float32()),
            f"{self.captioner}_tokens": pa.list_(pa.int32()),
            f"{self.captioner}_finish": pa.list_(pa.string()),
        }
        phrases = {f"{self.captioner}_phrases": pa.list_(pa.list_(PHRASE))} if self.settings.boxes else {}
        return columns | phrases

    @property
    def gpus(self) -> float:
        return 0.0 if self.settings.device == "cpu" else 1.0

    @property
    def batch_pictures(self) -> int:
        return max(BATCH_PICTURES, self.settings.batch)

    def identity(self) -> Any:
        return {"scorer": self.name, "version": self.version, "model": self._fingerprint}

    def provenance(self) -> Mapping[str, str]:
        """Model, revision and decoding, of every caption in the file."""
        own, drawn = self.settings, replace(self.settings.sampling, prompt=asked_prompt(self.settings))
        words = (
            "toy captioner" if own.weights == TOY else " ".join(filter(None, (own.architecture, _last(own.weights))))
        )
        told = {
            "model": words,
            "model_precision": self._precision,
            "model_fingerprint": self._fingerprint,
            "decoding": " ".join(f"{name}={value!r}" for name, value in vars(drawn).items()),
            "seed": str(own.seed),
        }
        return told | ({"model_revision": own.revision} if own.revision else {})

    def require(self) -> None:
        require_device(self.settings.device)
        require_captioner(self.settings)

    @property
    def _precision(self) -> str:
        return computed_precision(self.settings.precision, self.settings.device)

    @property
    def _fingerprint(self) -> str:
        counts = settings_that_count(self.settings, "weights", "revision")
        return fingerprint(["captioner", 1, captioner_digest(self.settings), counts])

    def prepare(self, pixels: Pixels) -> Any:
        return opened_captioner(self.settings).prepare(pixels)

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        rows = [row for row, view in enumerate(batch.pixels) if view is not None]
        digests, keys = (batch.columns[name].to_pylist() for name in ("sha256", "key"))
        seeds = seeds_of([digests[row] or keys[row] for row in rows], self.settings.seed)
        made = self._generate([batch.pixels[row] for row in rows], seeds) if rows else []
        of_row = dict(zip(rows, made, strict=True))
        captions = [of_row.get(row) for row in range(len(batch))]
        values = (
            _lists(captions, _text),
            _lists(captions, lambda one: one.log_probability if math.isfinite(one.log_probability) else None),
            _lists(captions, lambda one: one.tokens),
            _lists(captions, lambda one: one.finish),
            _lists(captions, _phrases),
        )
        return {name: pa.array(lists, kind) for (name, kind), lists in zip(self.writes.items(), values, strict=False)}

    def _generate(self, images: Sequence[Any], seeds: Sequence[int]) -> list[list[Generated]]:
        return opened_captioner(self.settings).generate(images, self.settings.captions, self.settings.sampling, seeds)


def _lists(captions: Sequence[Sequence[Generated] | None], value: Any) -> list[list[Any] | None]:
    return [None if own is None else [value(one) for one in own] for own in captions]


def _text(one: Generated) -> str:
    """The text; half a surrogate pair, which no file can hold, becomes a question mark."""
    return (one.text or "").encode("utf-8", "replace").decode("utf-8")


def _phrases(one: Generated) -> list[dict[str, Any]]:
    return [{"words": phrase.words, "box": phrase.box, "score": phrase.score} for phrase in one.phrases]


def _last(weights: str) -> str:
    """A folder by its name, an id of the hub whole."""
    return Path(weights).name if Path(weights).exists() else weights
