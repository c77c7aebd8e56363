"""Components: the labels of scipy whatever the shape, the order, the partitions and the memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from curate.dedup.components import Plan, Ties, components, contract, rise, sink, split, write_edges
from curate.dedup.components_kernels import mix, unmix
from curate.errors import StorageError

SMALL = 1 << 16
"""Some 16 buckets for 3,000 edges."""
TOP = 2**64 - 1


def edges_of(pairs):
    return np.array(pairs, np.uint64).reshape(-1, 2)


def reference(edges):
    """Nodes and the smallest id of their component, by scipy."""
    nodes, places = np.unique(edges, return_inverse=True)
    left, right = places.reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(edges), np.int8), (left, right)), shape=(len(nodes),) * 2)
    count, found = connected_components(graph, directed=False)
    low = np.full(count, TOP, np.uint64)
    np.minimum.at(low, found, nodes)
    return nodes, low[found]


def labels(edges, folder, memory_bytes=SMALL):
    parts = edges if isinstance(edges, list) else [edges]
    found = [np.stack(chunk) for chunk in components(parts, folder, memory_bytes)]
    return np.concatenate([np.empty((2, 0), np.uint64), *found], axis=1)


def same(found, edges):
    return np.array_equal(found, np.stack(reference(edges)))


def path(length, rng):
    nodes = rng.permutation(np.arange(length, dtype=np.uint64))
    return np.stack([nodes[:-1], nodes[1:]], axis=1)


def star(length, hub):
    return np.stack([np.full(length, hub, np.uint64), np.arange(length, dtype=np.uint64)], axis=1)


RNG = np.random.default_rng(0)
SHAPES = {
    "nothing": edges_of([]),
    "one edge": edges_of([(7, 3)]),
    "a node alone": edges_of([(5, 5)]),
    "an edge thrice": edges_of([(1, 2), (2, 1), (1, 2)]),
    "smallest and largest id": edges_of([(0, TOP), (TOP, TOP - 1), (1 << 63, 1 << 32)]),
    "a path in a random order": path(3000, RNG),
    "a path in order": np.stack([np.arange(3000), np.arange(1, 3001)], axis=1).astype(np.uint64),
    "a star": star(3000, 1500),
    "two stars with one tip": np.concatenate([star(2000, 5000), star(2000, 6000) + np.uint64(1999)]),
    "pairs": np.arange(4000, dtype=np.uint64).reshape(-1, 2),
    "a giant": RNG.integers(0, 3000, (3000, 2)).astype(np.uint64),
    "near the threshold": RNG.integers(0, 6000, (3000, 2)).astype(np.uint64),
    "shards and rows": (RNG.integers(0, 50, (3000, 2)) << 32 | RNG.integers(0, 60, (3000, 2))).astype(np.uint64),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_labels_are_those_of_scipy(shape, tmp_path):
    assert same(labels(SHAPES[shape], tmp_path), SHAPES[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_partition_becomes_stars(shape):
    edges = SHAPES[shape]
    nodes, low = reference(edges)
    assert np.array_equal(contract(edges), np.stack([nodes, low], axis=1)[nodes != low])


@pytest.mark.parametrize("memory_bytes", [1 << 15, 1 << 17, 1 << 20])
def test_neither_order_nor_partitions_nor_memory_change_a_label(memory_bytes, tmp_path):
    edges = SHAPES["near the threshold"]
    for number, parts in enumerate((1, 2, 7)):
        turned = np.random.default_rng(number).permutation(edges)[:, :: 1 if number else -1]
        cut = np.array_split(turned, parts)
        stars = [contract(np.ascontiguousarray(part)) for part in cut]
        assert same(labels(cut, tmp_path / f"{number}", memory_bytes), edges)
        kept = labels(stars, tmp_path / f"{number} stars", memory_bytes)
        nodes, low = reference(edges)
        assert set(zip(*kept.tolist(), strict=True)) >= set(zip(nodes[nodes != low], low[nodes != low], strict=True))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 40) | st.sampled_from([TOP, TOP - 1, 1 << 32, 1 << 63])] * 2), max_size=60),
    st.sampled_from([2000, 1 << 12, 1 << 20]),
)
def test_any_edges(tmp_path_factory, pairs, memory_bytes):
    edges = edges_of(pairs)
    found = labels(edges, tmp_path_factory.mktemp("edges"), memory_bytes)
    assert same(found, edges)
    assert len(contract(edges)) == (found[0] != found[1]).sum()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 30) | st.sampled_from([TOP, 1 << 63])] * 2), max_size=60), st.data())
def test_ties_that_come_some_at_a_time_are_those_of_all_together(pairs, data):
    edges, ties = edges_of(pairs), Ties()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.dedup.components.WAITING", data.draw(st.integers(0, 20)))
        for some in np.array_split(edges, data.draw(st.integers(1, 9))):
            ties.add(some)
    assert np.array_equal(ties.stars(), contract(edges))


def test_ties_hold_nodes_and_not_edges(monkeypatch):
    monkeypatch.setattr("curate.dedup.components.WAITING", 100)
    ties, random = Ties(), np.random.default_rng(0)
    for _ in range(50):
        ties.add(random.integers(0, 200, (60, 2)).astype(np.uint64))
        assert len(ties._known) + sum(map(len, ties._waiting)) <= 200 + max(160, 200)
    assert len(ties.stars()) == 199


def test_nodes_come_in_order_and_in_many_chunks(tmp_path):
    edges = SHAPES["near the threshold"]
    chunks = list(components([edges], tmp_path, SMALL))
    nodes = np.concatenate([nodes for nodes, _ in chunks])
    assert len(chunks) == 15
    assert max(len(nodes) for nodes, _ in chunks) < 2 * len(nodes) / len(chunks)
    assert (nodes[1:] > nodes[:-1]).all()


def test_files_give_what_arrays_give(tmp_path):
    edges = SHAPES["a giant"]
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for file, part in zip(files, np.array_split(edges, 2), strict=True):
        write_edges(file, part)
    assert same(labels(files, tmp_path / "work"), edges)


def test_a_run_that_was_killed_goes_on_from_any_step(tmp_path):
    edges = SHAPES["near the threshold"]
    plan = Plan(tmp_path, 1, len(edges), 1 << 16)
    steps = [lambda: split(plan, 0, [edges])]
    steps += [lambda bucket=bucket: sink(plan, bucket) for bucket in reversed(range(plan.buckets))]
    steps += [lambda bucket=bucket: rise(plan, bucket) for bucket in range(plan.buckets)]
    assert plan.buckets > 10
    for step in steps[:: plan.buckets // 3]:
        done = steps[: steps.index(step) + 1]
        for some in done:
            some()
        before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
        for some in done:
            some()
        assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
    (tmp_path / "labels-3.part").write_bytes(b"what a killed step left")
    (tmp_path / "labels-3.npy").unlink(missing_ok=True)
    assert same(labels(edges, tmp_path, 1 << 16), edges)
    assert same(labels(edges, tmp_path, 1 << 16), edges)


def test_a_folder_belongs_to_its_edges(tmp_path):
    labels(SHAPES["a star"], tmp_path)
    with pytest.raises(StorageError, match="other edges or another memory; remove it"):
        labels(SHAPES["pairs"], tmp_path)


@pytest.mark.parametrize("cut", [1, 15, 16, 100])
def test_an_input_that_was_cut_short(cut, tmp_path):
    write_edges(tmp_path / "edges.npy", SHAPES["pairs"])
    whole = (tmp_path / "edges.npy").read_bytes()
    (tmp_path / "edges.npy").write_bytes(whole[:-cut])
    with pytest.raises(StorageError, match=r"edges\.npy should have 2,000 edges"):
        labels([tmp_path / "edges.npy"], tmp_path / "work")
    (tmp_path / "edges.npy").write_bytes(whole[:20])
    with pytest.raises(StorageError, match=r"cannot read edges from .*edges\.npy"):
        labels([tmp_path / "edges.npy"], tmp_path / "work")


@pytest.mark.parametrize("rows", [np.zeros((3, 2), np.int64), np.zeros((3, 3), np.uint64), np.zeros(4, np.uint64)])
def test_what_is_no_edges(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(StorageError, match="not edges"):
        labels([tmp_path / "rows.npy"], tmp_path / "work")
    with pytest.raises(ValueError, match=r"must be uint64 \(m, 2\)"):
        contract(rows)


@pytest.mark.parametrize("name", ["in-0.runs", "down-3.runs", "in-0.npy"])
def test_a_file_between_steps_that_was_cut_short(name, tmp_path):
    edges = SHAPES["near the threshold"]
    plan = Plan(tmp_path, 1, len(edges), 1 << 16)
    split(plan, 0, [edges])
    for bucket in reversed(range(3, plan.buckets)):
        sink(plan, bucket)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(StorageError, match="remove its folder and run again"):
        sink(plan, 2)
    file.unlink()
    with pytest.raises((StorageError, FileNotFoundError)):
        sink(plan, 2)


def test_too_little_memory_says_how_much(tmp_path):
    with pytest.raises(ValueError, match=r"too little for 1,000,000 edges; at least 78,126") as error:
        Plan(tmp_path, 1, 1_000_000, 50_000)
    assert Plan(tmp_path, 1, 1_000_000, 78_126).buckets == 4096
    assert "memory_bytes = 50,000" in str(error.value)


@given(st.lists(st.integers(0, TOP), max_size=20))
def test_mixing_is_undone(ids):
    ids = np.array(ids, np.uint64)
    assert np.array_equal(unmix(mix(ids)), ids)


@pytest.mark.parametrize("memory_bytes", [1 << 13, 45_000, 110_000])
def test_buckets_begin_where_the_plan_says(memory_bytes, tmp_path):
    plan = Plan(tmp_path, 1, 1000, memory_bytes)
    assert plan.buckets == -(-320_000 // memory_bytes)
    for bucket in range(1, plan.buckets):
        edge = plan.first(bucket)
        assert plan.bucket_of(np.array([edge - 1, edge], np.uint64)).tolist() == [bucket - 1, bucket]
