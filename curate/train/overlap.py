"""Whether a clean set holds pictures or captions of an evaluation, told before anything is trained.

A filter that has seen a benchmark prefers pairs like it, and a model trained on what it keeps looks better there than
it is. (The other contamination is worse and not looked for here: Fang et al. 2023 found that poorly matched pairs in
the filter's own training data undo it.)

Pictures are compared three ways, the surest first: the same bytes, as stored or as downloaded; the same pixels,
whatever the file format; and a perceptual hash within a few bits (`curate.train.signature` says what that finds).

The search is exact: every clean hash against every one of the evaluation, 0.5 billion comparisons a second and core,
so 50,000 pictures of an evaluation take 0.1 ms a clean picture, beside a decode of 2 ms. Memory is that of the
evaluation, about 400 bytes a picture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.errors import ConfigError, SourceError
from curate.shard import IMAGE_EXTENSIONS
from curate.text import SPACE
from curate.train.pairs import Pairs, PairSource, open_pairs
from curate.train.signature import Signature, signature_of
from curate.train.stream import in_order

__all__ = ["EvaluationSettings", "Overlap", "find_overlap"]

CHUNK = 64
MOST_COMPARED = 4 << 20
"""Comparisons at once: 32 MB of them."""
TEXTS = 10_000
EXAMPLES = 20
Kind = Literal["same_bytes", "same_pixels", "near_copy", "same_caption"]


@dataclass(frozen=True)
class EvaluationSettings:
    """The `[evaluation]` table: what the filter is not to have seen.

    `images`: folders of picture files (looked through with their subfolders) or of shards. `captions`: text files with
    a caption a line, or folders of shards, whose `caption_column` is read; captions of fewer than `min_words` words are
    left out, for they agree by chance. `radius_bits` (0 to 16): how many of 64 bits two perceptual hashes may differ
    in. `action`: `warn` goes on, `refuse` trains nothing.
    """

    images: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    caption_column: str = "caption"
    min_words: int = 5
    radius_bits: int = 4
    action: Literal["warn", "refuse"] = "warn"

    def __post_init__(self) -> None:
        require_range("radius_bits", self.radius_bits, 0, 16)
        require_range("min_words", self.min_words, 1, 1_000)
        if not (self.images or self.captions):
            raise ValueError("names no images and no captions; give folders, or leave [evaluation] out")


@dataclass
class Overlap:
    """What was found. `counts`: clean pairs by kind, pictures under their surest kind alone. `pairs`: clean pairs with
    any of them. `examples`: the first 20, each with the keys of both, the kind, and by how many bits they differ."""

    images: int
    captions: int
    looked_at: int
    counts: dict[str, int] = field(default_factory=dict)
    pairs: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def words(self) -> str:
        """One line for people."""
        found = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in self.counts.items())
        first = "; ".join(f"{e['clean']} and {e['evaluation']}" for e in self.examples[:3])
        return (
            f"{self.pairs:,} of {self.looked_at:,} clean pairs are in the evaluation ({found}), e.g. {first}: the "
            "filter will prefer what it is measured on, and benchmarks of models trained on its choice will be too "
            "high; take these pairs out of [clean]"
        )

    def add(self, key: str, found: Sequence[tuple[Kind, str, int]]) -> None:
        """Count what was found for one clean pair."""
        for kind, other, bits in found:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            if len(self.examples) < EXAMPLES:
                self.examples.append({"clean": key, "evaluation": other, "how": kind, "bits": bits})
        self.pairs += bool(found)


def find_overlap(clean: Pairs, settings: EvaluationSettings, threads: int) -> Overlap:
    """Compare every clean pair with the evaluation. Raises ConfigError where its images or captions hold nothing."""
    captions = _captions(settings)
    pictures = Known(settings.radius_bits)
    for signature in _evaluation(settings, threads):
        pictures.add(signature)
    if settings.images and not pictures.count:
        raise ConfigError(f"[evaluation] images holds no picture: {', '.join(settings.images)}")
    overlap = Overlap(pictures.count, len(captions), len(clean))
    texts = _plain(clean.captions) if captions else repeat("")
    if not pictures.count:
        for row, text in zip(range(len(clean)), texts, strict=False):
            overlap.add(clean.key(row), _same_caption(text, captions))
        return overlap
    for chunk in _chunks(_signatures(clean, threads), CHUNK):
        nearest = pictures.find([signature for _, signature in chunk])
        for (_, signature), found, text in zip(chunk, nearest, texts, strict=False):
            overlap.add(signature.name, [*found, *_same_caption(text, captions)])
    return overlap


class Known:
    """The pictures of the evaluation, by what tells them apart."""

    def __init__(self, radius_bits: int) -> None:
        self._radius = radius_bits
        self._bytes: dict[bytes, str] = {}
        self._pixels: dict[bytes, str] = {}
        self._hashes: dict[int, str] = {}
        self._packed: npt.NDArray[np.uint64] | None = None
        self.count = 0

    def add(self, signature: Signature) -> None:
        """Take one picture in; of equal ones the first."""
        self.count += 1
        for digest in signature.digests:
            self._bytes.setdefault(digest, signature.name)
        if signature.pixels is not None:
            self._pixels.setdefault(signature.pixels, signature.name)
        if signature.hash is not None:
            self._hashes.setdefault(signature.hash, signature.name)
            self._packed = None

    def find(self, signatures: Sequence[Signature]) -> list[list[tuple[Kind, str, int]]]:
        """For each picture the surest way in which one of the evaluation is like it; an empty list for none."""
        near = self._nearest(signatures)
        return [self._exact(signature) or found for signature, found in zip(signatures, near, strict=True)]

    def _exact(self, signature: Signature) -> list[tuple[Kind, str, int]]:
        for digest in signature.digests:
            if digest in self._bytes:
                return [("same_bytes", self._bytes[digest], 0)]
        if signature.pixels in self._pixels:
            return [("same_pixels", self._pixels[signature.pixels], 0)]
        return []

    def _nearest(self, signatures: Sequence[Signature]) -> list[list[tuple[Kind, str, int]]]:
        if self._packed is None:
            self._packed = np.array(list(self._hashes), np.uint64)
        if not len(self._packed):
            return [[] for _ in signatures]
        found: list[list[tuple[Kind, str, int]]] = []
        step = max(1, MOST_COMPARED // len(self._packed))
        for start in range(0, len(signatures), step):
            part = signatures[start : start + step]
            own = np.array([signature.hash or 0 for signature in part], np.uint64)
            bits = np.bitwise_count(own[:, None] ^ self._packed)
            best = bits.argmin(axis=1)
            for signature, place, apart in zip(part, best.tolist(), bits.min(axis=1).tolist(), strict=True):
                close = signature.hash is not None and apart <= self._radius
                found.append([("near_copy", self._hashes[int(self._packed[place])], apart)] if close else [])
        return found


def _signatures(pairs: Pairs, threads: int) -> Iterator[tuple[int, Signature]]:
    """Every row and its signature, in their order."""

    def work(row: int) -> Signature:
        return signature_of(pairs.key(row), pairs.read(row), pairs.sha256[row].as_py())

    return in_order(work, range(len(pairs)), threads)


def _evaluation(settings: EvaluationSettings, threads: int) -> Iterator[Signature]:
    """The pictures of the evaluation: of shards, else of picture files."""
    for folder in settings.images:
        files = _files(folder)
        if files:
            yield from (found for _, found in in_order(_of_file(folder), files, threads))
            continue
        pairs = _shards(folder, None, "images")
        yield from (found for _, found in _signatures(pairs, threads))


def _of_file(folder: str) -> Callable[[Path], Signature]:
    def work(path: Path) -> Signature:
        try:
            return signature_of(os.path.relpath(path, folder), path.read_bytes())
        except OSError as error:
            raise SourceError(f"cannot read {path}: {error.strerror}; check [evaluation] images") from error

    return work


def _files(folder: str) -> list[Path]:
    """The picture files in a folder and below it."""
    if "://" in folder:
        return []
    found = (Path(base) / name for base, _, names in os.walk(folder) for name in names)
    return sorted(path for path in found if path.suffix.lower().lstrip(".") in IMAGE_EXTENSIONS)


def _shards(folder: str, column: str | None, key: str) -> Pairs:
    """Of pictures without captions where `column` is None."""
    try:
        return open_pairs(PairSource((folder,), column or "caption", kept_only=False), captions=column is not None)
    except SourceError:
        raise ConfigError(f"[evaluation] {key}: {folder} holds neither shards nor {key}; check the path") from None


def _captions(settings: EvaluationSettings) -> dict[str, str]:
    """The evaluation's captions in plain form, each with where it is from. Raises ConfigError where all are too
    short."""
    found: dict[str, str] = {}
    longest = 0
    for path in settings.captions:
        given = _lines(path) if os.path.isfile(path) else _shard_captions(path, settings.caption_column)
        for name, text in zip(given["name"].to_pylist(), _plain(given["text"].combine_chunks()), strict=True):
            words = len(text.split())
            longest = max(longest, words)
            if words >= settings.min_words:
                found.setdefault(text, name)
    if settings.captions and not found:
        raise ConfigError(
            f"[evaluation] captions holds none of at least {settings.min_words} words (the longest has {longest}): "
            f"{', '.join(settings.captions)}; lower min_words, or leave captions out"
        )
    return found


def _lines(path: str) -> pa.Table:
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}; check [evaluation] captions") from error
    names = [f"{path}:{number}" for number in range(1, len(lines) + 1)]
    return pa.table({"name": names, "text": pa.array(lines, pa.large_string())})


def _shard_captions(folder: str, column: str) -> pa.Table:
    pairs = _shards(folder, column, "captions")
    return pa.table({"name": pairs.keys, "text": pairs.captions})


def _plain(texts: pa.Array) -> Iterator[str]:
    """Texts in lower case and composed letters (NFC), with one space for each run of punctuation and white space."""
    for start in range(0, len(texts), TEXTS):
        part = pc.utf8_lower(pc.utf8_normalize(texts.slice(start, TEXTS), "NFC"))
        spaced = pc.replace_substring_regex(part, pattern=rf"[\pP\pS\p{{Cc}}\p{{Cf}}{SPACE}]+", replacement=" ")
        yield from pc.utf8_trim_whitespace(spaced).to_pylist()


def _same_caption(text: str, known: dict[str, str]) -> list[tuple[Kind, str, int]]:
    return [("same_caption", known[text], 0)] if text in known else []


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
