"""A record may hold what JSON, UTF-8 or a column cannot: no export stops at it."""

import json
from pathlib import Path

import pytest
from example_sets import page, pair, picture, put_pairs, run_export, talk
from handover_sets import make_handover

from curate.fetch.members import strict_json
from curate.storage import Storage

HALF = b"\\ud83d"
"""Half of a character, as JSON may say it."""
MARK = b"X12345"


def spoil(storage: Storage, before: bytes, after: bytes) -> None:
    """Put other bytes of the same length into all tars."""
    assert len(before) == len(after)
    for name in storage.files():
        if name.endswith(".tar"):
            storage.write(name, storage.read(name).replace(before, after))


@pytest.mark.parametrize("value", [b"NaN     ", b"1e999   ", b'"' + HALF + b'"', b"[[1e999]]"[:8], b"-1e99999"])
@pytest.mark.parametrize("format", ["energon", "mds", "open_clip", "trl", "nanovlm"])
def test_a_value_that_nothing_can_hold(tmp_path: Path, format: str, value: bytes) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", [pair("a", 1, "words", other="X12345"), pair("b", 2, "more")])
    spoil(data, b'"X12345"', value)
    assert run_export(format, data, target)["examples"] == 2


@pytest.mark.parametrize(
    ("format", "sources"),
    [
        *[(format, "web,vqa,pages,books") for format in ("energon", "mds", "trl")],
        ("nanovlm", "web,vqa,pages"),
        ("open_clip", "web"),
        *[(format, "pages") for format in ("m4", "mmc4", "obelics", "omnicorpus", "openflamingo")],
    ],
)
def test_half_characters_in_a_handover(tmp_path: Path, format: str, sources: str) -> None:
    text = MARK.decode()
    examples = {
        "web": [pair("a", 1, text, other=text)],
        "vqa": [talk("t", ("user", [picture(3), text]), ("assistant", [text]), other=text)],
        "pages": [page("p", text, picture(4, side=100), text, other=text, url=text)],
        "books": [page("b", text, other=text)],
    }
    data, target = Storage(str(make_handover(tmp_path / "set", examples))), Storage(str(tmp_path / "out"))
    spoil(data, MARK, HALF)
    options = {"pictures": "bytes"} if format == "obelics" else {}
    told = run_export(format, data, target, sources=sources, **options)
    assert told.get("examples", told.get("documents")) == len(sources.split(","))


def test_strict_json_replaces_half_characters() -> None:
    assert json.loads(strict_json({"a": json.loads(b'"' + HALF + b' x"')})) == {"a": "? x"}
