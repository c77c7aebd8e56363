"""Hashes of the decoded picture, for whoever looks for the same pixels or for nearly the same picture.

They are made by the threads that decode, of pixels that are in their cache, and a picture leaves behind some hundred
bytes: the scorer itself only collects. Of at most 256 px and of 512 x 384 a picture costs, in ms of CPU: `pixel_hash`
0.1 and 0.4, `pdq` 0.2 and 0.8, `phash` 0.3 and 0.8, `dhash` 0.2 and 0.7, `phash_imagededup` 0.4 and 1.6,
`dhash_imagededup` 0.3 and 1.2; the usual three 0.6 and 2.2, about what a decode costs.

| kind | columns | within | finds |
|---|---|---|---|
| `pixel_hash` | `pixel_hash` fixed_size_binary(16) | equal | the same pixels, in any lossless file |
| `phash`, `phash_imagededup` | the kind, uint64 | 4 to 8 of 64 bits | encoded anew, scaled, recoloured a little |
| `dhash`, `dhash_imagededup` | the kind, uint64 | 4 to 8 of 64 bits | the same |
| `pdq` | `pdq` fixed_size_binary(32), `pdq_quality` int32 | 31 of 256 bits | the same, less of what was cropped |

64 bits are a `uint64`, which Parquet has and XOR takes as it is; as 8 bytes they would have to be turned into one
first. 256 bits have no number, and are 32 bytes in the order of Meta's text form. Hashes of two kinds are not
comparable. Nothing finds mirrored or turned pictures.

A radius of 10 of 64 bits, a common default, is a false positive machine on a web crawl: flat pictures share their
hashes. `pdq_quality` (0 to 100) tells them: below 50 a picture has too little to see to be compared, by any kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, ClassVar, TypeAlias

import pyarrow as pa

from curate.errors import ConfigError
from curate.filter import Batch, Pixels, Scorer
from curate.perceptual.dhash import DHASH_SIZE, rising_bits
from curate.perceptual.phash import PHASH_SIZE, median_bits, median_bits_without_mean
from curate.perceptual.pixels import pixel_hash
from curate.perceptual.shrink import MAX_SIDE_PX, Grey, shrink_grey, shrink_then_grey

__all__ = ["KINDS", "PictureHashes"]

KINDS: Mapping[str, Mapping[str, pa.DataType]] = {
    "pixel_hash": {"pixel_hash": pa.binary(16)},
    "phash": {"phash": pa.uint64()},
    "phash_imagededup": {"phash_imagededup": pa.uint64()},
    "dhash": {"dhash": pa.uint64()},
    "dhash_imagededup": {"dhash_imagededup": pa.uint64()},
    "pdq": {"pdq": pa.binary(32), "pdq_quality": pa.int32()},
}
"""Every kind, with the columns it writes."""

Shrink: TypeAlias = Callable[..., list[Grey]]
FAMILIES: Sequence[tuple[Shrink, Mapping[str, tuple[tuple[int, int], Callable[[Grey], int]]]]] = (
    (shrink_grey, {"phash": (PHASH_SIZE, median_bits), "dhash": (DHASH_SIZE, rising_bits)}),
    (
        shrink_then_grey,
        {"phash_imagededup": (PHASH_SIZE, median_bits_without_mean), "dhash_imagededup": (DHASH_SIZE, rising_bits)},
    ),
)
"""Kinds that share their shrinking: the size each wants, and what makes its bits of it."""


@dataclass(frozen=True)
class PictureHashes(Scorer):
    """The hashes of `kinds`, keys of `KINDS`; null without a picture. A picture with a side above 65,535 px (no JPEG
    has one) has a `pixel_hash` alone. Raises ValueError for kinds that are unknown, named twice, or none."""

    kinds: tuple[str, ...] = ("pixel_hash", "phash", "pdq")

    reads: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self) -> None:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds = {list(self.kinds)} names {'one twice' if self.kinds else 'none'}")
        for kind in self.kinds:
            if kind not in KINDS:
                near = get_close_matches(kind, KINDS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}"
                raise ValueError(f"kinds has {kind!r}, which is no hash: {hint}")

    @property
    def name(self) -> str:
        return "_".join(self.kinds)

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {column: type_ for kind in self.kinds for column, type_ in KINDS[kind].items()}

    def require(self) -> None:
        if "pdq" in self.kinds and find_spec("numba") is None:
            raise ConfigError('the hash `pdq` is compiled by numba: pip install "curate-vl[dedup]", or leave it out')

    def prepare(self, pixels: Pixels) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        if "pixel_hash" in self.kinds:
            found["pixel_hash"] = pixel_hash(pixels)
        if max(pixels.shape) > MAX_SIDE_PX:
            return found
        for shrink, family in FAMILIES:
            wanted = [kind for kind in self.kinds if kind in family]
            small = shrink(pixels, *(family[kind][0] for kind in wanted)) if wanted else []
            found |= {kind: family[kind][1](grey) for kind, grey in zip(wanted, small, strict=True)}
        if "pdq" in self.kinds:
            from curate.perceptual.pdq import pdq

            found["pdq"], found["pdq_quality"] = pdq(pixels)
        return found

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        rows = [row or {} for row in batch.pixels]
        return {column: pa.array([row.get(column) for row in rows], type_) for column, type_ in self.writes.items()}
