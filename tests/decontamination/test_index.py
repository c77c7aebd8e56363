"""Evaluation sets of every kind become an index; what cannot be read is counted, what does not fit is refused."""

import hashlib
import io
import json
import os
import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tombstone_sets import photo, pixels, put_shard

from curate.decontamination import building, index
from curate.decontamination.index import IndexSettings, build_index, open_index, sets_fingerprint
from curate.decontamination.sets import TEXT_FIELDS, Item, files_of, items_of, set_names
from curate.errors import ConfigError
from curate.filter import Scorer
from curate.models.embeddings import embedding_column
from curate.perceptual.pdq import pdq
from curate.perceptual.phash import phash
from curate.storage import Storage


@pytest.fixture
def folder(tmp_path):
    """Pictures at two depths, one broken, a hidden one, and a file that is none of the set."""
    path = tmp_path / "val"
    (path / "n01" / ".cache").mkdir(parents=True)
    for number, name in enumerate(("b.png", "n01/a.PNG", "n01/c.png")):
        (path / name).write_bytes(photo(number))
    (path / "n01" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (path / "n01" / ".cache" / "hidden.png").write_bytes(photo(9))
    (path / "license.md").write_text("all rights of this file are reserved by nobody")
    return path


def test_pictures_are_hashed_in_every_way(folder, tmp_path):
    card = build_index([str(folder)], tmp_path / "index", threads=2)
    counts = {"pictures": 3, "texts": 0, "pictures_unreadable": 1, "entries_unreadable": 0, "files_passed_over": 1}
    assert card.sets == {"val": counts}
    assert card.words() == "val: 3 pictures, 1 pictures unreadable, 1 files passed over"
    found = open_index(tmp_path / "index", IndexSettings())
    names = ["b.png", "n01/a.PNG", "n01/broken.jpg", "n01/c.png"]
    assert found.items.to_pydict() == {"set": ["val"] * 4, "name": names}
    assert found.picture_items.tolist() == [0, 1, 3]
    for row, number in enumerate(range(3)):
        own = pdq(pixels(number))
        assert found.pdq[row].astype(">u8").tobytes() == own.hash
        assert (found.quality[row], found.phash[row]) == (own.quality, phash(pixels(number)))
    assert len(found.tables["file"].items) == 4, "a broken file is a file"
    assert len(found.tables["pixels"].items) == 3
    assert len(found.tables["caption"].items) == len(found.tables["ngram"].items) == 0
    assert found.embeddings.shape == (0, 0)


def test_a_data_set_of_ours_and_any_tars(tmp_path):
    storage = Storage(str(tmp_path / "held_out"))
    put_shard(storage, "00000", 0)
    put_shard(storage, "00001", 8)
    build_index([str(tmp_path / "held_out"), str(tmp_path / "held_out" / "*1.tar")], tmp_path / "index")
    found = open_index(tmp_path / "index", IndexSettings())
    assert found.card.sets["held_out"] == {
        "pictures": 16, "texts": 16, "pictures_unreadable": 0, "entries_unreadable": 0, "files_passed_over": 4,
    }  # fmt: skip
    assert found.items["name"].to_pylist()[:2] == ["00000.tar/000000000", "00000.tar/000000001"]
    assert found.items["set"].to_pylist()[15:17] == ["held_out", "*1.tar"]
    downloaded = hashlib.sha256(b"as downloaded 000000003").digest()
    stored = hashlib.sha256(photo(3)).digest()
    digests = np.frombuffer(downloaded[:16] + stored[:16] + bytes(16), ">u8").astype(np.uint64).reshape(3, 2)
    assert found.tables["file"].find(digests).tolist() == [3, 3, -1]


def test_a_damaged_tar_gives_what_is_before_the_damage(tmp_path):
    storage = Storage(str(tmp_path / "set"))
    put_shard(storage, "00000", 0)
    storage.write("00000.tar", storage.read("00000.tar")[:-4000])
    storage.write("00001.tar", b"no tar at all")
    card = build_index([str(tmp_path / "set")], tmp_path / "index")
    assert card.sets["set"]["pictures"] == 7
    assert card.sets["set"]["entries_unreadable"] == 2


LINES = [
    {"question": "what is the dog doing", "answer": "it sleeps"},
    {"captions": ["one of them", 3, "and two"], "caption": "the first field comes first"},
    {"text": None},
    [1],
]


def test_texts_by_line_and_by_field(tmp_path):
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, LINES)) + "\n\n{broken\n" + "[" * 100_000)
    (tmp_path / "b.txt").write_bytes(b"a line\r\n\r\n  \xff another \n")
    found = [(item.name, item.texts, item.broken) for item in items_of(str(tmp_path), TEXT_FIELDS)]
    assert found == [
        ("a.jsonl:1", ("what is the dog doing",), False),
        ("a.jsonl:2", ("the first field comes first", "one of them", "and two"), False),
        ("a.jsonl:3", (), False),
        ("a.jsonl:4", (), True),
        ("a.jsonl:6", (), True),
        ("a.jsonl:7", (), True),
        ("b.txt:1", ("a line",), False),
        ("b.txt:3", ("\ufffd another",), False),
    ]
    (only,) = (i for i in items_of(str(tmp_path / "a.jsonl"), ("answer",)) if i.texts)
    assert only == Item("a.jsonl:1", texts=("it sleeps",))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "gone holds no pictures, no tars and no .txt or .jsonl; check the path"),
        (lambda p: p.mkdir(), "gone holds no pictures, no tars and no .txt"),
        (
            lambda p: (p.mkdir(), (p / "t.txt").write_text("\n \n")),
            "gone holds no picture and no text that can be read",
        ),
        (lambda p: (p.mkdir(), (p / "a.jpg").write_bytes(b"")), "gone holds no picture and no text that can be read"),
    ],
)
def test_an_empty_set_is_told_and_nothing_is_left(tmp_path, make, words):
    make(tmp_path / "gone")
    with pytest.raises(ConfigError, match=words):
        build_index([str(tmp_path / "gone")], tmp_path / "index")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("index")]


def test_names_tell_sets_apart():
    assert set_names(["a/val", "b/test/"]) == ("val", "test")
    assert set_names(["x/a/val", "x/b/val", "y/c"]) == ("a/val", "b/val", "y/c")
    with pytest.raises(ConfigError, match="names one path twice: a/val, a/val"):
        set_names(["a/val", "a/val"])


def test_an_index_is_built_once_and_told_from_others(folder, tmp_path):
    place = tmp_path / "index"
    first = build_index([str(folder)], place)
    stamp = (place / "card.json").stat().st_mtime_ns
    assert build_index([str(folder)], place) == first
    assert (place / "card.json").stat().st_mtime_ns == stamp
    assert first.fingerprint == sets_fingerprint([str(folder)], IndexSettings())
    other = IndexSettings(words=8)
    words = f"fingerprint is {IndexSettings().mark}, wanted is {other.mark}"
    for call in (lambda: build_index([str(folder)], place, other), lambda: open_index(place, other)):
        with pytest.raises(ConfigError, match=re.escape(words)):
            call()
    (folder / "new.png").write_bytes(photo(5))
    with pytest.raises(ConfigError, match=f"is of other sets, or they have changed .*{first.fingerprint}"):
        build_index([str(folder)], place)
    assert open_index(place, IndexSettings()).card == first


def test_a_file_that_is_added_anywhere_is_noticed_at_once(folder):
    sets = [str(folder), f"{folder}/n01/*.png"]
    first = [sets_fingerprint([path], IndexSettings()) for path in sets]
    assert first == [sets_fingerprint([path], IndexSettings()) for path in sets]
    (folder / "n01" / "new.png").write_bytes(photo(5))
    os.utime(folder / "n01", ns=(1, 1))
    second = [sets_fingerprint([path], IndexSettings()) for path in sets]
    assert not set(first) & set(second)


def test_a_file_that_is_changed_in_place_is_noticed_by_the_next_run(folder, tmp_path):
    first = build_index([str(folder)], tmp_path / "index")
    os.utime(folder / "b.png", ns=(1, 1))
    with pytest.raises(ConfigError, match=f"is of other sets, or they have changed .*{first.fingerprint}"):
        build_index([str(folder)], tmp_path / "index")


def test_a_set_is_listed_once_for_many_shards(folder, monkeypatch):
    listed = []
    monkeypatch.setattr(index, "files_of", lambda path: listed.append(path) or files_of(path))
    assert len({sets_fingerprint([str(folder)], IndexSettings()) for _ in range(3)}) == len(listed) == 1


def test_the_same_sets_give_the_same_index_with_any_threads_and_anywhere(folder, tmp_path):
    one = build_index([str(folder)], tmp_path / "one", threads=1)
    moved = tmp_path / "elsewhere" / "val"
    moved.parent.mkdir()
    os.rename(folder, moved)
    assert build_index([str(moved)], tmp_path / "two", threads=5) == one
    assert sets_fingerprint([str(moved)], replace(IndexSettings(), model="x")) != one.fingerprint


def test_an_index_that_is_damaged_or_not_there_is_told(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"no evaluation index in .*index: name `sets`"):
        open_index(tmp_path / "index", IndexSettings())
    build_index([str(folder)], tmp_path / "index")
    (tmp_path / "index" / "pdq.npy").write_bytes(b"")
    index._opened.cache_clear()
    with pytest.raises(ConfigError, match=r"the index .* is damaged .*; delete it to have it built anew"):
        open_index(tmp_path / "index", IndexSettings())
    (tmp_path / "index" / "card.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"card\.json is damaged; delete the folder"):
        open_index(tmp_path / "index", IndexSettings())


def test_a_folder_of_something_else_is_refused_before_the_build(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(index, "sets_fingerprint", None)  # nothing of the sets is looked at
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("thesis", "file"):
        with pytest.raises(ConfigError, match=f"{name} is there and is no evaluation index; name an empty or a new"):
            build_index([str(folder)], tmp_path / name)


def test_an_empty_folder_is_taken(folder, tmp_path):
    (tmp_path / "index").mkdir()
    assert build_index([str(folder)], tmp_path / "index") == open_index(tmp_path / "index", IndexSettings()).card


def test_what_a_killed_build_left_is_deleted_and_what_another_holds_is_not(folder, tmp_path):
    old, held, new, other = (tmp_path / f"{name}.tmp" for name in (
        "index.000000000000", "index.000000000001", "index.000000000002", "index.notes",
    ))  # fmt: skip
    for path in (old, held, new, other):
        path.mkdir()
        (path / "embeddings.raw").write_bytes(b"half")
        if path != new:
            os.utime(path, (1, 1))
    hold = index._hold(held)
    build_index([str(folder)], tmp_path / "index")
    os.close(hold)
    assert [path.exists() for path in (old, held, new, other)] == [False, True, True, True]


class Mean(Scorer):
    """A model whose embedding of a picture is its colours; it cannot take one of an odd seed."""

    name = "mean"
    reads = ("image", "caption")
    writes: ClassVar = {"mean_image_embedding": pa.list_(pa.float16(), 3)}

    def prepare(self, view):
        return view.reshape(-1, 3).mean(axis=0)

    def score(self, batch):
        assert batch.columns.column_names == ["caption"]
        rows = np.stack(batch.pixels)
        rows[(rows == 0).all(axis=1)] = np.nan
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return {"mean_image_embedding": embedding_column(rows, np.isfinite(rows).all(axis=1))}


def test_embeddings_go_to_the_disk_piece_by_piece(folder, tmp_path, monkeypatch):
    black = io.BytesIO()
    Image.new("RGB", (20, 20)).save(black, "PNG")
    (folder / "z.png").write_bytes(black.getvalue())
    monkeypatch.setattr(building, "EMBEDDED", 2)
    settings = IndexSettings(model="mean")
    card = build_index([str(folder)], tmp_path / "index", settings, Mean())
    found = open_index(tmp_path / "index", settings)
    assert (card.length, found.embeddings.shape, found.embeddings.dtype) == (3, (4, 3), np.float16)
    for row, number in enumerate(range(3)):
        own = pixels(number).reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(found.embeddings[row], own / np.linalg.norm(own), atol=1e-3)
    assert found.embeddings[3].tolist() == [0, 0, 0]
    assert not (tmp_path / "index" / building.RAW).exists()


def test_sets_on_a_store_are_tars(s3):
    put_shard(s3, "00000", 0)
    assert [name.rsplit("/", 1)[-1] for name, _, _ in files_of(s3.root)] == ["00000.tar"]
    assert sum(item.image is not None for item in items_of(s3.root, TEXT_FIELDS)) == 8
    with pytest.raises(ConfigError, match=r"the set s3://.*/none: no tar file at"):
        files_of(f"{s3.root}/none")
