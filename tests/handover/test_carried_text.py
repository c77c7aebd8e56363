"""Rows of annotation files: every one is found, whatever the file's shape, and dealt by what it says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import SourceError
from curate.handover import carried_text
from curate.handover.carried_text import dealt, text_rows, text_tables
from curate.handover.compose_source import ShardSettings
from curate.source.files import InputFile, input_files


def rows(path: Path, data: bytes) -> list[tuple[int, str | None]]:
    path.write_bytes(data)
    (file,) = input_files(str(path), ("jsonl", "json"), mixed=True)
    return list(text_rows(file))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n \n", []),
        (b'{"a": 1}\n\n{"a": 2}', [(1, '{"a": 1}'), (3, '{"a": 2}')]),
        (b'\xef\xbb\xbf{"a": 1}\r\n{broken\r\n', [(1, '{"a": 1}'), (2, "{broken")]),
        (b'{"a": "\xff"}\n', [(1, '{"a": "\ufffd"}')]),
        ('{"a": "x\u2028y"}\n'.encode(), [(1, '{"a": "x\u2028y"}')]),
    ],
)
def test_lines(tmp_path: Path, data: bytes, expected: list[Any]) -> None:
    assert rows(tmp_path / "a.jsonl", data) == expected
    assert rows(tmp_path / "a.jsonl.gz", gzip.compress(data)) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[]", []),
        (b' [ {"a": [1, "]"]} , {"b": {}}\n]\n', [(1, '{"a": [1, "]"]}'), (2, '{"b": {}}')]),
        (b"[1, null, 223]", [(1, "1"), (2, "null"), (3, "223")]),
        (b'{"a": 1}\n{"a": 2}\n', [(1, '{"a": 1}'), (2, '{"a": 2}')]),
        (b'{"a": 1}', [(1, '{"a": 1}')]),
    ],
)
@pytest.mark.parametrize("chunk", [1 << 20, 7, 1])
def test_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, expected: list[Any], chunk: int) -> None:
    monkeypatch.setattr(carried_text, "CHUNK_CHARS", max(chunk, 7 if data.lstrip()[:1] == b"{" else 2))
    assert rows(tmp_path / "a.json", data) == expected


@given(st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=9), max_size=3), max_size=6))
@settings(max_examples=30)
def test_any_array_comes_apart_into_its_elements(tmp_path_factory: pytest.TempPathFactory, records: list[Any]) -> None:
    path = tmp_path_factory.mktemp("any") / "a.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carried_text, "CHUNK_CHARS", 11)
        found = rows(path, json.dumps(records, indent=1).encode())
    assert [json.loads(row or "") for _, row in found] == records


@pytest.mark.parametrize("data", [b"[", b'[{"a": 1}', b'[{"a": 1}, {"b": ', b"[{]", b"[" * 200_000])
def test_an_array_that_breaks_is_told(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SourceError, match=r"a\.json cannot be read as json: the array breaks behind element"):
        rows(tmp_path / "a.json", data)


@pytest.mark.parametrize("more", [b"[2]", b" \n [2]\n", b"]", b" " * 40 + b"x"])
def test_nothing_behind_an_array_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: bytes) -> None:
    monkeypatch.setattr(carried_text, "CHUNK_CHARS", 9)
    with pytest.raises(SourceError, match="more follows behind the array of 1; write one array"):
        rows(tmp_path / "a.json", b'[{"a": 1}]' + more)
    assert rows(tmp_path / "a.json", b'[{"a": 1}]' + b" \n" * 40) == [(1, '{"a": 1}')]


def test_an_object_around_the_rows_is_told(tmp_path: Path) -> None:
    data = json.dumps({"data": [{"a": 1}]}, indent=1).encode()
    with pytest.raises(SourceError, match=r"a\.json cannot be read as json: it holds one object over several lines"):
        rows(tmp_path / "a.json", data)
    assert rows(tmp_path / "a.jsonl", b"{\n{}\n") == [(1, "{"), (2, "{}")]  # one line's trouble


def test_long_rows_are_held_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried_text, "BATCH_CHARS", 20)
    monkeypatch.setattr(carried_text, "BATCH_ROWS", 3)
    files = inputs(tmp_path, {"a.jsonl": ["x" * 30, "y" * 30, 1, 2, 3, 4]})
    assert [len(table) for table in carried_text._batches(files)] == [1, 1, 3, 1]


def test_a_file_that_is_not_packed_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read as jsonl"):
        rows(tmp_path / "a.jsonl.gz", b"{}\n")


@pytest.mark.parametrize(("chars", "whole"), [(50, True), (51, False), (500, False)])
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_row_that_is_too_long_keeps_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chars: int, whole: bool, end: str
) -> None:
    monkeypatch.setattr(carried_text, "MOST_ROW_CHARS", 50)
    row = '"' + "x" * (chars - 2 - len(end)) + '"'
    found = rows(tmp_path / "a.jsonl", f'{{"a": 1}}\n{row}{end or ""}'.encode() + (b"{}\n" if end else b""))
    expected: list[Any] = [(1, '{"a": 1}'), (2, row if whole else None)]
    assert found == expected + ([(3, "{}")] if end else [])
    row = '"' + "x" * (chars - 2) + '"'
    assert rows(tmp_path / "b.json", f"[{row}, 2]".encode()) == [(1, row if whole else None), (2, "2")]


@pytest.mark.parametrize(
    ("samples", "shuffle", "expected"),
    [
        (0, True, [3, 0, 2, 1]),
        (0, False, [0, 1, 2, 3]),
        (2, True, [-1, 0, -1, 1]),
        (2, False, [-1, 0, -1, 1]),
        (3, False, [-1, 0, 1, 2]),
        (9, True, [3, 0, 2, 1]),
    ],
)
def test_rows_are_dealt_by_their_hashes(samples: int, shuffle: bool, expected: list[int]) -> None:
    assert dealt(np.array([9, 1, 7, 5], np.uint64), samples, shuffle).tolist() == expected


def test_no_rows_are_dealt_to_nobody() -> None:
    assert dealt(np.array([], np.uint64), 3, True).tolist() == []


def inputs(folder: Path, files: dict[str, Sequence[Any]]) -> list[InputFile]:
    for name, records in files.items():
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return input_files(str(folder), ("jsonl",))


def said(found: Sequence[pa.Table]) -> list[list[int]]:
    return [[json.loads(row)["n"] for row in table["row_text"].to_pylist()] for table in found]


def test_rows_of_all_files_are_dealt_to_shards_of_one_size(tmp_path: Path) -> None:
    files = inputs(tmp_path, {"a.jsonl": [{"n": n} for n in range(7)], "b.jsonl": [{"n": n} for n in range(7, 12)]})
    found = said([*text_tables(files, 0, ShardSettings(samples=5, shuffle=False), {})])
    assert found == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_a_shuffle_is_of_rows_and_seed_and_not_of_places(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    records = [{"n": n} for n in range(30)]
    one = inputs(tmp_path / "one", {"a.jsonl": records})
    two = inputs(tmp_path / "two", {"a.jsonl": records[20:], "b.jsonl": records[:20]})
    first = said([*text_tables(one, 0, ShardSettings(samples=8), {})])
    assert list(map(len, first)) == [8, 8, 8, 6]
    order = [n for table in first for n in table]
    assert sorted(order) == list(range(30)) != order
    assert said([*text_tables(two, 0, ShardSettings(samples=8), {})]) == first
    assert said([*text_tables(one, 0, ShardSettings(samples=8, seed=1), {})]) != first
    few = said([*text_tables(one, 5, ShardSettings(samples=8), {})])
    assert few == [first[0][:5]]
    assert said([*text_tables(one, 5, ShardSettings(samples=8, shuffle=False), {})]) == [sorted(first[0][:5])]


def test_places_are_told_and_buffers_may_be_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = inputs(tmp_path, {"a.jsonl": [{"n": n} for n in range(50)], "b.jsonl": [{"n": 50}]})
    whole = list(text_tables(files, 0, ShardSettings(samples=20), {}))
    monkeypatch.setattr(carried_text, "BATCH_ROWS", 3)
    monkeypatch.setattr(carried_text.Bins.__init__, "__defaults__", (100,))
    small = list(text_tables(files, 0, ShardSettings(samples=20), {}))
    assert [table.combine_chunks() for table in small] == [table.combine_chunks() for table in whole]
    rows = {json.loads(row["row_text"])["n"]: row for table in whole for row in table.to_pylist()}
    assert (rows[4]["place"], rows[4]["source_key"]) == ("a.jsonl:5", "00000000000005")
    assert (rows[50]["place"], rows[50]["source_key"]) == ("b.jsonl:1", "00001000000001")


@pytest.mark.parametrize(("change", "word"), [(["{}"], "grew"), ([], "shrank")])
def test_a_file_that_changes_while_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: list[str], word: str
) -> None:
    files = inputs(tmp_path, {"a.jsonl": [{"n": n} for n in range(5)]})
    hashes = carried_text._hashes

    def then_changed(*args: Any) -> Any:
        found = hashes(*args)
        (tmp_path / "a.jsonl").write_text("{}\n" * (6 if change else 4))
        return found

    monkeypatch.setattr(carried_text, "_hashes", then_changed)
    with pytest.raises(SourceError, match=f"{word} while it was read"):
        list(text_tables(files, 0, ShardSettings(), {}))
