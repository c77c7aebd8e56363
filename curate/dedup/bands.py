"""Which texts are worth a comparison: those whose signatures agree in all rows of a band.

With b bands of r rows two texts of Jaccard s meet with probability 1 - (1 - s^r)^b. That is a curve and no threshold,
so a choice of b and r is a choice of what is missed above the threshold and what is compared in vain below it. What is
compared in vain costs a comparison, since every pair is verified; what is missed stays in the data. datasketch's
optimum weighs both alike: of 256 permutations it takes 17 bands of 15 rows for .8, which miss 54 % of the pairs just
there. So here the highest r is taken that misses at most 1 % of them (32 bands of 8 rows miss .28 %), and datasketch's
own choice is there by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from curate.config import require_range

if TYPE_CHECKING:
    from curate.dedup.minhash import Signatures

__all__ = ["BandDigests", "Bands", "band_digests", "choose_bands", "datasketch_bands"]

BandDigests = npt.NDArray[np.uint64]
STEPS = 10_000


@dataclass(frozen=True)
class Bands:
    """`bands` bands of `rows` rows, of the first bands * rows numbers of a signature. Raises ValueError below 1."""

    bands: int
    rows: int

    def __post_init__(self) -> None:
        require_range("bands", self.bands, 1, 65_536)
        require_range("rows", self.rows, 1, 65_536)

    @property
    def permutations(self) -> int:
        """How many numbers of a signature are used."""
        return self.bands * self.rows

    def probability(self, similarity: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The probability that texts of these Jaccard similarities (0 to 1) meet in a band, float64, same shape.

        Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.
        """
        similarity = np.asarray(similarity, np.float64)
        with np.errstate(divide="ignore"):
            return np.asarray(-np.expm1(self.bands * np.log1p(-(similarity**self.rows))))

    def miss_rate(self, threshold: float) -> float:
        """Share of pairs from the threshold to 1 that never meet, if every similarity there is equally frequent."""
        return float(1 - self.probability(_middles(threshold, 1.0)).mean())

    def false_rate(self, threshold: float) -> float:
        """Share of pairs from 0 to the threshold that meet, if every similarity there is equally frequent.

        Nearly all pairs of a real data set lie close to 0, where the probability is b * s^r.
        """
        return float(self.probability(_middles(0.0, threshold)).mean())

    def describe(self, threshold: float) -> str:
        """One paragraph for people: what is found, what is missed and what is compared in vain."""
        at = ", ".join(f"{self.probability(s):.3f} at {s:g}" for s in _around(threshold))
        return (
            f"{self.bands} bands of {self.rows} rows, {self.permutations} permutations. Two texts are compared with a "
            f"probability of {at}. At the threshold of {threshold:g} itself {1 - self.probability(threshold):.2%} of "
            f"the pairs are missed; over all similarities above it, each as frequent, {self.miss_rate(threshold):.2%}; "
            f"of those below it {self.false_rate(threshold):.2%} are compared in vain."
        )


def choose_bands(threshold: float, permutations: int, max_miss: float = 0.01) -> Bands:
    """The bands with the most rows that miss at most `max_miss` (0 to 1) of the pairs of Jaccard `threshold`.

    Raises ValueError where no number of bands does.
    """
    require_range("threshold", threshold, 0.0, 1.0)
    require_range("max_miss", max_miss, 0.0, 1.0)
    require_range("permutations", permutations, 1, 65_536)
    for rows in range(permutations, 0, -1):
        bands = Bands(permutations // rows, rows)
        if 1 - bands.probability(threshold) <= max_miss:
            return bands
    raise ValueError(
        f"{permutations} permutations miss more than {max_miss:.2%} of the pairs of Jaccard {threshold:g} in any bands"
        "; take more permutations, a higher threshold or a higher max_miss"
    )


def datasketch_bands(threshold: float, permutations: int, weights: tuple[float, float] = (0.5, 0.5)) -> Bands:
    """What `datasketch.MinHashLSH(threshold, permutations, weights)` takes, asked of datasketch itself.

    It minimises the areas below the curve left of the threshold and above it right of it; `weights` are for false
    candidates and for misses, and make 1 together. Raises ValueError as it does.
    """
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=permutations, weights=weights)
    return Bands(index.b, index.r)


def band_digests(values: Signatures, bands: Bands) -> BandDigests:
    """A digest of each band of each signature, uint64 (texts, bands): its number and its rows, mixed.

    Two bands that differ have one digest with a chance of 2^-64 (a word of two rows is added to the state, which is
    then mixed by the invertible finaliser of SplitMix64, so no band is favoured). Of n texts and b bands some
    (n * b)^2 / 2^65 pairs meet that should not: for ten billion texts in 32 bands 2,800, and each costs one
    comparison, since candidates are verified. A text without shingles has digests too: leave it out
    (`curate.dedup.minhash.signed`). Raises ValueError where the signatures are shorter than the bands.
    """
    from curate.dedup.minhash import mix_bands

    if values.ndim != 2 or values.shape[1] < bands.permutations:
        raise ValueError(f"{bands.permutations} numbers make {bands}, and the signatures have shape {values.shape}")
    out = np.empty((len(values), bands.bands), np.uint64)
    mix_bands(np.ascontiguousarray(values), bands.rows, out)
    return out


def _middles(low: float, high: float) -> npt.NDArray[np.float64]:
    return low + (high - low) * (np.arange(STEPS) + 0.5) / STEPS


def _around(threshold: float) -> list[float]:
    steps = [round(threshold + step / 20, 4) for step in range(-6, 4)]
    return [step for step in steps if 0 < step < 1]
