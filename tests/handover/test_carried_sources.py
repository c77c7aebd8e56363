"""Sets of others from their files to their shards: Parquet, tars, what is left out, and what a change does."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from composition_sets import (
    composed,
    counts,
    examples_of,
    left_out,
    members_of_shard,
    picture,
    put_images,
    put_lines,
    rows_of,
    talk,
)

from curate.errors import ConfigError, SourceError
from curate.handover import carried_tables
from curate.handover.compose import build_composition
from curate.plan import Job
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.sample import Conversation, Document, Picture, Text
from curate.shard import Shard
from curate.slices import read_plan
from curate.storage import Storage


def message_row(number: int, **more: Any) -> dict[str, Any]:
    """A row of a Parquet file as TRL reads it: content blocks, pictures as bytes."""
    asked = [{"type": "image", "text": None}, {"type": "text", "text": f"What is {number}?"}]
    answered = [{"type": "text", "text": f"It is {number}."}]
    said = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"n": number, "messages": said, "images": [{"bytes": picture(number), "path": None}], **more}


def put_rows(path: Path, rows: list[dict[str, Any]], group: int = 4) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_of_parquet_with_pictures_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shuffle: bool) -> None:
    monkeypatch.setattr(carried_tables, "BATCH_ROWS", 3)
    for name, first in (("a", 0), ("b", 10)):
        put_rows(tmp_path / f"{name}.parquet", [message_row(n) for n in range(first, first + 10)])
    target = Storage(str(tmp_path / "out"))
    source = {"kind": "chat", "format": "messages", "path": str(tmp_path / "*.parquet")}
    composed(target, {"talk": source}, samples=7, shuffle=shuffle)
    found = [example for shard in ("00000", "00001", "00002") for example in examples_of(target, shard)]
    numbers = [example.columns["n"] for example in found]
    assert sorted(numbers) == list(range(20))
    assert (numbers == sorted(numbers)) is not shuffle
    groups = [number // 10 * 3 + number % 10 // 4 for number in numbers]
    assert sum(a != b for a, b in itertools.pairwise(groups)) == 5  # rows of a group stay together
    for example in found:
        assert isinstance(example, Conversation)
        number = example.columns["n"]
        asked = (Picture("", picture(number), "jpg", "success"), Text(f"What is {number}?"))
        assert example.turns[0].parts == asked
    rows = rows_of(target, "00000")
    assert [row["source_key"] for row in rows] == [f"{n // 10:05d}{n % 10:09d}" for n in numbers[:7]]


def test_a_draw_of_parquet_rows_is_the_same_in_any_order(tmp_path: Path) -> None:
    put_rows(tmp_path / "a.parquet", [{"text": f"t{n}", "n": n} for n in range(30)])
    drawn = []
    for shuffle in (True, False):
        target = Storage(str(tmp_path / f"out{shuffle}"))
        composed(target, {"t": {"kind": "text", "path": str(tmp_path / "a.parquet"), "samples": 8}}, shuffle=shuffle)
        drawn.append([example.columns["n"] for example in examples_of(target, "00000")])
    assert sorted(drawn[0]) == drawn[1]
    assert len({*drawn[1]}) == 8


def test_turns_may_be_json_and_other_values_become_json(tmp_path: Path) -> None:
    said = json.dumps(message_row(1)["messages"])
    rows = [{"messages": said, "image": picture(1), "seen": pa.scalar(0, pa.timestamp("s")).as_py(), "raw": b"\x01"}]
    put_rows(tmp_path / "a.parquet", [*rows, {**rows[0], "messages": "{"}, {**rows[0], "messages": None}])
    target = Storage(str(tmp_path / "out"))
    source = {"kind": "chat", "format": "messages", "path": str(tmp_path / "a.parquet")}
    composed(target, {"talk": source}, shuffle=False)
    (example,) = examples_of(target, "00000")
    assert example.columns == {"seen": "1970-01-01 00:00:00", "raw": "01"}
    assert counts(target)["00000"]["dropped.no_conversation"] == 2


def test_a_file_with_a_column_twice_is_told(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a\.parquet has two columns called 'text'; rename one"):
        composed(Storage(str(tmp_path / "out")), {"prose": {"kind": "text", "path": str(tmp_path / "a.parquet")}})


def chat_tar(path: Path, keys: list[str], spoil: str = "") -> Path:
    """A tar in the layout of a hand-over."""
    with tarfile.open(path, "w") as tar:
        for number, key in enumerate(keys):
            blocks = [{"type": "image", "image": "0.jpg"}, {"type": "text", "text": f"q{key}"}]
            record = json.dumps({"n": number, "messages": [{"role": "user", "content": blocks}]})
            image = b"none" if spoil == f"{key}.picture" else picture(number)
            members = {"json": b"{" if spoil == f"{key}.json" else record.encode(), "0.jpg": image}
            if spoil == f"{key}.gone":
                del members["0.jpg"]
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def test_tars_in_our_layout_keep_their_members(tmp_path: Path) -> None:
    chat_tar(tmp_path / "a.tar", ["x1", "x2", "long" * 40])
    chat_tar(tmp_path / "b.tar", ["y1", "y2"])
    chat_tar(tmp_path / "empty.tar", [])
    target = Storage(str(tmp_path / "out"))
    composed(target, {"talk": {"kind": "chat", "format": "shards", "path": str(tmp_path)}}, samples=4)
    rows = [row for shard in ("00000", "00001") for row in rows_of(target, shard)]
    assert sorted(row["source_key"] for row in rows) == sorted(["x1", "x2", "long" * 40, "y1", "y2"])
    with tarfile.open(tmp_path / "b.tar") as tar:
        expected = {n: tar.extractfile(f"y2.{n}").read() for n in ("json", "0.jpg")}  # type: ignore[union-attr]
    members = {key: own for shard in ("00000", "00001") for key, own in members_of_shard(target, shard).items()}
    own = next(row for row in rows if row["source_key"] == "y2")
    assert members[own["key"]] == expected
    assert (own["widths"], own["chars"]) == ([25], 3)
    sizes = [row["size"] for n in (0, 1) for row in Shard(target, f"{n:05d}").source().to_pylist()]
    assert max(sizes) < 2 * min(sizes)  # of one example each


@pytest.mark.parametrize(
    ("spoil", "reason"), [("x1.json", "bad_example"), ("x1.picture", "not_a_picture"), ("x1.gone", "image_missing")]
)
def test_an_example_of_a_tar_that_is_none(tmp_path: Path, spoil: str, reason: str) -> None:
    chat_tar(tmp_path / "a.tar", ["x1", "x2"], spoil)
    target = Storage(str(tmp_path / "out"))
    composed(target, {"talk": {"kind": "chat", "format": "shards", "path": str(tmp_path / "a.tar")}}, shuffle=False)
    assert [row["source_key"] for row in rows_of(target, "00000")] == ["x2"]
    assert counts(target)["00000"][f"dropped.{reason}"] == 1
    assert left_out(target, "00000")[0]["place"] == "a.tar, x1"


def test_tars_that_are_in_pieces_are_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("x.json", "y.json", "x.0.jpg"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    source = {"kind": "chat", "format": "shards", "path": str(tmp_path / "a.tar")}
    with pytest.raises(SourceError, match="members of one example do not lie together; pack it anew"):
        composed(Storage(str(tmp_path / "out")), {"talk": source})


def test_what_is_left_out_is_told_and_listed_with_its_place(tmp_path: Path) -> None:
    put_images(tmp_path / "images", 2)
    rows = [talk(0), "{broken", "[1]", talk(9), talk(1, id="\ud800"), talk(1) | {"image": "../secret.jpg"}]
    put_lines(tmp_path / "a.jsonl", rows)
    target = Storage(str(tmp_path / "out"))
    source = {"kind": "chat", "path": str(tmp_path / "a.jsonl"), "images": str(tmp_path / "images")}
    composed(target, {"talk": source}, shuffle=False)
    told = counts(target)["00000"]
    expected = {"dropped.bad_json": 2, "dropped.image_missing": 1, "dropped.image_outside": 1}
    assert told == {"in": 6, "kept": 2, "images": 2, **expected}
    listed = left_out(target, "00000")
    assert [(row["place"], row["reason"]) for row in listed] == [
        ("a.jsonl:2", "bad_json"),
        ("a.jsonl:3", "bad_json"),
        ("a.jsonl:4", "image_missing"),
        ("a.jsonl:6", "image_outside"),
    ]
    assert listed[2]["detail"] == "9.jpg"
    assert [row["source_key"] for row in rows_of(target, "00000")] == ["00000000000001", "00000000000005"]
    (tmp_path / "a.jsonl").write_text(json.dumps(talk(0)) + "\n")
    composed(target, {"talk": source}, shuffle=False)
    assert not target.files("left_out")


def test_a_shard_of_which_nothing_is_left(tmp_path: Path) -> None:
    put_lines(tmp_path / "a.jsonl", ["{", "}"])
    target = Storage(str(tmp_path / "out"))
    source = {"kind": "text", "path": str(tmp_path / "a.jsonl")}
    composed(target, {"t": source}, {"words": {"kind": "words"}})
    assert rows_of(target, "00000") == []
    assert counts(target, "tokens")["00000"] == {"in": 0, "kept": 0, "tokens.words": 0}


def test_a_text_of_another_field_and_no_picture(tmp_path: Path) -> None:
    put_lines(tmp_path / "a.jsonl", [{"body": "One two.", "n": 1}, {"text": "x"}])
    target = Storage(str(tmp_path / "out"))
    source = {"kind": "text", "path": str(tmp_path / "a.jsonl"), "field": "body"}
    composed(target, {"t": source}, {"words": {"kind": "words"}}, shuffle=False)
    (row,) = rows_of(target, "00000")
    assert (row["kind"], row["images"], row["widths"], row["chars"]) == ("text", 0, [], 8)
    (example,) = examples_of(target, "00000")
    assert isinstance(example, Document)
    assert example.columns == {"n": 1}


def test_files_that_change_after_the_cut_set_shards_aside(tmp_path: Path) -> None:
    put_rows(tmp_path / "a.parquet", [{"text": "t"}] * 3)
    composition = build_composition({"t": {"kind": "text", "path": str(tmp_path / "a.parquet")}}, {})
    target = Storage(str(tmp_path / "out"))
    list(composition.slices(target))
    put_rows(tmp_path / "a.parquet", [{"text": "t"}] * 2)
    plan = read_plan(target)
    assert plan is not None
    job = Job(composition.steps(), lambda _: iter(plan.slices), source_columns=None)
    assert "files of the source have changed since" in run_job(job, target, InlineEngine()).failed["00000"]


def test_files_of_two_shapes_are_two_sources(tmp_path: Path) -> None:
    put_rows(tmp_path / "a.parquet", [{"text": "t"}])
    put_lines(tmp_path / "b.jsonl", [{"text": "t"}])
    with pytest.raises(ConfigError, match="are parquet and text; make a source of each"):
        composed(Storage(str(tmp_path / "out")), {"t": {"kind": "text", "path": str(tmp_path)}})
    with pytest.raises(SourceError, match="no jsonl or json or parquet file at"):
        composed(Storage(str(tmp_path / "out")), {"t": {"kind": "text", "path": str(tmp_path / "no")}})
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match=r"c\.parquet cannot be read as parquet"):
        composed(Storage(str(tmp_path / "out")), {"t": {"kind": "text", "path": str(tmp_path / "c.parquet")}})
    chat = {"kind": "chat", "path": str(tmp_path / "b.jsonl"), "images": str(tmp_path / "b.jsonl")}
    with pytest.raises(ConfigError, match="is no folder; name the one that pictures are named in"):
        composed(Storage(str(tmp_path / "out")), {"t": chat})
