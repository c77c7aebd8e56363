"""The Hamming search: exactly what comparing every pair finds, however it is cut, shared out and threaded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup.hamming import Cap, Index, pairs_within, pairs_within_part, search
from curate.dedup.hamming_plan import Chunks, choose, limits_of, masks_of
from curate.dedup.hamming_tables import ROOM, distinct_of, make_table, permuted

TOP = 2**64 - 1


def random_hashes(n, words, seed=0):
    return np.random.default_rng(seed).integers(0, TOP, (n, words), dtype=np.uint64, endpoint=True)


def turned(hashes, bits, seed=1):
    """Each hash with that many of its bits turned; `bits` int (n,)."""
    rng = np.random.default_rng(seed)
    hashes = hashes.copy()
    for row, count in enumerate(bits):
        for bit in rng.choice(64 * hashes.shape[1], count, replace=False):
            hashes[row, bit // 64] ^= np.uint64(1 << int(bit % 64))
    return hashes


def clustered(n, words, furthest, seed=0):
    """Random hashes, and neighbours of some of them at up to `furthest` bits; some are equal."""
    base = random_hashes(n // 2, words, seed)
    rng = np.random.default_rng(seed)
    near = turned(base[rng.integers(0, n // 8, n - n // 2)], rng.integers(0, furthest + 1, n - n // 2), seed)
    return rng.permutation(np.concatenate([base, near]))


def distances(left, right):
    return np.bitwise_count(left[:, None] ^ right[None]).sum(axis=2)


def brute_pairs(hashes, radius, ids=None):
    """What `pairs_within` promises, by comparing every pair of different hashes."""
    ids = np.arange(len(hashes), dtype=np.uint64) if ids is None else ids
    different, of_row = np.unique(hashes, axis=0, return_inverse=True)
    first = [min(ids[of_row.ravel() == number].tolist()) for number in range(len(different))]
    found = {(first[n], i, 0) for i, n in zip(ids.tolist(), of_row.ravel(), strict=True) if i != first[n]}
    apart = distances(different, different)
    for i, j in zip(*np.nonzero(np.triu(apart <= radius, 1)), strict=True):
        found.add((*sorted((first[i], first[j])), int(apart[i, j])))
    return found


def rows(pairs):
    return [row for some in pairs for row in zip(*(column.tolist() for column in some), strict=True)]


def once(found):
    assert len(found) == len(set(found))
    return set(found)


CASES = [(1, radius) for radius in range(11)] + [(4, radius) for radius in (0, 1, 2, 7, 15, 16, 23, 31)]


@pytest.mark.parametrize(("words", "radius"), CASES)
def test_pairs_are_those_of_brute_force(words, radius):
    hashes = clustered(800, words, radius + 2)
    wanted = brute_pairs(hashes, radius)
    assert len({distance for *_, distance in wanted}) == radius + 1
    assert once(rows(pairs_within(hashes, radius))) == wanted


@pytest.mark.parametrize(("words", "radius"), CASES)
def test_matches_are_those_of_brute_force(words, radius):
    hashes = clustered(800, words, radius + 2)
    queries = np.concatenate([random_hashes(50, words, 5), turned(hashes[:100], [radius] * 50 + [radius + 1] * 50)])
    query, item, distance = search(Index(hashes, radius), queries, radius)
    apart = distances(queries, hashes)
    at = np.nonzero(apart <= radius)
    wanted = sorted(zip(at[0].tolist(), apart[at].tolist(), at[1].tolist(), strict=True))
    assert list(zip(query.tolist(), distance.tolist(), item.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("radius", [0, 1, 5, 8])
def test_an_index_serves_smaller_radii(radius):
    hashes = clustered(500, 1, 10)
    query, item, _ = search(Index(hashes, 8), hashes, radius)
    assert set(zip(query.tolist(), item.tolist(), strict=True)) == set(
        zip(*(at.tolist() for at in np.nonzero(distances(hashes, hashes) <= radius)), strict=True)
    )


@pytest.mark.parametrize(("count", "width"), [(1, 0), (1, 9), (2, 5), (3, 16), (4, 16), (5, 12), (9, 7)])
@pytest.mark.parametrize("words", [1, 2, 4])
def test_every_cut_finds_the_same(count, width, words, monkeypatch):
    hashes = clustered(600, words, 10, seed=3)
    order = np.random.default_rng(0).permutation(64 * words)
    monkeypatch.setattr("curate.dedup.hamming.choose", lambda *_, **__: Chunks(count, width, order))
    assert once(rows(pairs_within(hashes, 8))) == brute_pairs(hashes, 8)


@pytest.mark.parametrize(("parts", "threads"), [(1, 2), (2, 1), (5, 1), (5, 3), (64, 1)])
@pytest.mark.parametrize(("count", "width"), [(1, 0), (3, 6), (4, 16)])
def test_every_pair_comes_from_one_part(parts, threads, count, width, monkeypatch):
    hashes = clustered(600, 1, 10, seed=4)
    monkeypatch.setattr("curate.dedup.hamming.choose", lambda *_, **__: Chunks(count, width, np.arange(64)))
    found = [rows(pairs_within_part(hashes, 8, (part, parts), threads=threads)) for part in range(parts)]
    assert once([row for some in found for row in some]) == brute_pairs(hashes, 8)
    if width:
        assert sum(map(bool, found)) > parts // 3


def test_what_is_chosen_for_many_hashes_finds_the_same():
    hashes = random_hashes(200_000, 1)
    planted = turned(hashes[:300], [8] * 150 + [9] * 150)
    hashes = np.concatenate([hashes, planted])
    assert choose(hashes, 8, queries=False).count > 1
    found = {row[:2] for row in rows(pairs_within(hashes, 8)) if row[1] >= 200_000 and row[1] - row[0] == 200_000}
    assert found == {(row, row + 200_000) for row in range(150)}
    query, item, _ = search(Index(hashes, 8), planted, 8)
    assert (distances(planted[:20], hashes) <= 8).sum() == (query < 20).sum()
    assert set(zip(query.tolist(), item.tolist(), strict=True)) >= {(row, row) for row in range(150)}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 255) | st.sampled_from([TOP, TOP - 1, 1 << 63, (1 << 63) + 1]), max_size=40),
    st.integers(0, 10),
    st.integers(1, 4),
)
def test_any_hashes(values, radius, parts):
    hashes = np.array(values, np.uint64).reshape(-1, 1)
    found = [row for part in range(parts) for row in rows(pairs_within_part(hashes.ravel(), radius, (part, parts)))]
    assert once(found) == (brute_pairs(hashes, radius) if values else set())


def test_ids_stand_in_for_rows_and_the_smallest_for_equal_hashes():
    hashes = np.array([5, 7, 5, 5, TOP], np.uint64)
    ids = np.array([TOP, 3, 1 << 40, 9, 4], np.uint64)
    assert sorted(rows(pairs_within(hashes, 1, ids))) == [(3, 9, 1), (9, 1 << 40, 0), (9, TOP, 0)]


def test_pictures_that_are_all_the_same_cost_a_row_each():
    found = list(pairs_within(np.full(300_000, 77, np.uint64), 8))
    assert sum(len(some.left) for some in found) == 299_999
    assert max(len(some.left) for some in found) <= ROOM
    assert all((some.left == 0).all() and not some.distance.any() for some in found)


def test_more_results_than_fit_in_one_go():
    hashes = turned(np.repeat(random_hashes(1, 1), 500, axis=0), [4] * 500)
    wanted = brute_pairs(hashes, 8)
    assert len(wanted) > ROOM
    for threads in (1, 2):
        chunks = list(pairs_within(hashes, 8, threads=threads))
        assert once(rows(chunks)) == wanted
        assert max(len(some.left) for some in chunks) <= ROOM
    assert len(search(Index(hashes, 8), hashes, 8)[0]) == (distances(hashes, hashes) <= 8).sum()


@pytest.mark.parametrize("results", [1, 5, 50, 1000])
def test_a_cap_counts_what_it_leaves_out(results):
    hashes = turned(np.repeat(random_hashes(1, 1), 300, axis=0), [4] * 300)
    wanted, cap = {row for row in brute_pairs(hashes, 8) if row[2]}, Cap(results)
    found = once([row for row in rows(pairs_within(hashes, 8, threads=2, cap=cap)) if row[2]])
    assert found <= wanted
    assert len(found) + cap.left_out == len(wanted)
    assert len(found) <= results * len(hashes)
    had = np.bincount(np.array([row[:2] for row in found], np.int64).ravel())
    for left, right, _ in wanted - found:
        assert had[left] >= results
        assert had[right] >= results


def test_a_capped_search_keeps_the_nearest():
    hashes = turned(np.repeat(random_hashes(1, 1), 300, axis=0), [4] * 300)
    full, cap = search(Index(hashes, 8), hashes, 8), Cap(3)
    query, item, distance = search(Index(hashes, 8), hashes, 8, cap=cap)
    assert len(query) + cap.left_out == len(full[0])
    for number in range(300):
        kept, all_of_it = query == number, full[0] == number
        assert item[kept].tolist() == full[1][all_of_it][:3].tolist()
        assert distance[kept].tolist() == full[2][all_of_it][:3].tolist()


@pytest.mark.parametrize("words", [1, 4])
def test_nothing_to_find(words):
    nothing = np.empty((0, words), np.uint64)
    assert rows(pairs_within(nothing, 8)) == []
    assert [len(column) for column in search(Index(nothing, 8), random_hashes(3, words), 8)] == [0, 0, 0]
    assert [len(column) for column in search(Index(random_hashes(3, words), 8), nothing, 8)] == [0, 0, 0]
    assert rows(pairs_within(random_hashes(1, words), 8)) == []


@pytest.mark.parametrize(
    ("hashes", "radius", "says"),
    [
        (np.zeros(3, np.int64), 8, r"uint64 \(n,\) or \(n, words\), found int64 \(3,\)"),
        (np.zeros((3, 1, 1), np.uint64), 8, "found uint64"),
        (np.zeros((3, 0), np.uint64), 0, "found uint64"),
        (np.zeros(3, np.uint64), -1, "between 0 and 64, found -1"),
        (np.zeros(3, np.uint64), 65, "between 0 and 64, found 65"),
        (np.zeros((3, 4), np.uint64), 257, "between 0 and 256"),
    ],
)
def test_what_cannot_be_searched(hashes, radius, says):
    with pytest.raises(ValueError, match=says):
        list(pairs_within(hashes, radius))
    with pytest.raises(ValueError, match=says):
        Index(hashes, radius)


def test_what_does_not_fit_together():
    hashes = random_hashes(5, 1)
    for part in ((1, 1), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="parts count from 0"):
            list(pairs_within_part(hashes, 3, part))
    with pytest.raises(ValueError, match=r"ids must be uint64 \(5,\)"):
        list(pairs_within(hashes, 3, np.arange(4, dtype=np.uint64)))
    index = Index(hashes, 3)
    with pytest.raises(ValueError, match="queries have 64 bits and radius 4; the index was built for 64 bits and rad"):
        search(index, hashes, 4)
    with pytest.raises(ValueError, match="queries have 256 bits"):
        search(index, random_hashes(5, 4), 3)


@pytest.mark.parametrize("count", range(1, 20))
@pytest.mark.parametrize("radius", [0, 1, 8, 31])
def test_limits_leave_no_room_for_more_bits(count, radius):
    limits = limits_of(radius, count)
    assert len(limits) == count
    assert sum(limit + 1 for limit in limits) == radius + 1
    assert max(limits) - min(limits) <= 1


def test_masks_are_all_small_changes_of_a_value():
    assert masks_of(4, 2).tolist() == [0, 1, 2, 4, 8, 3, 5, 9, 6, 10, 12]
    assert masks_of(0, 5).tolist() == [0]
    assert len(masks_of(3, 9)) == 8


def test_chunks_are_made_of_bits_that_split():
    hashes = random_hashes(50_000, 1) & np.uint64(0xFFFF_FFFF_0000)
    chunks = choose(hashes, 3, queries=False)
    inside = chunks.sources[: chunks.count * chunks.width]
    assert 8 < chunks.count * chunks.width <= 32
    assert set(inside.tolist()) <= set(range(16, 48))
    assert sorted(chunks.sources.tolist()) == list(range(64))


@pytest.mark.parametrize("words", [1, 4])
def test_a_table_is_sorted_by_its_chunk(words):
    hashes = random_hashes(1000, words)
    chunks = choose(hashes, 8, queries=True)
    moved = permuted(hashes, chunks)
    assert np.array_equal(np.bitwise_count(moved).sum(axis=0), np.bitwise_count(hashes).sum(axis=1))
    for word, shift, mask, _ in chunks.places(8).tolist():
        table = make_table(moved, np.array([word, shift, mask, 0]), chunks.width)
        values = moved[word] >> np.uint64(shift) & np.uint64(mask)
        assert np.array_equal(table.number, np.argsort(values, kind="stable"))
        assert np.array_equal(table.rows, moved[:, table.number])
        counts = np.bincount(values.astype(np.int64), minlength=1 << chunks.width)
        assert np.array_equal(np.diff(table.starts)[:-1], counts)


def test_hashes_whose_words_mix_to_one_number_are_told_apart():
    """The sort is by one word made of all; here two different hashes make the same."""
    golden, first = 0x9E3779B97F4A7C15, 12345
    second = 6789
    clash = (golden * (first ^ first >> 29) - golden * (second ^ second >> 29)) % 2**64
    hashes = np.array([[first, 0], [second, clash], [first, 0], [second, clash]], np.uint64)
    assert len(distinct_of(hashes).hashes) == 2
    assert set(rows(pairs_within(hashes, 0))) == {(0, 2, 0), (1, 3, 0)}
