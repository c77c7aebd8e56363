"""A source is cut once, the same way whoever cuts it; a folder is never filled from two sources."""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ConfigError, ShardError, StorageError
from curate.shard import Shard, Slice
from curate.slices import known_slices, read_plan
from curate.source.ingest import ingest
from curate.source.source import no_service
from curate.source.url_table import UrlTable
from curate.storage import Storage


@dataclass(frozen=True)
class Given:
    """Input files as lists of batch lengths; rows are numbered. Counts how often it is opened."""

    files: tuple[tuple[int, ...], ...]
    name: str = "given"
    opened: tuple[list[int], ...] = ([],)

    def identity(self) -> Any:
        return {"name": self.name, "files": [[f"{n}.txt", sum(f)] for n, f in enumerate(self.files)]}

    def parts(self) -> Iterator[Iterator[pa.RecordBatch]]:
        self.opened[0].append(1)
        start = 0
        for file in self.files:
            batches = []
            for length in file:
                batches.append(pa.record_batch({"url": [f"u{n}" for n in range(start, start + length)]}))
                start += length
            yield iter(batches)

    def known_columns(self) -> tuple[str, ...]:
        return ("url",)

    def serve(self) -> AbstractContextManager[Any]:
        return no_service()


def given_source(*files: tuple[int, ...], name: str = "given") -> Given:
    return Given(files, name, ([],))


def storage_at(path: Path) -> Storage:
    return Storage(str(path))


FILES = st.lists(st.lists(st.integers(0, 12), max_size=5).map(tuple), max_size=4)


@given(FILES, st.integers(1, 9), st.none() | st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_rows_are_cut_file_by_file(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[int, ...]], size: int, limit: int | None
) -> None:
    storage = storage_at(tmp_path_factory.mktemp("cut"))
    found = list(ingest(given_source(*files), storage, size, limit))
    expected, start = [], 0
    for file in files:
        rows = [f"u{n}" for n in range(start, start + sum(file))]
        expected += [rows[i : i + size] for i in range(0, len(rows), size)]
        start += sum(file)
    if limit is not None:
        left, cut = limit, []
        for rows in expected:
            cut.append(rows[:left])
            left -= len(cut[-1])
        expected = [rows for rows in cut if rows]
    assert [Shard(storage, s.shard).source()["url"].to_pylist() for s in found] == expected
    assert [(s.shard, s.rows) for s in found] == [(f"{n:05d}", len(rows)) for n, rows in enumerate(expected)]
    assert known_slices(storage) == found


def test_batches_of_any_length_give_the_same_bytes(tmp_path: Path) -> None:
    one = list(ingest(given_source((10,)), storage_at(tmp_path / "a"), 4))
    many = list(ingest(given_source((1, 0, 3, 5, 1)), storage_at(tmp_path / "b"), 4))
    assert one == many
    for piece in one:
        name = f"source/{piece.shard}.parquet"
        assert storage_at(tmp_path / "a").read(name) == storage_at(tmp_path / "b").read(name)


def test_a_finished_cut_does_not_open_the_input(tmp_path: Path) -> None:
    storage, source = storage_at(tmp_path), given_source((10,))
    first = list(ingest(source, storage, 4, 9))
    assert list(ingest(source, storage, 4, 9)) == first
    assert source.opened == ([1],)


def test_slices_come_while_the_input_is_being_read(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    slices = ingest(given_source((10,), (10,)), storage, 4)
    first = next(slices)
    assert Shard(storage, first.shard).source()["url"].to_pylist() == ["u0", "u1", "u2", "u3"]
    assert known_slices(storage) is None
    with pytest.raises(ShardError, match=r"has no source/00001.parquet"):
        Shard(storage, "00001").source()


def test_a_cut_that_was_killed_is_made_anew_and_the_same(tmp_path: Path) -> None:
    storage, source = storage_at(tmp_path / "a"), given_source((10,), (3,))
    slices = ingest(source, storage, 4)
    begun = [next(slices), next(slices)]
    slices.close()
    again = list(ingest(source, storage, 4))
    assert again[:2] == begun
    assert again == list(ingest(source, storage_at(tmp_path / "b"), 4))


@pytest.mark.parametrize("larger", [8, 9, None])
def test_a_larger_limit_keeps_what_was_cut(tmp_path: Path, larger: int | None) -> None:
    storage, source = storage_at(tmp_path), given_source((10,))
    first = list(ingest(source, storage, 3, 7))
    assert [s.rows for s in first] == [3, 3, 1]
    written = (storage.local / "source" / "00000.parquet").stat().st_mtime_ns  # type: ignore[operator]
    second = list(ingest(source, storage, 3, larger))
    assert second[:2] == first[:2]
    assert second[2] != first[2]
    assert sum(s.rows for s in second) == (larger or 10)
    assert (storage.local / "source" / "00000.parquet").stat().st_mtime_ns == written  # type: ignore[operator]
    assert list(ingest(source, storage, 3, larger)) == second


@pytest.mark.parametrize(
    ("source", "size", "limit", "words"),
    [
        (given_source((10,), name="other"), 4, 8, "was made from another source (name: 'given', now 'other')"),
        (given_source((10,), (1,)), 4, 8, "was made from another source (files: 1 entries, now 2)"),
        (given_source((11,)), 4, 8, "was made from another source (files: 10, now 11)"),
        (given_source((10,)), 5, 8, "was cut into shards of 4 samples, and samples_per_shard is 5"),
        (given_source((10,)), 4, 7, "was made with a larger limit (8) than 7"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_is_of_one_source(
    tmp_path: Path, source: Given, size: int, limit: int, words: str, finished: bool
) -> None:
    storage = storage_at(tmp_path)
    slices = ingest(given_source((10,)), storage, 4, 8)
    assert [next(slices), *slices] if finished else next(slices)
    with pytest.raises(ConfigError) as told:
        list(ingest(source, storage, size, limit))
    assert words in str(told.value)
    assert f"choose another --out, or delete {storage.root} to start anew" in str(told.value)
    assert source.opened == ([],)


def test_a_limit_after_none_is_smaller(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    list(ingest(given_source((10,)), storage, 4))
    with pytest.raises(ConfigError, match=r"larger limit \(None\) than 5"):
        list(ingest(given_source((10,)), storage, 4, 5))


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"slices": 5}', b'{"slices": [[1]]}'])
def test_a_damaged_plan_is_told(tmp_path: Path, raw: bytes) -> None:
    storage = storage_at(tmp_path)
    storage.write("source/plan.json", raw)
    with pytest.raises(StorageError, match=r"source/plan.json in .* is damaged; delete it to cut the source anew"):
        read_plan(storage)


def test_an_empty_source_is_an_empty_plan(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    assert list(ingest(given_source((), (0,)), storage, 4)) == []
    assert known_slices(storage) == []


def test_a_real_list_of_two_files(tmp_path: Path) -> None:
    for name, count in (("a", 5), ("b", 3)):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"http://{name}/{n}" for n in range(count)))
    storage = storage_at(tmp_path / "out")
    found = list(ingest(UrlTable(str(tmp_path), format="txt"), storage, 4))
    assert [s.rows for s in found] == [4, 1, 3]
    assert Shard(storage, "00002").source()["url"].to_pylist() == ["http://b/0", "http://b/1", "http://b/2"]
    record = json.loads(storage.read("source/plan.json"))
    assert record["slices"] == [[s.shard, s.rows, s.digest] for s in found]
    assert isinstance(found[0], Slice)


@pytest.mark.parametrize(
    ("rows", "same"), [(["http://a.org/1", "http://a.org/2"], True), (["http://a.org/1", "http://a.org/3"], False)]
)
def test_a_list_written_anew_is_the_same_source_when_its_rows_are(tmp_path: Path, rows: list[str], same: bool) -> None:
    path = tmp_path / "list.txt"
    path.write_text("http://a.org/1\nhttp://a.org/2\n")
    storage = Storage(str(tmp_path / "set"))
    first = list(ingest(UrlTable(str(path)), storage, 1))
    path.write_text("\n".join(rows) + "\n")
    os.utime(path, (1, 1))
    if same:
        assert list(ingest(UrlTable(str(path)), storage, 1)) == first
        assert read_plan(storage).identity == json.loads(json.dumps(UrlTable(str(path)).identity()))  # type: ignore[union-attr]
        return
    with pytest.raises(ConfigError, match="was made from another source"):
        list(ingest(UrlTable(str(path)), storage, 1))
    assert known_slices(storage) == first
