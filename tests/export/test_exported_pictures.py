"""A picture is what its bytes are: what nobody can open does not leave, and 16 bits do not become a white picture."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from document_sets import jpeg
from example_sets import page, picture, put_pairs, run_export, talk
from handover_sets import make_handover
from PIL import Image

from curate.export._interleave import readable
from curate.export._talk import Rules, talk_of
from curate.sample import Picture, Sample
from curate.storage import Storage


def ramp() -> bytes:
    """A grey PNG of 16 bits a value, half as bright as white in the mean."""
    target = io.BytesIO()
    Image.fromarray(np.linspace(0, 65_535, 100 * 100).reshape(100, 100).astype(np.uint16)).save(target, "png")
    return target.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "formats", "extension"),
    [
        (jpeg(1), "jpg", ("jpg",), "jpg"),
        (jpeg(1), "png", ("jpg", "png"), "jpg"),
        (jpeg(1, format="PNG"), "jpg", ("jpg", "png"), "png"),
        (jpeg(1, format="PNG"), "jpg", ("jpg",), "jpg"),
        (jpeg(1, format="WEBP"), "webp", ("jpg", "png"), "jpg"),
        (ramp(), "png", ("jpg", "png"), "jpg"),
    ],
)
def test_a_picture_goes_by_its_bytes(data: bytes, name: str, formats: tuple[str, ...], extension: str) -> None:
    found = readable(Picture("", data, name, "success"), formats)
    assert found.image is not None
    assert found.extension == extension
    opened = Image.open(io.BytesIO(found.image))
    assert opened.format == {"jpg": "JPEG", "png": "PNG"}[extension]
    assert 120 < np.asarray(opened.convert("RGB")).mean() < 136


@pytest.mark.parametrize(("data", "status"), [(b"<html>", "not_an_image"), (b"", "not_an_image")])
def test_what_is_no_picture_has_a_status(data: bytes, status: str) -> None:
    assert readable(Picture("", data, "jpg", "success"), ("jpg",)) == Picture("", None, "", status)


@pytest.mark.parametrize("format", ["energon", "mds", "open_clip", "trl", "llava", "lavis"])
def test_a_pair_without_a_readable_picture_stays_out(tmp_path: Path, format: str) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [Sample("a", ramp(), "png", "grey", {}), Sample("b", b"<html>", "jpg", "words", {})])
    told = run_export(format, data, target)
    assert (told["examples"], told["examples_left_out"]) == (1, {"picture_missing": 1})
    assert not any(ramp() in target.read(name) for name in target.files())


@pytest.mark.parametrize("format", ["energon", "mds"])
def test_so_does_a_conversation(tmp_path: Path, format: str) -> None:
    talks = [talk(key, ("user", [picture(seed), "?"]), ("assistant", ["yes"])) for seed, key in enumerate("ab")]
    data = Storage(str(make_handover(tmp_path / "set", {"vqa": talks})))
    broken = picture(0).image or b""
    data.write("00000.tar", data.read("00000.tar").replace(broken, b"<html>".ljust(len(broken))))
    told = run_export(format, data, Storage(str(tmp_path / "out")))
    assert (told["examples"], told["examples_left_out"]) == (1, {"picture_missing": 1})


@pytest.mark.parametrize("format", ["m4", "openflamingo"])
def test_a_page_has_no_picture_of_16_bits(tmp_path: Path, format: str) -> None:
    own = page("p", "one", picture(1, side=120), "two", Picture("", ramp(), "png", "success"), "three")
    data, target = Storage(str(make_handover(tmp_path / "set", {"pages": [own]}))), Storage(str(tmp_path / "out"))
    assert run_export(format, data, target)["documents"] == 1
    assert not any(ramp() in target.read(name) for name in target.files())


def test_what_became_a_jpeg_is_counted() -> None:
    counts = Counter[str]()
    for seed, extension in enumerate(("jpg", "png", "webp")):
        talk_of(Sample("a", picture(seed, extension).image or b"", extension, "x", {}), "pairs", Rules(), counts)
    assert counts["reencoded"] == 1
