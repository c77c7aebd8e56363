"""MDS by its documented rules: a reader of its own takes samples by seeking, as mosaicml streaming does.

The writer's bytes were held against those of mosaicml-streaming 0.13.0 once: the same, file by file, and its
StreamingDataset reads each source and mixes the streams of a stage.
"""

import hashlib
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from example_sets import page, pair, picture, put_pairs, run_export, talk
from handover_sets import make_handover
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curate.errors import ConfigError
from curate.export._mds import MdsWriter, index_bytes
from curate.sample import Document, Picture, Text
from curate.storage import Storage

PNG = picture(2, "png").image or b""
STAGES = """
[[stages]]
name = "by_token"
objective = "contrastive"
resolution = {}
mixture.unit = "token"
[[stages.mixture.sources]]
name = "web"
kind = "pairs"
weight = 1.0
[[stages]]
name = "align"
objective = "lm"
resolution = {}
[[stages.mixture.sources]]
name = "web"
kind = "pairs"
weight = 0.75
[[stages.mixture.sources]]
name = "vqa"
kind = "chat"
weight = 0.25
[[stages]]
name = "tune"
objective = "sft"
resolution = {}
[[stages.mixture.sources]]
name = "vqa"
kind = "chat"
repeat = 2
[[stages]]
name = "elsewhere"
objective = "sft"
resolution = {}
[[stages.mixture.sources]]
name = "not here"
kind = "chat"
"""


def decode(encoding: str, data: bytes) -> Any:
    """A column's value: as docs.mosaicml.com describes the encodings."""
    if encoding == "int":
        return struct.unpack("<q", data)[0]
    if encoding in ("str", "json"):
        return data.decode() if encoding == "str" else json.loads(data)
    if encoding == "jpeg":
        Image.open(io.BytesIO(data)).load()
        return data
    reserved, count = struct.unpack_from("<2I", data)
    sizes = struct.unpack_from(f"<{count}I", data, 8)
    start = 8 + 4 * count
    found = []
    for size in sizes:
        found.append(decode("jpeg", data[start : start + size]))
        start += size
    assert (reserved, start) == (0, len(data))
    return found


def samples(folder: Path) -> Iterator[dict[str, Any]]:
    """Every sample of a data set, by its index."""
    index = json.loads((folder / "index.json").read_bytes())
    assert index["version"] == 2
    for shard in index["shards"]:
        raw = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert shard["raw_data"]["bytes"] == len(raw)
        assert shard["raw_data"]["hashes"] == {"sha1": hashlib.sha1(raw).hexdigest()}
        assert (shard["format"], shard["compression"], shard["zip_data"]) == ("mds", None, None)
        for number in range(shard["samples"]):
            start, end = struct.unpack_from("<2I", raw, 4 * (1 + number))
            yield _sample(shard, raw[start:end])
        assert struct.unpack_from("<I", raw)[0] == shard["samples"]
        assert struct.unpack_from("<I", raw, 4 * (1 + shard["samples"]))[0] == len(raw)


def _sample(shard: dict[str, Any], raw: bytes) -> dict[str, Any]:
    sizes, place = [], 0
    for size in shard["column_sizes"]:
        if size is None:
            size = struct.unpack_from("<I", raw, place)[0]
            place += 4
        sizes.append(size)
    found = {}
    for name, encoding, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
        found[name] = decode(encoding, raw[place : place + size])
        place += size
    assert place == len(raw)
    return found


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.text(max_size=9),
            "place": st.integers(-(2**63), 2**63 - 1),
            "about": st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=5), max_size=3),
            "image": st.just(PNG),
            "images": st.lists(st.just(PNG), max_size=3),
        }
    ),
    max_size=8,
)
COLUMNS = {"key": "str", "place": "int", "about": "json", "image": "jpeg", "images": "list[jpeg]"}


@settings(max_examples=40, deadline=None)
@given(ROWS, st.sampled_from([1, 5_000, 1 << 26]))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], limit: int) -> None:
    folder = tmp_path_factory.mktemp("mds")
    writer = MdsWriter(folder, COLUMNS, limit)
    assert [writer.add(row) for row in rows] == [None] * len(rows)
    writer.flush()
    (folder / "index.json").write_bytes(index_bytes(writer.shards))
    assert list(samples(folder)) == rows


@pytest.mark.parametrize(("more", "files"), [(0, 1), (-1, 2)])
def test_a_file_has_at_most_so_many_bytes(tmp_path: Path, more: int, files: int) -> None:
    columns, row = {"key": "str"}, {"key": "x" * 100}
    one = MdsWriter(tmp_path, columns, 999)
    one.add(row)
    one.flush()
    both = one.shards[0]["raw_data"]["bytes"] + 4 + 104  # the place of one more sample, its size and its text
    writer = MdsWriter(tmp_path, columns, both + more)
    for _ in range(2):
        writer.add(row)
    writer.flush()
    assert len(writer.shards) == files
    assert sum(shard["samples"] for shard in writer.shards) == 2
    assert all(shard["raw_data"]["bytes"] <= both + more for shard in writer.shards)


def test_a_sample_that_no_file_can_hold_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.export._mds.MOST_BYTES", 400)
    writer = MdsWriter(tmp_path, {"key": "str"})
    assert writer.add({"key": "x" * 400}) == "too_many_bytes"
    assert writer.add({"key": "x"}) is None


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    root = tmp_path_factory.mktemp("mds")
    web = [pair(f"p{n}", n, f"words {n}", "png" if n == 1 else "jpg", url=f"u{n}") for n in range(5)]
    asked = ("user", [picture(8), "what?", picture(9)])
    vqa = [talk("t0", asked, ("assistant", ["that"]), boxes=[[1, 2]]), talk("t1", ("user", [Picture("")]))]
    pages = [Document("d", (Text("one"), picture(5), Text("two"), Text("three", separator="\n"), Picture("")))]
    books = [page("b", "only words é")]
    folder = make_handover(root / "set", {"web": web, "vqa": vqa, "pages/1": pages, "books": books}, 3)
    (folder / "stages.toml").write_text(STAGES)
    target = Storage(str(root / "out"))
    run_export("mds", Storage(str(folder)), target, shard_samples=2)
    return target


def test_each_source_is_a_data_set(written: Storage) -> None:
    root = Path(written.root)
    web = list(samples(root / "web"))
    assert [row["caption"] for row in web] == [f"words {n}" for n in range(5)]
    assert [row["about"]["url"] for row in web] == [f"u{n}" for n in range(5)]
    assert web[1]["image"] == picture(1, "png").image
    assert len({row["key"] for row in web}) == 5
    [vqa] = samples(root / "vqa")
    assert vqa["images"] == [picture(8).image, picture(9).image]
    assert vqa["about"] == {"boxes": [[1, 2]]}
    user = [{"type": "image"}, {"type": "text", "text": "what?"}, {"type": "image"}]
    told = [{"type": "text", "text": "that"}]
    assert vqa["messages"] == [{"role": "user", "content": user}, {"role": "assistant", "content": told}]
    [book] = samples(root / "books")
    assert book["text"] == "only words é"
    [folder] = [name for name in written.folders() if name.startswith("pages")]
    [pages] = samples(root / folder)
    assert (pages["texts"], pages["images"]) == (["one", None, "two\n\nthree"], [picture(5).image])


def test_an_output_shard_is_a_data_set_too(written: Storage) -> None:
    found = [row for part in ("00000", "00001", "00002") for row in samples(Path(written.root) / "web" / part)]
    assert found == list(samples(Path(written.root) / "web"))


def test_streams_are_those_of_the_stages(written: Storage) -> None:
    assert json.loads(written.read("streams.json")) == {
        "align": [{"local": "web", "proportion": 0.75}, {"local": "vqa", "proportion": 0.25}],
        "tune": [{"local": "vqa", "repeat": 2.0}],
    }


def test_what_was_left_out_is_counted(written: Storage) -> None:
    told = json.loads(written.read("export.json"))
    assert told["examples_by_source"] == {"web": 5, "vqa": 1, "pages/1": 1, "books": 1}
    assert told["examples_left_out"] == {"picture_missing": 1}
    assert told["slots_without_picture"] == {"missing": 1}
    assert told["stages_not_by_sample"] == ["by_token"]


def test_pairs_and_the_same_bytes_again(tmp_path: Path) -> None:
    data = Storage(str(tmp_path / "data"))
    put_pairs(data, "00000", [pair("a", 1, "one"), pair("b", 2, None), pair("c", 3, "three")])
    one, other = Storage(str(tmp_path / "one")), Storage(str(tmp_path / "other"))
    told = run_export("mds", data, one, shuffle=True)
    run_export("mds", data, other, shuffle=True)
    assert (told["examples"], told["examples_left_out"]) == (2, {"no_text": 1})
    names = ["export.json", "pairs/index.json", "pairs/00000/shard.00000.mds"]
    assert all(one.read(name) == other.read(name) for name in names)
    assert not one.exists("streams.json")
    with pytest.raises(ConfigError, match="format mds takes no --missing; it takes --captions, --sources"):
        run_export("mds", data, other, missing="slot")


def test_a_stages_file_that_is_broken_is_told(tmp_path: Path) -> None:
    folder = make_handover(tmp_path / "set", {"web": [pair("a", 1, "one")]})
    (folder / "stages.toml").write_text("stages = 1")
    with pytest.raises(ConfigError, match=r"stages.toml in .*set: "):
        run_export("mds", Storage(str(folder)), Storage(str(tmp_path / "out")))
