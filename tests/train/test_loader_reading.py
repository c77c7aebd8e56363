"""What a loader reads: examples as they were written, and holes with a reason where something is damaged."""

import io
import json
import re
import shutil
import time
from dataclasses import replace

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handover_sets import jpeg, make_handover, page, pair, prose, talk
from loader_stages import stage
from PIL import Image

from curate.errors import ConfigError, ShardError, StageError
from curate.fetch.image import decode
from curate.handover.augment import Augment
from curate.handover.layout import pictures_of
from curate.handover.stages import MixtureSource
from curate.sample import Document, Picture, Sample, Text
from curate.storage import Storage
from curate.train.data import OK, Loader, open_handover
from curate.train.data.pixels import pixels_of, why_not

SOURCES = {
    "pairs": [pair(n, ["first", "second text"], ["web", "synthetic"], web_caption=f"alt {n}") for n in range(25)],
    "pages": [*(page(n) for n in range(11)), Document("gone", (Text("a"), Picture("", status="http_404")))],
    "chat": [talk(n) for n in range(6)],
    "text": [prose(n) for n in range(5)],
}
KINDS = {"pairs": "pairs", "pages": "interleaved", "chat": "chat", "text": "text"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_handover(tmp_path_factory.mktemp("reading") / "set", SOURCES)


def load(folder, *names, **settings):
    chosen = stage(*(MixtureSource(name, KINDS[name]) for name in names or SOURCES), epochs=1)
    return Loader(open_handover(str(folder)), chosen, **{"seed": 0, "batch": 8, "threads": 0, **settings})


def examples(own):
    return [drawn for batch in own for drawn in batch.examples]


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def damage(folder, shard, key, extension, change):
    """Change the bytes of a member in place."""
    rows = pq.read_table(folder / f"{shard}.index.parquet").to_pylist()
    row = next(r for r in rows if (r["key"], r["extension"]) == (key, extension))
    with open(folder / f"{shard}.tar", "r+b") as tar:
        tar.seek(row["offset"])
        data = change(tar.read(row["size"]))
        tar.seek(row["offset"])
        tar.write(data)


@pytest.mark.parametrize("threads", [0, 2])
def test_examples_come_as_they_were_written(folder, threads):
    found = examples(load(folder, threads=threads))
    assert len(found) == 48
    assert {drawn.status for drawn in found} == {OK}
    written = [example for own in SOURCES.values() for example in own]
    assert sorted(_contents(d.example) for d in found) == sorted(_contents(e) for e in written)
    for drawn in found:
        there = [None if p.image is None else decode(p.image) for p in pictures_of(drawn.example)]
        assert [None if p is None else p.tolist() for p in drawn.pictures] == [
            None if p is None else p.tolist() for p in there
        ]


def _contents(example):
    if isinstance(example, Sample):
        return repr((example.image, example.caption, dict(example.columns)))
    parts = [*getattr(example, "parts", ()), *(p for t in getattr(example, "turns", ()) for p in (t.role, *t.parts))]
    return repr([p.text if isinstance(p, Text) else p.image if isinstance(p, Picture) else p for p in parts])


@pytest.mark.parametrize(("longer", "cut"), [("cut", 5), ("keep", 0)])
def test_an_example_is_told_to_be_cut(folder, longer, cut):
    chosen = stage(MixtureSource("text", "text"), MixtureSource("pairs", "pairs"), epochs=1, sequence_tokens=11)
    own = Loader(open_handover(str(folder)), chosen, seed=0, batch=8, threads=0, longer=longer)
    found = examples(own)
    assert [d.source for d in found if d.cut] == ["text"] * cut
    assert {d.tokens for d in found if d.source == "text"} == ({11} if cut else {12})


def test_without_decoding_there_are_no_pixels(folder):
    assert {drawn.pictures for drawn in examples(load(folder, decode=False))} == {()}


CAPTIONS = [
    ({}, {"first"}),
    ({"web": 1.0}, {"first"}),
    ({"synthetic": 1.0}, {"second text"}),
    ({"synthetic": 0.5, "web": 0.5}, {"first", "second text"}),
    ({"web_caption": 1.0}, {f"alt {n}" for n in range(25)}),
    ({"caption": 1.0}, {"first"}),
]


@pytest.mark.parametrize(("captions", "texts"), CAPTIONS)
def test_the_text_of_a_pair_is_drawn(folder, captions, texts):
    source = MixtureSource("pairs", "pairs", captions=captions)
    own = Loader(open_handover(str(folder)), stage(source, epochs=2), seed=0, batch=8, threads=0, decode=False)
    found = examples(own)
    assert {drawn.caption for drawn in found} == texts
    assert own.counts()["pairs"]["without_named_caption"] == 0
    if len(captions) == 2:
        words = {"first": 1 + 4, "second text": 2 + 4}
        assert all(drawn.tokens == words[drawn.caption] for drawn in found), "tokens are those of the text"
        passes = [{d.key: d.caption for d in found if d.run == run} for run in (0, 1)]
        assert passes[0] != passes[1]


@pytest.mark.parametrize(
    ("extension", "change", "words"),
    [
        ("jpg", lambda data: data[:200] + bytes(len(data) - 200), "picture 0: image_"),
        ("jpg", lambda data: b"no picture" + data[10:], "picture 0: not_an_image"),
        ("json", lambda data: b"[" * len(data), "unreadable: .*no JSON object"),
    ],
)
def test_a_damaged_member_is_a_hole_that_moves_nothing(folder, tmp_path, extension, change, words):
    whole = examples(load(folder))
    other = copied(folder, tmp_path)
    damage(other, "00001", "0000100003", extension, change)
    own = load(other)
    found = examples(own)
    assert [d.key for d in found] == [d.key for d in whole]
    holes = [d for d in found if d.status != OK]
    assert [d.key for d in holes] == ["0000100003"]
    assert [(u.key, u.shard, u.reason) for u in own.unread] == [("0000100003", "00001", holes[0].status)]
    assert own.unread_count == 1
    assert own.state()["unread"] == 1
    assert re.match(words, holes[0].status)
    assert (holes[0].example is None) == (extension == "json")


def test_one_broken_picture_of_a_page_leaves_the_others(folder, tmp_path):
    other = copied(folder, tmp_path)
    shard = next(s.id for s in open_handover(str(folder)).manifest.shards if s.source == "pages")
    damage(other, shard, f"{shard}00002", "3.jpg", lambda data: bytes(len(data)))
    own = load(other, "pages")
    (hole,) = [d for d in examples(own) if d.status != OK]
    assert [p is None for p in hole.pictures] == [False, True]
    assert hole.status.startswith("picture 1: ")


def _cut(folder):
    path = folder / "00001.tar"
    path.write_bytes(path.read_bytes()[:9_000])


def _exchange(folder):
    """Another shard's tar under this one's index, of members as large."""
    shutil.copy(folder / "00000.tar", folder / "00001.tar")


def _delete(folder):
    (folder / "00001.tar").unlink()


@pytest.mark.parametrize(
    ("change", "least", "words"),
    [(_cut, 5, "00001.tar ends early"), (_exchange, 10, "has no 00001000"), (_delete, 10, "No such file")],
)
def test_a_tar_that_is_not_the_indexs_is_holes(folder, tmp_path, change, least, words):
    other = copied(folder, tmp_path)
    change(other)
    own = load(other)
    found = examples(own)
    holes = [d for d in found if d.status != OK]
    assert len(found) == 48
    assert len(holes) >= least
    assert {d.shard for d in holes} == {"00001"}
    assert all(words in d.status for d in holes)
    assert own.unread_count == len(holes)


@pytest.mark.parametrize(
    ("offset", "size", "words"),
    [
        (-700, 10, "the index of 00000.tar puts 0000000000 at bytes"),
        (512, -1, "the index of 00000.tar puts"),
        (512, 1 << 40, "00000.tar has no 0000000000.jpg"),
        (1 << 62, 9, "the index of 00000.tar puts"),
    ],
)
def test_an_index_that_lies_is_a_hole(folder, tmp_path, offset, size, words):
    other = copied(folder, tmp_path)
    index = pq.read_table(other / "00000.index.parquet").to_pydict()
    index["offset"][0], index["size"][0] = offset, size
    pq.write_table(pa.table(index), other / "00000.index.parquet")
    holes = [d for d in examples(load(other, "pairs")) if d.status != OK]
    assert [d.key for d in holes] == ["0000000000"]
    assert holes[0].status.startswith(f"unreadable: {words}")


def test_too_many_holes_end_the_stage(tmp_path):
    source = make_handover(tmp_path / "set", {"text": [prose(n, 1) for n in range(60)]}, 50)
    (source / "00001.tar").unlink()
    chosen = stage(MixtureSource("text", "text"), epochs=40)
    own = Loader(open_handover(str(source)), chosen, seed=0, batch=50, threads=0)
    with pytest.raises(StageError, match="of 1000 examples cannot be read"):
        examples(own)
    patient = Loader(open_handover(str(source)), chosen, seed=0, batch=50, threads=0, max_unread_ratio=0.2)
    assert len(examples(patient)) == 2400
    assert patient.unread_count == 400


def test_a_hand_over_on_a_store_is_read_by_ranges(folder):
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket/set", recursive=True)
    try:
        own = load("memory://bucket/set", threads=2)
        assert [_contents(d.example) for d in examples(own)] == [_contents(d.example) for d in examples(load(folder))]
        store.rm("/bucket/set/00001.tar")
        holes = [d for d in examples(load("memory://bucket/set")) if d.status != OK]
        assert {d.status for d in holes} == {"unreadable: 00001.tar is gone"}
    finally:
        store.rm("/bucket", recursive=True)


@pytest.mark.parametrize("batch", [2, 48])
def test_as_many_requests_are_under_way_as_there_are_threads(folder, monkeypatch, batch):
    """Small batches, whose examples were read one after another: 240 a second with 32 threads at 20 ms, now 1,430."""
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket/threads", recursive=True)
    under_way, most, read_range = [], [0], Storage.read_range

    def slow(storage, *asked):
        """Until as many as expected have been under way at once: on a busy machine threads start late."""
        under_way.append(1)
        most[0] = max(most[0], len(under_way))
        ends = time.monotonic() + 10
        while most[0] < 7 and time.monotonic() < ends:
            time.sleep(0.001)
            most[0] = max(most[0], len(under_way))
        time.sleep(0.001)
        under_way.pop()
        return read_range(storage, *asked)

    monkeypatch.setattr(Storage, "read_range", slow)
    try:
        assert len(examples(load("memory://bucket/threads", threads=8, batch=batch))) == 48
    finally:
        store.rm("/bucket", recursive=True)
    assert most[0] in (7, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "manifest.json").unlink(), "has no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{}"), "manifest.json"),
        (lambda f: (f / "00000.index.parquet").unlink(), "has no 00000.index.parquet"),
        (lambda f: (f / "00000.parquet").write_bytes(b"PAR1 not"), "00000.parquet .* is broken"),
        (lambda f: shutil.copy(f / "00001.index.parquet", f / "00000.index.parquet"), "has not the keys"),
        (lambda f: shutil.copy(f / "00001.tokens.parquet", f / "00000.tokens.parquet"), "has not the keys"),
        (lambda f: shutil.copy(f / "00002.parquet", f / "00000.parquet"), "5 rows, the manifest 10 samples"),
        (lambda f: shutil.copy(f / "00000.index.parquet", f / "00000.tokens.parquet"), "no column 'tokens_words'"),
    ],
)
def test_tables_that_are_missing_or_at_odds_are_said(folder, tmp_path, change, words):
    other = copied(folder, tmp_path)
    change(other)
    with pytest.raises(ShardError, match=words):
        examples(load(other, "pairs"))


def picture(mode="RGB", format="JPEG", **options):
    pixels = Image.open(io.BytesIO(jpeg(7, 40, 30))).convert(mode)
    target = io.BytesIO()
    pixels.save(target, format, **options)
    return target.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(exif=exif)


PICTURES = {
    "plain": jpeg(3),
    "grey": picture("L"),
    "progressive": picture(progressive=True),
    "cmyk": picture("CMYK"),
    "turned": turned(),
    "png": picture(format="PNG"),
    "webp": picture(format="WEBP"),
    "cut": jpeg(3)[:-300],
    "empty": b"",
    "header": jpeg(3)[:30],
    "text": b"no picture at all",
    "endless": b"\xff\xd8" + b"\xff\xfe\x00\x02" * 500,
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_short_way_gives_what_the_long_way_does(name):
    data = PICTURES[name]
    short, long = pixels_of(data), decode(data)
    assert (short is None) == (long is None) == (name in ("cut", "empty", "header", "text", "endless"))
    if short is not None:
        assert np.array_equal(short, long)
    else:
        assert ": " in why_not(data)


def test_a_picture_of_too_many_pixels_is_not_decoded():
    data = bytearray(jpeg(3))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    assert pixels_of(bytes(data)) is None
    assert why_not(bytes(data)).startswith("image_too_large")


def augmented(folder, *names, **settings):
    chosen = stage(*(MixtureSource(name, KINDS[name]) for name in names), epochs=2)
    augment = Augment(**{"min_area_ratio": 0.5, "flip_probability": 0.5, **settings})
    return Loader(open_handover(str(folder)), chosen, seed=0, batch=8, threads=0, augment=augment)


def test_crops_and_flips_are_drawn_anew_in_each_pass(folder, tmp_path):
    dogs = make_handover(tmp_path / "set", {"pairs": [pair(n, ["a dog"], ["web"]) for n in range(25)]})
    found = examples(augmented(dogs, "pairs"))
    for drawn in found:
        seen = drawn.view.of(decode(drawn.example.image))
        assert np.array_equal(drawn.pictures[0], seen)
        assert drawn.pictures[0].flags.c_contiguous
        assert seen.shape[0] * seen.shape[1] >= 0.4 * 32 * 24
    views = [{d.key: d.view for d in found if d.run == run} for run in (0, 1)]
    assert views[0] != views[1]
    assert 5 <= sum(view.flip for view in views[0].values()) <= 20
    assert [d.view for d in examples(augmented(dogs, "pairs"))] == [d.view for d in found]
    assert not any(d.view.flip for d in examples(augmented(folder, "pairs"))), "their texts speak of text"
    assert {d.view for d in examples(load(folder))} == {None}


def test_what_a_crop_would_harm_is_refused(folder):
    with pytest.raises(ConfigError, match="stage one: augment is for pairs"):
        augmented(folder, "pairs", "pages")


def test_next_image_is_drawn_for_documents(folder):
    source = replace(MixtureSource("pages", "interleaved"), next_image_probability=0.5)
    own = Loader(open_handover(str(folder)), stage(source, epochs=20), seed=0, batch=8, threads=0, decode=False)
    found = examples(own)
    assert 80 <= sum(d.next_image for d in found) <= 160
    assert json.dumps(own.state())
