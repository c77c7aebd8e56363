"""Galleries of kept, dropped and borderline rows: drawn evenly, the same for any packing, and never a crash."""

import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from document_sets import Page, Slot, Words, jpeg, put_pages
from gallery_sets import (
    FILTERS,
    PARTS,
    SAMPLES,
    by_title,
    decision,
    pack,
    picture,
    pictures_of,
    put_rows,
    put_table,
    row,
    shown,
    texts,
    tiles_of,
)

from curate.gauge import Gauge
from curate.report.facts import Gallery
from curate.report.pictures import Draw, galleries
from curate.report.pictures.decided import rows_by_value
from curate.report.pictures.drawing import Lot, row_numbers
from curate.report.pictures.fates import MOST_REASONS
from curate.report.pictures.words import number_told
from curate.run_record import DecisionRecord, FilterRecord
from curate.shard import Shard, list_shards
from curate.storage import Storage
from curate.tar import TarWriter

NUMBERS = 90


def fates(number):
    """Every third row has too few words, every fifth is too small, some both."""
    own = ["too_few_words"] if number % 3 == 0 else []
    return (["too_small"] if number % 5 == 0 else []) + own


@pytest.fixture(scope="module")
def rows():
    sides = random.Random(0)
    return [row(n, fates(n), side_px=float(sides.randint(0, 99) if n % 5 == 0 else 99 + n)) for n in range(NUMBERS)]


@pytest.fixture(scope="module")
def shards(rows, tmp_path_factory):
    return pack(tmp_path_factory.mktemp("one"), rows, [30, 30, 30])


def drawn(shards, **settings):
    return galleries(shards, SAMPLES, FILTERS, Draw(**{"tiles": 6, **settings}))


def test_a_gallery_for_each_fate_with_words_counts_and_pictures(shards, rows):
    found = drawn(shards)
    assert [(one.kind, one.title, one.of) for one in found] == [
        ("kept", "kept", sum(not fates(n) for n in range(NUMBERS))),
        ("dropped", "too_small", sum(n % 5 == 0 for n in range(NUMBERS))),
        ("dropped", "too_few_words", sum(n % 3 == 0 and n % 5 > 0 for n in range(NUMBERS))),
        ("borderline", "side_px near 100", NUMBERS),
    ]
    assert [one.words for one in found[:3]] == ["", "the picture is too small", "few words"]
    assert "size.min_px = 100" in found[3].words
    assert all(len(one.tiles) == 6 for one in found)
    for tile in tiles_of(found):
        number = int(tile.caption.removeprefix("picture "))
        assert (shown(tile.picture), tile.url) == (number, f"http://a.test/{number}.png")
        assert (tile.reasons, tile.status) == (tuple(fates(number)), "success")
        assert tile.key == f"{tile.shard}{number % 30:04d}"
    assert found[1].tiles[0].numbers == {"side_px": f"{rows[int(found[1].tiles[0].caption.split()[1])]['side_px']:.0f}"}
    assert found[2].tiles[0].numbers == {}


@pytest.mark.parametrize("sizes", [[90], [1, 60, 29], [10] * 9])
def test_the_draw_does_not_depend_on_packing_or_order(sizes, shards, rows, tmp_path):
    shuffled = random.Random(1).sample(rows, len(rows))
    assert [texts(one) for one in drawn(pack(tmp_path, shuffled, sizes))] == [texts(one) for one in drawn(shards)]


def test_another_seed_draws_other_rows(shards):
    one, other = drawn(shards), drawn(shards, seed=1)
    assert texts(one[0]) != texts(other[0])
    assert texts(one[0]) == texts(drawn(shards)[0])
    assert {t[0] for t in texts(one[3])} == {t[0] for t in texts(other[3])}  # the nearest are the nearest


def test_every_row_of_every_shard_has_its_chance(shards):
    kept = [n for n in range(NUMBERS) if not fates(n)]
    counts = dict.fromkeys(kept, 0)
    for seed in range(60):
        lot = Lot(6)
        for place, shard in enumerate(shards):
            own = [n % 30 for n in kept if n // 30 == place]
            lot.offer(place, np.array(own), row_numbers(shard, seed))
        for one in lot.rows():
            counts[30 * one.shard + one.row] += 1
    # 60 draws of 6 of 48 rows: 7.5 each, with a standard deviation of 2.6
    assert min(counts.values()) >= 1
    assert max(counts.values()) <= 17
    by_shard = [sum(counts[n] for n in kept if n // 30 == place) for place in range(3)]
    assert all(95 < own < 145 for own in by_shard)


def test_the_nearest_rows_are_the_nearest(shards, rows):
    tiles = drawn(shards)[3].tiles
    values = [rows[int(tile.caption.split()[1])]["side_px"] for tile in tiles]
    below = sorted((one["side_px"] for one in rows if one["side_px"] < 100), reverse=True)[:3]
    above = sorted(one["side_px"] for one in rows if one["side_px"] >= 100)[:3]
    assert values == [*sorted(below), *above]
    assert [tile.numbers["side_px"] for tile in tiles] == [f"{value:.0f}" for value in values]


@pytest.mark.parametrize(
    ("number", "text"), [(12345.0, "12,345"), (0.2799981, "0.279998"), (-3.0, "-3"), (5e-9, "5e-09")]
)
def test_numbers_are_told_as_people_read_them(number, text):
    assert number_told(number) == text


def test_lots_hold_the_best_whatever_the_order(tmp_path):
    random_numbers = np.random.default_rng(3)
    numbers = random_numbers.integers(0, 1 << 60, 500).astype(np.uint64)
    values = random_numbers.integers(0, 40, 500).astype(float)
    distances = np.abs(values - 20)
    best = sorted(range(500), key=lambda n: (distances[n], int(numbers[n])))[:7]
    lot = Lot(7)
    for start in (300, 0, 100, 400, 200):
        lot.offer(0, np.arange(start, start + 100), numbers, values, distances)
    assert [one.row for one in lot.rows()] == best
    assert lot.seen == 500
    assert [one.value for one in lot.rows()] == [values[n] for n in best]


def test_of_copies_the_nearest_counts():
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        lot = Lot(2)
        for row_number in order:
            numbers, distances = np.array([7, 7, 9], np.uint64), np.array([3.0, 1.0, 2.0])
            lot.offer(0, np.array([row_number]), numbers, distances, distances)
        assert [(one.row, one.value) for one in lot.rows()] == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("end", ["min", "max"])
def test_a_row_at_the_bound_is_inside(end, tmp_path):
    """Of a gallery of one row on either side the row at the bound is the one inside."""
    shards = pack(tmp_path, [row(n, side_px=float(value)) for n, value in enumerate([98, 99, 100, 101, 102])], [5])
    gauge = Gauge("side_px", ("side_px",), **{end: 100.0})
    found = galleries(shards, SAMPLES, (FilterRecord("size", {}, (), {}, (gauge,)),), Draw(tiles=2))[-1]
    inside = next(tile for tile in found.tiles if tile.caption == "picture 2")
    outside = next(tile for tile in found.tiles if tile != inside)
    assert (outside.caption, inside.numbers["side_px"]) == ("picture 1" if end == "min" else "picture 3", "100")


def test_rows_by_value_over_chunks_with_words_of_their_own():
    first = pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.int16()), ["a", "b"])
    other = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1, 0], pa.int16()), ["b", "a"])
    found = rows_by_value(pa.chunked_array([first, other]))
    assert {word: rows.tolist() for word, rows in found.items()} == {"a": [0, 3, 5], "b": [2, 4, 6]}
    lists = pa.chunked_array([pa.array([["x", "y"], None, []]), pa.array([["y"], ["z", None, "x"]])])
    expected = {"x": [0, 4], "y": [0, 3], "z": [4]}
    assert {word: rows.tolist() for word, rows in rows_by_value(lists).items()} == expected
    assert {word: rows.tolist() for word, rows in rows_by_value(lists[1:]).items()} == {"y": [2], "z": [3], "x": [3]}
    assert rows_by_value(pa.chunked_array([], pa.string())) == {}


def test_a_column_with_as_many_reasons_as_rows_stays_bounded(tmp_path):
    shards = pack(tmp_path, [row(n, [f"reason {n}"], picture=None) for n in range(400)], [400])
    assert len(drawn(shards, tiles=1)) == MOST_REASONS


def test_copies_of_a_row_are_shown_once_and_counted(tmp_path):
    shards = pack(tmp_path, [row(1), row(1), row(1), row(2)], [2, 2])
    found = drawn(shards)
    assert {tile.caption for tile in found[0].tiles} == {"picture 1", "picture 2"}
    assert (len(found[0].tiles), found[0].of) == (2, 4)
    assert "once" in found[0].words


def test_rows_that_say_nothing_of_themselves_are_told_apart_by_their_keys(tmp_path):
    blank = [row(n, url=None, caption=None, sha256=None) for n in range(5)]
    assert len(drawn(pack(tmp_path, blank, [5]))[0].tiles) == 5


def test_a_reason_that_was_never_the_first_is_drawn_from_all_who_have_it(tmp_path):
    shards = pack(tmp_path, [row(0, ["too_small", "too_few_words"]), row(1), row(2, ["not_declared"])], [3])
    found = by_title(drawn(shards))
    assert [t.caption for t in found["dropped too_few_words"].tiles] == ["picture 0"]
    assert [t.caption for t in found["dropped not_declared"].tiles] == ["picture 2"]
    assert found["dropped not_declared"].words == ""


def test_pictures_that_never_came_tell_their_status(tmp_path):
    lost = row(0, ["not_found"], fetch_status="not_found", picture=None)
    (tile,) = by_title(drawn(pack(tmp_path, [lost, row(1)], [2])))["dropped not_found"].tiles
    assert (tile.picture, tile.status, tile.url) == (b"", "not_found", "http://a.test/0.png")


def test_without_a_decision_all_rows_are_one_gallery(shards):
    (found,) = galleries(shards, None, (), Draw(tiles=4))
    assert (found.kind, found.title, found.of, len(found.tiles)) == ("kept", "all rows", NUMBERS, 4)
    assert galleries(shards, DecisionRecord("d", "documents", "keep", ()), FILTERS, Draw()) == ()
    assert galleries([], SAMPLES, FILTERS, Draw()) == ()
    assert all(one.tiles == () for one in drawn(shards, tiles=0))


BROKEN = {
    "no tar": lambda storage: storage.delete("00000.tar"),
    "a tar that ends early": lambda storage: storage.write("00000.tar", storage.read("00000.tar")[:520]),
    "no index": lambda storage: storage.delete("00000.index.parquet"),
    "an index that is no Parquet": lambda storage: storage.write("00000.index.parquet", b"PAR1 this is none PAR1"),
    "an index of another kind": lambda storage: put_table(storage, "00000.index.parquet", pa.table({"key": [1, 2]})),
    "places that are none": lambda storage: put_table(
        storage,
        "00000.index.parquet",
        pa.table(
            {"key": ["000000000", "000000001"], "extension": ["png"] * 2, "offset": [-5, 1 << 60], "size": [9, 1 << 60]}
        ),
    ),
    "bytes that are no picture": lambda storage: storage.write("00000.tar", b"\xff\xd8\xff" * 4_000),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_cannot_be_read_is_a_tile_without_a_picture(broken, tmp_path):
    storage = Storage(str(tmp_path))
    put_rows(storage, "00000", [row(0), row(1)])
    BROKEN[broken](storage)
    tiles = drawn(list_shards(storage))[0].tiles
    assert [(tile.picture, tile.status) for tile in tiles] == [(b"", "not in the tar")] * 2


def test_one_place_that_is_none_does_not_hide_the_others(tmp_path):
    storage = Storage(str(tmp_path))
    put_rows(storage, "00000", [row(n) for n in range(4)])
    index = Shard(storage, "00000").table("index").to_pydict()
    index["offset"][0] = -5
    index["size"][2] = 1 << 62
    put_table(storage, "00000.index.parquet", pa.table(index))
    assert pictures_of(drawn(list_shards(storage))) == {2, 3}


def test_of_several_pictures_the_first_is_shown_and_their_number_told(tmp_path):
    storage = Storage(str(tmp_path))
    put_rows(storage, "00000", [row(n) for n in range(3)])
    index = Shard(storage, "00000").table("index").to_pydict()
    (first, _), (second, _), _ = (
        [n for n, key in enumerate(index["key"]) if key == f"00000000{own}"] for own in range(3)
    )
    index["extension"][first], index["key"][second], index["extension"][second] = "1.png", "000000000", "3.png"
    put_table(storage, "00000.index.parquet", pa.table(index))
    tiles = {tile.key: tile for tile in drawn(list_shards(storage))[0].tiles}
    assert [tiles[f"00000000{n}"].numbers.get("pictures") for n in range(3)] == ["the first of 2", None, None]
    assert shown(tiles["000000000"].picture) == 0


@pytest.mark.parametrize("name", ["00000.parquet", "00000.select.parquet"])
def test_shards_whose_columns_cannot_be_read_are_passed_over(name, tmp_path):
    shards = pack(tmp_path, [row(n) for n in range(4)], [2, 2])
    shards[0].storage.write(name, b"PAR1 no PAR1")
    found = drawn([Shard(shards[0].storage, "00000"), shards[1]])
    assert {tile.shard for tile in found[0].tiles} == {"00001"}
    assert found[0].of == 2


def test_hostile_words_are_cut_and_plain(tmp_path):
    storage = Storage(str(tmp_path))
    nasty = "\u202ea\0b\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace") + "<script>" + "x" * 100_000
    put_rows(
        storage, "00000", [row(0, caption=nasty, url="javascript:" + "y" * 9_000, fetch_status=None, picture=None)]
    )
    put_table(storage, "00000.more.parquet", _not_utf8("000000000"))
    (tile,) = drawn(list_shards(storage))[0].tiles
    assert len(tile.caption) == 300
    assert len(tile.url) == 300
    assert tile.caption.endswith("…")
    assert not set("\0\u202e") & set(tile.caption)
    assert "<script>" in tile.caption
    assert (tile.alt, tile.status) == (3 * "\N{REPLACEMENT CHARACTER}" + " caf\N{REPLACEMENT CHARACTER}", "not fetched")
    for text in (tile.caption, tile.alt, tile.url):
        text.encode()


def _not_utf8(key):
    """A column of text as no honest writer leaves it: bytes of Latin-1, and half of a character."""
    raw = pa.array([b"\xed\xa0\x80 caf\xe9"], pa.binary())
    text = pa.StringArray.from_buffers(1, raw.buffers()[1], raw.buffers()[2])
    return pa.table([pa.array([key]), text], ["key", "alt"])


def test_thumbnails_have_the_bytes_that_they_may_have(tmp_path):
    storage = Storage(str(tmp_path))
    put_rows(storage, "00000", [row(n, fates(n)) for n in range(24)])
    noisy = {f"00000{n:04d}": jpeg(n, 200) for n in range(24)}
    _replace_pictures(storage, noisy)
    shards = list_shards(storage)
    whole = _bytes(drawn(shards))
    assert whole > 60_000
    for most in (60_000, 20_000):
        found = drawn(shards, picture_bytes=most)
        assert most * 0.35 < _bytes(found) <= most * 0.55
        assert all(tile.picture for tile in tiles_of(found))
    assert _bytes(drawn(shards, picture_bytes=100)) == 0


def _bytes(found: tuple[Gallery, ...]) -> int:
    return sum(len(tile.picture) for tile in tiles_of(found))


def _replace_pictures(storage, pictures):
    with open(storage.path("00000.tar"), "wb") as target:
        tar = TarWriter(target)
        for key, data in pictures.items():
            tar.add(f"{key}.png", data)
        tar.finish()
    places = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    put_table(storage, "00000.index.parquet", pa.table({"key": list(pictures), "extension": ["png"] * 24, **places}))


def test_parts_of_documents_show_pictures_and_texts(tmp_path):
    storage = Storage(str(tmp_path))
    slots = [Slot("http://s.test/7.png", picture(7), extension="png"), Slot("http://s.test/8.png", None, "timeout")]
    pages = [Page([Words("Home", keep=False), slots[0], Words("a story"), slots[1]]), Page([Words("Home", keep=False)])]
    put_pages(storage, "00000", pages)
    keys = [f"00000000000.{n}" for n in range(4)] + ["00000000001.0"]
    reasons = [["text_too_short"], [], [], ["picture_timeout"], ["text_too_short"]]
    put_table(storage, "00000_parts.select.parquet", decision(keys, reasons))
    found = by_title(galleries(list_shards(storage), PARTS, (), Draw()))
    assert [(t.key, shown(t.picture), t.shard) for t in found["kept kept"].tiles] == [(keys[1], 7, "00000")]
    assert found["kept kept"].of == 1
    (text,) = found["dropped text_too_short"].tiles  # on both pages, and shown once
    assert (text.caption, text.status, text.picture, found["dropped text_too_short"].of) == ("Home", "text", b"", 2)
    (lost,) = found["dropped picture_timeout"].tiles
    assert (lost.status, lost.alt) == ("timeout", "alt of http://s.test/8.png")
    assert pictures_of(list(found.values())) == {7}
    (undecided,) = galleries(list_shards(storage), None, (), Draw())
    assert (undecided.of, pictures_of([undecided])) == (2, {7})


def test_gauges_of_parts_measure_their_kind_only(tmp_path):
    storage = Storage(str(tmp_path))
    put_pages(storage, "00000", [Page([Words("two words"), Slot("http://s.test/1.png", picture(1), extension="png")])])
    keys = ["00000000000.0", "00000000000.1"]
    put_table(storage, "00000_parts.select.parquet", decision(keys, [[], []]))
    put_table(storage, "00000_parts.words.parquet", pa.table({"key": keys, "text_words": [2, 2]}))
    gauge = Gauge("text_words", ("text_words",), max=3, kind="text")
    for kind, of in (("text", 1), ("image", 1), ("", 2)):
        rule = FilterRecord("words", {}, (), {}, (replace(gauge, kind=kind),))
        assert galleries(list_shards(storage), PARTS, (rule,), Draw())[-1].of == of
