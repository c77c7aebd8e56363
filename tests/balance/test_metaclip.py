"""MetaCLIP's balance against the rule written out, the same in any packing; how many rows stay is what was expected."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import Given, ScoredBy, by_row, digests, handles, pack, packings, pairs, run_barrier, run_steps
from sized import Size

from curate.balance.curve import balance_curve
from curate.balance.draws import UNIT, chances, drawn, keep_probabilities, probe_sums, solve_cap
from curate.balance.metaclip import BalanceConcepts
from curate.dedup.identity import keyed
from curate.errors import ShardError
from curate.select import Select
from filters.metaclip_balance import MetaclipBalance

NAMES = ["keep_probability", "multiplicity"]
LISTS = pa.list_(pa.uint32())


@pytest.fixture
def entries(tmp_path):
    path = tmp_path / "entries.txt"
    path.write_text("".join(f"e{n}\n" for n in range(50)))
    return str(path)


def some_concepts(count: int, seed: int = 0) -> list[list[int] | None]:
    """Up to four concepts a row, of 50 with very different frequencies; a row in 20 has none, one in 20 no caption."""
    random = np.random.default_rng(seed)
    rows: list[list[int] | None] = [
        sorted({int(e) for e in 50 * random.random(random.integers(1, 5)) ** 3}) for _ in range(count)
    ]
    for place in range(0, count, 20):
        rows[place] = []
        if place + 1 < count:
            rows[place + 1] = None
    return rows


def rows_with(concepts, **columns) -> pa.Table:
    return pairs(len(concepts), concepts=pa.array(concepts, LISTS), **columns)


def mixed(value: int) -> int:
    """SplitMix64's last steps."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def uniform(key: int, concept: int) -> float:
    """What is drawn for a row and one of its concepts."""
    step = 0x9E3779B97F4A7C15
    turned = mixed((mixed(key ^ mixed((concept + 1) * step % 2**64)) + step) % 2**64)
    return (turned >> 11) / 2**53


def reference(concepts, keys, cap, kept=None) -> list[tuple[float | None, int | None]]:
    """The rule, a row at a time."""
    kept = [True] * len(concepts) if kept is None else kept
    count: dict[int, int] = {}
    for own, keep in zip(concepts, kept, strict=True):
        for e in own or () if keep else ():
            count[e] = count.get(e, 0) + 1
    answer: list[tuple[float | None, int | None]] = []
    for own, key, keep in zip(concepts, keys, kept, strict=True):
        chance = {e: cap / max(count.get(e, 0), cap) for e in own or ()} if keep else {}
        probability = 1 - math.prod(1 - p for p in chance.values())
        taken = any(uniform(key, e) < p for e, p in chance.items())
        answer.append((probability, int(taken)) if keep else (None, None))
    return answer


def keys_of(rows: pa.Table, folder, seed: int) -> list[int]:
    known = digests(rows, folder)
    return [int(keyed(np.array([known[uid]], np.uint64), seed)[0]) for uid in rows["uid"].to_pylist()]


@given(
    st.lists(st.none() | st.lists(st.integers(0, 6), max_size=4, unique=True).map(sorted), max_size=14),
    st.sampled_from([1.0, 1.5, 3.0, 100.0]),
    st.integers(0, 3),
    st.data(),
)
@settings(deadline=None, max_examples=25)
def test_as_the_rule_written_out_in_any_packing(tmp_path_factory, concepts, cap, seed, data):
    folder = tmp_path_factory.mktemp("balance")
    (folder / "entries.txt").write_text("".join(f"e{n}\n" for n in range(7)))
    rows = rows_with(concepts)
    expected = reference(concepts, keys_of(rows, folder / "whole", seed), cap)
    shards = pack(folder / "out", rows, *data.draw(st.sampled_from(packings(len(rows)))))
    barrier = BalanceConcepts(str(folder / "entries.txt"), cap, seed=seed)
    commit = run_barrier(barrier, shards, folder / "out")
    found = by_row(shards, NAMES)
    for uid, (probability, multiplicity) in zip(rows["uid"].to_pylist(), expected, strict=True):
        assert found[uid][0] == pytest.approx(probability, abs=1e-12)
        assert found[uid][1] == multiplicity
    with_concept = sum(bool(own) for own in concepts)
    kept = sum(taken or 0 for _, taken in expected)
    counts = {"in": len(concepts), "with_concept": with_concept, "kept": kept} if shards else {}
    assert {name: n for name, n in commit.counts.items() if n} == {name: n for name, n in counts.items() if n}


@pytest.mark.parametrize("how", [{"cap": 20.0}, {"count": 150}, {"fraction": 0.3}])
def test_every_packing_decides_the_same(tmp_path, entries, how):
    rows = rows_with(some_concepts(600))
    found = []
    for number, (sizes, order) in enumerate(packings(600)[::2]):
        shards = pack(tmp_path / str(number), rows, sizes, order)
        run_barrier(BalanceConcepts(entries, **how), shards, tmp_path / str(number))
        curve = (tmp_path / str(number) / "metaclip_balance" / "curve.json").read_bytes()
        found.append((by_row(shards, NAMES), curve))
    assert found[0] == found[1]


def test_the_realised_count_is_within_four_sigma_and_another_seed_takes_others(tmp_path, entries):
    rows = rows_with(some_concepts(20_000))
    shards = pack(tmp_path, rows, [20_000])
    taken = []
    for seed in range(3):
        run_barrier(BalanceConcepts(entries, 100.0, seed=seed), shards, tmp_path)
        probability, multiplicity = map(np.array, zip(*by_row(shards, NAMES).values(), strict=True))
        sigma = math.sqrt((probability * (1 - probability)).sum())
        assert abs(multiplicity.sum() - probability.sum()) < 4 * sigma
        assert 3_000 < multiplicity.sum() < 6_000
        taken.append(multiplicity)
    # rows that are drawn twice independently: the products of the chances
    both, expected = (taken[0] & taken[1]).sum(), (probability**2).sum()
    assert abs(both - expected) < 4 * math.sqrt((probability**2 * (1 - probability**2)).sum())


def test_each_concept_is_drawn_alone():
    offsets, numbers = np.array([0, 2, 4]), np.array([0, 1, 0, 1], np.uint32)
    chance = np.array([0.3, 0.4])
    random = np.random.default_rng(0)
    keys = random.integers(0, 2**64, 200_000, np.uint64)
    rows = np.arange(0, 2 * len(keys) + 1, 2)
    pairs_of = np.tile(numbers[:2], len(keys))
    share = drawn(rows, pairs_of, chance, keys).mean()
    assert share == pytest.approx(1 - 0.7 * 0.6, abs=4 * math.sqrt(0.58 * 0.42 / len(keys)))
    assert keep_probabilities(offsets, numbers, chance).tolist() == pytest.approx([0.58, 0.58])


def test_a_larger_cap_only_adds_rows(tmp_path, entries):
    shards = pack(tmp_path, rows_with(some_concepts(600)), [600])
    before: set[str] = set()
    for cap in (1.0, 5.0, 25.0, 1e4):
        run_barrier(BalanceConcepts(entries, cap), shards, tmp_path)
        kept = {uid for uid, (_, taken) in by_row(shards, NAMES).items() if taken}
        assert before < kept
        before = kept
    assert len(kept) == sum(bool(own) for own in some_concepts(600))


@pytest.mark.parametrize(
    ("how", "rows"),
    [({"count": 1}, 1), ({"count": 100}, 100), ({"count": 450}, 450), ({"fraction": 0.5}, 300), ({"count": 0}, 0)],
)
def test_the_cap_for_a_size(tmp_path, entries, how, rows):
    shards = pack(tmp_path, rows_with(some_concepts(600)), [600])
    run_barrier(BalanceConcepts(entries, **how), shards, tmp_path)
    total = sum(probability for probability, _ in by_row(shards, NAMES).values())
    assert abs(total - rows) <= 0.6
    curve = json.loads((tmp_path / "metaclip_balance" / "curve.json").read_text())
    assert curve["expected_rows"] == pytest.approx(total, abs=1e-3)


def test_more_rows_than_there_are_keeps_all_that_have_a_concept(tmp_path, entries):
    concepts = some_concepts(600)
    shards = pack(tmp_path, rows_with(concepts), [600])
    commit = run_barrier(BalanceConcepts(entries, count=10_000), shards, tmp_path)
    assert commit.counts["kept"] == commit.counts["with_concept"] == sum(bool(own) for own in concepts) == 540


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=30), st.floats(0, 1.2))
@settings(deadline=None)
def test_the_solver_finds_any_size(counts, share):
    """Rows of one concept each: what is expected is a sum of min(cap, count)."""
    totals = np.array(counts, float)
    target = share * totals.sum()
    cap, rows = solve_cap(target, totals.max(), lambda caps: np.minimum(caps[:, None], totals).sum(axis=1))
    assert rows == pytest.approx(np.minimum(cap, totals).sum())
    assert abs(rows - min(target, totals.sum())) <= max(0.5, 1e-9 * target)


def test_sums_at_many_caps_are_those_at_each():
    concepts = [own or [] for own in some_concepts(500)]
    numbers = np.array([e for own in concepts for e in own], np.uint32)
    offsets = np.cumsum([0, *map(len, concepts)])
    counts = np.bincount(numbers, minlength=50)
    caps = np.geomspace(0.001, 1000, 9)
    sums = probe_sums(offsets, numbers, counts, caps) / UNIT
    one = [keep_probabilities(offsets, numbers, chances(counts, cap)).sum() for cap in caps]
    assert sums.tolist() == pytest.approx(one, abs=500 / UNIT)


def test_only_rows_that_earlier_filters_keep_are_counted(tmp_path, entries):
    concepts = some_concepts(300)
    sizes = [float(n % 5) for n in range(300)]
    rows = rows_with(concepts, size=sizes)
    rules = (("size", Size(3)),)
    expected = reference(concepts, keys_of(rows, tmp_path / "whole", 0), 7.0, [size >= 3 for size in sizes])
    for number, (cut, order) in enumerate(packings(300)[::2]):
        shards = pack(tmp_path / str(number), rows, cut, order)
        run_barrier(BalanceConcepts(entries, 7.0, rules=rules), shards, tmp_path / str(number))
        found = by_row(shards, NAMES)
        assert [found[uid][1] for uid in rows["uid"].to_pylist()] == [taken for _, taken in expected]
        assert [found[uid][0] is None for uid in rows["uid"].to_pylist()] == [size < 3 for size in sizes]


def test_a_run_and_what_a_change_costs(tmp_path, entries):
    rows = rows_with(some_concepts(40), size=[float((n + 3) % 5) for n in range(40)])
    pack(tmp_path / "in", rows, [15, 25])

    def steps(**settings):
        rule = MetaclipBalance(entries, **settings)
        rules = (("size", Size(3)), ("metaclip_balance", rule))
        scores = ScoredBy(str(tmp_path / "in"), ("concepts", "size"))
        return (Given(str(tmp_path / "in")), scores, *rule.steps(rules[:1]), Select(rules))

    out = tmp_path / "out"
    first = run_steps(out, 2, steps(cap=2))
    assert [c.stage for c in first.commits] == ["given", "scores"] * 2 + ["metaclip_balance"] + ["select"] * 2
    assert run_steps(out, 2, steps(cap=2)).made == 0
    changed = run_steps(out, 2, steps(cap=3))
    assert [c.stage for c in changed.commits] == ["metaclip_balance"] + ["select"] * 2
    decided = by_row(handles(out, 2), ["drop_reasons", "multiplicity"])
    assert all((m is None) == ("too_small" in reasons) for reasons, m in decided.values())
    assert any("no_concept" in reasons for reasons, _ in decided.values())


def test_an_empty_data_set(tmp_path, entries):
    for sizes in ([], [0], [0, 0]):
        for how in ({"cap": 5.0}, {"count": 5}):
            folder = tmp_path / f"{len(sizes)}{next(iter(how))}"
            shards = pack(folder, rows_with([]), sizes)
            run_barrier(BalanceConcepts(entries, **how), shards, folder)
            assert by_row(shards, NAMES) == {}
            assert json.loads((folder / "metaclip_balance" / "curve.json").read_text())["top"] == []


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ([[50]], LISTS, "has number 50, and metadata = .* has 50 entries; it was matched with another list"),
        ([[1]], pa.list_(pa.int64()), "is a column of list<.*int64>, not lists of uint32 without nulls"),
        ([[None]], LISTS, "is a column of .*, not lists of uint32 without nulls"),
        (["a"], pa.string(), "is a column of string, not"),
    ],
)
def test_columns_of_another_list_are_refused(tmp_path, entries, values, kind, words):
    shards = pack(tmp_path, pairs(1, concepts=pa.array(values, kind)), [1])
    with pytest.raises(ShardError, match=f"shard 00000: concepts {words}"):
        run_barrier(BalanceConcepts(entries, 5.0), shards, tmp_path)


def test_shards_matched_with_different_lists_are_refused(tmp_path, entries):
    about = {"concepts": [{"model_fingerprint": "aa"}, {"model_fingerprint": "bb"}]}
    shards = pack(tmp_path, rows_with([[1], [2]]), [1, 1], about=about)
    with pytest.raises(ShardError, match="concepts was made by model aa in shard 00000 and by bb in shard 00001"):
        run_barrier(BalanceConcepts(entries, 5.0), shards, tmp_path)


def test_what_changes_draws_is_in_the_identity(tmp_path, entries):
    other = tmp_path / "other.txt"
    other.write_text("e1\n")
    (tmp_path / "copy.txt").write_text((tmp_path / "entries.txt").read_text())
    assert BalanceConcepts(entries, 5.0).identity() == BalanceConcepts(str(tmp_path / "copy.txt"), 5.0).identity()
    different = [BalanceConcepts(entries, 5.0), BalanceConcepts(str(other), 5.0), BalanceConcepts(entries, 6.0)]
    different += [BalanceConcepts(entries, count=5), BalanceConcepts(entries, fraction=0.5)]
    different += [BalanceConcepts(entries, 5.0, rules=()), BalanceConcepts(entries, 5.0, seed=1)]
    different += [BalanceConcepts(entries, 5.0, rules=(("size", Size(n)),)) for n in (3, 4)]
    assert len({json.dumps(barrier.identity()) for barrier in different}) == len(different)


def test_the_curve():
    names = [f"e{n}" for n in range(6)]
    before, after = np.array([0, 1, 9, 8, 3, 8]), np.array([0, 1, 2, 4, 3, 5])
    curve = json.loads(balance_curve(names, before, after, {"cap": 4.0}))
    assert curve["cap"] == 4.0
    assert curve["top"] == [["e2", 9, 2], ["e3", 8, 4], ["e5", 8, 5], ["e4", 3, 3], ["e1", 1, 1]]
    assert curve["histogram"] == [[0, 0, 1, 0, 0], [1, 1, 1, 1, 1], [2, 3, 1, 3, 3], [8, 15, 3, 25, 11]]
    many = np.arange(5_000)
    assert len(json.loads(balance_curve([str(n) for n in many], many, many, {}))["top"]) == 1_000
