"""What all exports of documents share: which documents leave, in which order, what is counted, what may be repeated."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from document_sets import Page, Slot, Words, export, jpeg, lines, put_pages, put_table, small_set

from curate.errors import ConfigError, ShardError
from curate.export import check_options, export_formats, exporter
from curate.export._documents import PackDocuments
from curate.manifest import MANIFEST_SCHEMA, Attempt, Manifest
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage

FORMATS = ("energon", "m4", "mmc4", "obelics", "omnicorpus", "openflamingo")


@pytest.fixture
def data(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "data"))
    small_set(storage)
    return storage


def left(target: Storage) -> list[str]:
    """Keys of the documents of an export for OmniCorpus, in order."""
    names = sorted(name for name in target.files() if name.endswith(".jsonl"))
    return [line["doc_loc"] for name in names for line in lines(target, name)]


def plain_set(storage: Storage, shards: int, each: int) -> list[str]:
    """Documents of one picture and one text."""
    pages = [Page([Words(f"text {i}"), Slot(f"http://i/{i}.jpg", jpeg(i))]) for i in range(each)]
    return [key for number in range(shards) for key in put_pages(storage, f"{number:05d}", pages)]


def test_every_format_is_found() -> None:
    assert set(FORMATS) < set(export_formats())


def test_documents_are_no_pairs_and_pairs_no_documents(data: Storage, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds documents, and this format takes pairs"):
        export("webdataset", data, Storage(str(tmp_path / "out")))
    pairs = Storage(str(tmp_path / "pairs"))
    put_table(pairs, "00000.parquet", pa.table({"key": ["000000"], "keep": [True]}))
    for format in [format for format in FORMATS if format != "energon"]:  # which takes both
        with pytest.raises(ConfigError, match="holds pairs, and this format takes documents"):
            export(format, pairs, Storage(str(tmp_path / format)))


def test_only_kept_documents_and_parts_leave(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told = export("omnicorpus", data, target)
    assert left(target) == ["00000000000", "00000000001", "00001000000"]
    assert told["documents"] == 3
    assert not any("ad" in (text or "") for text in lines(target, "00000.jsonl")[0]["texts"])


def test_what_was_left_out_is_told(data: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told = export("m4", data, target)
    assert told == {
        "shards": 2,
        "documents": 3,
        "documents_left_out": {"no_picture": 1},
        "slots": 5,
        "slots_without_picture": {"failed_to_download": 1, "not_found": 1},
        "pictures_left_out": {},
        "shards_without_selection": 0,
    }
    written = json.loads(target.read("export.json"))
    assert {name: written[name] for name in told} == told
    assert written["settings"]["options"] == {"missing": "drop_slot", "sources": ""}
    assert {entry.shard for entry in Manifest.read(target).of("pack")} == {"00000", "00001"}


@pytest.mark.parametrize(
    ("missing", "documents", "slots"),
    [("slot", 4, [1, 1, 2, 1]), ("drop_slot", 3, [1, 1, 1]), ("drop_document", 2, [1, 1])],
)
def test_a_failed_picture(data: Storage, tmp_path: Path, missing: str, documents: int, slots: list[int]) -> None:
    target = Storage(str(tmp_path / "out"))
    told = export("mmc4", data, target, missing=missing, shard_samples=9)
    assert told["documents"] == documents
    assert told["documents_left_out"] == (
        {"slot": {}, "drop_slot": {"no_picture": 1}}.get(missing, {"picture_missing": 2})
    )
    assert [len(line["image_info"]) for line in lines(target, "00000.jsonl")] == slots


def test_a_slot_that_was_never_asked_for(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page([Words("x"), Slot("http://i/a.jpg", None, None)])])
    told = export("mmc4", data, target, missing="slot")
    assert told["slots_without_picture"] == {"never_fetched": 1}
    assert told["documents"] == 1


def test_a_slot_that_nobody_wanted_is_no_missing_picture(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page([Words("x"), Slot("http://i/l.gif", None, None, keep=False), Slot("u", jpeg(1))])])
    told = export("mmc4", data, target, missing="drop_document")
    assert (told["documents"], told["slots"]) == (1, 1)


def test_a_document_without_words_stays_out(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page([Words(" \n"), Slot("u", jpeg(1))]), Page([Words("x"), Slot("u", jpeg(1))])])
    assert export("m4", data, target)["documents_left_out"] == {"no_text": 1}


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_export_is_the_same_bytes_and_no_work_twice(data: Storage, tmp_path: Path, format: str) -> None:
    one, other = Storage(str(tmp_path / "one")), Storage(str(tmp_path / "other"))
    export(format, data, one)
    export(format, data, other)
    for folder in ("", "data", ".nv-meta"):
        assert one.files(folder).keys() == other.files(folder).keys()
        assert all(one.read(name) == other.read(name) for name in one.files(folder))
    job, _ = exporter(format)(data, 2, False, 0)
    outcome = run_job(job, one, InlineEngine())
    assert (outcome.made, outcome.skipped) == (0, 2)


@pytest.mark.parametrize("format", FORMATS)
def test_a_shard_without_its_commit_is_made_again(data: Storage, tmp_path: Path, format: str) -> None:
    target = Storage(str(tmp_path / "out"))
    told = export(format, data, target)
    [entry] = [e for e in Manifest.read(target).of("pack") if e.shard == "00001"]
    before = {f.name: target.read(f.name) for f in entry.files}
    target.delete(f"commits/pack/00001-{entry.fingerprint}.json")
    for name in before:
        target.write(name, b"half a fi")
    assert export(format, data, target) == told
    assert {name: target.read(name) for name in before} == before


def test_shards_are_filled_across_the_shards_of_the_source(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    keys = plain_set(data, 3, 5)
    told = export("omnicorpus", data, target, shard_samples=4)
    assert left(target) == keys
    assert [len(lines(target, f"0000{n}.jsonl")) for n in range(4)] == [4, 4, 4, 3]
    assert told["shards"] == 4


def test_a_shuffle_orders_the_shards_of_the_source_by_seed(tmp_path: Path) -> None:
    data = Storage(str(tmp_path / "data"))
    keys = plain_set(data, 6, 2)
    orders = []
    for seed in (0, 0, 1):
        target = Storage(str(tmp_path / f"out{len(orders)}"))
        export("omnicorpus", data, target, shuffle=True, seed=seed, shard_samples=5)
        orders.append(left(target))
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == keys
    assert orders[0] != keys
    assert all(a[:5] == b[:5] for a, b in zip(orders[0][::2], orders[0][1::2], strict=True))


def test_multiplicity_gives_copies_with_keys_of_their_own(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    parts: list[Words | Slot] = [Words("x"), Slot("u", jpeg(1))]
    put_pages(data, "00000", [Page(parts, more={"multiplicity": n}) for n in (2, 0, 1)])
    export("omnicorpus", data, target)
    assert left(target) == ["00000000000", "00000000000-1", "00000000002"]


def test_before_any_decision_every_readable_page_leaves(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    parts: list[Words | Slot] = [Words("x"), Slot("u", jpeg(1))]
    put_pages(data, "00000", [Page(parts), Page(parts, more={"document_status": "not_html"})], decided=False)
    export("omnicorpus", data, target)
    assert left(target) == ["00000000000"]


def test_a_shard_without_a_decision_stays_and_is_counted(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page([Words("x"), Slot("u", jpeg(1))])])
    put_pages(data, "00001", [Page([Words("x"), Slot("u", jpeg(1))])], decided=False)
    told = export("omnicorpus", data, target)
    assert (told["documents"], told["shards_without_selection"]) == (1, 1)


@pytest.mark.parametrize("change", [{"shard_samples": 3}, {"shuffle": True}, {"missing": "drop_slot"}, {"drop": True}])
def test_a_folder_holds_one_export(data: Storage, tmp_path: Path, change: dict[str, Any]) -> None:
    target = Storage(str(tmp_path / "out"))
    export("omnicorpus", data, target)
    if change.pop("drop", False):
        put_pages(data, "00001", [Page([Words("x"), Slot("u", jpeg(1))], keep=False)])
    with pytest.raises(ConfigError, match=r"/out holds another export .* choose another --out, or delete it"):
        export("omnicorpus", data, target, **change)
    with pytest.raises(ConfigError, match="holds another export"):
        export("m4", data, target)


def test_work_done_anew_is_another_export(data: Storage, tmp_path: Path) -> None:
    """The manifest says how every document was made; the same keys may stand for other texts."""
    target = Storage(str(tmp_path / "out"))
    export("m4", data, target)
    kind = pa.Table.from_pylist(
        [{"stage": "select", "shard": "00001", "fingerprint": "f", "files": [], "counts": []}], MANIFEST_SCHEMA
    )
    put_table(data, "manifest.parquet", kind)
    with pytest.raises(ConfigError, match="holds another export"):
        export("m4", data, target)


@pytest.mark.parametrize(
    ("format", "options", "words"),
    [
        ("m4", {"missing": "slot"}, "--missing slot does not fit m4, whose readers take drop_slot or drop_document"),
        ("energon", {"missing": "slot"}, "does not fit energon"),
        ("openflamingo", {"missing": "slot"}, "does not fit openflamingo"),
        ("mmc4", {"missing": "keep"}, "--missing keep does not fit mmc4"),
        ("m4", {"placement": "document"}, "format m4 takes no --placement; it takes --missing"),
        ("mmc4", {"min_similarity": 1.1}, "--min-similarity = 1.1 is out of range"),
        ("openflamingo", {"min_image_bytes": -1}, "--min-image-bytes = -1 is out of range"),
        ("mmc4", {"placement": "similarity"}, "have no column 'embedding'; choose --placement document"),
        ("mmc4", {"placement": "random"}, "--placement random is not known: similarity or document"),
        ("obelics", {"pictures": "png"}, "--pictures png is not known: urls or bytes"),
        ("obelics", {"pictures": "bytes", "missing": "slot"}, "a place with neither; choose drop_slot"),
        ("m4", {"shard_samples": 0}, "--shard-samples 0 is out of range: at least 1"),
    ],
)
def test_settings_that_cannot_be(
    data: Storage, tmp_path: Path, format: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        export(format, data, Storage(str(tmp_path / "out")), **options)


def test_other_settings_that_cannot_be(data: Storage, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is the data set itself; choose another --out"):
        export("m4", data, data)
    with pytest.raises(ConfigError, match="format webdataset takes no --min-similarity"):
        exporter("webdataset")(data, min_similarity=0.2)
    check_options("webdataset", {})
    check_options("mmc4", {"min_similarity": 0.2})
    with pytest.raises(ShardError, match="holds no data set"):
        export("m4", Storage(str(tmp_path / "typo")), Storage(str(tmp_path / "out")))


def test_a_data_set_that_changes_meanwhile_fails_the_shard(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    for shard in ("00000", "00001"):
        put_pages(data, shard, [Page([Words("x")])])
    job, _ = exporter("m4")(data, 1, False, 0)
    list(job.slices(target))
    data.write("00001.parquet", data.read("00000.parquet"))
    [pack] = job.steps
    assert isinstance(pack, PackDocuments)
    with pytest.raises(ShardError, match="has no document 00001000000 any more; export anew"):
        pack.run(Shard(target, "00001"), Attempt(target, "pack", "00001", "f"), Runtime())


def test_from_a_store_to_a_store(data: Storage, tmp_path: Path) -> None:
    source, target = Storage(f"memory://{tmp_path}/data"), Storage(f"memory://{tmp_path}/out")
    for name in data.files():
        source.write(name, data.read(name))
    local = Storage(f"{data.root}-out")
    assert export("obelics", source, target) == export("obelics", data, local)
    assert target.read("data/00001.parquet") == local.read("data/00001.parquet")
