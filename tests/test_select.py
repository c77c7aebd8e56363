"""The decision: first reason, all reasons, counts, and the same answer however the table is cut."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate.select
from curate.errors import ShardError, StageError
from curate.filter import Filter, Verdict, between
from curate.manifest import Attempt, CommitLog
from curate.select import DECISION, Select, columns_of, count_reasons, decide
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage


@dataclass(frozen=True)
class Size(Filter):
    """Keeps `min` to `max`."""

    min: int = 3
    max: int = 6
    reads: ClassVar[tuple[str, ...]] = ("size",)
    reasons: ClassVar[Mapping[str, str]] = {"too_small": "small", "too_large": "large"}

    def judge(self, columns: pa.Table) -> Verdict:
        assert columns.column_names == ["size"]
        return between(columns["size"], self.min, self.max, "too_small", "too_large")


@dataclass(frozen=True)
class Shade(Filter):
    """Keeps a shade of at least `min`, and no unknown one."""

    min: float = 0.5
    reads: ClassVar[tuple[str, ...]] = ("shade",)
    reasons: ClassVar[Mapping[str, str]] = {"too_dark": "dark", "no_shade": "unknown"}

    def judge(self, columns: pa.Table) -> Verdict:
        return between(columns["shade"], self.min, None, "too_dark", "", unknown="no_shade")


@dataclass(frozen=True)
class Short(Size):
    """Answers for too few rows."""

    def judge(self, columns: pa.Table) -> Verdict:
        return super().judge(columns.slice(1))


@dataclass(frozen=True)
class Silent(Size):
    """Declares only one of its reasons."""

    reasons: ClassVar[Mapping[str, str]] = {"too_large": "large"}


RULES = (("size", Size()), ("shade", Shade()))
ROWS = [  # size, shade, all reasons
    (3, 0.5, []),
    (6, 0.9, []),
    (2, 0.5, ["too_small"]),
    (7, 0.5, ["too_large"]),
    (5, 0.4, ["too_dark"]),
    (5, None, ["no_shade"]),
    (5, float("nan"), ["no_shade"]),
    (None, 0.5, []),
    (1, 0.1, ["too_small", "too_dark"]),
    (9, None, ["too_large", "no_shade"]),
]


def table(rows) -> pa.Table:
    return pa.table(
        {"size": pa.array([r[0] for r in rows], pa.int32()), "shade": pa.array([r[1] for r in rows], pa.float32())}
    )


def test_first_reason_and_all_reasons():
    decided = decide(table(ROWS), RULES)
    assert decided.schema == DECISION
    assert decided["drop_reasons"].to_pylist() == [r[2] for r in ROWS]
    assert decided["drop_reason"].to_pylist() == [next(iter(r[2]), None) for r in ROWS]
    assert decided["keep"].to_pylist() == [not r[2] for r in ROWS]


def test_the_order_of_the_config_decides_which_is_first():
    decided = decide(table(ROWS), RULES[::-1])
    assert decided["drop_reasons"].to_pylist() == [r[2][::-1] for r in ROWS]
    assert decided["drop_reason"].to_pylist() == [next(iter(r[2][::-1]), None) for r in ROWS]


def test_counts():
    assert count_reasons(decide(table(ROWS), RULES)) == {
        "in": 10,
        "kept": 3,
        "dropped.too_small": 2,
        "dropped.too_large": 2,
        "dropped.too_dark": 1,
        "dropped.no_shade": 2,
        "flagged.too_small": 2,
        "flagged.too_large": 2,
        "flagged.too_dark": 2,
        "flagged.no_shade": 3,
    }


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(0, 9)), st.one_of(st.none(), st.floats(0, 1, width=32))), max_size=40
    )
)
@settings(deadline=None)
def test_chunks_do_not_matter_and_counts_add_up(rows):
    whole = decide(table(rows), RULES)
    pieces = pa.concat_tables([table(rows).slice(i, 3) for i in range(0, len(rows), 3)] or [table(rows)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curate.select, "CHUNK_ROWS", 7)
        assert decide(pieces, RULES).to_pylist() == whole.to_pylist()
    counts = count_reasons(whole)
    assert (
        counts["in"]
        == len(rows)
        == counts["kept"] + sum(n for name, n in counts.items() if name.startswith("dropped."))
    )
    for name, n in counts.items():
        if name.startswith("dropped."):
            assert counts[name.replace("dropped.", "flagged.")] >= n


def test_no_filters_and_no_rows():
    assert decide(table(ROWS), ())["keep"].to_pylist() == [True] * len(ROWS)
    empty = decide(table([]), RULES)
    assert (empty.num_rows, empty.schema) == (0, DECISION)
    assert count_reasons(empty) == {"in": 0, "kept": 0}


def test_a_broken_filter_says_so():
    with pytest.raises(StageError, match="filter broken gave 9 verdicts for 10 rows"):
        decide(table(ROWS), (("broken", Short()),))
    with pytest.raises(StageError, match="filter broken gave the reason 'too_small'; declare it"):
        decide(table(ROWS), (("broken", Silent()),))


@pytest.fixture
def shard(tmp_path) -> Shard:
    pq.write_table(
        pa.table({"key": [f"{i:05d}" for i in range(10)], "size": table(ROWS)["size"]}), tmp_path / "00000.parquet"
    )
    pq.write_table(pa.table({"shade": table(ROWS)["shade"], "other": ["x"] * 10}), tmp_path / "00000.shade.parquet")
    return Shard(Storage(str(tmp_path)), "00000")


def test_the_stage_writes_the_decision_beside_the_shard(shard):
    stage = Select(RULES)
    assert (stage.reads, stage.writes, stage.label) == (
        ("size", "shade"),
        ("keep", "drop_reason", "drop_reasons"),
        "select",
    )
    attempt = Attempt(shard.storage, stage.label, shard.id, "f" * 16)
    stage.run(shard, attempt, Runtime())
    commit = attempt.commit()
    written = Shard(shard.storage, shard.id).columns(["key", "keep", "drop_reason", "drop_reasons"])
    assert written.select(DECISION.names).to_pylist() == decide(table(ROWS), RULES).to_pylist()
    assert written["key"].to_pylist() == [f"{i:05d}" for i in range(10)]
    assert commit.counts["kept"] == 3
    assert CommitLog(shard.storage).names("select") == {"00000": {"f" * 16}}


def test_the_same_rows_give_the_same_bytes(shard):
    digests = set()
    for number in range(2):
        attempt = Attempt(shard.storage, "select", shard.id, f"{number:016x}")
        Select(RULES).run(shard, attempt, Runtime(threads=number + 1))
        digests.add(attempt.commit().files[0].sha256)
    assert len(digests) == 1


def test_a_missing_column_is_named(shard):
    (shard.storage.local / "00000.shade.parquet").unlink()
    with pytest.raises(ShardError, match="no column 'shade'"):
        Select(RULES).run(shard, Attempt(shard.storage, "select", shard.id, "f"), Runtime())


def test_thresholds_and_order_are_part_of_the_identity():
    identities = [
        Select(rules).identity() for rules in (RULES, RULES[::-1], RULES[:1], (("size", Size(min=4)), RULES[1]))
    ]
    assert all(identities.count(i) == 1 for i in identities)
    assert Select(RULES).identity() == Select((("size", Size(3, 6)), ("shade", Shade(0.5)))).identity()
    assert columns_of((*RULES, ("again", Size()))) == ("size", "shade")
