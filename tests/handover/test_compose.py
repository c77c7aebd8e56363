"""Data sets composed into one folder: who leaves, in which shards, with which facts, and what a change makes anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import webdataset
from composition_sets import (
    composed,
    counts,
    digests,
    examples_of,
    left_out,
    members_of_shard,
    picture,
    put_conversations,
    put_images,
    put_lines,
    put_pairs,
    put_table,
    put_view,
    rows_of,
    talk,
)
from document_sets import Page, Slot, Words, jpeg, put_pages

from curate.errors import ConfigError, ShardError
from curate.handover.compose import build_composition, source_facts
from curate.handover.compose_source import ShardSettings
from curate.job import load_job
from curate.plan import Job
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.sample import Conversation, Document, Picture, Sample, Text, Turn
from curate.shard import Shard
from curate.slices import read_plan
from curate.storage import Storage
from curate.tombstones import HASH_LIST_MATCH, write_dead

WORDS = {"words": {"kind": "words"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, documents and conversations; tests that change one of them work on a copy."""
    folder = tmp_path_factory.mktemp("sets")
    pairs = Storage(str(folder / "pairs"))
    put_pairs(pairs, "00000", 6, keep=[True, False, True, True, True, True], multiplicity=[1, 1, 2, 1, 1, 1])
    put_pairs(pairs, "00001", 4, keep=[True] * 4, multiplicity=[1] * 4)
    put_view(pairs, "00000", [["one"], [], ["made first", "made second words"], [], ["four"], ["five"]])
    put_view(pairs, "00001", [["six"], ["seven"], ["eight"], ["nine"]])
    pages = Storage(str(folder / "pages"))
    gone = Slot("http://i/gone.jpg", None, "not_found")
    first = Page([Words("Before."), Words("Item", "\n"), Slot("http://i/1.jpg", jpeg(1)), gone, Words("After.")])
    put_pages(pages, "00000", [first, Page([Words("Alone."), Slot("http://i/2.jpg", None, "gone")])])
    put_pages(pages, "00001", [Page([Slot("http://i/3.jpg", jpeg(3)), Words("Third.")])])
    images = put_images(folder / "images", 4)
    put_lines(folder / "talk.jsonl", [talk(n) for n in range(4)])
    put_lines(folder / "prose.jsonl", [{"text": f"prose {n}", "n": n} for n in range(5)])
    assert images.is_dir()
    return folder


def everything(place: Path) -> dict[str, dict[str, Any]]:
    return {
        "web": {"path": str(place / "pairs"), "captions": "mix"},
        "pages": {"path": str(place / "pages")},
        "vqa": {"kind": "chat", "path": str(place / "talk.jsonl"), "images": str(place / "images")},
        "prose": {"kind": "text", "path": str(place / "prose.jsonl")},
    }


def test_shards_are_of_one_source_and_in_the_order_of_the_config(place: Path, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    composed(target, everything(place), WORDS, samples=3)
    names = [(row["source"], row["kind"]) for n in range(8) for row in rows_of(target, f"{n:05d}")[:1]]
    web, pages, vqa, prose = ("web", "pairs"), ("pages", "interleaved"), ("vqa", "chat"), ("prose", "text")
    assert names == [web, web, web, pages, vqa, vqa, prose, prose]
    assert [len(rows_of(target, f"{n:05d}")) for n in range(8)] == [3, 3, 3, 2, 3, 1, 3, 2]
    told = source_facts(target)
    assert told["web"] == {"kind": "pairs", "examples": 9, "samples_without_text": 1, "shards_without_selection": 0}
    assert told["prose"] == {"kind": "text", "examples": 5}
    keys = [row["key"] for n in range(8) for row in rows_of(target, f"{n:05d}")]
    assert len({*keys}) == len(keys) == 20
    assert keys[0] == "000000"
    assert not any("." in key for key in keys)


def test_a_pair_leaves_with_its_members_and_the_texts_of_a_view(place: Path, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    composed(target, {"web": everything(place)["web"]}, WORDS, shuffle=False)
    rows = rows_of(target, "00000")
    assert [row["source_key"] for row in rows] == [
        *("000000000", "000000002", "000000002", "000000004", "000000005"),
        *("000010000", "000010001", "000010002", "000010003"),
    ]
    two = rows[1]
    assert (two["images"], two["widths"], two["heights"]) == (1, [26], [26])
    assert two["captions"] == ["made first", "made second words"]
    assert two["chars"] == len("made first") + len("made second words")
    assert (two["source"], two["web_caption"]) == ("web", "words of 000000002")
    sample = examples_of(target, "00000")[1]
    assert isinstance(sample, Sample)
    assert (sample.caption, sample.image) == ("made first", picture(2))
    assert sample.columns["captions"] == two["captions"]
    assert sample.columns["source"] == "own"
    tokens = Shard(target, "00000").table("tokens").to_pylist()[1]
    assert tokens == {"key": two["key"], "tokens_words": 2, "captions_tokens_words": [2, 3]}


def test_without_a_view_the_members_stay_byte_for_byte(place: Path, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    composed(target, {"web": {"path": str(place / "pairs")}}, WORDS, shuffle=False)
    before = members_of_shard(Storage(str(place / "pairs")), "00001")["000010003"]
    row = rows_of(target, "00000")[-1]
    assert members_of_shard(target, "00000")[row["key"]] == before
    assert "captions" not in row
    assert row["url"] == "http://h/000010003"
    assert Shard(target, "00000").table("tokens").to_pylist()[-1]["captions_tokens_words"] == [3]


def test_text_between_two_pictures_of_a_document_is_one_text(place: Path, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    composed(target, {"pages": everything(place)["pages"]}, WORDS, shuffle=False)
    first, other = examples_of(target, "00000")
    assert isinstance(first, Document)
    assert [p.text if isinstance(p, Text) else p.image for p in first.parts] == ["Before.\nItem", jpeg(1), "After."]
    assert first.columns["image_urls"] == [None, "http://i/1.jpg", None]
    assert isinstance(other, Document)
    assert isinstance(other.parts[0], Picture)
    told = counts(target)["00000"]
    assert (told["in"], told["kept"], told["dropped.no_picture"], told["missing.not_found"]) == (3, 2, 1, 1)
    assert left_out(target, "00000") == [
        {"source_key": "00000000001", "place": "shard 00000, 00000000001", "reason": "no_picture", "detail": ""}
    ]


def test_webdataset_reads_every_kind(place: Path, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    composed(target, everything(place))
    found = {}
    for shard in ("00000", "00001", "00002", "00003"):
        samples = list(webdataset.WebDataset(target.path(f"{shard}.tar"), shardshuffle=False))
        assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows_of(target, shard)]
        found[shard] = {name for sample in samples for name in sample if not name.startswith("__")}
    assert found == {
        "00000": {"jpg", "json", "txt"},
        "00001": {"json", "0.jpg", "1.jpg"},
        "00002": {"json", "0.jpg"},
        "00003": {"json"},
    }


@pytest.mark.parametrize(
    ("missing", "kept", "pictures"), [("slot", 3, 2), ("drop_slot", 2, 1), ("drop_document", 1, 1)]
)
def test_what_becomes_of_a_missing_picture(place: Path, tmp_path: Path, missing: str, kept: int, pictures: int) -> None:
    target = Storage(str(tmp_path / "out"))
    composed(target, {"pages": {"path": str(place / "pages"), "missing": missing}}, shuffle=False)
    found = examples_of(target, "00000")
    assert len(found) == kept
    assert isinstance(found[0], Document)
    assert sum(isinstance(part, Picture) for part in found[0].parts) == pictures


def test_every_sample_leaves_where_decisions_are_not_asked_except_what_must_not(place: Path, tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "pairs")), Storage(str(tmp_path / "out"))
    shutil.copytree(place / "pairs", tmp_path / "pairs")
    hidden = pa.array([None, None, "sha256", None, None, None], pa.string())
    keys = [f"00000{row:04d}" for row in range(6)]
    put_table(data, "00000.hash_list.parquet", pa.table({"key": keys, HASH_LIST_MATCH: hidden}))
    write_dead(Shard(data, "00001"), {"000010001": "url"})
    composed(target, {"web": {"path": data.root, "kept_only": False}}, shuffle=False)
    left = [row["source_key"][4:] for row in rows_of(target, "00000")]
    assert left == ["00000", "00001", "00003", "00004", "00005", "10000", "10002", "10003"]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("captions", ["", "mix"])
def test_a_draw_takes_as_many_and_more_take_the_same(place: Path, tmp_path: Path, shuffle: bool, captions: str) -> None:
    drawn: list[list[str]] = []
    for samples in (2, 5):
        target = Storage(str(tmp_path / f"out{samples}"))
        source = {"path": str(place / "pairs"), "samples": samples, "captions": captions}
        composed(target, {"web": source}, shuffle=shuffle, samples=4, seed=3)
        shards = [f"{n:05d}" for n in range(-(-samples // 4))]
        drawn.append([row["source_key"] for shard in shards for row in rows_of(target, shard)])
    assert list(map(len, drawn)) == [2, 5]
    assert {*drawn[0]} <= {*drawn[1]}
    assert shuffle or drawn[1] == sorted(drawn[1])


@pytest.mark.parametrize("samples", [0, 3])
def test_conversations_about_pictures_leave_as_talk(place: Path, tmp_path: Path, samples: int) -> None:
    shutil.copytree(place / "pairs", tmp_path / "pairs")
    data, target = Storage(str(tmp_path / "pairs")), Storage(str(tmp_path / "out"))
    put_conversations(data, "00000", [0, 1, 2, None, None, 5])
    put_conversations(data, "00001", [10, None, 12, 13])
    source = {"path": data.root, "conversations": "made", "samples": samples}
    composed(target, {"talk": source}, WORDS, samples=2)
    told = source_facts(target)["talk"]
    assert told == {
        "kind": "chat",
        "examples": samples or 7,
        "samples_without_conversation": 3,
        "shards_without_selection": 0,
    }
    shards = [f"{n:05d}" for n in range(-(-told["examples"] // 2))]
    rows = [row for shard in shards for row in rows_of(target, shard)]
    found = [example for shard in shards for example in examples_of(target, shard)]
    if not samples:
        keys = ["000000000", "000000002", "000000002", "000000005", "000010000", "000010002", "000010003"]
        assert sorted(row["source_key"] for row in rows) == keys
    for row, example in zip(rows, found, strict=True):
        number = int(row["source_key"][4]) * 10 + int(row["source_key"][5:])
        assert isinstance(example, Conversation)
        asked = (Picture("", picture(number % 10), "jpg", "success"), Text(f"Which {number}?"))
        assert example.turns == (Turn("user", asked), Turn("assistant", (Text(f"{number}."),)))
        assert example.columns["made_kind"] == "detail"
        assert example.columns["url"] == f"http://h/{row['source_key']}"
        assert (row["kind"], row["images"], row["chars"]) == ("chat", 1, len(f"Which {number}?{number}."))


def test_documents_are_drawn_too(place: Path, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    composed(target, {"pages": {"path": str(place / "pages"), "samples": 2, "missing": "slot"}})
    assert len(rows_of(target, "00000")) == 2


def test_the_same_bytes_again_and_after_parts_were_lost(place: Path, tmp_path: Path) -> None:
    one, other = Storage(str(tmp_path / "one")), Storage(str(tmp_path / "other"))
    composed(one, everything(place), WORDS, samples=2)
    composition = build_composition(everything(place), WORDS, ShardSettings(samples=2))
    list(zip(composition.slices(other), range(3), strict=False))  # killed while it cut
    assert read_plan(other)
    assert not read_plan(other).complete
    composed(other, everything(place), WORDS, samples=2)
    shutil.rmtree(tmp_path / "other" / "commits" / "tokens")
    for name in ("00001.tar", "00001.parquet", "00001.index.parquet"):
        other.delete(name)
    for name in other.files("commits/compose"):
        if "/00001-" in name:
            other.delete(name)
    outcome = composed(other, everything(place), WORDS, samples=2)
    assert {commit.shard for commit in outcome.commits if commit.stage == "compose"} == {"00001"}
    assert digests(tmp_path / "one") == digests(tmp_path / "other")
    assert composed(other, everything(place), WORDS, samples=2).made == 0


def test_another_tokenizer_packs_nothing(place: Path, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    composed(target, everything(place), WORDS, samples=5)
    outcome = composed(target, everything(place), {**WORDS, "toy": {"kind": "toy"}}, samples=5)
    assert {commit.stage for commit in outcome.commits} == {"tokens"}
    assert len(outcome.commits) == 5
    assert "tokens_toy" in Shard(target, "00000").column_files


def test_a_change_packs_only_the_shards_that_differ(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "sets")
    sources, target = everything(tmp_path / "sets"), Storage(str(tmp_path / "out"))
    composed(target, sources, samples=5)

    def packed() -> set[str]:
        return {c.shard for c in composed(target, sources, samples=5).commits if c.stage == "compose"}

    sources["vqa"]["licence"] = "CC-BY-4.0"
    assert packed() == set()
    sources["vqa"]["images"] = str(tmp_path / "sets" / "images") + "/."
    assert packed() == {"00003"}
    sources["vqa"]["revision"] = "2"
    assert packed() == {"00003"}
    sources["more"] = {"kind": "text", "path": str(place / "prose.jsonl")}
    assert packed() == {"00005"}
    put_lines(tmp_path / "sets" / "prose.jsonl", [{"text": "other"}])
    assert packed() == {"00004"}
    del sources["pages"]
    assert packed() == {"00002", "00003", "00004"}
    assert [s.shard for s in read_plan(target).slices] == [f"{n:05d}" for n in range(5)]  # type: ignore[union-attr]


def test_the_cut_is_known_until_a_source_changes(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "pairs", tmp_path / "pairs")
    data, target = Storage(str(tmp_path / "pairs")), Storage(str(tmp_path / "out"))
    composition = build_composition({"web": {"path": data.root}}, {}, ShardSettings(samples=4))
    assert composition.known_slices(target) is None
    made = list(composition.slices(target))
    assert composition.known_slices(target) == made
    assert [piece.rows for piece in made] == [4, 4, 2]
    write_dead(Shard(data, "00000"), {"000000003": "key"})
    assert composition.known_slices(target) is None
    assert [piece.rows for piece in composition.slices(target)] == [4, 4, 1]


def test_a_set_that_is_half_decided_is_refused(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "pairs", tmp_path / "pairs")
    data, target = Storage(str(tmp_path / "pairs")), Storage(str(tmp_path / "out"))
    data.delete("00001.select.parquet")
    with pytest.raises(ConfigError, match="1 of its shards have no selection yet; run its config to the end"):
        composed(target, {"web": {"path": data.root}})
    composed(target, {"web": {"path": data.root, "undecided": "leave_out"}})
    assert source_facts(target)["web"]["shards_without_selection"] == 1
    assert len(rows_of(target, "00000")) == 6


def test_a_picture_without_a_header_stays_out_with_its_reason(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "pairs")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", 3)
    data.write("00000.tar", data.read("00000.tar").replace(picture(1), bytes(len(picture(1)))))
    composed(target, {"web": {"path": data.root}}, shuffle=False)
    assert [row["source_key"] for row in rows_of(target, "00000")] == ["000000000", "000000002"]
    assert [row["key"][-1] for row in rows_of(target, "00000")] == ["0", "2"]
    assert counts(target)["00000"] == {"in": 3, "kept": 2, "images": 2, "dropped.not_a_picture": 1}
    assert left_out(target, "00000")[0]["place"] == "00000.tar, 000000001"


@pytest.mark.parametrize("count", [1, 2])
def test_documents_that_were_exchanged_set_the_shard_aside(place: Path, tmp_path: Path, count: int) -> None:
    shutil.copytree(place / "pages", tmp_path / "pages")
    composition = build_composition({"pages": {"path": str(tmp_path / "pages")}}, {})
    target = Storage(str(tmp_path / "out"))
    list(composition.slices(target))
    shutil.rmtree(tmp_path / "pages")
    pages = Storage(str(tmp_path / "pages"))
    put_pages(pages, "00001", [Page([Words("x"), Slot("u", jpeg(1))])])
    put_pages(pages, "00007", [Page([Words("x"), Slot("u", jpeg(1))])] * count)
    for end in (".parquet", "_parts.parquet", ".tar", ".index.parquet"):
        pages.write("00000" + end, pages.read("00007" + end))
    plan = read_plan(target)
    assert plan is not None
    failed = run_job(Job(composition.steps(), lambda _: iter(plan.slices), source_columns=None), target, InlineEngine())
    assert "shard 00000 in" in failed.failed["00000"]
    assert "has no document" in failed.failed["00000"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"path": "PLACE/nothing"}, "holds no data set; name the folder"),
        ({"path": "PLACE/pages", "captions": "mix"}, "holds documents, and captions is for pairs"),
        ({"path": "PLACE/pages", "kept_only": False}, "holds documents, and kept_only is for pairs"),
        ({"path": "PLACE/pages", "kind": "pairs"}, 'holds interleaved; leave kind = "pairs" out'),
        ({"path": "PLACE/pairs", "captions": "mixx"}, "no such view"),
        ({"path": "PLACE/pairs", "conversations": "made"}, "has none of them; run its config"),
        ({"path": "PLACE/pages", "conversations": "made"}, "holds documents, and conversations is for pairs"),
        ({"path": "PLACE/pairs", "captions": "a", "conversations": "b"}, "are both given; make a source of each"),
        ({"path": "PLACE/pairs", "samples": -1}, r"samples = -1 is out of range"),
        ({"path": "PLACE/pairs", "kind": "chats"}, "kind = 'chats' is not one of them"),
        ({"path": "PLACE/pairs", "images": "x"}, "has no key 'images'"),
        ({"kind": "text"}, "needs a value for 'path'"),
        ("PLACE/pairs", r"must be a table; write \[sources.web\]"),
    ],
)
def test_a_source_that_cannot_be_is_told(place: Path, tmp_path: Path, source: Any, words: str) -> None:
    fitted = json.loads(json.dumps(source).replace("PLACE", str(place)))
    with pytest.raises((ConfigError, ShardError), match=words):
        composed(Storage(str(tmp_path / "out")), {"web": fitted})


@pytest.mark.parametrize("name", ["Web", "web-1", "1web", "web.x", ""])
def test_names_are_plain(place: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a name is of small letters"):
        build_composition({name: {"path": str(place / "pairs")}}, {})
    with pytest.raises(ConfigError, match="a name is of small letters"):
        build_composition({"web": {"path": str(place / "pairs")}}, {name: {"kind": "words"}})


def test_a_folder_with_something_else_is_left_alone(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is source web itself"):
        composed(Storage(str(place / "pairs")), {"web": {"path": str(place / "pairs")}})
    target = Storage(str(tmp_path / "out"))
    target.write("source/plan.json", b'{"identity": 1, "settings": {"limit": 3}, "slices": [], "complete": true}')
    with pytest.raises(ConfigError, match="holds another data set; choose another --out"):
        composed(target, {"web": {"path": str(place / "pairs")}})
    with pytest.raises(ConfigError, match=r"has no \[sources.NAME\]"):
        build_composition({}, {})


@pytest.mark.parametrize("lines", ["", "\n\n"])
def test_a_source_without_examples_is_told(place: Path, tmp_path: Path, lines: str) -> None:
    (tmp_path / "empty.jsonl").write_text(lines)
    sources = {
        "web": {"path": str(place / "pairs")},
        "prose": {"kind": "text", "path": str(tmp_path / "empty.jsonl")},
    }
    with pytest.raises(
        ConfigError, match=r"\[sources.prose\] .*empty.jsonl has no examples to hand over; leave it out"
    ):
        composed(Storage(str(tmp_path / "out")), sources)


def test_a_composition_is_no_source(place: Path, tmp_path: Path) -> None:
    first = Storage(str(tmp_path / "first"))
    composed(first, {"prose": {"kind": "text", "path": str(place / "prose.jsonl")}})
    with pytest.raises(ConfigError, match="is a composition already; name the data sets that it was composed of"):
        composed(Storage(str(tmp_path / "out")), {"web": {"path": first.root}})


def test_the_pipeline_is_found_and_a_limit_is_of_each_source(place: Path, tmp_path: Path) -> None:
    config = tmp_path / "mix.toml"
    config.write_text(
        f'pipeline = "compose"\n[sources.web]\npath = "{place}/pairs"\n'
        f'[sources.prose]\nkind = "text"\npath = "{place}/prose.jsonl"\n[tokenizers.words]\nkind = "words"\n'
    )
    loaded = load_job(config, limit=2)
    target = Storage(str(tmp_path / "out"))
    run_job(loaded.job, target, InlineEngine())
    assert [len(rows_of(target, shard)) for shard in ("00000", "00001")] == [2, 2]
    assert [step.label for step in loaded.job.steps] == ["compose", "tokens"]


@pytest.mark.slow
def test_from_a_store_to_a_store(place: Path, tmp_path: Path) -> None:
    source = Storage(f"memory://{tmp_path}/data")
    for path in place.rglob("*"):
        if path.is_file():
            source.write(path.relative_to(place).as_posix(), path.read_bytes())
    local, far = Storage(str(tmp_path / "out")), Storage(f"memory://{tmp_path}/out")
    composed(local, everything(place), WORDS, samples=5)
    sources = json.loads(json.dumps(everything(place)).replace(str(place), source.root))
    composed(far, sources, WORDS, samples=5)
    for name in local.files():
        if name != "manifest.parquet":
            assert far.read(name) == local.read(name), name
