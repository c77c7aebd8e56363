"""Bands: what they find by theory, how they are chosen, and digests that are equal where bands are."""

import datasketch
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from curate.dedup.bands import Bands, band_digests, choose_bands, datasketch_bands


@pytest.mark.parametrize(
    ("bands", "rows", "at"),
    [
        (14, 8, {0.5: 0.053, 0.6: 0.211, 0.7: 0.565, 0.8: 0.924, 0.85: 0.988}),
        (20, 13, {0.5: 0.002, 0.6: 0.026, 0.7: 0.177, 0.8: 0.677, 0.85: 0.924, 0.9: 0.997}),
        (9, 13, {0.5: 0.001, 0.6: 0.012, 0.7: 0.084, 0.8: 0.399, 0.85: 0.686, 0.9: 0.929}),
        (1, 1, {0.0: 0.0, 0.25: 0.25, 1.0: 1.0}),
    ],
)
def test_probabilities_are_those_of_the_formula(bands, rows, at):
    assert np.allclose(Bands(bands, rows).probability(list(at)), list(at.values()), atol=5e-4)


def test_probabilities_keep_their_digits_at_both_ends():
    assert Bands(32, 8).probability(1e-3) == pytest.approx(32e-24, rel=1e-9)
    assert Bands(32, 8).probability([0.0, 1.0]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("threshold", [0.3, 0.8])
def test_rates_are_areas_below_and_above_the_curve(threshold):
    bands = Bands(14, 8)
    below = quad(bands.probability, 0, threshold)[0] / threshold
    above = quad(lambda s: 1 - bands.probability(s), threshold, 1)[0] / (1 - threshold)
    assert bands.false_rate(threshold) == pytest.approx(below, abs=1e-6)
    assert bands.miss_rate(threshold) == pytest.approx(above, abs=1e-6)


@pytest.mark.parametrize(
    ("threshold", "permutations", "max_miss", "bands"),
    [
        (0.8, 256, 0.01, Bands(32, 8)),
        (0.8, 256, 0.0029, Bands(32, 8)),
        (0.8, 256, 0.0028, Bands(36, 7)),
        (0.8, 256, 0.02, Bands(28, 9)),
        (0.8, 128, 0.01, Bands(21, 6)),
        (1.0, 64, 0.0, Bands(1, 64)),
    ],
)
def test_the_most_rows_that_miss_no_more_than_they_may(threshold, permutations, max_miss, bands):
    assert choose_bands(threshold, permutations, max_miss) == bands
    assert 1 - bands.probability(threshold) <= max_miss
    if bands.rows < permutations:
        more = Bands(permutations // (bands.rows + 1), bands.rows + 1)
        assert 1 - more.probability(threshold) > max_miss


@pytest.mark.parametrize(("threshold", "permutations", "weights"), [(0.9, 128, (0.5, 0.5)), (0.8, 64, (0.1, 0.9))])
def test_datasketchs_choice_is_datasketchs(threshold, permutations, weights):
    index = datasketch.MinHashLSH(threshold=threshold, num_perm=permutations, weights=weights)
    assert datasketch_bands(threshold, permutations, weights) == Bands(index.b, index.r)


def test_the_summary_has_the_numbers():
    said = Bands(32, 8).describe(0.8)
    assert "32 bands of 8 rows, 256 permutations" in said
    assert "0.997 at 0.8," in said
    assert "0.28% of the pairs are missed" in said
    assert f"{Bands(32, 8).false_rate(0.8):.2%} are compared in vain" in said


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Bands(0, 8), "bands = 0 is out of range"),
        (lambda: Bands(8, 0), "rows = 0 is out of range"),
        (lambda: choose_bands(1.1, 256), "threshold = 1.1 is out of range"),
        (lambda: choose_bands(0.8, 0), "permutations = 0 is out of range"),
        (lambda: choose_bands(0.8, 256, -0.1), "max_miss = -0.1 is out of range"),
        (lambda: choose_bands(0.01, 16), "take more permutations, a higher threshold"),
        (lambda: band_digests(np.zeros((3, 15), np.uint32), Bands(4, 4)), "16 numbers make"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_digests_are_equal_where_band_and_rows_are(bands, rows, data):
    numbers = st.lists(st.sampled_from([0, 1, 2**32 - 1]), min_size=bands * rows, max_size=bands * rows)
    values = np.array(data.draw(st.lists(numbers, min_size=1, max_size=10)), np.uint32)
    digests = band_digests(np.hstack([values, values[:, :1]]), Bands(bands, rows))
    assert digests.dtype == np.uint64
    assert digests.shape == (len(values), bands)
    of_band = {}
    for row, one in zip(values, digests.tolist(), strict=True):
        for band, digest in enumerate(one):
            of_band.setdefault((band, *row[band * rows : (band + 1) * rows].tolist()), set()).add(digest)
    assert all(len(found) == 1 for found in of_band.values())
    assert len(set.union(*of_band.values())) == len(of_band)


def test_a_bit_anywhere_turns_half_of_the_bits_of_its_band_only():
    values = np.random.default_rng(0).integers(0, 2**32, (1, 18), np.uint32)
    base = band_digests(values, Bands(2, 9))
    changed = np.repeat(values, 18 * 32, axis=0)
    changed[np.arange(18 * 32), np.arange(18 * 32) // 32] ^= np.uint32(1) << (np.arange(18 * 32) % 32).astype(np.uint32)
    flipped = np.bitwise_count(band_digests(changed, Bands(2, 9)) ^ base)
    own = np.arange(18 * 32) // 32 // 9
    touched = flipped[np.arange(18 * 32), own]
    assert touched.min() > 10
    assert abs(touched.mean() - 32) < 1
    assert not flipped[np.arange(18 * 32), 1 - own].any()
