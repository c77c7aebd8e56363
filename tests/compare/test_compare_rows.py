"""Rows of two data sets are matched by what they are, and every change is counted once: against plain Python."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from comparison_sets import ABSENT, KEPT, UNDECIDED, Row, brute_force, by_words, write_set
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.compare import matching
from curate.compare.compare import Comparison, UnitChange, compare
from curate.compare.sides import data_side
from curate.compare.told import summary, told
from curate.compare.verdicts import MOST_REASONS, Verdicts
from curate.compare.who import SAMPLES, who
from curate.dedup.identity import identities
from curate.errors import ConfigError, ShardError
from curate.manifest import Attempt, CommitLog, Manifest, write_parquet
from curate.shard import Shard
from curate.storage import Storage

Who = tuple[int, int, int]
TEXT = st.sampled_from([None, "", "a", "b", "ab"])
ROWS = st.lists(st.builds(Row, TEXT, TEXT, TEXT, st.sampled_from([None, "", "too_small", "blurred"])), max_size=12)
SOME = [Row(f"http://h.test/{n}", f"picture {n}", f"{n:064x}", ("", "too_small", "blurred")[n % 3]) for n in range(20)]


def compared(a: Storage, b: Storage, draw: int = 0) -> Comparison:
    return compare(data_side("A", a), data_side("B", b), draw)


def samples(a: Storage, b: Storage, draw: int = 0) -> UnitChange:
    return compared(a, b, draw).units[0]


@settings(max_examples=100, deadline=None)
@given(*(st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=14) for _ in range(2)), st.integers(0, 3))
def test_rows_are_paired_once_and_with_their_like(a: list[Who], b: list[Who], bits: int) -> None:
    """Rows are (URL, picture, verdict); URL 0 is none."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "BIN_BITS", bits)
        pairs = list(matching.matched([_rows(a)], [_rows(b)], len(a) + len(b), Path(folder)))
    cells = Counter(pair for one in pairs for pair in zip(one.a.tolist(), one.b.tolist(), strict=True))
    rows = [[Row(f"u{u}" if u else None, None, f"s{s}", f"v{v}") for u, s, v in side] for side in (a, b)]
    expected, by_url = brute_force(*rows)
    number = {"v0": 10, "v1": 11, "v2": 12, ABSENT: matching.ABSENT}
    assert cells == Counter({(number[x], number[y]): n for (x, y), n in expected.items()})
    assert sum(one.by_url for one in pairs) == by_url
    for side, places in ((a, [p for one in pairs for p in one.places_a.tolist()]), (b, _places_b(pairs))):
        assert sorted(p for p in places if p != int(matching.NOWHERE)) == list(range(len(side)))


@settings(max_examples=12, deadline=None)
@given(ROWS, ROWS, st.integers(2, 5), st.integers(2, 5))
def test_the_counts_are_those_of_plain_python(a: list[Row], b: list[Row], cut_a: int, cut_b: int) -> None:
    decided = [any(row.verdict is not None for row in rows) for rows in (a, b)]
    with tempfile.TemporaryDirectory() as folder:
        sets = [write_set(Path(folder) / n, rows, cut) for n, rows, cut in (("a", a, cut_a), ("b", b, cut_b))]
        if not a or not b:
            with pytest.raises(ConfigError, match="has no shards"):
                compared(*sets)
        elif not all(decided):
            with pytest.raises(ShardError, match=r"no samples of [AB] are decided"):
                compared(*sets)
        else:
            unit = samples(*sets)
            cells, by_url = brute_force(a, b)
            assert by_words(unit) == cells
            assert unit.by_url == by_url
            assert unit.gained == sum(n for (x, y), n in cells.items() if y == KEPT and x not in _NOT_DROPPED)
            assert unit.lost == sum(n for (x, y), n in cells.items() if x == KEPT and y not in _NOT_DROPPED)
            assert (unit.rows(0), unit.rows(1)) == (len(a), len(b))
            assert unit.differs == any(x != y for x, y in cells)


_NOT_DROPPED = (KEPT, UNDECIDED, ABSENT)


def test_the_same_rows_in_other_shards_are_no_difference(tmp_path: Path) -> None:
    unit = samples(write_set(tmp_path / "a", SOME, 3), write_set(tmp_path / "b", SOME, 7))
    assert by_words(unit) == {(KEPT, KEPT): 7, ("too_small", "too_small"): 7, ("blurred", "blurred"): 6}
    assert not unit.differs


def test_many_bins_match_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = [replace(row, verdict="" if n == 4 else row.verdict) for n, row in enumerate(SOME)][2:]
    sets = write_set(tmp_path / "a", SOME, 3), write_set(tmp_path / "b", other, 7)
    one = by_words(samples(*sets))
    monkeypatch.setattr(matching, "BIN_BITS", 2)
    assert by_words(samples(*sets)) == one == brute_force(SOME, other)[0]


def test_copies_are_matched_by_number_of_occurrence(tmp_path: Path) -> None:
    row = SOME[0]
    a = [replace(row, verdict=verdict) for verdict in ("", "x", "x")]
    b = [replace(row, verdict=verdict) for verdict in ("x", "x")]
    unit = samples(write_set(tmp_path / "a", a), write_set(tmp_path / "b", b))
    assert by_words(unit) == {(KEPT, "x"): 1, ("x", "x"): 1, ("x", ABSENT): 1}


def test_a_picture_that_came_in_one_run_only_is_matched_by_url_and_caption(tmp_path: Path) -> None:
    failed = replace(SOME[0], sha256=None, verdict="not_found")
    nameless = replace(SOME[1], url=None)
    a, b = [failed, nameless], [SOME[0], replace(nameless, sha256="other")]
    unit = samples(write_set(tmp_path / "a", a), write_set(tmp_path / "b", b))
    assert by_words(unit) == {("not_found", KEPT): 1, ("too_small", ABSENT): 1, (ABSENT, "too_small"): 1}
    assert (unit.gained, unit.by_url) == (1, 1)


@pytest.mark.parametrize("most_pairs", [5, 1_000])
def test_equal_sample_tables_are_compared_in_place_with_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_pairs: int
) -> None:
    monkeypatch.setattr("curate.compare.compare.MOST_PAIRS", most_pairs)
    some = [replace(row, score=0.5) for row in SOME]
    a = [replace(some[0], verdict=verdict) for verdict in ("", "x", "x", "")] + some
    b = [replace(some[0], verdict=verdict) for verdict in ("x", "", "x", "")] + some[:-1]
    b = [replace(row, score=n / 64) for n, row in enumerate([*b, replace(some[-1], verdict="new")])]
    sets = [write_set(tmp_path / name, rows) for name, rows in (("a", a), ("b", b))]
    matched = samples(*sets, draw=3)
    for one in sets:
        _write_manifest(one)
    monkeypatch.setattr("curate.compare.compare._matched", _never)
    aligned = samples(*sets, draw=3)
    assert by_words(aligned) == by_words(matched)
    assert aligned.scores == matched.scores
    assert [(one.change, one.reason, one.rows, one.places_a.tolist()) for one in aligned.drawn] == [
        (one.change, one.reason, one.rows, one.places_a.tolist()) for one in matched.drawn
    ]


def test_a_manifest_that_does_not_fit_its_files_is_not_believed(tmp_path: Path) -> None:
    sets = [write_set(tmp_path / name, SOME) for name in "ab"]
    for one in sets:
        _write_manifest(one)
    longer = [*SOME[:3], *SOME[4:7]]
    os.remove(tmp_path / "b" / "00000.parquet")
    shutil.copy(write_set(tmp_path / "c", longer).root + "/00001.parquet", tmp_path / "b" / "00000.parquet")
    unit = samples(*sets)
    assert unit.only(0) == 3


def test_the_digests_of_samples_are_those_of_their_identity(tmp_path: Path) -> None:
    storage = write_set(tmp_path / "a", [*SOME[:5], Row()], 9)
    identity, wider = who(Shard(storage, "00000"), SAMPLES)
    assert (identity == identities(Shard(storage, "00000"))).all()
    assert (identity[:5] != wider[:5]).any(axis=1).all()
    assert (identity[5] == wider[5]).all()


def test_a_shard_without_a_decision_is_told_and_its_rows_are_undecided(tmp_path: Path) -> None:
    sets = [write_set(tmp_path / name, SOME[:6], 3) for name in "ab"]
    os.remove(tmp_path / "b" / "00001.select.parquet")
    found = compared(*sets)
    assert by_words(found.units[0])[KEPT, UNDECIDED] == 1
    assert summary(found.units[0])["undecided_b"] == 3
    assert len(found.troubles) == 1
    assert "B: shard 00001" in found.troubles[0]
    assert "has no column 'keep'" in found.troubles[0]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b"PAR1"), "is not a readable Parquet file"),
        (
            lambda path: write_parquet(pq.read_table(path).slice(1), path),
            "different row counts|6 samples and|decisions",
        ),
        (lambda path: _retyped(path), "is string, not bool"),
    ],
)
def test_a_damaged_decision_is_told_in_words(tmp_path: Path, damage: object, words: str) -> None:
    sets = [write_set(tmp_path / name, SOME[:6], 3) for name in "ab"]
    damage(tmp_path / "a" / "00000.select.parquet")  # type: ignore[operator]
    found = compared(*sets)
    assert re.search(words, found.troubles[0]), found.troubles
    assert summary(found.units[0])["undecided_a"] == 3


def test_a_shard_whose_sample_table_is_gone_counts_as_absent(tmp_path: Path) -> None:
    sets = [write_set(tmp_path / name, SOME[:6], 3) for name in "ab"]
    (tmp_path / "a" / "00001.parquet").write_bytes(b"nothing")
    found = compared(*sets)
    assert found.units[0].only(1) == 3
    assert "00001.parquet" in found.troubles[0]


def test_a_data_set_without_any_decision_is_refused_in_words(tmp_path: Path) -> None:
    a, b = write_set(tmp_path / "a", SOME), write_set(tmp_path / "b", SOME, decided=False)
    with pytest.raises(
        ShardError, match=r"no samples of B are decided \(keep, drop_reason\).*run its config to the end"
    ):
        compared(a, b)


def test_reasons_of_anybody_are_cut_cleaned_and_no_end_of_them(tmp_path: Path) -> None:
    evil = ["(kept)", "<script>alert(1)</script>", "a\u202eb\nc", "x" * 100_000]
    rows = [replace(SOME[n], verdict=reason) for n, reason in enumerate(evil)]
    found = compared(write_set(tmp_path / "a", rows), write_set(tmp_path / "b", rows))
    reasons = [row["reason"] for row in told(found)["reasons"]]
    assert sorted(reasons) == sorted(
        ["(kept)", "<script>alert(1)</script>", "a\N{REPLACEMENT CHARACTER}b c", "x" * 200]
    )
    assert summary(found.units[0])["kept_a"] == 0


def test_no_more_reasons_are_told_apart_than_stated(tmp_path: Path) -> None:
    rows = [Row(verdict=f"reason {n}") for n in range(MOST_REASONS + 50)]
    shard = Shard(write_set(tmp_path / "a", rows, len(rows)), "00000")
    verdicts = Verdicts()
    counts = Counter(verdicts.read(shard, "").tolist())
    assert len(verdicts.names) == 3 + MOST_REASONS + 1
    assert counts[verdicts.names.index("(other reasons)")] == 50


def test_reasons_that_are_no_utf8_are_read(tmp_path: Path) -> None:
    storage = write_set(tmp_path / "a", SOME[:2])
    path = tmp_path / "a" / "00000.select.parquet"
    table = pq.read_table(path)
    broken = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"a\xff\xc3b")
    ).dictionary_encode()
    keep = pa.array([False, False])
    pq.write_table(table.set_column(1, "keep", keep).set_column(2, "drop_reason", broken), path)
    verdicts = Verdicts()
    verdicts.read(Shard(storage, "00000"), "")
    assert set(verdicts.names[3:]) == {"a\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}b"}


def _rows(side: list[Who]) -> matching.Rows:
    wider = np.array([[url, 7 if url else 100 + picture] for url, picture, _ in side], np.uint64).reshape(-1, 2)
    identity = np.array([[9 * url + picture, 10 + picture] for url, picture, _ in side], np.uint64).reshape(-1, 2)
    nameless = np.array([url == 0 for url, _, _ in side], bool)
    wider[nameless] = identity[nameless]
    for own in (identity, wider):
        own *= np.uint64(0x9E3779B97F4A7C15)
    codes = np.array([10 + verdict for _, _, verdict in side], np.int32)
    return matching.Rows(identity, wider, codes, np.arange(len(side), dtype=np.uint64))


def _places_b(pairs: list[matching.Pairs]) -> list[int]:
    return [place for one in pairs for place in one.places_b.tolist()]


def _write_manifest(storage: Storage) -> None:
    """A manifest whose digests are those of the files."""
    made = []
    for name in [
        n for n in storage.files() if n.count(".") == 1 and n.endswith(".parquet") and n != "manifest.parquet"
    ]:
        attempt = Attempt(storage, "fetch", name.removesuffix(".parquet"), "0" * 16)
        attempt.write_bytes(name, storage.read(name))
        made.append(attempt.commit())
    Manifest.fold(CommitLog(storage), [("fetch", one.shard, one.fingerprint) for one in made], made)


def _retyped(path: Path) -> None:
    table = pq.read_table(path)
    write_parquet(table.set_column(1, "keep", pa.array(["yes"] * len(table))), path)


def _never(*arguments: object) -> None:
    raise AssertionError("rows were matched that need not be")
