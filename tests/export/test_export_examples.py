"""Which examples leave and in which order, from pairs, from the texts of a view and from a hand-over."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from document_sets import put_table
from example_sets import page, pair, picture, put_pairs, put_view, talk
from handover_sets import make_handover

from curate.errors import ConfigError, ShardError
from curate.export._examples import WITHOUT_TEXT, Wanted, plan_examples, read_examples
from curate.handover.layout import Example
from curate.sample import Sample
from curate.shard import Shard
from curate.slices import read_plan
from curate.storage import Storage

PAIRS = [pair(f"p{n}", n, f"words {n}", url="u") for n in range(6)]
TALKS = [talk(f"t{n}", ("user", [picture(n), "what?"]), ("assistant", ["that"]), box=[n]) for n in range(3)]
PAGES = [page("p0", "one", picture(7), "two", url="http://site")]
TEXTS = [page("x0", "only words"), page("x1", "and more")]
WEB = [["0000000000", "0000000001"], ["0000000002", "0000100000"], ["0000100001", "0000100002"]]
VQA = [["0000200000", "0000200001"], ["0000200002"]]
BOOKS = [["0000400000", "0000400001"]]


@pytest.fixture
def handover(tmp_path: Path) -> Storage:
    sources: dict[str, Sequence[Example]] = {"web": PAIRS, "vqa": TALKS, "pages": PAGES, "books": TEXTS}
    return Storage(str(make_handover(tmp_path / "handover", sources, shard_samples=3)))


@pytest.fixture
def pairs(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "pairs"))
    for number in range(2):
        put_pairs(storage, f"0000{number}", PAIRS[3 * number : 3 * number + 3])
    return storage


def plan(source: Storage, target: Storage, samples: int = 2, seed: int | None = None, **wanted: Any) -> list[Any]:
    """The examples of each output shard, with their places."""
    cut = plan_examples(source, samples, seed, Wanted("test", **wanted))
    return [list(read_examples(source, Shard(target, piece.shard).source())) for piece in cut(target)]


def keys(shards: Sequence[Sequence[tuple[dict[str, Any], Example]]]) -> list[list[str]]:
    return [[example.key for _, example in shard] for shard in shards]


def test_a_handover_leaves_source_by_source_in_its_order(handover: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    shards = plan(handover, target)
    assert keys(shards) == [*WEB, *VQA, ["0000300000"], *BOOKS]
    assert [{p["source"] for p, _ in shard} for shard in shards] == [
        *[{"web"}] * 3,
        *[{"vqa"}] * 2,
        {"pages"},
        {"books"},
    ]
    told = read_plan(target).identity["sources"]  # type: ignore[union-attr]
    assert [(own["name"], own["kind"], own["samples"], own["shards"]) for own in told] == [
        ("web", "pairs", 6, 3),
        ("vqa", "chat", 3, 2),
        ("pages", "interleaved", 1, 1),
        ("books", "text", 2, 1),
    ]


def test_examples_come_back_as_they_were(handover: Storage, tmp_path: Path) -> None:
    found = [e for shard in plan(handover, Storage(str(tmp_path / "out"))) for _, e in shard]
    first = found[0]
    assert isinstance(first, Sample)
    assert (first.image, first.extension, first.caption) == (PAIRS[0].image, "jpg", "words 0")
    assert first.columns["url"] == "u"
    assert [replace(e, key="") for e in found[6:]] == [replace(e, key="") for e in (*TALKS, *PAGES, *TEXTS)]


@pytest.mark.parametrize("seed", [0, 7])
def test_a_shuffle_stays_within_a_source_and_depends_on_the_seed_alone(
    handover: Storage, tmp_path: Path, seed: int
) -> None:
    two = keys(plan(handover, Storage(str(tmp_path / "two")), 2, seed))
    five = keys(plan(handover, Storage(str(tmp_path / "five")), 5, seed))
    other = keys(plan(handover, Storage(str(tmp_path / "other")), 2, seed + 1))
    assert [*chain(*two)] == [*chain(*five)] != [*chain(*other)]
    assert {*chain(*two[:3])} == {*chain(*WEB)}


def test_some_sources_of_a_handover(handover: Storage, tmp_path: Path) -> None:
    found = keys(plan(handover, Storage(str(tmp_path / "out")), 9, sources="books,vqa", takes=("chat", "text")))
    assert found == [[*chain(*VQA)], *BOOKS]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            {"takes": ("pairs", "chat")},
            "source pages of .* is of kind interleaved, and test takes pairs and chat; name",
        ),
        ({"sources": "web,vqq"}, "has no source 'vqq'; did you mean 'vqa'"),
        ({"captions": "mix"}, "--captions mix: .* is a hand-over, which has its texts already"),
    ],
)
def test_what_a_handover_cannot_give_is_refused(
    handover: Storage, tmp_path: Path, wanted: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        plan(handover, Storage(str(tmp_path / "out")), **wanted)


def test_a_manifest_of_something_else_is_told(pairs: Storage, tmp_path: Path) -> None:
    pairs.write("manifest.json", b'{"name": "a web page"}')
    with pytest.raises(ShardError, match=r"manifest\.json in "):
        plan(pairs, Storage(str(tmp_path / "out")))


def test_of_a_handover_nothing_is_dropped_or_copied_again(handover: Storage, tmp_path: Path) -> None:
    """Its tables may have the columns that decided, once."""
    table = Shard(handover, "00000").table()
    table = table.append_column("keep", pa.array([False] * 3)).append_column("multiplicity", pa.array([4] * 3))
    put_table(handover, "00000.parquet", table)
    put_table(handover, "tombstones/00001.parquet", pa.table({"key": ["0000100001"], "kind": ["url"]}))
    [found] = keys(plan(handover, Storage(str(tmp_path / "out")), 9, sources="web"))
    assert found == [key for key in chain(*WEB) if key != "0000100001"]


def test_pairs_are_one_source_and_copies_have_keys_of_their_own(pairs: Storage, tmp_path: Path) -> None:
    table = Shard(pairs, "00000").table()
    put_table(pairs, "00000.select.parquet", table.append_column("keep", pa.array([True, False, True])))
    names = pa.table({"key": Shard(pairs, "00001").table()["key"]})
    put_table(pairs, "00001.select.parquet", names.append_column("keep", pa.array([True] * 3)))
    put_table(pairs, "00000.balance.parquet", table.append_column("multiplicity", pa.array([2, 1, 1])))
    found = plan(pairs, Storage(str(tmp_path / "out")), 4)
    assert keys(found) == [["p0", "p0-1", "p2", "p3"], ["p4", "p5"]]
    assert [place["source_key"] for place, _ in found[0]] == ["p0", "p0", "p2", "p3"]
    assert {place["source"] for shard in found for place, _ in shard} == {"pairs"}


def test_keys_that_occur_twice_stay_apart(tmp_path: Path) -> None:
    data = Storage(str(tmp_path / "data"))
    put_pairs(data, "00000", [pair("a", 1, "one"), pair("a-1", 2, "two")])
    put_pairs(data, "00001", [pair("a", 3, "three")])
    assert keys(plan(data, Storage(str(tmp_path / "out")), 3)) == [["a", "a-1", "a-2"]]


def test_a_source_without_shards_is_an_empty_one(handover: Storage, tmp_path: Path) -> None:
    manifest = json.loads(handover.read("manifest.json"))
    manifest["sources"]["none"] = manifest["sources"]["web"]
    handover.write("manifest.json", json.dumps(manifest).encode())
    assert plan(handover, Storage(str(tmp_path / "out")), sources="none") == []
    assert len(plan(handover, Storage(str(tmp_path / "other")), sources=" none, vqa,")) == 2


def test_the_texts_of_a_view(pairs: Storage, tmp_path: Path) -> None:
    put_view(pairs, "00000", ["p0", "p1", "p2"], [["a", "b"], [], ["c"]])
    put_view(pairs, "00001", ["p3", "p4", "p5"], [[], ["d"], ["e"]])
    target = Storage(str(tmp_path / "out"))
    found = [example for shard in plan(pairs, target, captions="mix") for _, example in shard]
    assert [(e.key, e.caption, e.columns["captions"]) for e in found if isinstance(e, Sample)] == [
        ("p0", "a", ["a", "b"]),
        ("p2", "c", ["c"]),
        ("p4", "d", ["d"]),
        ("p5", "e", ["e"]),
    ]
    assert found[0].columns["web_caption"] == "words 0"
    assert read_plan(target).identity[WITHOUT_TEXT] == 2  # type: ignore[union-attr]


def test_a_pair_without_a_picture_or_with_a_broken_record_is_an_example(tmp_path: Path) -> None:
    data = Storage(str(tmp_path / "data"))
    broken = Sample("b", PAIRS[0].image, "jpg", None, {"caption": ["no text"]})
    put_pairs(data, "00000", [Sample("a", b"[1]", "json", "words"), broken])
    raw = data.read("00000.tar").replace(b'{"caption"', b'["caption"')
    data.write("00000.tar", raw)
    [[(_, first), (_, second)]] = plan(data, Storage(str(tmp_path / "out")))
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert (first.image, first.extension, first.caption) == (b"", "", "words")
    assert (second.extension, second.caption) == ("jpg", None)


def test_other_settings_are_another_export(pairs: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    plan(pairs, target)
    plan(pairs, target)
    with pytest.raises(ConfigError, match="holds another export"):
        plan(pairs, target, options={"prompt": "plain"})
    with pytest.raises(ConfigError, match="--shard-samples 0 is out of range"):
        plan(pairs, target, 0)
    with pytest.raises(ConfigError, match="is the data set itself"):
        plan(pairs, pairs)
    with pytest.raises(ConfigError, match=r"--sources web: .* is no hand-over"):
        plan(pairs, target, sources="web")
