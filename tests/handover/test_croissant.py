"""Croissant metadata, read by MLCommons' own reader where it is installed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from handover_sets import make_handover, page, pair, prose, talk

from curate.handover import croissant
from curate.handover.card import Publication, write_card
from curate.handover.croissant_fields import record_set
from curate.storage import Storage

PLACE = "https://sets.test/toy"
WORDS = Publication(name="Toy", creator="Somebody", url=PLACE, published="2026-01-02", version="1.2.3")


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pairs in two shards, three pages, two talks, two texts."""
    sources = {
        "web": [pair(n, (f"a {n}", f"one {n}"), ("web", "synthetic")) for n in range(5)],
        "pages": [page(n, images=n + 1) for n in range(3)],
        "vqa": [talk(n) for n in range(2)],
        "prose": [prose(n) for n in range(2)],
    }
    folder = make_handover(tmp_path_factory.mktemp("croissant") / "out", sources, shard_samples=3)
    path = folder / "manifest.json"
    record = json.loads(path.read_bytes())
    record["warnings"] = ["<b>few</b>\u202e shards"]
    record["sources"]["web"]["licence"] = "as each page says"
    path.write_text(json.dumps(record))
    storage = Storage(str(folder))
    write_card(storage, storage, WORDS)
    return folder


@pytest.fixture(scope="module")
def record(handed: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((handed / "croissant.json").read_bytes())
    return found


@pytest.fixture(scope="module")
def dataset(handed: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Opened by mlcroissant, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROISSANT_CACHE", str(tmp_path_factory.mktemp("cache")))
        reader = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed; it is in the test extra")
        return reader.Dataset(jsonld=str(handed / "croissant.json"))


def test_mlcroissant_finds_nothing_wrong_and_nothing_missing(dataset: Any) -> None:
    metadata = dataset.metadata
    assert not metadata.ctx.issues.errors
    assert not metadata.ctx.issues.warnings
    assert (metadata.name, metadata.version, metadata.url) == ("Toy", "1.2.3", PLACE)
    assert metadata.license == ["as each page says", "https://spdx.org/licenses/CC0-1.0"]
    assert metadata.data_limitations == ["<b>few</b> shards"]
    assert metadata.ctx.is_live_dataset is False


def test_mlcroissant_reads_pairs_with_their_pictures(dataset: Any) -> None:
    rows = {row["web/key"]: row for row in dataset.records("web")}
    assert sorted(rows) == [b"0000000000", b"0000000001", b"0000000002", b"0000100000", b"0000100001"]
    last = rows[b"0000100001"]
    assert (last["web/caption"], last["web/captions"]) == (b"a 4", [b"a 4", b"one 4"])
    assert (last["web/image"].size, last["web/widths"], last["web/chars"]) == ((32, 24), [32], 3)
    assert last["web/caption_weights"] == [0.5, 0.5]


def test_mlcroissant_reads_pages_and_their_pictures(dataset: Any) -> None:
    rows = {row["pages/key"]: row for row in dataset.records("pages")}
    assert json.loads(rows[b"0000200001"]["pages/json"])["images"] == [None, "1.jpg", None, "3.jpg", None]
    assert rows[b"0000200002"]["pages/images"] == 3
    pictures = {row["pages_pictures/file"]: row["pages_pictures/image"] for row in dataset.records("pages_pictures")}
    assert sorted(pictures) == sorted(
        f"000020000{n}.{2 * place + 1}.jpg".encode() for n in range(3) for place in range(n + 1)
    )
    assert {picture.size for picture in pictures.values()} == {(32, 24)}


def test_mlcroissant_reads_talk_and_text(dataset: Any) -> None:
    said = [json.loads(row["vqa/json"])["messages"][1]["content"][0]["text"] for row in dataset.records("vqa")]
    assert sorted(said) == ["It is 0.", "It is 1."]
    assert len(list(dataset.records("vqa_pictures"))) == 2
    assert sorted(json.loads(row["prose/json"])["text"][:2] for row in dataset.records("prose")) == ["t0", "t1"]


def test_files_have_their_digests(handed: Path, record: dict[str, Any]) -> None:
    files = [own for own in record["distribution"] if own["@type"] == "cr:FileObject"]
    names = {own["contentUrl"] for own in files}
    assert names == {"manifest.json", *(f"{n:05d}{end}" for n in range(5) for end in (".tar", ".parquet"))}
    for own in files:
        assert own["sha256"] == hashlib.sha256((handed / own["contentUrl"]).read_bytes()).hexdigest()


def test_no_letter_ends_a_script_and_none_turns_the_writing(handed: Path) -> None:
    data = (handed / "croissant.json").read_bytes()
    assert b"<" not in data
    assert data.isascii()
    assert b"202e" not in data


def test_many_shards_are_left_to_the_manifest(handed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(croissant, "MOST_SHARDS", 4)
    write_card(Storage(str(handed)), Storage(str(tmp_path)), WORDS)
    record = json.loads((tmp_path / "croissant.json").read_bytes())
    assert [own["@id"] for own in record["distribution"]] == [
        *("manifest.json", "web_tables", "pages_tables", "vqa_tables", "prose_tables")
    ]
    assert [own["@id"] for own in record["recordSet"]] == ["web", "pages", "vqa", "prose"]
    assert "web/image" not in {own["@id"] for own in record["recordSet"][0]["field"]}
    monkeypatch.setattr(croissant, "MOST_SHARDS", 5)
    write_card(Storage(str(handed)), Storage(str(tmp_path)), WORDS)
    assert (tmp_path / "croissant.json").read_bytes() == (handed / "croissant.json").read_bytes()


def test_columns_are_typed_as_parquet_is() -> None:
    schema = pa.schema(
        {
            "key": pa.string(),
            "url": pa.string(),
            "n o/i": pa.int32(),
            "n_o i": pa.float32(),
            "ok": pa.bool_(),
            "when": pa.timestamp("us"),
            "day": pa.date32(),
            "nothing": pa.null(),
            "words": pa.list_(pa.large_string()),
            "deep": pa.list_(pa.list_(pa.int8())),
            "<raw>": pa.binary(),
        }
    )
    found = record_set("web", "pairs", schema, joined=False)
    assert {own["@id"].removeprefix("web/"): own["dataType"] for own in found["field"]} == {
        "key": "sc:Text",
        "url": "sc:URL",
        "n_o_i": "sc:Integer",
        "n_o_i_2": "sc:Float",
        "ok": "sc:Boolean",
        "when": "sc:DateTime",
        "day": "sc:Date",
        "nothing": "sc:Text",
        "words": "sc:Text",
    }
    assert [own["@id"] for own in found["field"] if own.get("repeated")] == ["web/words"]
    assert found["field"][2]["source"]["extract"] == {"column": "n o/i"}
    assert found["description"].endswith("Columns without a type here: deep, <raw>.")
