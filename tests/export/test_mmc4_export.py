"""MMC4's JSON lines: its fields, its rules of placement, and the order that binds pictures to the right text."""

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from document_sets import Page, Slot, Words, export, jpeg, lines, put_pages, small_set

from curate.errors import ConfigError
from curate.export._mmc4 import match
from curate.sample import Document, Part, Picture, Text
from curate.storage import Storage


def toward(*cosines: float) -> list[float]:
    """A vector of unit length with these cosines to the first axes."""
    rest = max(0.0, 1 - sum(c * c for c in cosines)) ** 0.5
    return [*cosines, *[0.0] * (4 - len(cosines)), rest]


def axis(number: int) -> list[float]:
    return [float(i == number) for i in range(5)]


README = [
    Words("s0", embedding=axis(0)),
    Slot("http://i/0.jpg", jpeg(1), embedding=toward(0.21, 0.22, 0.30)),
    Words("s1", embedding=axis(1)),
    Slot("http://i/1.jpg", jpeg(2), embedding=toward(0.20, 0.29, 0.24)),
    Words("s2", embedding=axis(2)),
]


def exported(tmp_path: Path, parts: Sequence[Words | Slot], **options: Any) -> dict[str, Any]:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page(list(parts))])
    export("mmc4", data, target, **options)
    [line] = lines(target, "00000.jsonl")
    return line


def test_fields_and_pictures(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    small_set(data)
    export("mmc4", data, target)
    first, second = lines(target, "00000.jsonl")
    assert first == {
        "url": "http://site/00000000000",
        "text_list": ["one", "two", "three"],
        "image_info": [
            {
                "image_name": "00000000000_0.jpg",
                "raw_url": "http://i/a.jpg",
                "matched_text_index": 1,
                "matched_sim": 1.0,
                "face_detections": None,
            }
        ],
        "similarity_matrix": [[0.0, 1.0, 0.0]],
        "could_have_url_duplicate": 0,
    }
    assert second["could_have_url_duplicate"] == 1
    with tarfile.open(target.path("00000.tar")) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    assert found == {"00000000000_0.jpg": jpeg(1), "00000000001_0.png": jpeg(2, format="PNG")}


def test_rows_are_in_the_order_of_their_sentences(tmp_path: Path) -> None:
    line = exported(tmp_path, README)
    assert [i["raw_url"][-5:] for i in line["image_info"]] == ["1.jpg", "0.jpg"]
    assert [i["matched_text_index"] for i in line["image_info"]] == [1, 2]
    assert [i["matched_sim"] for i in line["image_info"]] == pytest.approx([0.29, 0.30])
    assert np.allclose(line["similarity_matrix"], [[0.20, 0.29, 0.24], [0.21, 0.22, 0.30]], atol=1e-6)


def test_the_order_of_the_page_may_be_asked_for(tmp_path: Path) -> None:
    line = exported(tmp_path, README, placement="document")
    assert [(i["raw_url"][-5:], i["matched_text_index"]) for i in line["image_info"]] == [("0.jpg", 1), ("1.jpg", 2)]


@pytest.mark.parametrize(("least", "stays"), [(0.3, ["0.jpg"]), (0.29, ["1.jpg", "0.jpg"]), (None, ["1.jpg", "0.jpg"])])
def test_a_picture_like_no_sentence_is_left_out(tmp_path: Path, least: float | None, stays: list[str]) -> None:
    line = exported(tmp_path, README, **({} if least is None else {"min_similarity": least}))
    assert [i["raw_url"][-5:] for i in line["image_info"]] == stays
    assert len(line["similarity_matrix"]) == len(stays)


def test_a_document_without_a_match_stays_out_and_is_told(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page(list(README))])
    told = export("mmc4", data, target, min_similarity=0.31)
    assert told["documents_left_out"] == {"no_match": 1}
    assert told["documents"] == 0


def test_pictures_left_out_are_counted(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page(list(README))])
    assert export("mmc4", data, target, min_similarity=0.295)["pictures_left_out"] == {"no_similar_sentence": 1}


def test_more_pictures_than_sentences(tmp_path: Path) -> None:
    slots = [Slot(f"http://i/{n}.jpg", jpeg(n), embedding=toward(c)) for n, c in enumerate((0.5, 0.9, 0.1))]
    line = exported(tmp_path, [Words("s", embedding=axis(0)), *slots])
    assert [(i["raw_url"][-5:], i["matched_text_index"]) for i in line["image_info"]] == [("0.jpg", 0), ("1.jpg", 0)]


def test_a_part_without_an_embedding_is_no_match(tmp_path: Path) -> None:
    blind = Slot("http://i/2.jpg", jpeg(3), embedding=None)
    line = exported(tmp_path, [*README, blind, Words("s3", embedding=None)])
    assert [i["raw_url"][-5:] for i in line["image_info"]] == ["1.jpg", "0.jpg"]
    assert [row[3] for row in line["similarity_matrix"]] == [-1.0, -1.0]


def test_a_shard_without_embeddings_among_others_that_have_some(tmp_path: Path) -> None:
    data = Storage(str(tmp_path / "data"))
    put_pages(data, "00000", [Page(list(README))])
    put_pages(data, "00001", [Page([Words("x"), Slot("u", jpeg(1))])])
    with pytest.raises(ConfigError, match=r"1 shards of .* have no column 'embedding' of parts; run on"):
        export("mmc4", data, Storage(str(tmp_path / "out")))


def test_a_slot_without_a_picture_keeps_its_url(tmp_path: Path) -> None:
    line = exported(tmp_path, [Slot("http://i/gone.png", None, "not_found"), Words("x")], missing="slot")
    assert [(i["image_name"], i["raw_url"]) for i in line["image_info"]] == [("00000000000_0.jpg", "http://i/gone.png")]


def test_two_pictures_in_a_row_get_a_sentence_each(tmp_path: Path) -> None:
    line = exported(tmp_path, [Words("x"), Slot("a", jpeg(1)), Slot("b", jpeg(2)), Words("y")])
    assert line["text_list"] == ["x", "", "y"]
    assert line["similarity_matrix"] == [[0, 1, 0], [0, 0, 1]]


def test_a_page_of_a_million_cells_is_bounded() -> None:
    parts: list[Part] = [Picture(str(i), b"x", "jpg") for i in range(1_000)]
    parts += [Text("x")] * 10
    assert match(Document("k", tuple(parts)), "document") == "too_many_parts"
    assert not isinstance(match(Document("k", tuple(parts[-900:])), "document"), str)
