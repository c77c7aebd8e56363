"""The stage that applies a rule: what it writes, says of itself, and counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from caption_tables import caption_table

from curate.caption import choose
from curate.caption.choose import Choose, view_columns
from curate.caption.rule import Choice, Rule
from curate.caption.rules.column_probabilities import ColumnProbabilities
from curate.caption.rules.itm_threshold import ItmThreshold
from curate.errors import ShardError, StageError
from curate.manifest import Attempt, Commit, write_parquet
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage

BLIP = ItmThreshold("synthetic", "itm")
ROWS: list[dict[str, Any]] = [
    {"caption": "web", "itm_probability": 0.9, "synthetic_captions": ["a"], "itm_synthetic_probability": [0.9]},
    {"caption": "web", "itm_probability": 0.1, "synthetic_captions": ["a"], "itm_synthetic_probability": [0.9]},
    {"caption": "web", "itm_probability": 0.9, "synthetic_captions": ["a"], "itm_synthetic_probability": [0.1]},
    {"caption": None, "itm_probability": None, "synthetic_captions": None, "itm_synthetic_probability": None},
    {
        "caption": "a",
        "itm_probability": 0.9,
        "synthetic_captions": ["a", "b b b", "c"],
        "synthetic_faults": [None, "repetition_loop", None],
        "itm_synthetic_probability": [0.9, 0.9, 0.2],
    },
]


def shard_of(folder: Path, rows: list[dict[str, Any]], about: Mapping[str, Mapping[str, str]] | None = None) -> Shard:
    """A shard whose columns lie in files by their heads, some of which say who made them."""
    folder.mkdir(parents=True, exist_ok=True)
    table = caption_table(rows)
    families: dict[str, list[str]] = {"": ["key", "caption"] if "caption" in table.column_names else ["key"]}
    for name in table.column_names:
        if name not in ("key", "caption"):
            families.setdefault(f".{name.split('_')[0]}", ["key"]).append(name)
    for family, names in families.items():
        fields = [table.schema.field(n).with_metadata((about or {}).get(n) or None) for n in names]
        own = pa.table([table[n] for n in names], schema=pa.schema(fields))
        write_parquet(own, folder / f"00000{family}.parquet")
    return Shard(Storage(str(folder)), "00000")


def apply(stage: Choose, shard: Shard) -> Commit:
    attempt = Attempt(shard.storage, stage.label, shard.id, "0" * 16)
    stage.run(shard, attempt, Runtime())
    return attempt.commit()


def test_what_a_view_writes(tmp_path: Path) -> None:
    stage = Choose("capfilt", BLIP)
    shard = shard_of(tmp_path, ROWS)
    apply(stage, shard)
    table = Shard(shard.storage, shard.id).table("view_capfilt")
    assert tuple(table.column_names) == ("key", *stage.writes)
    assert table["key"].to_pylist() == [f"{n:09d}" for n in range(5)]
    assert table["capfilt_texts"].to_pylist() == [["web", "a"], ["a"], ["web"], [], ["a"]]
    assert table["capfilt_origins"].to_pylist() == [["web", "synthetic"], ["synthetic"], ["web"], [], ["web"]]
    assert table["capfilt_weights"].to_pylist() == [[0.5, 0.5], [1], [1], [], [1]]
    assert [len(v) for v in table["capfilt_scores"].to_pylist()] == [2, 1, 1, 0, 1]
    bad_web, bad = "web_text_does_not_match", "synthetic_text_does_not_match"
    assert table["capfilt_web_reason"].to_pylist() == [None, bad_web, None, None, None]
    assert table["capfilt_synthetic_reasons"].to_pylist() == [
        [None],
        [None],
        [bad],
        None,
        ["repeated_text", "repetition_loop", bad],
    ]


def test_counts_tell_what_was_kept_and_why_not(tmp_path: Path) -> None:
    counts = apply(Choose("capfilt", BLIP), shard_of(tmp_path, ROWS)).counts
    assert counts == {
        "in": 5,
        "texts": 5,
        "both": 1,
        "web_only": 2,
        "synthetic_only": 1,
        "none": 1,
        "web_in": 4,
        "web_kept": 3,
        "web_rejected": 1,
        "synthetic_in": 6,
        "synthetic_kept": 2,
        "synthetic_rejected": 3,
        "rejected.web_text_does_not_match": 1,
        "rejected.synthetic_text_does_not_match": 2,
        "rejected.repeated_text": 1,
        "rejected.repetition_loop": 1,
    }


def test_columns_say_how_they_were_made(tmp_path: Path) -> None:
    about = {"synthetic_captions": {"model": "BLIP", "model_fingerprint": "c1"}, "itm_probability": {"model": "ITM"}}
    shard = shard_of(tmp_path / "one", ROWS, about)
    apply(Choose("capfilt", BLIP), shard)
    told = Shard(shard.storage, shard.id).provenances()
    own = told["capfilt_texts"]
    assert own["view_rule"] == "itm_threshold"
    assert "BLIP" in own["view_source"]
    assert json.loads(own["view_settings"])["min"] == 0.5
    assert own["synthetic_captions:model"] == "BLIP"
    assert own["itm_probability:model"] == "ITM"
    assert all(told[name] == own for name in Choose("capfilt", BLIP).writes)
    marks = {own["model_fingerprint"]}
    for folder, rule, mark in (("two", ItmThreshold("synthetic", "itm", min=0.4), "c1"), ("three", BLIP, "c2")):
        about["synthetic_captions"] = {"model": "BLIP", "model_fingerprint": mark}
        other = shard_of(tmp_path / folder, ROWS, about)
        apply(Choose("capfilt", rule), other)
        marks.add(Shard(other.storage, other.id).provenance("capfilt_texts")["model_fingerprint"])
    assert len(marks) == 3


def test_pieces_of_a_shard_are_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = apply(Choose("v", BLIP), shard_of(tmp_path / "one", ROWS * 7))
    monkeypatch.setattr(choose, "CHUNK_ROWS", 3)
    pieces = apply(Choose("v", BLIP), shard_of(tmp_path / "two", ROWS * 7))
    assert pieces.counts == whole.counts
    assert [f.sha256 for f in pieces.files] == [f.sha256 for f in whole.files]
    monkeypatch.setattr(choose, "CHUNK_BYTES", 1)
    assert apply(Choose("v", BLIP), shard_of(tmp_path / "three", ROWS * 7)).files == pieces.files


def test_a_shard_without_rows(tmp_path: Path) -> None:
    rows = ROWS[:1]
    shard = shard_of(tmp_path, rows)
    for name in shard.storage.files():
        table = shard.table(name.removeprefix("00000").removesuffix(".parquet").removeprefix("."))
        write_parquet(table.slice(0, 0), tmp_path / name)
    commit = apply(Choose("v", BLIP), shard)
    assert commit.counts == {}
    assert Shard(shard.storage, shard.id).table("view_v").num_rows == 0


def test_lists_that_do_not_fit_name_shard_and_column(tmp_path: Path) -> None:
    bad = {**ROWS[0], "itm_synthetic_probability": [0.5, 0.5]}
    with pytest.raises(ShardError, match="shard 00000, view v: itm_synthetic_probability has 2 values for the 1 texts"):
        apply(Choose("v", BLIP), shard_of(tmp_path / "one", [ROWS[1], bad]))
    lacks = [{"caption": "web", "synthetic_captions": ["a"]}]
    with pytest.raises(ShardError, match="has no column 'itm_probability'"):
        apply(Choose("v", BLIP), shard_of(tmp_path / "two", lacks))


@dataclass(frozen=True)
class Short(Rule):
    """Answers for one row too few."""

    source: ClassVar[str] = "a test"

    @property
    def reads(self) -> tuple[str, ...]:
        return BLIP.reads

    def choose(self, columns: pa.Table) -> Choice:
        return BLIP.choose(columns.slice(1))


@dataclass(frozen=True)
class Silent(Short):
    """Says nothing of what it did not keep, and gives its text an origin of its own."""

    def choose(self, columns: pa.Table) -> Choice:
        own = BLIP.choose(columns)
        origins = pa.array([["fused"] * len(texts) for texts in own.texts.to_pylist()], pa.list_(pa.string()))
        return Choice(own.texts, origins, own.scores, own.weights, pa.nulls(len(columns), pa.string()), {})


def test_an_answer_of_another_length_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"the rule of view v gave \[4\] values for 5 rows"):
        apply(Choose("v", Short()), shard_of(tmp_path, ROWS))


def test_texts_that_a_rule_made_count_as_synthetic(tmp_path: Path) -> None:
    shard = shard_of(tmp_path, ROWS)
    counts = apply(Choose("v", Silent()), shard).counts
    assert (counts["synthetic_kept"], counts["web_kept"], counts["synthetic_only"], counts["none"]) == (5, 0, 4, 1)
    table = Shard(shard.storage, shard.id).table("view_v")
    assert table["v_synthetic_reasons"].null_count == 5


def test_what_a_view_reads_and_is() -> None:
    stage = Choose("v", BLIP)
    assert stage.label == "view_v"
    assert stage.reads == ("key", *BLIP.reads)
    assert stage.writes == (*view_columns("v"), "v_web_reason", "v_synthetic_reasons")
    two = Choose("v", ColumnProbabilities({"a": 1, "b": 1}, {"some_captions": 1}))
    assert two.writes[4:] == ("v_web_reason", "v_a_reasons", "v_b_reasons", "v_some_reasons")
    assert stage.identity() != Choose("v", ItmThreshold("synthetic", "itm", min=0.4)).identity()
    assert stage.identity() != Choose("w", BLIP).identity()
