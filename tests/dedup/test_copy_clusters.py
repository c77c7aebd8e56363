"""Clusters of copies: the same ones and the same survivors for any packing, any number of parts and any history."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scored_shards import Given, ScoredBy, by_row, handles, pack, packings, pairs, run_steps

from curate.dedup.clusters import Clusters
from curate.dedup.exact import SameBytes, SameCaption, SamePair
from curate.errors import ConfigError
from curate.registry import filter_class

NAMES = ("bytes_duplicate_of", "bytes_cluster_size", "bytes_captions", "bytes_hosts")


def rows_of(count: int, seed: int = 0) -> pa.Table:
    """Rows with some equal files, captions, hosts and scores, and some that lack one."""
    random = np.random.default_rng(seed)
    rows = pairs(count, score=[None if n % 7 == 3 else float(random.integers(5)) for n in range(count)])
    sha256 = [None if n % 11 == 5 else f"{random.integers(count // 3)}" for n in range(count)]
    captions = [None if n % 13 == 4 else f"caption {random.integers(4)}" for n in range(count)]
    urls = [f"https://{random.integers(3)}.test/{n}" for n in range(count)]
    for name, values in (("sha256", sha256), ("caption", captions), ("url", urls)):
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, pa.string()))
    return rows


def run(folder: Path, rows: pa.Table, clusters: Clusters, sizes: Sequence[int], order: Sequence[int]) -> Path:
    pack(folder / "in", rows, sizes, order)
    others = tuple(name for name in rows.column_names if name not in ("url", "caption", "sha256", "uid"))
    before = (Given(str(folder / "in")), *((ScoredBy(str(folder / "in"), others),) if others else ()))
    outcome = run_steps(folder / "set", len(sizes), (*before, *clusters.steps()))
    assert outcome.failed == {}
    return folder / "set"


def found(folder: Path, count: int, names: Sequence[str]) -> dict[str, tuple]:
    """The columns by uid, with the uid of the row kept instead of its key."""
    shards = handles(folder, count)
    uid_of = {key: uid for uid, (key,) in by_row(shards, ["key"]).items()}
    return {uid: (uid_of.get(of), *rest) for uid, (of, *rest) in by_row(shards, names).items()}


def reference(rows: pa.Table, order: dict[str, int]) -> dict[str, tuple]:
    """What is expected of the files' copies: `order` says of each uid at which place it stands, the best first."""
    table = rows.to_pylist()
    clusters = defaultdict(list)
    for row in table:
        clusters[row["sha256"]].append(row)
    answers = {}
    for row in table:
        own = clusters[row["sha256"]]
        if row["sha256"] is None:
            answers[row["uid"]] = (None, None, None, None)
            continue
        best = min(own, key=lambda r: order[r["uid"]])["uid"]
        hosts = {r["url"].split("/")[2] for r in own}
        answers[row["uid"]] = (
            None if best == row["uid"] else best,
            len(own),
            len({r["caption"] or "" for r in own}),
            len(hosts),
        )
    return answers


def places(rows: pa.Table, folder: Path, prefer: Sequence[str]) -> dict[str, int]:
    from curate.dedup.prefer import parse_order

    (shard,) = pack(folder, rows, [len(rows)])
    order = parse_order(prefer)
    ranked = order.sort(order.values(shard)).tolist()
    uids = rows["uid"].to_pylist()
    return {uids[row]: place for place, row in enumerate(ranked)}


@pytest.mark.parametrize("prefer", [(), ("highest score",), ("lowest score", "latest caption")])
@pytest.mark.parametrize("shards_per_part", [1, 3, 100])
def test_any_packing_and_any_number_of_parts_give_the_same(
    tmp_path: Path, prefer: tuple[str, ...], shards_per_part: int
) -> None:
    rows = rows_of(24)
    expected = reference(rows, places(rows, tmp_path / "order", prefer))
    assert sum(of is not None for of, *_ in expected.values()) > 5
    clusters = Clusters(SameBytes(), prefer, (), ("caption", "host"), (), shards_per_part)
    for number, (sizes, order) in enumerate(packings(len(rows))[::2]):
        folder = run(tmp_path / str(number), rows, clusters, sizes, order)
        assert found(folder, len(sizes), NAMES) == expected


@pytest.mark.parametrize("shards_per_part", [1, 2])
def test_a_new_crawl_against_earlier_ones_is_a_run_over_all(tmp_path: Path, shards_per_part: int) -> None:
    """The earlier data sets are cut into other numbers of parts."""
    rows = rows_of(60, seed=3).append_column("crawl", pa.array([n % 3 for n in range(60)], pa.float64()))
    prefer = ("highest score",)
    ranks = places(rows, tmp_path / "order", ("lowest crawl", *prefer))
    expected = reference(rows, ranks)
    folders: list[Path] = []
    for crawl in range(3):
        own = rows.filter(pa.compute.equal(rows["crawl"], crawl))
        spp = shards_per_part if crawl == 2 else 3 - shards_per_part
        clusters = Clusters(SameBytes(), prefer, (), ("caption", "host"), tuple(map(str, folders)), spp)
        folders.append(run(tmp_path / str(crawl), own, clusters, [5, 5, 5, 5], list(range(20))))
    uid_of = {}
    for crawl, folder in enumerate(folders):
        for uid, (key,) in by_row(handles(folder, 4), ["key"]).items():
            uid_of[str(folder) if crawl < 2 else None, key] = uid
    last = by_row(handles(folders[2], 4), ["bytes_duplicate_of", "bytes_duplicate_in", *NAMES[1:]])
    assert len(last) == 20
    for uid, (of, within, *rest) in last.items():
        assert (uid_of[within, of] if of else None, *rest) == expected[uid]
    assert {within for _, within, *_ in last.values()} == {None, *map(str, folders[:2])}


def test_an_index_of_other_settings_is_refused_with_both_fingerprints(tmp_path: Path) -> None:
    rows = rows_of(10)
    first = run(tmp_path / "one", rows, Clusters(SameBytes(), ("highest score",)), [10], range(10))
    (tmp_path / "none").mkdir()
    for against, words in (
        (first, r"of copies by bytes was made with other settings: \w{16} there, \w{16} here"),
        (tmp_path / "none", r"has no dedup/bytes_mark/card.json; .* run it there first"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(tmp_path / "two", rows, Clusters(SameBytes(), (), (), (), (str(against),)), [10], range(10))
    (first / "dedup/bytes_mark/card.json").write_text("[]")
    with pytest.raises(ConfigError, match="is no card of an index"):
        run(tmp_path / "two", rows, Clusters(SameBytes(), (), (), (), (str(first),)), [10], range(10))


def mini(folder: Path, files: list[str], clusters: Clusters, start: int = 0) -> list[tuple]:
    """Rows with these files; for each the URL of the row kept instead, and the rows of the cluster."""
    rows = pairs(start + len(files)).slice(start)
    rows = rows.set_column(2, "sha256", pa.array(files))
    run(folder, rows, clusters, [len(files)], range(len(files)))
    return list(by_row(handles(folder / "set", 1), ["bytes_duplicate_of", "bytes_cluster_size"]).values())


def test_what_an_earlier_set_was_compared_with_must_be_named_too_and_first(tmp_path: Path) -> None:
    """Its row may be a copy of one that only that set kept: then no copy would be kept anywhere."""
    a, b = str(tmp_path / "a/set"), str(tmp_path / "b/set")
    mini(tmp_path / "a", ["x"], Clusters(SameBytes()))
    assert mini(tmp_path / "b", ["x", "y"], Clusters(SameBytes(), against=(a,)), 1) == [("000000000", 2), (None, 1)]
    for against in ((b,), (b, a)):
        with pytest.raises(ConfigError, match=f"was itself compared with {a}; name that one too, before it"):
            mini(tmp_path / "c", ["x", "y", "z"], Clusters(SameBytes(), against=against), 3)
    found = mini(tmp_path / "c", ["x", "y", "z"], Clusters(SameBytes(), against=(a, b)), 3)
    assert [size for _, size in found] == [3, 2, 1]
    assert [of is not None for of, _ in found] == [True, True, False]


@pytest.mark.parametrize(("against", "words"), [("own", "the data set itself"), ("twice", "twice; once is enough")])
def test_a_set_is_not_compared_with_itself_nor_twice_with_another(tmp_path: Path, against: str, words: str) -> None:
    a, own = str(tmp_path / "a/set"), str(tmp_path / "b/set")
    mini(tmp_path / "a", ["x"], Clusters(SameBytes()))
    mini(tmp_path / "b", ["x"], Clusters(SameBytes()))
    before = sorted((tmp_path / "b/set").rglob("*"))
    roots = (own + "/",) if against == "own" else (a, f"file://{a}/")
    with pytest.raises(ConfigError, match=words):
        mini(tmp_path / "b", ["x"], Clusters(SameBytes(), against=roots))
    assert sorted((tmp_path / "b/set").rglob("*")) == before, "its own index is still there"


def test_other_bounds_on_placeholders_are_another_index(tmp_path: Path) -> None:
    mini(tmp_path / "a", ["x"], Clusters(SameBytes(), bounds=(10, None)))
    with pytest.raises(ConfigError, match="other settings"):
        mini(tmp_path / "b", ["x"], Clusters(SameBytes(), against=(str(tmp_path / "a/set"),), bounds=(99, None)))


def test_an_index_that_is_not_finished_is_refused_and_one_that_changed_is_read_again(tmp_path: Path) -> None:
    a = str(tmp_path / "a/set")
    mini(tmp_path / "a", ["x", "y"], Clusters(SameBytes()))
    against = Clusters(SameBytes(), against=(a,))
    assert [size for _, size in mini(tmp_path / "b", ["x", "z"], against, 5)] == [2, 1]
    rows = pairs(2).set_column(2, "sha256", pa.array(["z", "y"]))
    rules = (("caption_words", filter_class("caption_words")(min=1)),)
    fewer = rows.append_column(rules[0][1].columns[0], pa.array([1, 0], pa.int64()))
    folder = run(tmp_path / "again", fewer, Clusters(SameBytes(), (), rules), [2], range(2))
    found = mini(tmp_path / "c", ["z", "y"], Clusters(SameBytes(), against=(str(folder),)), 5)
    assert [size for _, size in found] == [2, 1], "a row that took no part there takes none here"
    (commit,) = (folder / "commits/bytes_mark").iterdir()
    commit.unlink()
    with pytest.raises(ConfigError, match="0 of 1 parts of step bytes_mark are done; run it to its end"):
        mini(tmp_path / "d", ["z"], Clusters(SameBytes(), against=(str(folder),)), 5)


def test_an_earlier_set_that_changed_is_compared_with_again(tmp_path: Path) -> None:
    rows = pairs(2).set_column(2, "sha256", pa.array(["x", "y"])).append_column("score", pa.array([1.0, 2.0]))
    folder = run(tmp_path / "a", rows, Clusters(SameBytes(), ("highest score",)), [2], range(2))
    clusters = Clusters(SameBytes(), ("highest score",), against=(str(folder),))
    other = pairs(9).slice(8).set_column(2, "sha256", pa.array(["x"])).append_column("score", pa.array([1.0]))
    pack(tmp_path / "b/in", other, [1])
    steps = (Given(str(tmp_path / "b/in")), ScoredBy(str(tmp_path / "b/in"), ("score",)), *clusters.steps())
    assert [run_steps(tmp_path / "b/set", 1, steps).made for _ in range(2)] == [2 + 3, 0]
    (commit,) = (folder / "commits/bytes_mark").iterdir()
    commit.rename(commit.with_name(f"p00000-{'f' * 16}.json"))
    assert run_steps(tmp_path / "b/set", 1, steps).made == 3, "what was made anew there is compared anew here"


def test_rows_that_an_earlier_filter_drops_take_no_part(tmp_path: Path) -> None:
    rows = rows_of(30, seed=5)
    rule = filter_class("caption_words")(min=2)
    rules = (("caption_words", rule),)
    captions = ["one" if n % 3 == 0 else "two words" for n in range(30)]
    rows = rows.set_column(1, "caption", pa.array(captions)).append_column(
        "words", pa.array([len(c.split()) for c in captions], pa.int64())
    )
    rows = rows.rename_columns([{"words": rule.columns[0]}.get(name, name) for name in rows.column_names])
    folder = run(tmp_path, rows, Clusters(SameBytes(), (), rules), [15, 15], range(30))
    answers = found(folder, 2, NAMES[:2])
    good = [n for n in range(30) if n % 3]
    taking_part = rows.take(pa.array(good))
    expected = {u: v[:2] for u, v in reference(taking_part, places(taking_part, tmp_path / "order", ())).items()}
    assert {u: answers[u] for u in expected} == expected
    assert {answers[u] for u in set(answers) - set(expected)} == {(None, None)}


def test_captions_are_equal_in_normal_form_and_pairs_to_the_letter(tmp_path: Path) -> None:
    captions = ["A Cat!", "a  cat", "ａ ｃａｔ", "a dog", "", None, "!!!", "...", "a-cat", "C++", "C", "नमस्ते", "नमसत"]
    rows = pairs(len(captions)).set_column(1, "caption", pa.array(captions))
    rows = rows.set_column(0, "url", pa.array(["http://a.test/1"] * len(captions)))
    run(tmp_path / "caption", rows, Clusters(SameCaption()), [len(captions)], range(len(captions)))
    sizes = [size for (size,) in by_row(handles(tmp_path / "caption/set", 1), ["caption_cluster_size"]).values()]
    assert sizes == [4, 4, 4, 1, None, None, 1, 1, 4, 1, 1, 1, 1]
    run(tmp_path / "pair", rows, Clusters(SamePair()), [len(captions)], range(len(captions)))
    sizes = [size for (size,) in by_row(handles(tmp_path / "pair/set", 1), ["pair_cluster_size"]).values()]
    assert sizes == [1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1, 1]


def test_one_file_a_hundred_thousand_times_is_one_cluster(tmp_path: Path) -> None:
    count = 100_000
    rows = pairs(count).set_column(2, "sha256", pa.array(["same"] * count))
    folder = run(tmp_path, rows, Clusters(SameBytes()), [count // 4] * 4, range(count))
    answers = by_row(handles(folder, 4), NAMES[:2])
    assert {size for _, size in answers.values()} == {count}
    assert sum(of is None for of, _ in answers.values()) == 1


def test_no_rows_at_all(tmp_path: Path) -> None:
    folder = run(tmp_path, rows_of(10).slice(0, 0), Clusters(SameBytes(), (), (), ("caption", "host")), [0, 0], [])
    assert by_row(handles(folder, 2), NAMES) == {}
