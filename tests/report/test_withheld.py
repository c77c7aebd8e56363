"""Pictures that nobody is shown: hidden and dead rows, copies of hidden ones, what was flagged, what scores say."""

from dataclasses import replace

import pyarrow as pa
import pytest
from document_sets import Page, Slot, Words, put_pages
from gallery_sets import (
    FILTERS,
    PARTS,
    SAMPLES,
    Watched,
    decision,
    pack,
    picture,
    pictures_of,
    put_rows,
    put_table,
    ranges,
    row,
    tiles_of,
)

from curate.gauge import Gauge
from curate.report.pictures import Draw, copies, documents, galleries, withheld, withheld_keys
from curate.run_record import DecisionRecord, FilterRecord, RunRecord, write_record
from curate.sample import Picture
from curate.shard import Shard, list_shards
from curate.storage import Storage
from curate.tombstones import HASH_LIST_MATCH, write_dead

ALL = Draw(tiles=50)
PART_KEYS = [f"{n:011d}.{part}" for n in range(3) for part in range(3)]


def put(folder, rows, **columns):
    """One shard of these rows, with more columns beside it."""
    storage = Storage(str(folder))
    keys = put_rows(storage, "00000", rows)
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array) else pa.array(values)
        put_table(storage, f"00000.{name}.parquet", pa.table([pa.array(keys), array], ["key", name]))
    return Shard(storage, "00000")


def record(storage, *filters):
    rules = DecisionRecord("select", "samples", "keep", tuple(filters))
    write_record(storage, RunRecord("test", {}, {}, ("select",), (rules,)))


def flagged(shard):
    """By the number of its row, what flagged each."""
    return {int(key[5:]): what for key, what in withheld_keys(shard).items()}


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("nsfw_probability", [0.1, 0.11, None, float("nan")], [1]),
        ("nsfw_porn_probability", [0.85, 0.86, 0.0, 1.0], [1, 3]),
        ("nsfw_hentai_probability", [0.9, 0.91, 0.0, 1.0], [1, 3]),
        ("nsfw_sexy_probability", [0.9, 1.0, 1.0, 1.0], []),
        ("nsfw_neutral_probability", [0.9, 1.0, 1.0, 1.0], []),
        ("nsfw_drawing_probability", [0.9, 1.0, 1.0, 1.0], []),
        ("punsafe", [0.1, 0.2, None, 0.0], [1]),
        ("NSFW", ["UNLIKELY", "UNSURE", "NSFW", None], [1, 2]),
        ("nsfw", pa.array(["unlikely", "NSFW", "nsfw", ""]).dictionary_encode(), [1, 2]),
        ("is_nsfw", [True, False, None, True], [0, 3]),
        ("nsfw_score_opennsfw2", [0.5, 0.51, 0.0, 1.0], [1, 3]),
        ("nsfw_label", [1, 0, 0, 1], [0, 3]),
        ("nsfw_tags", [["NSFW"], [], [], []], []),
        ("watermark_probability", [1.0, 1.0, 1.0, 1.0], []),
    ],
)
def test_scores_of_anybody_flag_a_row(column, values, expected, tmp_path):
    shard = put(tmp_path, [row(n) for n in range(4)], **{column: values})
    assert flagged(shard) == dict.fromkeys(expected, column)
    assert withheld([shard]) == ({column: len(expected)} if expected else {})


@pytest.mark.parametrize(("bound", "expected"), [(0.8, [2]), (None, [1, 2]), (0.05, [0, 1, 2])])
def test_the_bound_of_the_filter_that_reads_a_score_goes_before_the_default(bound, expected, tmp_path):
    shard = put(tmp_path, [row(n) for n in range(4)], nsfw_probability=[0.08, 0.5, 0.9, 0.01])
    gauge = Gauge("nsfw_probability", ("nsfw_probability",), max=bound)
    record(shard.storage, FilterRecord("imported-mine", {"odd": ""}, ("nsfw_probability",), {}, (gauge,)))
    assert sorted(flagged(shard)) == expected


@pytest.mark.parametrize(
    ("reason", "named", "expected"),
    [
        ("not_safe_for_work", "nsfw", True),
        ("pornographic", "nsfw_picture", True),
        ("pornographic_drawing", "nsfw_picture", True),
        ("suggestive", "nsfw_picture", True),
        ("listed_hash", "hash_list", True),
        ("too_many_flagged_words", "text_flagged_words", True),
        ("too_rude", "my_nsfw_detector", True),
        ("imported_score_too_high_nsfw", "imported-nsfw", True),
        ("imported_score_too_low_aesthetic", "imported-aesthetic", False),
        ("blurred", "blur", False),
    ],
)
def test_reasons_of_filters_for_safety_flag_a_row(reason, named, expected, tmp_path):
    shard = put(tmp_path, [row(0, ["blurred", reason]), row(1)])
    record(shard.storage, FilterRecord(named, {reason: ""}, (), {}))
    assert flagged(shard) == ({0: reason} if expected else {})


def test_our_own_reasons_are_known_without_a_record_of_the_run(tmp_path):
    shard = put(tmp_path, [row(0, ["not_safe_for_work"]), row(1, ["too_rude"])])
    assert flagged(shard) == {0: "not_safe_for_work"}
    shard.storage.write("run.json", b"{ damaged")
    assert flagged(shard) == {0: "not_safe_for_work"}
    record(shard.storage, FilterRecord("nsfw", {"too_rude": ""}, (), {}))
    assert flagged(shard) == {0: "not_safe_for_work", 1: "too_rude"}


def test_what_could_not_be_judged_is_withheld_where_a_picture_came(tmp_path):
    lost = row(1, ["not_found", "nsfw_unknown"], fetch_status="not_found", picture=None)
    shard = put(tmp_path, [row(0, ["nsfw_unknown"]), lost])
    assert flagged(shard) == {0: "nsfw_unknown"}
    found = galleries([shard], SAMPLES, FILTERS, ALL)
    assert {tile.status for tile in tiles_of(found) if tile.caption == "picture 1"} == {"not_found"}


@pytest.mark.parametrize("reason", ["imported_score_unknown_nsfw", "nsfw_unknown", "unknown_unsafe_score"])
def test_a_row_without_a_picture_withholds_nothing(reason, tmp_path):
    lost = [row(n, [reason], fetch_status="not_found", picture=None) for n in (1, 2)]
    shard = put(tmp_path, [row(0, [reason]), *lost], nsfw_probability=[0.0, 0.0, 0.9])
    record(shard.storage, FilterRecord("imported-nsfw", {reason: ""}, (), {}))
    assert flagged(shard) == {0: reason, 2: "nsfw_probability"}
    assert withheld([shard]) == {reason: 1}


def test_hidden_and_dead_rows(tmp_path):
    shard = put(tmp_path, [row(n) for n in range(5)], **{HASH_LIST_MATCH: [None, "pdq", None, None, None]})
    write_dead(shard, {"000000002": "sha256", "000000003": "url"})
    assert flagged(shard) == {1: "on a hash list", 2: "on a hash list", 3: "tombstone: url"}
    assert withheld([shard]) == {"on a hash list": 2, "tombstone: url": 1}


def test_tombstones_that_cannot_be_read_withhold_all(tmp_path):
    shard = put(tmp_path, [row(0), row(1)])
    shard.storage.write("tombstones/00000.parquet", b"PAR1 damaged")
    assert set(flagged(shard).values()) == {"cannot be checked"}
    (kept,) = galleries([shard], SAMPLES, FILTERS, ALL)
    assert (kept.tiles, kept.withheld, kept.of) == ((), 2, 2)


def test_a_flagged_picture_is_in_no_tile_and_not_read(tmp_path):
    storage = Watched(str(tmp_path))
    rows = [row(n, ["too_small", "too_few_words"] if n % 2 else [], side_px=99.0 + n % 2) for n in range(12)]
    keys = put_rows(storage, "00000", rows)
    put_table(storage, "00000.match.parquet", pa.table({"key": keys, HASH_LIST_MATCH: ["md5", "md5", *[None] * 10]}))
    scores = [0.0, 0.0, 0.9, 0.9, *[0.0] * 8]
    put_table(storage, "00000.nsfw.parquet", pa.table({"key": keys, "nsfw_probability": scores}))
    write_dead(Shard(storage, "00000"), {keys[4]: "url", keys[5]: "host"})
    found = galleries(list_shards(storage), SAMPLES, FILTERS, ALL)
    assert pictures_of(found) == set(range(6, 12))
    assert [(one.withheld, len(one.tiles)) for one in found] == [(3, 3), (3, 3), (3, 3), (6, 6)]
    assert {(tile.key, tile.caption) for tile in tiles_of(found)} == {(keys[n], f"picture {n}") for n in range(6, 12)}
    index = Shard(storage, "00000").table("index").to_pylist()
    places = {entry["key"]: entry["offset"] for entry in index if entry["extension"] == "png"}
    read = ranges(storage)["00000.tar"]
    for n, key in enumerate(keys):
        touched = any(start <= places[key] < end for start, end in read)
        assert touched == (n >= 6), key


def clustered(folder, of, hidden):
    """Six rows in two shards; `of` are the rows that are kept instead, `hidden` is on a hash list."""
    storage = Storage(str(folder))
    shards = pack(folder, [row(n, side_px=200.0) for n in range(6)], [3, 3])
    keys = [f"{n // 3:05d}{n % 3:04d}" for n in range(6)]
    for place, shard in enumerate(shards):
        own = range(3 * place, 3 * place + 3)
        listed = pa.array(["pdq" if n == hidden else None for n in own], pa.string())
        kept = pa.array([None if of[n] is None else keys[of[n]] for n in own], pa.string())
        columns = {HASH_LIST_MATCH: listed, "near_image_duplicate_of": kept}
        put_table(storage, f"{shard.id}.more.parquet", pa.table({"key": [keys[n] for n in own], **columns}))
    return list_shards(storage)


@pytest.mark.parametrize(
    ("of", "hidden", "expected"),
    [
        ([None, None, None, 0, 0, None], 0, {0, 3, 4}),  # the kept row is on the list
        ([None, None, None, 0, 0, None], 4, {0, 3, 4}),  # a copy is
        ([None, None, None, 0, 0, None], 5, {5}),
        ([None, 0, None, None, 3, 3], 1, {0, 1}),
        ([None, 0, None, None, 3, 3], None, set()),
    ],
)
def test_copies_of_a_hidden_picture_are_hidden(of, hidden, expected, tmp_path):
    shards = clustered(tmp_path, of, hidden)
    found = [number + 3 * place for place, shard in enumerate(shards) for number in flagged(shard)]
    assert set(found) == expected
    shown = galleries(shards, SAMPLES, FILTERS, ALL)
    assert pictures_of(shown) == set(range(6)) - expected
    for place in (0, 1):  # some shards are looked at only, and the row that is on the list lies in another
        some = galleries(shards[place : place + 1], SAMPLES, FILTERS, ALL)
        assert pictures_of(some) == set(range(3 * place, 3 * place + 3)) - expected
    examples = [one for kind in copies(shards, ALL) for one in kind.examples]
    assert not pictures_of(examples) & expected
    assert {one.withheld > 0 for one in examples if not one.tiles} <= {True}


def test_copies_of_what_is_hidden_in_an_earlier_data_set(tmp_path):
    earlier = put(
        tmp_path / "earlier",
        [row(n) for n in range(3)],
        bytes_duplicate_of=pa.array(["000000002", "000000002", None]),
        **{HASH_LIST_MATCH: [None, "sha256", None]},
    )
    later = put(
        tmp_path / "later",
        [row(n + 10) for n in range(4)],
        bytes_duplicate_of=pa.array(["000000002", "000000000", None, "000000002"]),
        bytes_duplicate_in=pa.array([earlier.storage.root] * 2 + [None] + ["http://a.test/set"]),
    )
    assert flagged(later) == {0: "copy of a hidden picture"}


def test_an_earlier_data_set_is_asked_only_where_our_own_may_lie(tmp_path):
    far = Storage(f"memory://{tmp_path.name}")
    keys = put_rows(far, "00000", [row(0)])
    put_table(far, "00000.match.parquet", pa.table({"key": keys, HASH_LIST_MATCH: ["md5"]}))
    put_table(
        far, "00000.bytes_clusters.parquet", pa.table({"key": keys, "bytes_duplicate_of": pa.nulls(1, pa.string())})
    )
    assert withheld(list_shards(far)) == {"on a hash list": 1}
    columns = {"bytes_duplicate_of": pa.array(keys), "bytes_duplicate_in": pa.array([far.root])}
    assert flagged(put(tmp_path, [row(1)], **columns)) == {}


def test_one_withheld_copy_hides_its_cluster_from_the_examples(tmp_path):
    shard = put(
        tmp_path,
        [row(n) for n in range(5)],
        near_image_duplicate_of=pa.array([None, "000000000", "000000000", None, "000000003"]),
        punsafe=[0.0, 0.0, 0.9, 0.0, 0.0],
    )
    (found,) = copies([shard], ALL)
    assert [(one.of, len(one.tiles), one.withheld) for one in found.examples] == [(3, 0, 3), (2, 2, 0)]


@pytest.fixture
def pages(tmp_path):
    """Three documents of a text and two pictures each."""
    storage = Watched(str(tmp_path))
    slots = [Slot(f"http://s.test/{n}.png", picture(n), extension="png") for n in range(6)]
    listed = [Page([Words(f"text {n}"), *slots[2 * n : 2 * n + 2]]) for n in range(3)]
    put_pages(storage, "00000", listed)
    put_table(storage, "00000_parts.select.parquet", decision(PART_KEYS, [[]] * 9))
    return Shard(storage, "00000")


def seen_in(shard):
    parts = galleries([shard], PARTS, (), ALL)
    shown = [part for one in documents([shard], ALL) for part in one.parts if isinstance(part, Picture)]
    return pictures_of(parts), {part.url: (part.status, part.image is not None) for part in shown}


def test_slots_that_are_flagged_keep_their_place(pages):
    table = pa.table({"key": PART_KEYS, "punsafe": [0.9, 0.9, 0.0, *[0.0] * 6]})
    put_table(pages.storage, "00000_parts.more.parquet", table)
    shown, slots = seen_in(pages)
    assert shown == {1, 2, 3, 4, 5}
    assert slots["http://s.test/0.png"] == ("withheld", False)
    assert slots["http://s.test/1.png"] == ("success", True)
    assert withheld([pages]) == {"punsafe": 1}
    first = next(entry["offset"] for entry in pages.table("index").to_pylist() if entry["extension"] == "1.png")
    assert all(start != first for start, _ in ranges(pages.storage)["00000.tar"])


def test_one_slot_on_a_hash_list_hides_its_whole_document(pages):
    matches = pa.array([None] * 5 + ["sha256"] + [None] * 3, pa.string())
    table = pa.table({"key": PART_KEYS, HASH_LIST_MATCH: matches})
    put_table(pages.storage, "00000_parts.match.parquet", table)
    shown, slots = seen_in(pages)
    assert shown == {0, 1, 4, 5}
    assert {slots[f"http://s.test/{n}.png"] for n in (2, 3)} == {("withheld", False)}
    assert withheld([pages]) == {"on a hash list": 2}


def test_a_document_that_was_taken_back_is_nowhere(pages):
    write_dead(pages, {"00000000001": "url"})
    shown, slots = seen_in(pages)
    assert shown == {0, 1, 4, 5}
    assert set(slots) == {f"http://s.test/{n}.png" for n in (0, 1, 4, 5)}
    assert withheld([pages]) == {"tombstone: url": 2}


def test_a_shard_without_keys_is_no_crash(tmp_path):
    shards = pack(tmp_path, [row(0), row(1)], [1, 1])
    shards[0].storage.write("00000.parquet", b"no table")
    assert withheld(list(map(replace, shards))) == {}
    assert pictures_of(galleries(list(map(replace, shards)), SAMPLES, FILTERS, ALL)) == {1}
