"""OmniCorpus' JSON lines, read by its trainer's rules."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from document_sets import Page, Slot, Words, export, jpeg, lines, put_pages, small_set

from curate.storage import Storage


@pytest.fixture
def data(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "data"))
    small_set(storage)
    return storage


def read(target: Storage, folder: Path) -> list[tuple[list[str | None], list[bytes]]]:
    """Every document by its number, through the ranges; texts with None at each picture, and the valid pictures."""
    lengths, ranges = (json.loads(target.read(name)) for name in ("length.json", "shard_id_range.json"))
    numbers = [i for start, end in ranges.values() for i in range(start, end)]
    assert sorted(numbers) == list(range(sum(lengths.values())))
    found = []
    for name, (start, end) in ranges.items():
        rows = lines(target, name)
        assert len(rows) == end - start
        for row in rows:
            images, texts, about, valid = (row[n] for n in ("images", "texts", "metadata", "valid_image"))
            assert sum(i is not None for i in images) == sum(t is None for t in texts) == len(valid)
            assert all((i is None) == (m is None) for i, m in zip(images, about, strict=True))
            urls = [url for url in images if url is not None]
            paths = [folder / hashlib.sha256(url.encode()).hexdigest() for url in urls]
            found.append((texts, [p.read_bytes() for p, ok in zip(paths, valid, strict=True) if ok]))
    return found


def unpack(target: Storage, folder: Path) -> None:
    for name in target.files():
        if name.endswith(".tar"):
            with tarfile.open(target.path(name)) as archive:
                archive.extractall(folder, filter="data")


def test_documents_come_back(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    export("omnicorpus", data, target)
    unpack(target, tmp_path / "images")
    assert read(target, tmp_path / "images") == [
        (["one", None, "two\nthree"], [jpeg(1)]),
        ([None, "four"], [jpeg(2, format="PNG")]),
        (["five", None, "six", None], [jpeg(4)]),
    ]
    assert lines(target, "00001.jsonl")[0]["valid_image"] == [False, True]


def test_a_picture_that_stands_twice_is_one_file(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page([Words("x"), Slot("same", jpeg(1)), Words("y"), Slot("same", jpeg(1))])] * 2)
    export("omnicorpus", data, target)
    with tarfile.open(target.path("00000.tar")) as archive:
        assert archive.getnames() == [hashlib.sha256(b"same").hexdigest()]
