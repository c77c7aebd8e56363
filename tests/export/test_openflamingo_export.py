"""Tars for OpenFlamingo, read by the rules of its loader: is every picture bound to the text that it should be?"""

import base64
import io
import json
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from document_sets import Page, Slot, Words, export, jpeg, put_pages
from PIL import Image
from scipy.optimize import linear_sum_assignment
from test_mmc4_export import axis, toward

from curate.storage import Storage

IMAGE, END = "<image>", "<|endofchunk|>"


def load(record: dict[str, Any], least_similarity: float = 0.24, most_images: int = 6) -> list[tuple[bytes, str]]:
    """What the loader makes of a record: each picture that it keeps, and the text behind the token it is bound to."""
    valid = []
    for number, info in enumerate(record["image_info"]):
        if "image_base64" not in info:
            continue
        raw = base64.b64decode(info["image_base64"])
        if len(raw) // 1000 <= 10:
            continue
        Image.open(io.BytesIO(raw)).convert("RGB")
        valid.append((number, raw))
    if not valid:
        return []
    matrix = np.array(record["similarity_matrix"])[[number for number, _ in valid]]
    images, places = [], []
    for row, column in zip(*linear_sum_assignment(-matrix), strict=True):
        if matrix[row][column] >= least_similarity:
            images.append(valid[row][1])
            places.append(column)
    sentences = list(record["text_list"])
    for place in places[:most_images]:
        sentences[place] = f"{END}{IMAGE}{sentences[place]}"
    text = " ".join(sentences).replace(END, "", 1)
    text = text.replace(f" {END}", END).replace(f"{IMAGE} ", IMAGE).replace(f" {IMAGE}", IMAGE)
    behind = [chunk.split(END)[0] for chunk in re.split(re.escape(IMAGE), text)[1:]]
    assert len(behind) == len(images[:most_images])
    return list(zip(images, behind, strict=True))


def records(target: Storage) -> list[dict[str, Any]]:
    found = []
    for name in sorted(json.loads(target.read("sizes.json"))):
        with tarfile.open(target.path(name)) as archive:
            for member in archive:
                assert re.fullmatch(r"[0-9a-f]{32}\.json", member.name)
                found.append(json.load(archive.extractfile(member)))  # type: ignore[arg-type]
    return found


def exported(tmp_path: Path, parts: Sequence[Words | Slot], **options: Any) -> dict[str, Any]:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page(list(parts))])
    export("openflamingo", data, target, **options)
    [record] = records(target)
    return record


BIG = [jpeg(n, 100) for n in range(4)]


def test_pictures_are_large_enough_for_this_test() -> None:
    assert all(len(picture) >= 11_000 for picture in BIG)
    assert len(jpeg(1)) < 11_000


README = [
    Words("first.", embedding=axis(0)),
    Words("second.", embedding=axis(1)),
    Words("third.", embedding=axis(2)),
    Slot("http://i/0.jpg", BIG[0], embedding=toward(0.25, 0.26, 0.33)),
    Slot("http://i/1.jpg", BIG[1], embedding=toward(0.24, 0.31, 0.28)),
]


def bound(record: dict[str, Any]) -> list[tuple[bytes, str]]:
    return [(picture, text.strip()) for picture, text in load(record)]


def test_the_example_of_mmc4s_readme_is_bound_right(tmp_path: Path) -> None:
    assert bound(exported(tmp_path, README)) == [(BIG[1], "second."), (BIG[0], "third.")]


def test_unsorted_as_mmc4_has_it_the_loader_binds_them_wrong(tmp_path: Path) -> None:
    """The defect that the order of rows avoids: it is there when the rows are turned round."""
    record = exported(tmp_path, README)
    record["image_info"].reverse()
    record["similarity_matrix"].reverse()
    assert bound(record) == [(BIG[0], "second."), (BIG[1], "third.")]


def test_the_order_of_the_page(tmp_path: Path) -> None:
    parts = [
        Words("a"),
        Slot("0", BIG[0]),
        Words("b"),
        Words("c"),
        Slot("1", BIG[1]),
        Slot("2", BIG[2]),
        Words("d"),
        Slot("3", BIG[3]),
    ]
    assert bound(exported(tmp_path, parts)) == [(BIG[0], "b c"), (BIG[1], ""), (BIG[2], "d"), (BIG[3], "")]


def test_small_pictures_are_left_out_before_the_others_are_placed(tmp_path: Path) -> None:
    """The small one would have taken `third.`; written in, it would push the large one to `second.` here only."""
    small = Slot("http://i/s.jpg", jpeg(9), embedding=toward(0.2, 0.2, 0.9))
    record = exported(tmp_path, [*README[:3], small, README[3]])
    assert [info["matched_text_index"] for info in record["image_info"]] == [2]
    assert bound(record) == [(BIG[0], "third.")]


@pytest.mark.parametrize(("limit", "kept"), [(len(BIG[0]), True), (len(BIG[0]) + 1, False)])
def test_the_limit_on_bytes(tmp_path: Path, limit: int, kept: bool) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pages(data, "00000", [Page([Slot("0", BIG[0]), Words("x")])])
    told = export("openflamingo", data, target, min_image_bytes=limit)
    assert told["documents"] == int(kept)
    assert told["pictures_left_out"] == ({} if kept else {"too_few_bytes": 1})
    assert told["documents_left_out"] == ({} if kept else {"no_picture": 1})


@pytest.mark.parametrize(("size", "kept"), [(10_999, False), (11_000, True)])
def test_the_limit_is_the_loaders(tmp_path: Path, size: int, kept: bool) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    picture = jpeg(1).ljust(size, b"\0")
    put_pages(data, "00000", [Page([Slot("0", picture), Words("x")])])
    export("openflamingo", data, target)
    assert [bound(record) for record in records(target)] == ([[(picture, "x")]] if kept else [])


def test_a_surplus_of_pictures_costs_the_surplus_alone(tmp_path: Path) -> None:
    slots = [Slot(str(n), BIG[n], embedding=toward(c)) for n, c in enumerate((0.5, 0.9))]
    record = exported(tmp_path, [Words("only", embedding=axis(0)), *slots])
    assert len(record["image_info"]) == 2
    assert load(record) == [(BIG[1], "only")]


def test_every_picture_is_a_jpeg_with_its_bytes(tmp_path: Path) -> None:
    png = jpeg(1, 100, "PNG")
    record = exported(tmp_path, [Slot("0", png, extension="png"), Words("x"), Slot("1", None, "not_found")])
    [info] = record["image_info"]
    assert base64.b64decode(info["image_base64"]).startswith(b"\xff\xd8\xff")
