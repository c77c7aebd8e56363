"""Tars for Hugging Face's M4 trainer, read by its rules."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from document_sets import Page, Slot, Words, export, jpeg, put_pages, small_set
from PIL import Image

from curate.storage import Storage


def read(storage: Storage, name: str) -> Iterator[tuple[list[str | None], list[bytes | None]]]:
    """Neighbours of one prefix are a document, which counts only when all that its metadata names is there."""
    groups: list[tuple[str, dict[str, bytes]]] = []
    with tarfile.open(storage.path(name)) as archive:
        for member in archive:
            prefix = member.name.split(".")[0]
            if not groups or groups[-1][0] != prefix:
                groups.append((prefix, {}))
            groups[-1][1][member.name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    assert len({prefix for prefix, _ in groups}) == len(groups)
    for prefix, files in groups:
        promised = files.pop(f"{prefix}.metadata.txt").decode().split("\n")
        assert sorted(files) == sorted(promised)
        texts: dict[int, Any] = {}
        images: dict[int, Any] = {}
        for fname, data in files.items():
            _, idx, kind, extension = fname.split(".")
            assert (kind, extension) in {("text", "txt"), ("image", "jpeg")}
            (texts if kind == "text" else images)[int(idx)] = data.decode() if kind == "text" else data
        places = range(len(files))
        yield [texts.get(i) for i in places], [images.get(i) for i in places]


def test_documents_come_back(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    small_set(data)
    export("m4", data, target)
    found = [document for n in (0, 1) for document in read(target, f"0000{n}.tar")]
    assert [texts for texts, _ in found] == [["one", None, "two\nthree"], [None, "four"], ["five\n\nsix", None]]
    assert [[i is not None for i in images] for _, images in found] == [
        [False, True, False],
        [True, False],
        [False, True],
    ]
    assert found[0][1][1] == jpeg(1)
    assert target.read("sizes.json") == b'{\n "00000.tar": 2,\n "00001.tar": 1\n}'


def test_every_picture_is_a_jpeg(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    kinds = [("png", "PNG"), ("webp", "WEBP"), ("gif", "GIF")]
    slots = [Slot(f"http://i/{e}", jpeg(1, format=f), extension=e) for e, f in kinds]
    put_pages(data, "00000", [Page([Words("x"), *slots, Slot("u", b"\x89PNG broken", extension="png")])])
    told = export("m4", data, target)
    _, images = next(read(target, "00000.tar"))
    assert [Image.open(io.BytesIO(i)).format for i in images if i] == ["JPEG"] * 3
    assert sum(told["slots_without_picture"].values()) == 1


def test_names_are_sorted_and_have_no_dot_in_their_prefix(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    parts = [part for i in range(12) for part in (Words(f"text {i}"), Slot(f"u{i}", jpeg(i)))]
    put_pages(data, "00000", [Page(parts), Page(parts)])
    export("m4", data, target)
    with tarfile.open(target.path("00000.tar")) as archive:
        names = archive.getnames()
    assert names == sorted(names)
    assert all(name.count(".") == (2 if name.endswith(".metadata.txt") else 3) for name in names)
    assert [texts[2 * i] for texts, _ in read(target, "00000.tar") for i in (0, 5, 11)] == [
        "text 0",
        "text 5",
        "text 11",
    ] * 2
