"""A dual encoder at work: pictures and texts in, embeddings of unit length out, float32 (n, dimensions).

Pictures come as bytes and are normalised on the device. On a GPU a batch is copied through one of two pinned buffers
and its answer waits until it is asked for, so that the next batch is made meanwhile; the picture tower is replayed as
a CUDA graph where that is faster than launching it piece by piece. Each distinct text is embedded once, in batches of
texts of one padded length, and kept for a while, because the same captions come again within a shard. When memory runs
out the batch is halved and the work goes on.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from curate.manifest import fingerprint
from curate.models.device import computes, device, work_number
from curate.models.kept_models import OpenModels
from curate.models.memory import is_memory
from curate.models.settings import ModelSettings
from curate.models.towers import Towers, open_towers
from curate.models.weights import embedding_length, told_by_tag, weights_digest

__all__ = ["Clip", "clip_fingerprint", "open_clip_model", "readable"]

Embeddings = npt.NDArray[np.float32]
"""(n, dimensions), each row of unit length."""
T = TypeVar("T")
Answer = Callable[[], Embeddings]
"""Work that was begun; a call waits for its end."""

CPU_BATCH = 32
TEXT_BATCH = 256
PLACES = 16
"""Texts are padded to 16, 32, 48, 64 or all 77 places: half the work of padding 64 real captions to their longest, and
within 10 % of groups of 8 places, which are twice as many."""
KEPT_TEXTS = 50_000
MAX_CHARS, MAX_WORD_CHARS = 4_096, 2_000
"""What is read of a text. CLIP's 77 places hold less: its longest token has 24 letters. A word is cut because byte-pair
encoding takes .1 s for 2,000 random letters and 50 s for 100,000."""


def clip_fingerprint(settings: ModelSettings) -> str:
    """16 hex digits of architecture, weights, preprocessing and precision: what a score depends on."""
    about = [settings.architecture, weights_digest(settings), settings.precision, dict(told_by_tag(settings))]
    return fingerprint(["clip", 2, *about])


_models: OpenModels[ModelSettings, Clip] = OpenModels(weights_digest, lambda settings: Clip(settings))


def open_clip_model(settings: ModelSettings) -> Clip:
    """The model, loaded once per process, whichever thread asks first. Raises as `OpenModels.get`."""
    return _models.get(settings)


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
        self._work = work_number()
        self.prepare = self.towers.prepare
        self._pictures: Callable[[Sequence[Any]], Answer] | None = None
        self.batch = settings.batch or CPU_BATCH

    def start_pictures(self, views: Sequence[npt.NDArray[np.uint8]]) -> Answer:
        """Begin to embed prepared pictures, uint8 (size, size, 3) each; the answer is asked for by a call."""
        return self._watched(lambda: self._start_pictures(views))

    def _start_pictures(self, views: Sequence[npt.NDArray[np.uint8]]) -> Answer:
        if self.device.type != "cuda" or not views:
            return self._halving(self._begin_views, views)
        if self._pictures is None:
            from curate.models.cuda import CudaPictures

            self._pictures = CudaPictures(self.picture_tower, self.towers.size, self.device, self.settings.batch)
        return self._pictures(views)

    def pictures(self, views: Sequence[npt.NDArray[np.uint8]]) -> Embeddings:
        """Embeddings of prepared pictures."""
        return self.start_pictures(views)()

    def start_texts(self, texts: Sequence[str]) -> Answer:
        """Begin to embed texts, each distinct one once; the answer is asked for by a call.

        What is kept is of one piece of work (`work_on`): the last bits of an embedding depend on the batch it was in,
        so with texts of another shard the result would depend on which shards a worker had before.
        """
        return self._watched(lambda: self._start_texts(texts))

    def _start_texts(self, texts: Sequence[str]) -> Answer:
        if self._work != work_number():
            self._work = work_number()
            self._texts.clear()
        clean = [readable(text) for text in texts]
        known = {text: self._texts[text] for text in dict.fromkeys(clean) if text in self._texts}
        new = [text for text in dict.fromkeys(clean) if text not in known]
        begun = self._begin_texts(new) if new else None

        def answer() -> Embeddings:
            rows = known | dict(zip(new, begun(), strict=True)) if begun else known
            self._texts.update((text, rows[text]) for text in new)
            while len(self._texts) > KEPT_TEXTS:
                self._texts.popitem(last=False)
            return np.stack([rows[text] for text in clean]) if clean else self._none()

        return answer

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings of texts."""
        return self.start_texts(texts)()

    def _watched(self, begin: Callable[[], Answer]) -> Answer:
        answer = self._or_end(begin)
        return lambda: self._or_end(answer)

    def _or_end(self, call: Callable[[], T]) -> T:
        """What a call gives. A GPU that failed (a kernel that went wrong, a bus, memory with errors) answers nothing
        more in this process, so the process ends: else each row and shard to come would fail. Another does its unit."""
        try:
            return call()
        except self._torch.AcceleratorError as error:
            if is_memory(error):
                raise
            raise SystemExit(f"curate: the GPU of this worker failed: {error}") from error

    def picture_tower(self, pixels: Any) -> Any:
        """uint8 (n, size, size, 3) on the device to unit float32 (n, dimensions) there."""
        values = pixels.permute(0, 3, 1, 2).to(self._torch.float32).div_(255).sub_(self._mean).div_(self._std)
        return _unit(self.towers.module.encode_image(values.to(self.kind)))

    def _halving(self, begin: Callable[[Sequence[Any]], Answer], items: Sequence[Any], most: int = 0) -> Answer:
        """Begin with all items in pieces of `batch` or `most`; when memory runs out, pieces are halved."""
        begun: list[Answer] = []
        size = start = 0
        while start < len(items):
            size = min(size or len(items), most or self.batch)
            answer = self._tried(begin, items[start : start + size])
            if answer is None:
                self._free()
                size //= 2
                self.batch = self.batch if most else size
                continue
            begun.append(answer)
            start += size
        return lambda: np.concatenate([answer() for answer in begun]) if begun else self._none()

    def _tried(self, begin: Callable[[Sequence[Any]], Answer], items: Sequence[Any]) -> Answer | None:
        """None where memory ran out and fewer items may fit. The exception ends here: while it lives, so does all that
        filled the memory."""
        try:
            return begin(items)
        except (RuntimeError, MemoryError) as error:
            if len(items) <= 1 or not is_memory(error):
                raise
            return None

    def _none(self) -> Embeddings:
        return np.empty((0, embedding_length(self.settings)), np.float32)

    def _begin_views(self, views: Sequence[npt.NDArray[np.uint8]]) -> Answer:
        with self._torch.inference_mode():
            return self._leaving(self.picture_tower(self._torch.from_numpy(np.stack(views)).to(self.device)))

    def _begin_texts(self, texts: Sequence[str]) -> Answer:
        """Texts of one padded length together. The length depends on the text alone, and so, nearly, does its
        embedding: 9 places instead of 16 move it by up to 2e-3 in bf16. What the number of texts in a batch moves is
        measured as nothing in bf16 and 1e-7 in fp32 (ViT-B/32 on a CPU, 1 to 40 texts)."""
        tokens = self.towers.tokenize(list(texts)).numpy()
        places = _places(tokens) if self.towers.trims else np.full(len(tokens), tokens.shape[1])
        order = np.argsort(places, kind="stable")

        def begin(part: Sequence[int]) -> Answer:
            with self._torch.inference_mode():
                length = int(places[part[0]])
                own = self._torch.from_numpy(np.ascontiguousarray(tokens[part, :length])).to(self.device)
                return self._leaving(_unit(self.towers.encode_text(own)))

        alike = np.split(order, np.flatnonzero(np.diff(places[order])) + 1)
        begun = [self._halving(begin, part.tolist(), TEXT_BATCH) for part in alike]

        def answer() -> Embeddings:
            rows = np.concatenate([part() for part in begun])
            placed = np.empty_like(rows)
            placed[order] = rows
            return placed

        return answer

    def _leaving(self, values: Any) -> Answer:
        """An answer on its way to the host."""
        if self.device.type != "cuda":
            found: Embeddings = values.numpy()
            return lambda: found
        with self._torch.cuda.device(self.device):
            pinned = self._torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            pinned.copy_(values, non_blocking=True)
            done = self._torch.cuda.current_stream(self.device).record_event()

        def answer() -> Embeddings:
            done.synchronize()
            return np.array(pinned.numpy())

        return answer

    def _constant(self, values: Sequence[float]) -> Any:
        return self._torch.tensor(values, dtype=self._torch.float32, device=self.device).view(1, 3, 1, 1)

    def _free(self) -> None:
        if self.device.type == "cuda":
            self._torch.cuda.empty_cache()


def _places(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many of its places each text (n, length) is given: those it fills, up to a multiple of PLACES."""
    lengths = tokens.shape[1] - np.argmax(tokens[:, ::-1] != 0, axis=1)
    rounded: npt.NDArray[np.int64] = np.minimum(-(-lengths // PLACES) * PLACES, tokens.shape[1])
    return rounded


def _unit(values: Any) -> Any:
    """Rows of unit length in float32. A row that is not finite has not-a-number in it, so it never makes a score."""
    import torch

    return torch.nn.functional.normalize(values.float(), dim=-1)


def readable(text: str) -> str:
    """The part of a text that can reach the model, words of bounded length. White space is left as it is: a no-break
    space or U+0085 may be half of a letter that the tokenizer mends."""
    if len(text) <= MAX_WORD_CHARS:
        return text
    return re.sub(r"\S+", lambda word: word[0][:MAX_WORD_CHARS], text.lstrip()[: 4 * MAX_CHARS])[:MAX_CHARS]
