"""The formats of documents take the pages of a hand-over; their own tests read what they write of a data set."""

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from example_sets import page, pair, picture, run_export, talk
from handover_sets import make_handover

from curate.errors import ConfigError
from curate.sample import Document, Picture
from curate.storage import Storage

FIRST, SECOND, THIRD = (picture(seed, side=100) for seed in (1, 2, 3))
FACTS = {"url": "http://site/0", "warc_filename": "a.warc.gz", "warc_record_offset": 7, "warc_record_length": 9}
URLS = {"image_urls": [None, "http://i/a.jpg", None, None]}
PAGES = [
    page("d0", "one", FIRST, "two", SECOND, **FACTS, **URLS),
    page("d1", "three", Picture("", status="not_found"), "four", THIRD, image_urls=["x"]),
    page("d2", "only words", Picture("", status="not_found")),
]


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    sources = {"pages": PAGES, "web": [pair("a", 4, "words")], "vqa": [talk("t", ("user", ["x"]))], "more": [PAGES[0]]}
    return Storage(str(make_handover(tmp_path_factory.mktemp("pages") / "set", sources)))


def name_of(image: Picture) -> str:
    return f"sha256:{hashlib.sha256(image.image or b'').hexdigest()}"


def members(storage: Storage, name: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(storage.read(name))) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def write(format: str, handover: Storage, tmp_path: Path, **options: Any) -> Storage:
    target = Storage(str(tmp_path / "out"))
    told = run_export(format, handover, target, sources="pages", shard_samples=9, **options)
    assert (told["documents"], told["documents_left_out"]) == (2, {"no_picture": 1})
    assert told["slots_without_picture"] == {"missing": 2}
    return target


def test_obelics_has_the_pictures_and_where_they_came_from(handover: Storage, tmp_path: Path) -> None:
    target = write("obelics", handover, tmp_path, pictures="bytes")
    first, second = pq.read_table(target.path("data/00000.parquet")).to_pylist()
    assert [image and image["bytes"] for image in first["images"]] == [None, FIRST.image, None, SECOND.image]
    assert first["texts"] == ["one", None, "two", None]
    assert json.loads(first["general_metadata"]) == FACTS
    sources = [about and about["src"] for about in json.loads(first["metadata"])]
    assert sources == [None, "http://i/a.jpg", None, name_of(SECOND)]
    assert second["texts"] == ["three\n\nfour", None]


def test_obelics_of_urls_keeps_the_places(handover: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    told = run_export("obelics", handover, target, sources="pages", shard_samples=9)
    rows = pq.read_table(target.path("data/00000.parquet")).to_pylist()
    assert [row["images"] for row in rows[:2]] == [
        [None, "http://i/a.jpg", None, name_of(SECOND)],
        [None, "", None, name_of(THIRD)],
    ]
    assert told["documents"] == 3


def test_m4_has_every_part_in_order(handover: Storage, tmp_path: Path) -> None:
    found = members(write("m4", handover, tmp_path), "00000.tar")
    first = [data for name, data in found.items() if name.startswith("000000_")]
    assert first[:4] == [b"one", FIRST.image, b"two", SECOND.image]
    assert first[4].count(b"\n") == 3


def test_openflamingo_and_mmc4_go_by_the_order_of_the_page(handover: Storage, tmp_path: Path) -> None:
    documents = [json.loads(data) for data in members(write("openflamingo", handover, tmp_path), "00000.tar").values()]
    images = [base64.b64decode(info["image_base64"]) for info in documents[0]["image_info"]]
    assert images == [FIRST.image, SECOND.image]
    assert [info["matched_text_index"] for info in documents[0]["image_info"]] == [1, 2]
    assert documents[0]["url"] == "http://site/0"
    target = Storage(str(tmp_path / "mmc4"))
    run_export("mmc4", handover, target, sources="pages", shard_samples=9)
    line = json.loads(target.read("00000.jsonl").splitlines()[0])
    assert [info["raw_url"] for info in line["image_info"]] == ["http://i/a.jpg", name_of(SECOND)]
    with pytest.raises(ConfigError, match="have no column 'embedding'; choose --placement document"):
        run_export("mmc4", handover, target, placement="similarity")


def test_omnicorpus_finds_each_picture_by_its_name(handover: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    run_export("omnicorpus", handover, target, sources="pages", shard_samples=9)
    lines = [json.loads(line) for line in target.read("00000.jsonl").splitlines()]
    found = members(target, "00000.tar")
    pictures = [found[hashlib.sha256(name.encode()).hexdigest()] for name in lines[0]["images"] if name]
    assert pictures == [FIRST.image, SECOND.image]
    assert lines[0]["general_metadata"] == FACTS


def test_sources_are_chosen_by_name(handover: Storage, tmp_path: Path) -> None:
    target = Storage(str(tmp_path / "out"))
    assert run_export("m4", handover, target, sources="pages,more", shard_samples=9)["documents"] == 3
    assert json.loads(target.read("sizes.json")) == {"00000.tar": 2, "00001.tar": 1}
    with pytest.raises(
        ConfigError, match=r"source web of .* is of kind pairs, and m4 takes interleaved; name the sources"
    ):
        run_export("m4", handover, Storage(str(tmp_path / "other")))


def test_a_data_set_has_no_named_sources(tmp_path: Path) -> None:
    from document_sets import small_set

    data = Storage(str(tmp_path / "data"))
    small_set(data)
    with pytest.raises(ConfigError, match=r"--sources a: .*data is no hand-over and has no named sources"):
        run_export("m4", data, Storage(str(tmp_path / "out")), sources="a")


def test_webdataset_of_a_handover_is_the_handover(handover: Storage, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a hand-over, whose tars are for webdataset as they are"):
        run_export("webdataset", handover, Storage(str(tmp_path / "out")))


def test_a_picture_keeps_its_place_whatever_its_record_says() -> None:
    from curate.export._packed_documents import _named

    for urls in (None, "x", [1, 2], [None], {"a": 1}, [["u"], ["v"]]):
        parts = list(_named(Document("d", (FIRST, SECOND)).parts, urls))
        assert [part.url for part in parts if isinstance(part, Picture)] == [name_of(FIRST), name_of(SECOND)]
