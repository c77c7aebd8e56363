"""Views of captions: fates, lengths and reasons counted, examples with both texts and their picture."""

import numpy as np
import pyarrow as pa
import pytest
from gallery_sets import pack, put_table, row, shown

from curate.caption.choose import Choose
from curate.caption.rules.itm_threshold import ItmThreshold
from curate.manifest import Attempt
from curate.report.pictures import Draw, captions
from curate.report.pictures.word_counts import EDGES, WordCounts
from curate.shard import Shard, list_shards
from curate.stage import Runtime
from curate.tombstones import write_dead

TEXTS = {  # web, its probability, synthetic, its probability; the bound is .5
    0: ("a web text", 0.9, "a made text", 0.8),  # both
    1: ("good words", 0.9, "bad", 0.1),  # web only
    2: ("bad words of the web", 0.2, "a fine text that was made", 0.7),  # synthetic only
    3: ("bad", 0.2, "bad too", 0.1),  # none
    4: ("never came", None, None, None),  # none, and without a picture
    5: ("another web text", 0.6, "<script>" + "x " * 60_000, 0.6),  # both
}
FATE = {0: "both", 1: "web only", 2: "synthetic only", 3: "none", 5: "both"}


def put(folder, sizes=(4, 2)):
    rows = [row(n, caption=TEXTS[n][0]) for n in range(6)]
    rows[4] |= {"fetch_status": "timeout", "picture": None}
    shards = pack(folder, rows, list(sizes))
    start = 0
    for shard, size in zip(shards, sizes, strict=True):
        own = [TEXTS[n] for n in range(start, start + size)]
        attempt = Attempt(shard.storage, "test", shard.id, "aaaa")
        floats = pa.list_(pa.float32())
        table = pa.table(
            {
                "key": shard.columns(["key"])[0],
                "made_captions": pa.array([None if one[2] is None else [one[2]] for one in own], pa.list_(pa.string())),
                "made_faults": pa.array([None if one[2] is None else [None] for one in own], pa.list_(pa.string())),
                "itm_probability": pa.array([one[1] for one in own], pa.float32()),
                "itm_made_probability": pa.array([None if one[3] is None else [one[3]] for one in own], floats),
            }
        )
        marked = [f.with_metadata({"model_fingerprint": "m"}) if f.name != "key" else f for f in table.schema]
        attempt.write_table(f"{shard.id}.scores.parquet", table.cast(pa.schema(marked)))
        attempt.commit()
        view = Attempt(shard.storage, "view_capfilt", shard.id, "bbbb")
        Choose("capfilt", ItmThreshold("made", "itm")).run(Shard(shard.storage, shard.id), view, Runtime())
        view.commit()
        start += size
    return list_shards(shards[0].storage)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return put(tmp_path_factory.mktemp("views"))


@pytest.fixture(scope="module")
def view(shards):
    (found,) = captions(shards, Draw(), print)
    return found


def test_fates_and_reasons_are_counted(view):
    assert (view.view, view.counts) == ("capfilt", {"both": 2, "web only": 1, "synthetic only": 1, "none": 2})
    assert dict(view.reasons) == {
        "web_text_does_not_match": 2,
        "synthetic_text_does_not_match": 2,
        "text_not_judged": 1,
    }
    assert [number for _, number in view.reasons] == [2, 2, 1]


def test_lengths_of_both_kinds_of_texts(view):
    web, made = view.web_words, view.synthetic_words
    words = [len(TEXTS[n][0].split()) for n in range(6)]
    for low, high, rows in zip(web.edges, web.edges[1:], web.rows, strict=False):
        assert rows == sum(low <= number < high or number == high == web.edges[-1] for number in words)
    assert (sum(web.rows), sum(web.left), web.without, web.log) == (6, 3, 0, True)
    assert (sum(made.rows), sum(made.left), made.edges[-1], made.rows[-1]) == (5, 3, 60_000.0, 1)


def test_examples_have_their_picture_and_both_texts(view):
    assert [one.title for one in view.examples] == ["both", "web only", "synthetic only", "none"]
    assert [one.of for one in view.examples] == [2, 1, 1, 1]
    for one in view.examples:
        for tile in one.tiles:
            number = shown(tile.picture)
            web, score, made, other = TEXTS[number]
            assert (one.kind, one.title) == ("captions", FATE[number])
            assert (tile.numbers["web"], tile.numbers["web score"]) == (web, f"{score:.3f}")
            assert tile.numbers["synthetic"][:8] == made[:8]
            assert len(tile.numbers["synthetic"]) <= 300
            assert tile.numbers["synthetic score"] == f"{other:.3f}"
            assert ("web refused" in tile.numbers) == (score < 0.5)
            assert ("synthetic refused" in tile.numbers) == (other < 0.5)


def test_the_same_whatever_the_packing(view, tmp_path):
    (other,) = captions(put(tmp_path, (1, 5)), Draw(), print)
    for one, own in zip(view.examples, other.examples, strict=True):
        assert [(t.picture, t.numbers) for t in one.tiles] == [(t.picture, t.numbers) for t in own.tiles]
    assert (view.counts, dict(view.reasons), view.web_words) == (other.counts, dict(other.reasons), other.web_words)


def test_withheld_rows_are_counted_and_not_told(tmp_path):
    shards = put(tmp_path)
    write_dead(shards[0], {"000000001": "url", "000000002": "sha256"})
    (found,) = captions(shards, Draw(), print)
    assert [(one.title, one.of, len(one.tiles), one.withheld) for one in found.examples] == [
        ("both", 2, 2, 0),
        ("web only", 1, 0, 1),
        ("synthetic only", 1, 0, 1),
        ("none", 1, 1, 0),
    ]


def test_captions_that_were_made_anew_are_not_shown_beside_an_old_view(tmp_path):
    shards = put(tmp_path)
    table = shards[0].table("scores")
    marked = [f.with_metadata({"model_fingerprint": "new"}) if f.name != "key" else f for f in table.schema]
    put_table(shards[0].storage, "00000.scores.parquet", table.cast(pa.schema(marked)))
    said: list[str] = []
    (found,) = captions(list_shards(shards[0].storage), Draw(), said.append)
    assert sum(found.counts.values()) == 2
    (words,) = said
    assert words.startswith("view 'capfilt' was made of other captions than are there now in 1 shards")
    put_table(shards[0].storage, "00000.view_capfilt.parquet", pa.table({"key": ["x"], "capfilt_texts": [["y"]]}))
    assert sum(captions(list_shards(shards[0].storage), Draw(), print)[0].counts.values()) == 2
    shards[0].storage.write("00000.view_capfilt.parquet", b"PAR1 no")
    assert sum(captions(list_shards(shards[0].storage), Draw(), print)[0].counts.values()) == 2


def test_without_a_view_there_is_nothing(tmp_path):
    assert captions(pack(tmp_path, [row(0)], [1]), Draw(), print) == ()


@pytest.mark.parametrize(
    ("texts", "edges", "rows", "without"),
    [
        (["a", "a b", " a  b\tc "], (1.0, 2.0, 3.0, 4.0), (1, 1, 1), 0),
        (["", None, " \n", "a"], (1.0, 1.0), (1,), 3),
        ([" ".join("x" * 9)], tuple(map(float, (1, 2, 3, 4, 5, 6, 7, 8, 10))), (0,) * 7 + (1,), 0),
        (["x " * 4_096], (*map(float, EDGES), 4_097.0), (0,) * 43 + (1,), 0),
        (["x " * 9_000, "x " * 4_095], (*map(float, EDGES), 9_000.0), (0,) * 42 + (1, 1), 0),
        ([None, ""], None, None, 2),
    ],
)
def test_words_are_counted_in_growing_bins(texts, edges, rows, without):
    counts = WordCounts("words")
    column = pa.array(texts, pa.string())
    for half in (column[:1], column[1:]):
        counts.add(half, np.ones(len(half), bool))
    found = counts.histogram()
    assert counts.without == without
    assert (found and found.edges, found and found.rows) == (edges, rows)
