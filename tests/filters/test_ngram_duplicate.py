"""The share of a text that was seen before."""

import numpy as np
import pyarrow as pa
import pytest

from filters.ngram_duplicate import NgramDuplicate

SEEN, BOUND = "ngrams_seen_before", np.float32(0.8)


@pytest.mark.parametrize(
    ("ratio", "reason"),
    [(0.0, None), (BOUND, None), (np.nextafter(BOUND, np.float32(1)), SEEN), (1.0, SEEN), (None, None)],
)
def test_the_bound_is_included(ratio, reason):
    table = pa.table({"seen_ngrams_ratio": pa.array([ratio], pa.float32())})
    assert NgramDuplicate().judge(table).to_pylist() == [reason]


@pytest.mark.parametrize("bound", [-0.1, 1.1])
def test_a_share_is_from_0_to_1(bound):
    with pytest.raises(ValueError, match="out of range"):
        NgramDuplicate(bound)
