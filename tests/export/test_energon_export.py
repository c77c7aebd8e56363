"""Tars for Megatron-Energon, read by its rules: a member's name ends at its first dot, the index gives the places."""

import json
import re
import runpy
import struct
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from document_sets import Page, Slot, Words, export, jpeg, put_pages, small_set

from curate.storage import Storage

FIRST_DOT = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")


@pytest.fixture
def written(tmp_path: Path) -> Storage:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    small_set(data)
    export("energon", data, target)
    return target


def read(storage: Storage, name: str) -> list[dict[str, Any]]:
    """The documents of a tar through its index, as dicts of parts."""
    raw = storage.read(f"{name}.idx")
    starts = struct.unpack(f"<{len(raw) // 8}Q", raw)
    found: list[dict[str, Any]] = []
    with tarfile.open(storage.path(name)) as archive:
        members = archive.getmembers()
        assert starts[-1] == archive.offset
        for start, end in pairwise(starts):
            own = [m for m in members if start <= m.offset < end]
            keys = {FIRST_DOT.match(m.name).group(1) for m in own}  # type: ignore[union-attr]
            assert len(keys) == 1
            sample: dict[str, Any] = {"__key__": keys.pop()}
            for m in own:
                part = FIRST_DOT.match(m.name).group(2)  # type: ignore[union-attr]
                data = archive.extractfile(m).read()  # type: ignore[union-attr]
                sample[part] = json.loads(data) if part == "json" else data
            found.append(sample)
    return found


def test_documents_come_back_through_their_loader(written: Storage) -> None:
    loader = runpy.run_path(written.path(".nv-meta/sample_loader.py"))
    documents = [loader["sample_loader"](sample) for n in (0, 1) for sample in read(written, f"0000{n}.tar")]
    assert all(loader["part_filter"](part) for part in ("json", "1.jpg"))
    assert [document["__key__"] for document in documents] == ["00000000000", "00000000001", "00001000000"]
    assert documents[0]["sequence"] == ["one", jpeg(1), "two\nthree"]
    assert documents[1]["sequence"] == [jpeg(2, format="PNG"), "four"]
    assert documents[2]["sequence"] == ["five\n\nsix", jpeg(4)]


def test_what_prepare_would_write(written: Storage) -> None:
    meta = {name: written.read(f".nv-meta/{name}") for name in ("dataset.yaml", "split.yaml", ".info.json")}
    assert json.loads(meta[".info.json"]) == {"shard_counts": {"00000.tar": 2, "00001.tar": 1}}
    split = yaml.safe_load(meta["split.yaml"])
    assert split == {"split_parts": {"train": ["00000.tar", "00001.tar"], "val": [], "test": []}, "exclude": []}
    assert yaml.safe_load(meta["dataset.yaml"]) == {
        "sample_type": {"__module__": "megatron.energon", "__class__": "InterleavedSample"},
        "part_filter": "sample_loader.py:part_filter",
        "sample_loader": "sample_loader.py:sample_loader",
    }


def test_a_shard_without_documents_is_in_no_split(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    gone = Page([Words("x"), Slot("u", None, "not_found")])
    put_pages(data, "00000", [gone, gone, Page([Words("x"), Slot("u", jpeg(1))])])
    export("energon", data, target)
    assert read(target, "00000.tar") == []
    assert json.loads(target.read(".nv-meta/.info.json")) == {"shard_counts": {"00001.tar": 1}}


def test_what_its_decoder_does_not_know_leaves_as_jpeg(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page([Words("x"), Slot("u", jpeg(1, format="WEBP"), extension="webp")])])
    export("energon", data, target)
    [document] = read(target, "00000.tar")
    assert document["json"]["images"] == [None, "1.jpg"]
    assert document["1.jpg"].startswith(b"\xff\xd8\xff")
