"""Rows in any order, of any type and any size become the same whole shard, and its JSON can be read by anybody."""

from __future__ import annotations

import datetime
import json
import tempfile
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_runs import digests, members

from curate.fetch import arrivals
from curate.fetch.client import Response
from curate.fetch.pair_writer import PairWriter
from curate.fetch.picture import Picture
from curate.fetch.status import FetchStatus
from curate.manifest import Attempt, Commit
from curate.shard import Shard
from curate.storage import Storage

BAD = sorted(set(FetchStatus) - {FetchStatus.SUCCESS})


def response(row: int, status: FetchStatus = FetchStatus.SUCCESS, **values: Any) -> Response:
    return Response(row, f"http://a.test/{row}", status, started=1.7e9 + row, seconds=0.5, attempts=1, **values)


def shot(data: bytes, status: FetchStatus = FetchStatus.SUCCESS, **values: Any) -> Picture:
    return Picture(status, "", "5a" * 32, data, "jpg", original_bytes=7, width=3, height=2, **values)


def write(root: Path, source: pa.Table, rows: Sequence[tuple[Response, Picture | None]]) -> Commit:
    """One shard from these rows, in their order."""
    attempt = Attempt(Storage(str(root)), "fetch", "00000", "mark")
    writer = PairWriter("00000", source, 1000, attempt.scratch)
    for answer, image in rows:
        writer.put(answer, image)
    writer.finish(attempt)
    return attempt.commit()


def one(root: Path, **columns: Any) -> dict[str, bytes]:
    """The members of a shard with one good row that carries these columns."""
    source = pa.table(
        {name: pa.array([value]) if not isinstance(value, pa.Array) else value for name, value in columns.items()}
    )
    write(root, source, [(response(0), shot(b"data"))])
    return {name.partition(".")[2]: data for name, data in members(root / "00000.tar").items()}


def strict(raw: bytes) -> dict[str, Any]:
    """RFC 8259 and nothing beyond it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return dict(json.loads(raw.decode(), parse_constant=refuse))


@st.composite
def finished(draw: st.DrawFn) -> tuple[list[tuple[Response, Picture | None]], list[int]]:
    """Rows as a crawl ends them, and another order."""
    rows: list[tuple[Response, Picture | None]] = []
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["picture", "no answer", "no picture"]))
        status = draw(st.sampled_from(BAD))
        image = (
            None
            if kind == "no answer"
            else shot(b"", status)
            if kind == "no picture"
            else shot(draw(st.binary(min_size=1, max_size=2000)))
        )
        rows.append((response(number, status if kind == "no answer" else FetchStatus.SUCCESS), image))
    return rows, draw(st.permutations(range(len(rows))))


@settings(max_examples=15, deadline=None)
@given(finished())
def test_any_order_of_finishing_gives_the_same_shard(
    case: tuple[list[tuple[Response, Picture | None]], list[int]],
) -> None:
    rows, order = case
    source = pa.table({"caption": [f"of {n}" for n in range(len(rows))], "url": [answer.url for answer, _ in rows]})
    with tempfile.TemporaryDirectory() as folder:
        first, other = Path(folder, "first"), Path(folder, "other")
        commit = write(first, source, rows)
        assert write(other, source, [rows[n] for n in order]).counts == commit.counts
        assert digests(first) == digests(other)
        good = {n: image for n, (_, image) in enumerate(rows) if image is not None and image.data}
        stored = members(first / "00000.tar")
        assert list(stored) == [f"00000{n:03d}.{end}" for n in good for end in ("jpg", "json", "txt")]
        assert all(stored[f"00000{n:03d}.jpg"] == image.data for n, image in good.items())
        assert (commit.counts["in"], commit.counts["kept"]) == (len(rows), len(good))
        assert sum(c for n, c in commit.counts.items() if n.startswith("dropped.")) == len(rows) - len(good)
        stats = json.loads((first / "00000_stats.json").read_bytes())
        assert stats["count"] == stats["successes"] + stats["failed_to_download"] + stats["failed_to_resize"]
        assert (stats["start_time"], stats["duration"]) == (1.7e9, len(rows) - 0.5)


def test_pictures_beyond_the_memory_limit_wait_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(0)
    rows = [(response(n), shot(dice.bytes(1 + 700 * n))) for n in range(40)]
    source = pa.table({"url": [answer.url for answer, _ in rows]})
    write(tmp_path / "memory", source, rows)
    monkeypatch.setattr(arrivals, "SPOOL_BYTES", 10_000)
    attempt = Attempt(Storage(str(tmp_path / "disk")), "fetch", "00000", "mark")
    writer = PairWriter("00000", source, 1000, attempt.scratch)
    for answer, image in reversed(rows):
        writer.put(answer, image)
    assert writer._spool._rolled  # type: ignore[attr-defined]
    writer.finish(attempt)
    commit = attempt.commit()
    assert digests(tmp_path / "disk") == digests(tmp_path / "memory")
    assert {file.name.partition(".")[2] for file in commit.files} >= {"tar", "parquet"}
    assert len(commit.files) == 6


CAPTIONS = [
    "",
    "a\0b",
    "line\nbreak\r\n\ttab",
    '"\\ </script>',
    "\U0001f40d Ünïcödé \u202e\ufeff",
    "é" * 100_000,
    "\x7f\x1b[31m",
]


@pytest.mark.parametrize("caption", CAPTIONS, ids=range(len(CAPTIONS)))
def test_a_caption_comes_back_as_it_was(tmp_path: Path, caption: str) -> None:
    stored = one(tmp_path, caption=caption)
    assert stored["txt"].decode() == caption
    assert strict(stored["json"])["caption"] == caption
    (sample,) = Shard(Storage(str(tmp_path)), "00000").samples()
    assert (sample.caption, sample.columns["caption"]) == (caption, caption)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(max_size=300), min_size=1, max_size=20))
def test_any_caption_comes_back(captions: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(
            Path(folder), pa.table({"caption": captions}), [(response(n), shot(b"data")) for n in range(len(captions))]
        )
        stored = members(Path(folder) / "00000.tar")
        for number, caption in enumerate(captions):
            key = f"00000{number:03d}"
            assert stored[f"{key}.txt"].decode() == strict(stored[f"{key}.json"])["caption"] == caption


def test_a_null_caption_is_an_empty_text_and_null_in_json(tmp_path: Path) -> None:
    stored = one(tmp_path, caption=pa.array([None], pa.string()))
    assert stored["txt"] == b""
    assert strict(stored["json"])["caption"] is None


def test_text_that_is_no_utf8_is_null(tmp_path: Path) -> None:
    offsets = np.array([0, 3], np.int32)
    broken = pa.StringArray.from_buffers(
        1, pa.py_buffer(offsets), pa.py_buffer(b"\xed\xa0\x80")
    )  # half a surrogate pair
    stored = one(tmp_path, caption=broken, url="http://a.test/0")
    assert (stored["txt"], strict(stored["json"])["caption"]) == (b"", None)


NAN, INF = float("nan"), float("inf")
MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 1, 5)
ODD: dict[str, tuple[pa.Array, Any]] = {
    "nan": (pa.array([NAN]), None),
    "infinite": (pa.array([-INF], pa.float32()), None),
    "nan inside a list": (pa.array([[1.0, NAN, None]]), [1.0, None, None]),
    "nan inside a struct": (pa.array([{"a": {"b": [INF]}}]), {"a": {"b": [None]}}),
    "half": (pa.array(np.array([1.5], np.float16)), 1.5),
    "bool": (pa.array([True]), True),
    "big": (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    "bytes": (pa.array([b"\x00\xff"]), "00ff"),
    "bytes inside": (pa.array([[b"\x01"]]), ["01"]),
    "decimal": (pa.array([Decimal("1.10")]), "1.10"),
    "moment": (pa.array([MOMENT]), "2024-02-29 12:30:01.000005"),
    "moment of a zone": (pa.array([MOMENT], pa.timestamp("ms", "Europe/Oslo")), "2024-02-29 13:30:01+01:00"),
    "nanoseconds": (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
    "a far year": (pa.array([2**60], pa.timestamp("ms")), None),
    "a far day": (pa.array([2**30], pa.date32()), None),
    "a far year inside": (pa.array([[2**60]], pa.list_(pa.timestamp("ms"))), None),
    "an unknown zone": (pa.array([0], pa.timestamp("ms", "Nowhere/Land")), None),
    "day": (pa.array([datetime.date(2024, 1, 2)]), "2024-01-02"),
    "duration": (pa.array([datetime.timedelta(seconds=61)]), "0:01:01"),
    "map": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), [["a", 1]]),
    "list": (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), [1, 2]),
    "dictionary": (pa.array(["x"]).dictionary_encode(), "x"),
    "null": (pa.array([None]), None),
    "uuid": (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), str(uuid.UUID(int=1))),
}


@pytest.mark.parametrize("name", list(ODD))
def test_a_carried_column_of_any_type_is_strict_json(tmp_path: Path, name: str) -> None:
    values, wanted = ODD[name]
    stored = one(tmp_path, extra=values, url="http://a.test/0")
    record = strict(stored["json"])
    assert record["extra"] == wanted
    assert list(record)[:2] == ["extra", "url"]
    assert pq.read_table(tmp_path / "00000.parquet").schema.field("extra").type == values.type


def test_one_value_that_python_cannot_hold_takes_no_other_with_it(tmp_path: Path) -> None:
    source = pa.table({"at": pa.array([0, 2**60, 1], pa.timestamp("ms")), "url": ["a", "b", "c"]})
    write(tmp_path, source, [(response(n), shot(b"data")) for n in range(3)])
    stored = members(tmp_path / "00000.tar")
    found = [strict(stored[f"0000000{n}.json"])["at"] for n in range(3)]
    assert found == ["1970-01-01 00:00:00", None, "1970-01-01 00:00:00.001000"]
    assert pq.read_table(tmp_path / "00000.parquet")["at"].cast(pa.int64()).to_pylist() == [0, 2**60, 1]


def test_a_failed_picture_leaves_no_member_and_keeps_what_is_known(tmp_path: Path) -> None:
    source = pa.table({"url": ["a", "b"]})
    refused = Picture(
        FetchStatus.IMAGE_TOO_LARGE, "huge", "5a" * 32, original_bytes=9, original_width=70_000, format="PNG"
    )
    write(
        tmp_path,
        source,
        [(response(0), refused), (response(1, FetchStatus.GONE, detail="HTTP 410", http_status=410), None)],
    )
    assert members(tmp_path / "00000.tar") == {}
    first, second = pq.read_table(tmp_path / "00000.parquet").to_pylist()
    assert (first["status"], first["error_message"]) == ("failed_to_resize", "image_too_large: huge")
    assert (first["original_width"], first["sha256"], first["width"]) == (70_000, "5a" * 32, None)
    assert (second["status"], second["error_message"], second["sha256"]) == (
        "failed_to_download",
        "gone: HTTP 410",
        None,
    )
    assert pq.read_table(tmp_path / "00000.fetch.parquet")["http_status"].to_pylist() == [None, 410]


@pytest.mark.parametrize(("most", "key"), [(1, "000000"), (10, "000000"), (11, "0000000"), (10_000, "000000000")])
def test_keys_are_as_wide_as_the_shard_may_grow(tmp_path: Path, most: int, key: str) -> None:
    attempt = Attempt(Storage(str(tmp_path)), "fetch", "00000", "mark")
    writer = PairWriter("00000", pa.table({"url": ["a"]}), most, attempt.scratch)
    writer.put(response(0, FetchStatus.GONE), None)
    writer.finish(attempt)
    attempt.commit()
    assert pq.read_table(tmp_path / "00000.parquet")["key"].to_pylist() == [key]
