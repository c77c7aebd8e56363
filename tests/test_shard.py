"""A shard: keys as img2dataset makes them, columns found by name, samples in order and by key."""

import io
import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ShardError
from curate.manifest import ROW_GROUP, write_parquet
from curate.shard import Shard, key_width, list_shards, sample_key, shard_id
from curate.storage import Storage
from curate.tar import TarWriter


@given(st.integers(0, 250_000), st.data())
def test_keys_are_those_of_img2dataset(number: int, data: st.DataObject) -> None:
    """Its rule in arithmetic: shard * 10^ceil(log10(n)) + row, padded to 5 + ceil(log10(n)) digits."""
    samples = data.draw(st.integers(2, 1_000_000))
    row = data.draw(st.integers(0, samples - 1))
    digits = math.ceil(math.log10(samples))
    assert key_width(samples) == digits
    assert sample_key(shard_id(number), row, samples) == f"{number * 10**digits + row:0{5 + digits}d}"


@given(st.integers(1, 100_000), st.data())
def test_keys_sort_as_rows_do(samples: int, data: st.DataObject) -> None:
    rows = sorted({data.draw(st.integers(0, samples - 1)) for _ in range(3)})
    keys = [sample_key("00007", row, samples) for row in rows]
    assert keys == sorted(set(keys))
    assert not any("." in key for key in keys)


@pytest.mark.parametrize(
    ("row", "samples", "key"),
    [(5, 10_000, "000010005"), (9_999, 10_000, "000019999"), (499, 500, "00001499"), (0, 1, "000010")],
)
def test_key_examples(row: int, samples: int, key: str) -> None:
    assert sample_key("00001", row, samples) == key


def put_table(storage: Storage, name: str, columns: dict[str, list[object]]) -> None:
    target = io.BytesIO()
    write_parquet(pa.table(columns), target)
    storage.write(name, target.getvalue())


def put_tar(storage: Storage, members: list[tuple[str, bytes]]) -> None:
    target = io.BytesIO()
    tar = TarWriter(target)
    for name, data in members:
        tar.add(name, data)
    tar.finish()
    storage.write("00000.tar", target.getvalue())
    places = [(*m.name.split("."), m.offset, m.size) for m in tar.members]
    names = ("key", "extension", "offset", "size")
    put_table(storage, "00000.index.parquet", dict(zip(names, map(list, zip(*places, strict=True)), strict=True)))


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    storage = Storage(str(tmp_path))
    put_table(storage, "00000.parquet", {"key": ["0", "1", "2"], "caption": ["a", None, "c"], "width": [1, 2, None]})
    put_table(storage, "00000.language.parquet", {"key": ["0", "1", "2"], "language": ["en", "de", None]})
    record = json.dumps({"url": "http://h"}).encode()
    put_tar(
        storage,
        [
            ("0.jpg", b"jpeg"),
            ("0.json", record),
            ("0.txt", b"a cat"),
            ("1.txt", b"words alone"),
            ("2.json", b"{not json"),
            ("2.png", b"png"),
            ("3.json", b"[1]"),
            ("3.webp", b"webp"),
            ("3.txt", b"\xff"),
        ],
    )
    return Shard(storage, "00000")


def test_columns_are_found_in_whichever_file_has_them(shard: Shard) -> None:
    table = shard.columns(["language", "caption", "key"])
    assert table.column_names == ["language", "caption", "key"]
    assert table.to_pydict() == {"language": ["en", "de", None], "caption": ["a", None, "c"], "key": ["0", "1", "2"]}
    assert shard.column_files["key"] == ""
    assert shard.column_files["language"] == "language"
    assert shard.rows() == 3
    assert shard.schema("language").names == ["key", "language"]
    assert shard.table("", ["width"]).to_pydict() == {"width": [1, 2, None]}


def test_what_a_stage_wrote_goes_before_a_column_of_the_source(shard: Shard) -> None:
    rows = shard.rows()
    put_table(shard.storage, f"{shard.id}.other.parquet", {"key": ["x"] * rows, "url": ["scored"] * rows})
    found = Shard(shard.storage, shard.id)
    assert found.columns(["url"])["url"].to_pylist() == ["scored"] * rows
    assert found.columns(["key"]) == shard.columns(["key"])


def test_files_that_are_gone_are_told_with_what_brings_them_back(shard: Shard) -> None:
    shard.storage.delete(shard.tar)
    remedy = rf"delete commits/\*/{shard.id}-\*.json and run again"
    with pytest.raises(ShardError, match=rf"has no {shard.tar}; .*{remedy}"):
        list(shard.samples())
    with pytest.raises(ShardError, match=rf"has no column 'blur'; .*{remedy}"):
        shard.columns(["blur"])
    with pytest.raises(ShardError, match=rf"has no source/{shard.id}.parquet; delete source/plan.json"):
        shard.source()


def test_the_index_has_rows_of_its_own_and_gives_no_columns(shard: Shard) -> None:
    assert not {"offset", "size", "extension"} & set(shard.column_files)
    assert "offset" in shard.table("index").column_names


def test_a_shard_does_not_see_its_neighbours_files(shard: Shard) -> None:
    put_table(shard.storage, "000001.other.parquet", {"key": ["9"], "other": [1]})
    put_table(shard.storage, "100000.other.parquet", {"key": ["9"], "other": [1]})
    assert "other" not in shard.column_files


def test_samples_in_order(shard: Shard) -> None:
    first, second, third = shard.samples()
    assert (first.key, first.image, first.extension, first.caption) == ("0", b"jpeg", "jpg", "a cat")
    assert first.columns == {"url": "http://h"}
    assert (second.key, second.extension, second.caption, second.columns) == ("2", "png", None, {})
    assert (third.extension, third.caption, third.columns) == ("webp", "\ufffd", {})


def test_a_sample_by_key_is_the_same(shard: Shard) -> None:
    assert [shard.sample(key) for key in "023"] == list(shard.samples())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda s: s.columns(["key", "langage"]),
            "has no column 'langage'; .* It has caption, key, language, width",
        ),
        (lambda s: s.table("score"), "has no 00000.score.parquet; if it was there"),
        (lambda s: s.source(), "has no source/00000.parquet; delete source/plan.json"),
        (lambda s: Shard(s.storage, "00009").rows(), "shard 00009 in .* has no 00009.parquet"),
        (lambda s: s.sample("7"), "00000.tar has no sample '7'; its keys go from 0 to 3"),
        (lambda s: s.sample("1"), "sample '1' of 00000.tar has no picture; its members are txt"),
    ],
)
def test_what_is_missing_is_told(shard: Shard, call: object, words: str) -> None:
    with pytest.raises(ShardError, match=words):
        call(shard)  # type: ignore[operator]


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no parquet at all", "cut"])
def test_a_broken_table_is_told(shard: Shard, damage: bytes | str) -> None:
    whole = shard.storage.read("00000.language.parquet")
    shard.storage.write("00000.language.parquet", whole[: len(whole) // 2] if isinstance(damage, str) else damage)
    with pytest.raises(ShardError, match=r"00000.language.parquet in .* is not a readable Parquet file"):
        shard.table("language")
    with pytest.raises(ShardError, match="delete its commit"):
        shard.columns(["caption"])


def test_files_of_different_lengths_are_told(shard: Shard) -> None:
    put_table(shard.storage, "00000.short.parquet", {"key": ["0"], "short": [1]})
    with pytest.raises(ShardError, match=r"different row counts: \[1, 3\]"):
        shard.columns(["caption", "short"])


def test_a_cut_tar_gives_its_whole_samples_first(shard: Shard) -> None:
    raw = shard.storage.read("00000.tar")
    shard.storage.write("00000.tar", raw[: 512 * 9])
    found = []
    with pytest.raises(ShardError, match=r"00000\.tar is not a whole tar"):
        found.extend(shard.samples())
    assert [s.key for s in found] == ["0"]


def test_shards_are_those_with_a_sample_table(shard: Shard) -> None:
    for name in ("00002.parquet", "00001.parquet", "00003.tar", "00004.select.parquet", "source/00005.parquet"):
        shard.storage.write(name, b"")
    assert [s.id for s in list_shards(shard.storage)] == ["00000", "00001", "00002"]


def test_lists_of_reasons_are_read_whatever_the_number_of_rows(tmp_path: Path) -> None:
    rows = 2 * ROW_GROUP + 1
    reasons = [["too_small"] if row % 2 else [] for row in range(rows)]
    put_table(
        Storage(str(tmp_path)),
        "00000.parquet",
        {"drop_reasons": pa.array(reasons, pa.list_(pa.dictionary(pa.int16(), pa.string())))},
    )
    assert Shard(Storage(str(tmp_path)), "00000").columns(["drop_reasons"])["drop_reasons"].to_pylist() == reasons
