"""A sorted table finds what a dictionary finds, digests that share their first half too."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.decontamination.tables import open_table, write_table

DIGESTS = st.lists(st.tuples(st.sampled_from([0, 1, 5, 2**64 - 1]), st.integers(0, 3)), max_size=30)


def as_digests(pairs):
    return np.array(pairs, np.uint64).reshape(-1, 2)


@given(DIGESTS, DIGESTS, DIGESTS)
@settings(deadline=None, max_examples=200)
def test_as_a_dictionary(tmp_path_factory, first, second, asked):
    folder = tmp_path_factory.mktemp("table")
    whose = np.arange(len(first) + len(second)) * 10
    parts = [as_digests(first), as_digests(second)]
    write_table(folder, "t", parts, [whose[: len(first)], whose[len(first) :]])
    known = {}
    for pair, item in zip([*first, *second], whose.tolist(), strict=True):
        known.setdefault(pair, item)
    table = open_table(folder, "t")
    assert len(table.items) == len(known)
    assert table.find(as_digests(asked)).tolist() == [known.get(pair, -1) for pair in asked]


def test_an_empty_one_finds_nothing(tmp_path):
    write_table(tmp_path, "t", [], [])
    assert open_table(tmp_path, "t").find(as_digests([(1, 2)])).tolist() == [-1]
    assert open_table(tmp_path, "t").find(as_digests([])).tolist() == []
