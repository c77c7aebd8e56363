"""A dual encoder at work: pictures and texts in, embeddings of unit length out, float32 (n, dimensions).

Pictures come as bytes and are normalised on the device. On a GPU a batch is copied through one of two pinned buffers
and its answer waits until it is asked for, so that the next batch is made meanwhile; the picture tower is replayed as
a CUDA graph where that is faster than launching it piece by piece. Each distinct text is embedded once, in batches of
texts of like length, and kept for a while, because the same captions come again within a shard. When memory runs out
the batch is halved and the work goes on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.manifest import fingerprint
from curate.models.device import computes, device
from curate.models.settings import ModelSettings
from curate.models.towers import Towers, open_towers
from curate.models.weights import embedding_length, weights_digest

__all__ = ["Clip", "clip_fingerprint", "open_clip_model"]

Embeddings = npt.NDArray[np.float32]
"""(n, dimensions), each row of unit length."""

CPU_BATCH = 32
TEXT_BATCH = 256
KEPT_TEXTS = 50_000
MAX_CHARS, MAX_WORD_CHARS = 4_096, 1_000
"""What is read of a text: CLIP's 77 places hold less of any. A word is cut because byte-pair encoding is quadratic."""


def clip_fingerprint(settings: ModelSettings) -> str:
    """16 hex digits of architecture, weights, preprocessing and precision: what a score depends on."""
    digest = weights_digest(settings)
    return fingerprint(["clip", 1, settings.architecture, digest, settings.precision])


@lru_cache(maxsize=4)
def open_clip_model(settings: ModelSettings) -> Clip:
    """The model, loaded once per process. Raises ConfigError."""
    return Clip(settings)


class Clip:
    """One model on one device. Not for use from two threads at once, but for `prepare`."""

    def __init__(self, settings: ModelSettings, towers: Towers | None = None) -> None:
        import torch

        self._torch = torch
        self.settings = settings
        self.towers = towers or open_towers(settings)
        self.device = device(settings.device)
        self.kind = computes(settings.precision, self.device)
        self.towers.module.to(self.device, self.kind)
        self._mean = self._constant(self.towers.mean)
        self._std = self._constant(self.towers.std)
        self._texts: OrderedDict[str, Embeddings] = OrderedDict()
        self.prepare = self.towers.prepare
        self._pictures: Callable[[Sequence[Any]], Callable[[], Embeddings]] | None = None
        self.batch = settings.batch or CPU_BATCH

    def start_pictures(self, views: Sequence[npt.NDArray[np.uint8]]) -> Callable[[], Embeddings]:
        """Begin to embed prepared pictures, uint8 (size, size, 3) each; the answer is asked for by a call."""
        if self.device.type == "cuda":
            if self._pictures is None:
                from curate.models.cuda import CudaPictures

                self._pictures = CudaPictures(self.picture_tower, self.towers.size, self.device, self.settings.batch)
            return self._pictures(views)
        found = self.halving(self._embed_views, views, "batch")
        return lambda: found

    def pictures(self, views: Sequence[npt.NDArray[np.uint8]]) -> Embeddings:
        """Embeddings of prepared pictures."""
        return self.start_pictures(views)()

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings of texts, each distinct one computed once."""
        clean = [_readable(text) for text in texts]
        found = {text: self._texts[text] for text in dict.fromkeys(clean) if text in self._texts}
        new = [text for text in dict.fromkeys(clean) if text not in found]
        if new:
            found.update(zip(new, self._embed_texts(new), strict=True))
        for text in new:
            self._texts[text] = found[text]
        while len(self._texts) > KEPT_TEXTS:
            self._texts.popitem(last=False)
        return (
            np.stack([found[text] for text in clean])
            if clean
            else np.empty((0, embedding_length(self.settings)), np.float32)
        )

    def picture_tower(self, pixels: Any) -> Any:
        """uint8 (n, size, size, 3) on the device to unit float32 (n, dimensions) there."""
        values = pixels.permute(0, 3, 1, 2).to(self._torch.float32).div_(255).sub_(self._mean).div_(self._std)
        return _unit(self.towers.module.encode_image(values.to(self.kind)))

    def halving(self, work: Callable[[Sequence[Any]], Embeddings], items: Sequence[Any], limit: str = "") -> Embeddings:
        """`work` on all items in pieces; when memory runs out, pieces are halved from then on."""
        done: list[Embeddings] = []
        size = start = 0
        while start < len(items):
            size = min(size or len(items), self.batch if limit else TEXT_BATCH)
            try:
                done.append(work(items[start : start + size]))
                start += size
            except self._torch.OutOfMemoryError:
                if size <= 1:
                    raise
                self._free()
                size = size // 2
                self.batch = size if limit else self.batch
        return np.concatenate(done)

    def _embed_views(self, views: Sequence[npt.NDArray[np.uint8]]) -> Embeddings:
        with self._torch.inference_mode():
            return self._host(self.picture_tower(self._torch.from_numpy(np.stack(views)).to(self.device)))

    def _embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Texts of like length together, so that little padding is computed."""
        tokens = self.towers.tokenize(list(texts)).numpy()
        lengths = tokens.shape[1] - np.argmax(tokens[:, ::-1] != 0, axis=1)
        order = np.argsort(lengths, kind="stable")
        rows = self.halving(lambda part: self._embed_tokens(tokens[part], int(lengths[part].max())), order.tolist())
        answer = np.empty_like(rows)
        answer[order] = rows
        return answer

    def _embed_tokens(self, tokens: npt.NDArray[np.int64], longest: int) -> Embeddings:
        own = tokens[:, :longest] if self.towers.trims else tokens
        with self._torch.inference_mode():
            on_device = self._torch.from_numpy(np.ascontiguousarray(own)).to(self.device)
            return self._host(_unit(self.towers.encode_text(on_device)))

    def _constant(self, values: Sequence[float]) -> Any:
        return self._torch.tensor(values, dtype=self._torch.float32, device=self.device).view(1, 3, 1, 1)

    def _host(self, values: Any) -> Embeddings:
        found: Embeddings = values.cpu().numpy()
        return found

    def _free(self) -> None:
        if self.device.type == "cuda":
            self._torch.cuda.empty_cache()


def _unit(values: Any) -> Any:
    """Rows of unit length in float32; a row that is not finite becomes not-a-number throughout, never a score."""
    import torch

    return torch.nn.functional.normalize(values.float(), dim=-1)


def _readable(text: str) -> str:
    """The part of a text that can reach the model, white space made single, words of bounded length."""
    return " ".join(word[:MAX_WORD_CHARS] for word in text[: 4 * MAX_CHARS].split())[:MAX_CHARS]
