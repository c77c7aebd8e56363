"""Pictures of documents: a slot keeps its place and its status, whatever the web does, and the bytes are the same."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from document_runs import NOT_KEPT, Part, fetch_documents
from fault_web import Web, falls_silent, reply
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_runs import column, digests, members, picture

from curate.document.columns import DOCUMENT_COLUMNS, PART_COLUMNS
from curate.document.read import read_documents, read_pictures
from curate.errors import ConfigError
from curate.fetch import document_images
from curate.fetch.document_images import FetchImages
from curate.fetch.document_writer import _joined
from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.manifest import Attempt, CommitLog
from curate.sample import Picture, Text
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage

FETCH = FetchSettings(per_host_rate=0, concurrency=8, least_rate_window_s=0.5, retries=0, most_bytes=50_000)
RETRY = replace(FETCH, retry="failed")
HOST = "http://pictures.test"
FAULTS = {
    "/gone.jpg": ("gone", "HTTP 410"),
    "/html.jpg": ("not_an_image", ""),
    "/huge.jpg": ("too_many_bytes", "60000 bytes announced, at most 50000"),
    "/missing.jpg": ("not_found", "HTTP 404"),
    "/silent.jpg": ("too_slow", ""),
    "/down.jpg": ("server_error", "HTTP 500"),
    "/private.jpg": ("robots_disallowed", ""),
    "/no.jpg": ("opted_out", "x-robots-tag: noai"),
}


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web(
        routes={
            "/robots.txt": reply(200, b"User-agent: *\nDisallow: /private"),
            "/a.jpg": reply(body=picture(seed=1)),
            "/b.png": reply(body=picture("PNG", seed=2)),
            "/c.jpg": reply(body=picture(seed=3)),
            "/gone.jpg": reply(410),
            "/html.jpg": reply(200, b"<html>no picture</html>", "Content-Type: text/html"),
            "/huge.jpg": reply(body=bytes(60_000)),
            "/silent.jpg": falls_silent,
            "/down.jpg": reply(500),
            "/no.jpg": reply(200, picture(), "X-Robots-Tag: noai"),
        }
    )
    yield served
    served.close()


def fetch(root: Path, web: Web, documents: list[list[Part]], settings: FetchSettings = FETCH) -> Counter[str]:
    """What was asked for, apart from robots.txt."""
    before = len(web.calls)
    fetch_documents(root, documents, {"*": web.address}, settings)
    return Counter(path for path in web.paths()[before:] if path != "/robots.txt")


def record(root: Path, row: int = 0) -> dict[str, Any]:
    return dict(json.loads(members(root / "00000.tar")[f"00000{row:06d}.json"]))


def test_a_picture_that_fails_keeps_its_slot_and_says_why(web: Web, tmp_path: Path) -> None:
    parts: list[Part] = ["before", f"{HOST}/a.jpg"]
    for path in FAULTS:
        parts += [f"{HOST}{path}", f"after {path}"]
    fetch(tmp_path, web, [[*parts, f"{HOST}/b.png"]])
    found = record(tmp_path)
    assert len(found["images"]) == len(found["texts"]) == len(found["slots"]) == len(parts) + 1
    assert found["images"] == [None, "1.jpg", *[None] * (2 * len(FAULTS)), f"{len(parts)}.jpg"]
    assert found["texts"][:2] == ["before", None]
    for number, (path, (status, detail)) in enumerate(FAULTS.items()):
        slot = found["slots"][2 + 2 * number]
        assert (slot["url"], slot["status"]) == (f"{HOST}{path}", status)
        assert detail in (slot["detail"] or "")
        assert found["texts"][2 + 2 * number] is None
        assert found["texts"][3 + 2 * number] == f"after {path}"
    (document,) = read_documents(Shard(Storage(str(tmp_path)), "00000"), round="unique")
    assert [p.text if isinstance(p, Text) else p.url for p in document.parts] == [*parts, f"{HOST}/b.png"]
    assert [p.status for p in document.parts if isinstance(p, Picture)] == [
        "success",
        *(status for status, _ in FAULTS.values()),
        "success",
    ]


def test_the_record_says_where_it_comes_from_and_what_the_page_said_of_a_picture(web: Web, tmp_path: Path) -> None:
    fetch(
        tmp_path, web, [[NOT_KEPT], ["A heading", ("list item", "\n"), f"{HOST}/a.jpg", "-menu", "end", ("more", " ")]]
    )
    found = record(tmp_path, 1)
    assert (found["key"], found["url"]) == ("00000000001", "http://pages.test/1.html")
    assert found["texts"] == ["A heading\nlist item", None, "end more"]
    slot = found["slots"][1]
    assert (slot["alt"], slot["section"], slot["status"]) == (f"alt of {HOST}/a.jpg", "A heading", "success")
    assert (slot["width"], slot["height"], slot["original_width"], slot["original_height"]) == (64, 48, 96, 72)
    assert len(slot["sha256"]) == 64
    assert found["metadata"]["title"] == "Page 1"
    assert found["metadata"]["source_offset"] == 100
    assert "nodes_dropped" not in found["metadata"]


def test_members_are_in_row_order_each_record_before_its_pictures(web: Web, tmp_path: Path) -> None:
    documents: list[list[Part]] = [
        [f"{HOST}/a.jpg", "text", f"{HOST}/b.png", f"{HOST}/missing.jpg", f"{HOST}/c.jpg"],
        [NOT_KEPT, "text", f"{HOST}/never.jpg"],
        ["no slot"],
        [],
        [f"{HOST}/b.png"],
    ]
    asked = fetch(tmp_path, web, documents)
    assert asked == {"/a.jpg": 1, "/b.png": 1, "/c.jpg": 1, "/missing.jpg": 1}
    stored = members(tmp_path / "00000.tar")
    assert list(stored) == [
        *(f"00000000000.{end}" for end in ("json", "0.jpg", "2.jpg", "4.jpg")),
        "00000000002.json",
        "00000000003.json",
        *(f"00000000004.{end}" for end in ("json", "0.jpg")),
    ]
    assert stored["00000000000.2.jpg"] == stored["00000000004.0.jpg"]
    assert stored["00000000000.0.jpg"] != stored["00000000000.2.jpg"]
    assert record(tmp_path, 3) | {"metadata": {}} == {
        "key": "00000000003",
        "url": "http://pages.test/3.html",
        "images": [],
        "texts": [],
        "slots": [],
        "metadata": {},
    }
    raw = (tmp_path / "00000.tar").read_bytes()
    for row in pq.read_table(tmp_path / "00000.index.parquet").to_pylist():
        assert raw[row["offset"] :][: row["size"]] == stored[f"{row['key']}.{row['extension']}"]
    keys = ["00000000000.0", "00000000000.2", "00000000000.4", "00000000004.0"]
    assert [key for key, _ in read_pictures(Shard(Storage(str(tmp_path)), "00000"))] == keys


def test_only_kept_slots_of_kept_documents_are_asked_for(web: Web, tmp_path: Path) -> None:
    fetch(tmp_path, web, [[f"{HOST}/a.jpg", f"-{HOST}/c.jpg", "-menu"], ["text"]])
    parts = pq.read_table(tmp_path / "00000_parts.fetch.parquet").to_pylist()
    assert [(p["fetch_status"], p["image_member"]) for p in parts] == [
        ("success", "0.jpg"),
        (None, None),
        (None, None),
        (None, None),
    ]
    assert [p["key"] for p in parts] == column(tmp_path, "key", shard="00000_parts")
    log = pq.read_table(tmp_path / "00000_parts.fetch_log.parquet").to_pylist()
    assert [p["attempts"] for p in log] == [1, None, None, None]
    (commit,) = CommitLog(Storage(str(tmp_path))).fold(["fetch_images"])
    assert {name: commit.counts[name] for name in ("in", "kept", "documents", "urls")} == {
        "in": 1,
        "kept": 1,
        "documents": 2,
        "urls": 1,
    }
    assert {f.name for f in commit.files if f.clock} == {"00000_parts.fetch_log.parquet"}


@pytest.mark.parametrize(
    "documents", [[[NOT_KEPT, f"{HOST}/a.jpg"]], [["no slot"]], [[]]], ids=["none kept", "no slot", "empty"]
)
def test_nothing_to_ask_for_is_a_whole_shard_all_the_same(web: Web, tmp_path: Path, documents: list[Any]) -> None:
    assert fetch(tmp_path, web, documents) == {}
    assert len(members(tmp_path / "00000.tar")) == sum(NOT_KEPT not in d for d in documents)
    statuses = pq.read_table(tmp_path / "00000_parts.fetch.parquet")["fetch_status"]
    assert statuses.null_count == len(statuses)


def test_a_shard_without_documents_has_an_empty_tar(tmp_path: Path) -> None:
    attempt = Attempt(Storage(str(tmp_path)), "given", "00000", "0")
    for name, columns in (("00000", DOCUMENT_COLUMNS), ("00000_parts", PART_COLUMNS)):
        attempt.write_table(f"{name}.parquet", pa.table({n: pa.array([], kind) for n, kind in columns.items()}))
        attempt.write_table(f"{name}.unique_select.parquet", pa.table({"unique_keep": pa.array([], pa.bool_())}))
    attempt.commit()
    attempt = Attempt(attempt.storage, "fetch_images", "00000", "0")
    FetchImages(FETCH, ImageSettings()).run(Shard(attempt.storage, "00000"), attempt, Runtime(addresses={"*": "x:1"}))
    commit = attempt.commit()
    assert members(tmp_path / "00000.tar") == {}
    assert commit.counts["in"] == 0
    assert list(read_documents(Shard(attempt.storage, "00000"))) == []


def test_the_bytes_do_not_depend_on_the_order_of_arrival(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ["/a.jpg", "/b.png", "/c.jpg", "/gone.jpg", "/missing.jpg"]
    documents: list[list[Part]] = [
        [f"{HOST}{path}" for path in random.Random(row).sample(paths, 3)] + ["text"] for row in range(6)
    ]
    fetch(tmp_path / "first", web, documents)
    fetch(tmp_path / "again", web, documents)
    whole = document_images.crawl
    monkeypatch.setattr(document_images, "crawl", lambda *arguments: reversed(list(whole(*arguments))))
    fetch(tmp_path / "reversed", web, documents)
    first = digests(tmp_path / "first")
    assert len(first) == 7
    assert digests(tmp_path / "again") == digests(tmp_path / "reversed") == first


def test_a_retry_asks_for_what_may_heal_and_keeps_the_rest(web: Web, tmp_path: Path) -> None:
    paths = ["/a.jpg", "/down.jpg", "/gone.jpg", "/b.png", "/silent.jpg"]
    documents: list[list[Part]] = [["text", *(f"{HOST}{path}" for path in paths)], [f"{HOST}/down.jpg"]]
    fetch(tmp_path / "once", web, documents)
    web.routes["/down.jpg"] = web.routes["/silent.jpg"] = reply(body=picture(seed=7))
    assert fetch(tmp_path / "once", web, documents, RETRY) == {"/down.jpg": 1, "/silent.jpg": 1}
    assert record(tmp_path / "once")["images"] == [None, "1.jpg", "2.jpg", None, "4.jpg", "5.jpg"]
    assert record(tmp_path / "once", 1)["images"] == ["0.jpg"]
    fetch(tmp_path / "new", web, documents)
    assert digests(tmp_path / "once") == digests(tmp_path / "new")


def test_a_fetch_that_breaks_off_leaves_nothing_and_the_next_one_is_whole(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents: list[list[Part]] = [[f"{HOST}/a.jpg", "text", f"{HOST}/b.png", f"{HOST}/c.jpg"]]

    def breaks_off(*arguments: Any) -> Iterator[Any]:
        yield next(iter(whole(*arguments)))
        raise KeyboardInterrupt

    whole = document_images.crawl
    monkeypatch.setattr(document_images, "crawl", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / "broken", web, documents)
    assert not [p.name for p in (tmp_path / "broken").glob("0*") if "fetch" in p.name or p.suffix == ".tar"]
    monkeypatch.setattr(document_images, "crawl", whole)
    fetch(tmp_path / "broken", web, documents)
    fetch(tmp_path / "whole", web, documents)
    assert digests(tmp_path / "broken") == digests(tmp_path / "whole")


@pytest.mark.parametrize(
    ("fetch", "image", "words"),
    [
        (replace(FETCH, backend="img2dataset", contact="a@b.example"), ImageSettings(), "fetches pairs alone"),
        (FETCH, ImageSettings(box_column="faces"), "box_column"),
        (FETCH, ImageSettings(sha256_column="sha256"), "sha256_column"),
        (FETCH, ImageSettings(), "contact is empty"),
    ],
)
def test_what_would_fail_on_every_shard_is_said_before(fetch: Any, image: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FetchImages(fetch, image).require(Runtime())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.text(max_size=3), st.sampled_from(["", " ", "\n", "\n\n"]))))
def test_joining_loses_no_slot_and_no_letter(parts: list[tuple[bool, str, str]]) -> None:
    told = [{"kind": "image" if slot else "text", "text": text, "separator": sep} for slot, text, sep in parts]
    entries = list(_joined(told))
    assert [e for e in entries if not isinstance(e, str)] == [t for t in told if t["kind"] == "image"]
    letters = "".join(e for e in entries if isinstance(e, str))
    assert letters.replace("\n", "").replace(" ", "") == "".join(
        t["text"] for t in told if t["kind"] == "text"
    ).replace("\n", "").replace(" ", "")
    assert not any(isinstance(a, str) and isinstance(b, str) for a, b in pairwise(entries))
