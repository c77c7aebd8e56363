"""Near captions, from texts to columns: what brute force finds, at any packing; short, empty, many and equal texts."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scored_shards import Given, ScoredBy, by_row, handles, packings, pairs, run_steps
from scored_shards import pack as pack_rows

from curate.dedup.near_text import _some_buckets
from curate.manifest import CommitLog
from curate.registry import filter_class
from curate.score import Score
from curate.shard import list_shards
from curate.storage import Storage

WORDS = """a red blue green small large old dog cat house tree car on in beside the street river garden
table""".split()  # noqa: SIM905
COLUMNS = ("near_caption_duplicate_of", "near_caption_cluster_size")


def near(**settings: object):
    return filter_class("near_caption_duplicate")(**settings)


def run(folder: Path, captions: Sequence[str | None], rule, sizes: Sequence[int], order: Sequence[int]) -> dict:
    """The columns by uid, with the uid of the row kept."""
    rows = pairs(len(captions)).set_column(1, "caption", pa.array(captions, pa.string()))
    return run_rows(folder, rows, rule, sizes, order, [])


def run_rows(
    folder: Path, rows: pa.Table, rule, sizes: Sequence[int], order: Sequence[int], earlier: list[Path]
) -> dict:
    pack_rows(folder / "in", rows, sizes, order)
    others = tuple(name for name in rows.column_names if name == "crawl")
    given = (Given(str(folder / "in")), *((ScoredBy(str(folder / "in"), others),) if others else ()))
    outcome = run_steps(folder / "set", len(sizes), (*given, Score(rule.scorers({})[0]), *rule.steps(())))
    assert outcome.failed == {}
    uid_of = {}
    for place in (*earlier, folder / "set"):
        keys = by_row(list_shards(Storage(str(place))), ["key"])
        uid_of |= {(str(place), key): uid for uid, (key,) in keys.items()}
    names = [*COLUMNS, *(["near_caption_duplicate_in"] if earlier else [])]
    found = by_row(handles(folder / "set", len(sizes)), names)
    here = str(folder / "set")
    return {uid: (uid_of.get(((within or [here])[0] or here, of)), size) for uid, (of, size, *within) in found.items()}


def shingles(text: str, n: int = 5) -> set[str]:
    plain = " ".join(text.lower().split())
    return {plain[i : i + n] for i in range(max(len(plain) - n + 1, 1))} if plain else set()


def jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def brute(captions: Sequence[str | None], threshold: float) -> list[int]:
    """The size of each caption's cluster; 0 for one that takes no part."""
    sets = [shingles(caption or "") for caption in captions]
    edges = [
        (i, j)
        for i, j in combinations(range(len(sets)), 2)
        if sets[i] and sets[j] and jaccard(sets[i], sets[j]) >= threshold
    ]
    left, right = np.array(edges, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(left)), (left, right)), (len(sets), len(sets)))
    labels = connected_components(graph, directed=False)[1]
    sizes = np.bincount(labels)[labels]
    return [int(size) if own else 0 for size, own in zip(sizes, sets, strict=True)]


def varied(count: int, seed: int) -> list[str | None]:
    """Captions in families: one, and some of its words changed, added or taken away."""
    random = np.random.default_rng(seed)
    captions: list[str | None] = []
    while len(captions) < count:
        words = list(random.choice(WORDS, random.integers(6, 14)))
        captions.append(" ".join(words))
        for _ in range(random.integers(0, 3)):
            changed = list(words)
            changed[random.integers(len(changed))] = str(random.choice(WORDS))
            captions.append(" ".join(changed) + ("" if random.random() < 0.5 else " now"))
    return captions[:count]


def uid_sizes(answers: dict, captions: Sequence[str | None]) -> list[int]:
    uids = pairs(len(captions))["uid"].to_pylist()
    return [answers[uid][1] or 0 for uid in uids]


@pytest.mark.parametrize("shards_per_part", [1, 2, 50])
def test_clusters_are_those_of_brute_force_at_any_packing(tmp_path: Path, shards_per_part: int) -> None:
    captions = varied(24, seed=1)
    captions[3], captions[9], captions[16], captions[17] = None, "", "cat", "Cat"
    rule = near(min_similarity=0.6, max_miss=1e-5, permutations=1024, shards_per_part=shards_per_part)
    expected = brute(captions, 0.6)
    assert len({*expected}) > 3
    found = []
    for number, (sizes, order) in enumerate(packings(len(captions))[::2]):
        answers = run(tmp_path / str(number), captions, rule, sizes, order)
        assert uid_sizes(answers, captions) == expected
        found.append(answers)
    assert found[0] == found[1]


@pytest.mark.parametrize("shards_per_part", [1, 3])
def test_a_new_crawl_against_earlier_ones_is_a_run_over_all(tmp_path: Path, shards_per_part: int) -> None:
    """Three crawls, each against those before it; an earlier row may tie rows that are not near one another."""
    captions = varied(48, seed=1)
    settings = {"min_similarity": 0.6, "max_miss": 1e-5, "permutations": 1024, "shards_per_part": shards_per_part}
    rows = pairs(48).set_column(1, "caption", pa.array(captions, pa.string()))
    rows = rows.append_column("crawl", pa.array([n % 3 for n in range(48)], pa.float64()))
    whole = near(**settings, prefer=("lowest crawl",))
    expected = run_rows(tmp_path / "whole", rows, whole, [48], range(48), [])
    folders: list[Path] = []
    for crawl in range(3):
        own = rows.filter(pa.compute.equal(rows["crawl"], crawl)).drop_columns(["crawl"])
        settings["shards_per_part"] = shards_per_part if crawl == 2 else 2
        rule = near(**settings, against=tuple(map(str, folders)))
        answers = run_rows(tmp_path / str(crawl), own, rule, [5, 6, 5], range(16), folders)
        folders.append(tmp_path / str(crawl) / "set")
    assert len(answers) == 16
    assert any(of is not None for of, _ in answers.values())
    assert answers == {uid: expected[uid] for uid in answers}


def test_an_earlier_row_ties_rows_that_are_not_near_one_another(tmp_path: Path) -> None:
    """a ~ b and b ~ c, but not a ~ c; a and b lie in the first set, where b was dropped, and c in the second."""
    a, b, c = "abcdefghijklmnopqrst", "abcdefghijklmnopqrsu", "bbcdefghijklmnopqrsu"
    assert (
        jaccard(shingles(a), shingles(c))
        < 0.8
        <= min(jaccard(shingles(a), shingles(b)), jaccard(shingles(b), shingles(c)))
    )
    rows = pairs(3).set_column(1, "caption", pa.array([a, b, c])).append_column("crawl", pa.array([0.0, 1.0, 2.0]))
    settings = {"max_miss": 1e-6, "permutations": 2048, "prefer": ("lowest crawl",)}
    first = run_rows(tmp_path / "one", rows.slice(0, 2), near(**settings), [1, 1], range(2), [])
    uids = rows["uid"].to_pylist()
    assert first == {uids[0]: (None, 2), uids[1]: (uids[0], 2)}
    folder = tmp_path / "one/set"
    rule = near(**settings, against=(str(folder),))
    assert run_rows(tmp_path / "two", rows.slice(2), rule, [1], range(1), [folder]) == {uids[2]: (uids[0], 3)}


@pytest.mark.parametrize(
    ("one", "other", "near_enough"),
    [
        ("abcdefghijklmn", "abcdefghijklmn", True),
        ("abcdefghijklmnop", "abcdefghijklmnoq", True),  # 11 of 13: .846
        ("abcdefghijklm", "abcdefghijkln", True),  # 8 of 10: exactly .8
        ("abcdefghijkl", "abcdefghijkm", False),  # 7 of 9: .78
        ("The Cat", "the  cat", True),
        ("cat", "cats", False),
        ("cat", "CAT", True),
        ("", "", False),
        ("!!!", "...", False),
    ],
)
def test_the_bound_is_included_and_short_texts_are_compared_whole(
    tmp_path: Path, one: str, other: str, near_enough: bool
) -> None:
    answers = run(tmp_path, [one, other], near(max_miss=1e-6, permutations=2048), [2], [0, 1])
    assert (sum(of is not None for of, _ in answers.values()) == 1) == near_enough


def test_two_true_pairs_that_share_a_bucket_stay_two(tmp_path: Path) -> None:
    """One band of one row: everything with a common smallest shingle is a candidate; only checked edges count."""
    captions = [
        "red dog in the garden now",
        "red dog in the garden nows",
        "blue cat on the garden wall",
        "blue cat on the garden walls",
    ]
    answers = run(tmp_path, captions, near(bands=64, rows=1), [4], range(4))
    assert uid_sizes(answers, captions) == [2, 2, 2, 2]
    counts = next(CommitLog(Storage(str(tmp_path / "set"))).fold(["near_caption_verify"]).__iter__()).counts
    assert counts["compared"] > counts["edges"] == 2


def test_one_text_ten_thousand_times_and_as_many_that_share_a_bucket(tmp_path: Path) -> None:
    """Equal texts meet by their digest; a bucket above the cap is cut, and what was left out is counted."""
    same, count = ["the same caption everywhere"] * 10_000, 400
    other = [f"a picture of a shop with number {n:05d} {n * 7919 % 10007:05d} beside it" for n in range(count)]
    captions = [*same, *other]
    rule = near(bands=8, rows=1, min_similarity=0.95, cap=8)
    answers = run(tmp_path, captions, rule, [len(captions) // 2, len(captions) // 2], range(len(captions)))
    sizes = uid_sizes(answers, captions)
    assert sizes[:10_000] == [10_000] * 10_000
    log = CommitLog(Storage(str(tmp_path / "set")))
    counts = [commit.counts for commit in log.fold(["near_caption_pair"])]
    assert sum(c["sure_pairs"] for c in counts) == 9_999
    assert sum(c["pairs_left_out"] for c in counts) > 0
    assert sum(c["capped_buckets"] for c in counts) > 0
    assert sum(c["candidates"] for c in counts) <= 8 * 8 * (count + 1)


def test_the_known_pairs_of_two_cookbooks(tmp_path: Path) -> None:
    import json

    source = Path(__file__).parents[3] / "shared/data/neardup/recipes_text_pairs.jsonl"
    if not source.exists():
        pytest.skip("the shared data set neardup/recipes_text_pairs.jsonl is not here")
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    pairs_of = [(row["a"], row["b"]) for row in rows if row.get("a") and row.get("b")]
    texts = [text for pair in pairs_of for text in pair]
    answers = run(tmp_path, texts, near(), [len(texts)], range(len(texts)))
    uids = pairs(len(texts))["uid"].to_pylist()
    root = {uid: of or uid for uid, (of, _) in answers.items()}
    wanted = [n for n, (a, b) in enumerate(pairs_of) if jaccard(shingles(a), shingles(b)) >= 0.8]
    assert len(wanted) >= 315
    assert [n for n in wanted if root[uids[2 * n]] != root[uids[2 * n + 1]]] == []


def test_pairs_beyond_the_memory_are_dealt_to_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of a few hundred bytes, and few pairs at a time in each of them, find what one range finds."""
    captions = varied(40, seed=3)
    rule = near(min_similarity=0.6, max_miss=1e-5, permutations=1024)
    whole = run(tmp_path / "whole", captions, rule, [20, 20], range(40))
    for module in ("curate.dedup.scatter.ranges", "curate.dedup.scatter.deal"):
        monkeypatch.setattr(module + ".__defaults__", (300,))
    for name, most in (("near_text.MOST_PAIRS", 5), ("near.VALUES", 2), ("components.WAITING", 3)):
        monkeypatch.setattr(f"curate.dedup.{name}", most)
    assert run(tmp_path / "ranges", captions, rule, [20, 20], range(40)) == whole


def test_candidates_are_made_some_buckets_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as make so many pairs, whatever the entries: of a template each entry makes 31, of other texts none."""
    monkeypatch.setattr("curate.dedup.near_text.MOST_PAIRS", 500)
    sizes = [1, 1, 30, 2, 100, 1, 64, 65, 1, 1] * 3
    keys = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    found = list(_some_buckets(keys, 64))
    assert [row for some in found for row in range(some.start, some.stop)] == list(range(len(keys)))
    for some in found:
        own = [pairs_of(size) for size in np.unique(keys[some], return_counts=True)[1].tolist()]
        assert sum(own) <= 500 + max(own)
    assert len({int(key) for some in found for key in np.unique(keys[some])}) == len(sizes)
    assert sum(len(np.unique(keys[some])) for some in found) == len(sizes), "no bucket is cut"
    assert list(_some_buckets(keys[:0], 64)) == [slice(0, 0)]


def pairs_of(members: int) -> int:
    return members * (min(members, 64) - 1) // 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"against": tuple(map(str, range(256)))},
        {"min_similarity": 0.0},
        {"min_similarity": 1.1},
        {"ngram": 0},
        {"bands": 3},
        {"bands": 0, "rows": 3},
        {"bands": 5_000, "rows": 5_000},
        {"permutations": 1},
        {"cap": 1},
        {"unit": "words", "normalise": "none"},
        {"short": "chars"},
        {"prefer": ("best",)},
        {"shards_per_part": 0},
    ],
)
def test_settings_that_cannot_be_are_told(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        near(**wrong)


def test_a_broken_file_between_the_steps_is_made_again(tmp_path: Path) -> None:
    captions, rule = varied(10, 1), near()
    run(tmp_path, captions, rule, [10], range(10))
    broken = tmp_path / "set/dedup/near_caption_gather/p00000.rows"
    before = broken.read_bytes()
    broken.write_bytes(b"")
    steps = (Given(str(tmp_path / "in")), Score(rule.scorers({})[0]), *rule.steps(()))
    assert run_steps(tmp_path / "set", 1, steps).made == 1
    assert broken.read_bytes() == before
