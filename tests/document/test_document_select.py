"""Rounds of decisions on parts and documents: who is judged, what is carried over, what is counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pytest

from curate.document.columns import PART_COLUMNS
from curate.document.score import ScoreDocuments, ScoreParts, document_texts
from curate.document.select import SelectDocuments, SelectParts
from curate.filter import Batch, Filter, Scorer, Verdict, below, between, verdict
from curate.manifest import Attempt
from curate.plan import Job, check
from curate.shard import Shard
from curate.stage import Runtime, Stage
from curate.storage import Storage

PARTS = [  # document, kind, text or url, separator
    (0, "text", "a heading", "\n\n"),
    (0, "image", "http://x.test/1.jpg", None),
    (0, "text", "one", "\n\n"),
    (0, "text", "two words", "\n"),
    (2, "image", "http://x.test/2.jpg", None),
    (2, "image", "http://x.test/logo.png", None),
    (2, "text", "three words here", "\n\n"),
]


@dataclass(frozen=True)
class Length(Scorer):
    name: ClassVar[str] = "length"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"length": pa.int32()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        texts = batch.columns["text"].to_pylist()
        return {"length": pa.array([None if t is None else len(t.split()) for t in texts], pa.int32())}


@dataclass(frozen=True)
class Short(Filter):
    min: int = 2

    reads: ClassVar[tuple[str, ...]] = ("length",)
    reasons: ClassVar[Mapping[str, str]] = {"short": "too short"}

    def scorer(self) -> Scorer:
        return Length()

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(len(columns), ("short", below(columns["length"], self.min)))


@dataclass(frozen=True)
class Logo(Filter):
    reads: ClassVar[tuple[str, ...]] = ("url",)
    reasons: ClassVar[Mapping[str, str]] = {"logo": "a logo", "no_url": "no URL"}

    def judge(self, columns: pa.Table) -> Verdict:
        urls = columns["url"].to_pylist()
        return verdict(
            len(urls),
            ("no_url", pa.array([u is None for u in urls], pa.bool_())),
            ("logo", pa.array(["logo" in (u or "") for u in urls], pa.bool_())),
        )


@dataclass(frozen=True)
class Images(Filter):
    min: int = 1
    max: int = 30

    reads: ClassVar[tuple[str, ...]] = ("image_count",)
    reasons: ClassVar[Mapping[str, str]] = {"few_images": "too few", "many_images": "too many"}

    def judge(self, columns: pa.Table) -> Verdict:
        return between(columns["image_count"], self.min, self.max, "few_images", "many_images")


@pytest.fixture
def shard(tmp_path):
    storage = Storage(str(tmp_path))
    shard = Shard(storage, "00000")
    rows = {name: [None] * len(PARTS) for name in PART_COLUMNS}
    rows["key"] = [f"0000000000{document}.{number}" for number, (document, *_) in enumerate(PARTS)]
    rows["document"] = [document for document, *_ in PARTS]
    rows["kind"] = [kind for _, kind, *_ in PARTS]
    rows["text"] = [value if kind == "text" else None for _, kind, value, _ in PARTS]
    rows["url"] = [value if kind == "image" else None for _, kind, value, _ in PARTS]
    rows["separator"] = [separator for *_, separator in PARTS]
    attempt = Attempt(storage, "extract", "00000", "0")
    attempt.write_table("00000.parquet", pa.table({"key": ["00000000000", "00000000001", "00000000002"]}))
    attempt.write_table("00000_parts.parquet", pa.table(rows, schema=pa.schema(PART_COLUMNS)))
    attempt.commit()
    return shard


def run(stage: Stage, shard: Shard) -> dict[str, int]:
    attempt = Attempt(shard.storage, stage.label, shard.id, "0")
    stage.run(shard, attempt, Runtime())
    return dict(attempt.commit().counts)


def fresh(shard: Shard) -> Shard:
    return Shard(shard.storage, shard.id)


def test_a_filter_of_one_kind_leaves_the_other_kind_alone(shard):
    counts = run(SelectParts((), (("logo", Logo()),), "read"), shard)
    parts = fresh(shard).parts.columns(["kind", "read_keep", "read_drop_reason"]).to_pylist()
    assert [p["read_drop_reason"] for p in parts] == [None, None, None, None, None, "logo", None]
    assert counts == {"in": 7, "kept": 6, "dropped.logo": 1, "flagged.logo": 1}


def test_kept_parts_are_counted_per_document_also_where_there_are_none(shard):
    run(SelectParts((), (("logo", Logo()),), "read"), shard)
    table = fresh(shard).columns(["key", "read_image_count", "read_text_count"]).to_pylist()
    assert [(row["read_image_count"], row["read_text_count"]) for row in table] == [(1, 3), (0, 0), (1, 1)]


def test_text_of_a_document_is_its_kept_blocks_with_their_separators(shard):
    run(SelectParts((), (), "read"), shard)
    assert document_texts(fresh(shard), "read_keep").to_pylist() == [
        "a heading\n\none\ntwo words",
        "",
        "three words here",
    ]


def test_a_dropped_block_is_not_in_the_text(shard):
    run(ScoreParts(Length()), shard)
    run(SelectParts((("short", Short()),), (), "read"), fresh(shard))
    assert document_texts(fresh(shard), "read_keep").to_pylist()[0] == "a heading\ntwo words"


def test_documents_are_scored_on_their_text_and_parts_on_theirs(shard):
    run(ScoreParts(Length()), shard)
    run(SelectParts((), (), "read"), shard)
    run(ScoreDocuments(Length(), "read"), fresh(shard))
    assert fresh(shard).columns(["length"])["length"].to_pylist() == [5, 0, 3]
    assert fresh(shard).parts.columns(["length"])["length"].to_pylist() == [2, None, 1, 2, None, None, 3]


def test_a_later_round_carries_the_verdict_over_and_counts_what_is_left(shard):
    images = (("images", Images(min=1)),)
    parts = SelectParts((), (), "read")
    read = SelectDocuments(images, "read")
    run(parts, shard)
    assert run(read, fresh(shard))["dropped.few_images"] == 1
    final_parts = SelectParts((), (("logo", Logo()),), after=parts)
    final = SelectDocuments((("images", Images(min=2)),), after=read)
    run(final_parts, fresh(shard))
    counts = run(final, fresh(shard))
    rows = fresh(shard).columns(["keep", "drop_reason", "image_count", "read_image_count"]).to_pylist()
    assert [row["drop_reason"] for row in rows] == ["few_images"] * 3
    assert [row["image_count"] for row in rows] == [1, 0, 1]
    assert [row["read_image_count"] for row in rows] == [1, 0, 2]
    assert counts["kept"] == 0
    assert final.story == {"images": ("few_images", "many_images")}
    assert final_parts.story == {"logo": ("logo", "no_url")}


def test_the_first_reason_ever_given_stays(shard):
    first = SelectParts((), (("logo", Logo()),), "read")
    run(first, shard)
    run(ScoreParts(Length()), shard)
    run(SelectParts((("short", Short()),), (), after=first), fresh(shard))
    reasons = fresh(shard).parts.columns(["drop_reason"])["drop_reason"].to_pylist()
    assert reasons == [None, None, "short", None, None, "logo", None]


def test_all_reasons_of_all_rounds_are_told_each_once(shard):
    parts = SelectParts((), (("logo", Logo()),), "read")
    few, short = ("images", Images(min=2)), ("short", Short(min=4))
    read = SelectDocuments((few, short), "read")
    run(parts, shard)
    run(ScoreDocuments(Length(), "read"), fresh(shard))
    run(read, fresh(shard))
    final = SelectDocuments((few,), after=read)
    run(SelectParts((), (), after=parts), fresh(shard))
    counts = run(final, fresh(shard))
    reasons = fresh(shard).columns(["drop_reasons"])["drop_reasons"].to_pylist()
    assert reasons == [["few_images"], ["few_images", "short"], ["few_images", "short"]]
    assert (counts["flagged.few_images"], counts["flagged.short"], counts["dropped.few_images"]) == (3, 2, 3)
    assert "read_drop_reasons" in final.reads
    assert fresh(shard).parts.columns(["drop_reasons"])["drop_reasons"].to_pylist() == [*[[]] * 5, ["logo"], []]


def test_a_plan_of_rounds_names_every_column(shard):
    parts = SelectParts((("short", Short()),), (("logo", Logo()),), "read")
    read = SelectDocuments((("images", Images()), ("short", Short())), "read")
    extract = [f"part.{name}" for name in PART_COLUMNS]
    job = Job(
        steps=(ScoreParts(Length()), parts, ScoreDocuments(Length(), "read"), read),
        slices=lambda storage: iter(()),
        source_columns=("key", *extract),
    )
    check(job)
    assert "read_image_count" in parts.writes
    assert "read_image_count" in read.reads
    assert "part.read_keep" in job.steps[2].reads
