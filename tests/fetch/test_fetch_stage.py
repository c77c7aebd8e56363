"""The Fetch stage on the toy web: every fault has its status, the rest is unharmed, the bytes are always the same."""

from __future__ import annotations

import hashlib
import json
import math
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fault_web import Web, reply
from stage_runs import column, decoded, digests, encoded, fetch_tables, members, picture

from curate.fetch import stage
from curate.fetch.crawl import crawl
from curate.fetch.image import ImageSettings, process
from curate.fetch.settings import FetchSettings
from curate.manifest import CommitLog
from curate.shard import Shard
from curate.source.toy_web import ToyWeb
from curate.storage import Storage
from curate.toyweb.defects import DEFECTS
from curate.toyweb.picture import encode_row
from curate.toyweb.plan import Plan
from curate.toyweb.truth import surprises

ROWS, FIRST_ROWS = 300, 100
FETCH = FetchSettings(
    concurrency=24,
    per_host_rate=0,
    least_rate_window_s=0.5,
    most_bytes=8_000_000,
    backoff_s=0.1,
    retries=1,
    breaker_failures=1000,
)
IMAGE = ImageSettings(size_px=96, resize_mode="keep_ratio_largest")
SIZES = ["width", "height", "original_width", "original_height"]


def toy_rows() -> pa.Table:
    """The toy web's rows as a table of URLs would have them, with two columns to carry and some captions missing."""
    rows = pa.Table.from_batches([batch for part in ToyWeb(ROWS).parts() for batch in part])
    captions = [None if number % 50 == 7 else text for number, text in enumerate(rows["caption"].to_pylist())]
    return pa.table(
        {
            "toy_defect": rows["toy_defect"],
            "rank": pa.array(range(ROWS), pa.int16()),
            "caption": pa.array(captions, pa.string()),
            "url": rows["url"],
        }
    )


def fetch_toy_web(root: Path, threads: int, shards: int = 2) -> Path:
    rows = toy_rows()
    tables = [rows.slice(0, FIRST_ROWS), rows.slice(FIRST_ROWS)][:shards]
    with ToyWeb(ROWS).serve() as addresses:
        fetch_tables(root, tables, addresses, FETCH, IMAGE, threads=threads, samples_per_shard=ROWS)
    return root


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch_toy_web(tmp_path_factory.mktemp("toy"), threads=4)


def whole(root: Path, family: str = "") -> pa.Table:
    return pa.concat_tables([Shard(Storage(str(root)), name).table(family) for name in ("00000", "00001")])


@pytest.mark.slow
def test_every_label_ends_with_its_status(toy: Path) -> None:
    table = whole(toy, "fetch")
    defects = whole(toy)["toy_defect"].to_pylist()
    assert set(defects) == set(DEFECTS)
    assert surprises(defects, table["fetch_status"].to_pylist()) == []
    rows = dict(zip(defects, table.to_pylist(), strict=True))
    assert rows["not_found"]["http_status"] == 404
    assert rows["redirect"]["redirects"] == 1
    assert "/moved/" in rows["redirect"]["final_url"]
    assert rows["robots_forbidden"]["robots"] == "disallowed"
    assert rows["opted_out"]["opt_out"]
    assert rows["tdm_reserved"]["opt_out"]
    assert rows["clean"]["opt_out"] is None
    assert rows["bomb"]["image_format"] == "PNG"
    assert rows["animated"]["animated"]
    assert rows["animated"]["frames"] > 1


@pytest.mark.slow
def test_the_rest_of_the_shard_is_unharmed(toy: Path) -> None:
    plan, table = Plan(), whole(toy).to_pylist()
    stored = members(toy / "00000.tar") | members(toy / "00001.tar")
    arrived = [n for n, row in enumerate(table) if row["status"] == "success"]
    assert len(arrived) > ROWS * 0.7
    assert len(stored) == 3 * len(arrived)
    of_each_label = {table[number]["toy_defect"]: number for number in arrived}
    assert len(of_each_label) > 25
    for number in of_each_label.values():
        row, body = table[number], encode_row(plan, plan.row(number))
        wanted = process(body, IMAGE)
        assert stored[f"{row['key']}.jpg"] == wanted.data, row["toy_defect"]
        assert row["sha256"] == hashlib.sha256(body).hexdigest()
        assert [row[name] for name in SIZES] == [getattr(wanted, name) for name in SIZES]
    for number in arrived:
        row = table[number]
        assert stored[f"{row['key']}.txt"].decode() == (row["caption"] or "")
        assert json.loads(stored[f"{row['key']}.json"]) == row
        assert row["error_message"] is None


@pytest.mark.slow
def test_the_sample_table_is_img2datasets(toy: Path) -> None:
    schema = pq.read_schema(toy / "00000.parquet")
    text, size = pa.string(), pa.int32()
    carried = [("toy_defect", text), ("rank", pa.int16()), ("caption", text), ("url", text)]
    added = [("key", text), ("status", text), ("error_message", text), *((name, size) for name in SIZES)]
    assert [(f.name, f.type) for f in schema] == [*carried, *added, ("exif", text), ("sha256", text)]
    table, source = whole(toy), toy_rows()
    assert table.select(source.column_names).equals(source)
    assert table["key"].to_pylist() == [
        *(f"00000{n:03d}" for n in range(FIRST_ROWS)),
        *(f"00001{n:03d}" for n in range(ROWS - FIRST_ROWS)),
    ]
    assert set(table["status"].to_pylist()) == {"success", "failed_to_download", "failed_to_resize"}
    by_defect = {row["toy_defect"]: row for row in table.to_pylist()}
    assert by_defect["gone"]["status"] == "failed_to_download"
    assert by_defect["gone"]["error_message"].startswith("gone: HTTP 410")
    assert by_defect["gone"]["width"] is None
    assert by_defect["html_as_image"]["status"] == "failed_to_resize"
    for family in ("fetch", "fetch_log"):
        assert whole(toy, family)["key"].equals(table["key"])


@pytest.mark.slow
def test_the_tar_is_ustar_in_order_and_the_index_points_into_it(toy: Path) -> None:
    raw, stored = (toy / "00000.tar").read_bytes(), members(toy / "00000.tar")
    assert raw[257:265] == b"ustar\x0000"
    with tarfile.open(toy / "00000.tar") as tar:
        assert {(m.mtime, m.type, tuple(m.pax_headers)) for m in tar} == {(0, b"0", ())}
    kept = [key for key, status in zip(column(toy, "key"), column(toy, "status"), strict=True) if status == "success"]
    assert list(stored) == [f"{key}.{extension}" for key in kept for extension in ("jpg", "json", "txt")]
    index = pq.read_table(toy / "00000.index.parquet").to_pylist()
    assert [f"{row['key']}.{row['extension']}" for row in index] == list(stored)
    assert all(raw[row["offset"] :][: row["size"]] == stored[f"{row['key']}.{row['extension']}"] for row in index)


@pytest.mark.slow
def test_log_stats_and_counts_are_right(toy: Path) -> None:
    table, log = whole(toy), whole(toy, "fetch_log").to_pylist()
    tries = dict(zip(table["toy_defect"].to_pylist(), (row["attempts"] for row in log), strict=True))
    wanted = {"clean": 1, "not_found": 1, "rate_limited_once": 2, "server_error_once": 2, "server_error": 2}
    assert {name: tries[name] for name in wanted} == wanted
    assert tries["robots_forbidden"] == 0
    assert all(row["started"] > 1.5e9 and 0 <= row["seconds"] < 60 for row in log)
    for shard in ("00000", "00001"):
        statuses = Counter(column(toy, "fetch_status", "fetch", shard))
        written = Counter(column(toy, "status", shard=shard))
        stats = json.loads((toy / f"{shard}_stats.json").read_bytes())
        assert stats["status_dict"] == statuses
        assert stats["count"] == sum(statuses.values()) == stats["successes"] + statuses.total() - statuses["success"]
        assert [stats[n] for n in ("successes", "failed_to_download", "failed_to_resize")] == [
            written[n] for n in ("success", "failed_to_download", "failed_to_resize")
        ]
        assert stats["duration"] == pytest.approx(stats["end_time"] - stats["start_time"])
        assert stats["end_time"] > stats["start_time"] > 1.5e9
        (commit,) = [c for c in CommitLog(Storage(str(toy))).fold(["fetch"]) if c.shard == shard]
        sizes = [size or 0 for size in column(toy, "original_bytes", "fetch", shard)]
        assert commit.counts["in"] == len(sizes)
        assert commit.counts["kept"] == statuses.pop("success")
        assert commit.counts["original_bytes"] == sum(sizes)
        assert {n[8:]: c for n, c in commit.counts.items() if n.startswith("dropped.")} == statuses
        assert {f.name for f in commit.files if f.clock} == {f"{shard}.fetch_log.parquet", f"{shard}_stats.json"}


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_threads_or_order(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backwards(*arguments: Any) -> Iterator[Any]:
        yield from reversed(list(crawl(*arguments)))

    monkeypatch.setattr(stage, "crawl", backwards)
    again = digests(fetch_toy_web(tmp_path, threads=1, shards=1))
    assert set(again) == {f"00000.{end}" for end in ("tar", "parquet", "fetch.parquet", "index.parquet")}
    assert again.items() <= digests(toy).items()


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web(routes={"/robots.txt": reply(404)})
    yield served
    served.close()


def fetch_one_shard(
    root: Path, web: Web, bodies: list[bytes], image: ImageSettings, **columns: Any
) -> list[dict[str, Any]]:
    """One row per body, with these columns; returns the rows of sample table and fetch table together."""
    web.routes |= {f"/{number}": reply(body=body) for number, body in enumerate(bodies)}
    urls = [f"http://a.test/{number}" for number in range(len(bodies))]
    fetch_tables(root, [pa.table({**columns, "url": urls})], {"*": web.address}, FETCH, image)
    tables = [pq.read_table(root / f"00000{end}").to_pylist() for end in (".parquet", ".fetch.parquet")]
    return [first | second for first, second in zip(*tables, strict=True)]


def test_without_captions_there_is_no_text_member(web: Web, tmp_path: Path) -> None:
    fetch_one_shard(tmp_path, web, [picture()], ImageSettings(size_px=64))
    assert list(members(tmp_path / "00000.tar")) == ["00000000.jpg", "00000000.json"]


def test_null_empty_and_odd_urls_are_rows_with_a_status(web: Web, tmp_path: Path) -> None:
    web.routes["/a"] = reply(body=picture())
    urls = [None, "", "http://a.test/a", "file:///etc/passwd", "http://", "x" * 100_000, "http://a.test/a"]
    fetch_tables(tmp_path, [pa.table({"url": urls})], {"*": web.address}, FETCH)
    invalid, good = "invalid_url", "success"
    assert column(tmp_path, "fetch_status", "fetch") == [invalid, invalid, good, invalid, invalid, invalid, good]
    assert column(tmp_path, "url") == urls
    stored = members(tmp_path / "00000.tar")
    assert stored["00000002.jpg"] == stored["00000006.jpg"]


def test_a_shard_without_one_picture_is_whole(web: Web, tmp_path: Path) -> None:
    fetch_tables(tmp_path, [pa.table({"url": ["http://a.test/none"]})], {"*": web.address}, FETCH)
    assert members(tmp_path / "00000.tar") == {}
    assert pq.read_table(tmp_path / "00000.index.parquet").num_rows == 0
    assert list(Shard(Storage(str(tmp_path)), "00000").samples()) == []
    assert column(tmp_path, "fetch_status", "fetch") == ["not_found"]


def test_boxes_are_blurred_and_the_rest_is_not(web: Web, tmp_path: Path) -> None:
    image = ImageSettings(size_px=128, resize_mode="no", format="png", box_column="boxes")
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    body = encoded(noise, "PNG")
    odd = [[math.nan] * 4, [0.0], [0.5, 0.5, 0.5, 0.5], None, [None, 0.0, 1.0, 1.0]]
    boxes = [[[0.1, 0.1, 0.3, 0.3]], [], None, odd, [*odd, [0.1, 0.1, 0.3, 0.3]]]
    kind = pa.list_(pa.list_(pa.float64()))
    rows = fetch_one_shard(tmp_path, web, [body] * 5, image, boxes=pa.array(boxes, kind))
    assert {row["status"] for row in rows} == {"success"}
    stored = members(tmp_path / "00000.tar")
    pixels = [decoded(stored[f"{row['key']}.png"]).astype(int) for row in rows]
    for untouched in pixels[1:4]:
        np.testing.assert_array_equal(untouched, noise)
    assert pixels[0][18:34, 18:34].std() < 0.5 * noise[18:34, 18:34].std()
    np.testing.assert_array_equal(pixels[0][64:], noise[64:])
    np.testing.assert_array_equal(pixels[0], pixels[4])


def test_a_digest_that_differs_is_a_mismatch(web: Web, tmp_path: Path) -> None:
    body = picture()
    right = hashlib.sha256(body).hexdigest()
    wanted = [right, f" {right.upper()}", None, "", "0" * 64, "nonsense", right]
    bodies = [body] * 6 + [b"<html>"]
    image = ImageSettings(size_px=64, sha256_column="digest")
    rows = fetch_one_shard(tmp_path, web, bodies, image, digest=pa.array(wanted, pa.string()))
    assert [row["fetch_status"] for row in rows] == ["success"] * 4 + ["hash_mismatch"] * 3
    assert {row["sha256"] for row in rows[:6]} == {right}
    assert {row["status"] for row in rows[4:]} == {"failed_to_download"}
    assert "0000" in rows[4]["error_message"]
    assert rows[4]["original_bytes"] == len(body)
    assert (rows[4]["original_width"], rows[4]["width"]) == (96, None)
    assert len(members(tmp_path / "00000.tar")) == 2 * 4


@pytest.mark.parametrize("kind", ["string", "binary", "int64"])
def test_a_digest_column_of_any_type_gives_a_status(web: Web, tmp_path: Path, kind: str) -> None:
    body = picture()
    value = {"string": "a", "binary": hashlib.sha256(body).digest(), "int64": 7}[kind]
    image = ImageSettings(size_px=64, sha256_column="digest")
    rows = fetch_one_shard(tmp_path, web, [body], image, digest=pa.array([value], kind))
    assert rows[0]["fetch_status"] == ("success" if kind == "binary" else "hash_mismatch")


ORIGINALS = {
    "JPEG": picture("JPEG", (64, 48)),
    "PNG": picture("PNG", (64, 48)),
    "WEBP": picture("WEBP", (64, 48)),
    "GIF": picture("GIF", (64, 48)),
    "BMP": picture("BMP", (64, 48)),
    "TIFF": picture("TIFF", (64, 48)),
    "AVIF": picture("AVIF", (64, 48)),
}
STORED = {
    "never": ["jpg"] * 7,
    "unchanged": ["jpg"] * 7,
    "always": ["jpg", "png", "webp", "gif", "bmp", "tif", "avif"],
}


@pytest.mark.parametrize("keep", list(STORED))
def test_original_bytes_are_kept_under_their_own_extension(web: Web, tmp_path: Path, keep: Any) -> None:
    image = ImageSettings(size_px=64, resize_mode="keep_ratio_largest", keep_original=keep)
    fetch_one_shard(tmp_path, web, list(ORIGINALS.values()), image)
    samples = list(Shard(Storage(str(tmp_path)), "00000").samples())
    assert [sample.extension for sample in samples] == STORED[keep]
    same = [sample.image == body for sample, body in zip(samples, ORIGINALS.values(), strict=True)]
    assert same == {"never": [False] * 7, "unchanged": [True] + [False] * 6, "always": [True] * 7}[keep]


def test_png_and_webp_are_stored_as_such(web: Web, tmp_path: Path) -> None:
    for kind in ("png", "webp"):
        fetch_one_shard(tmp_path / kind, web, [ORIGINALS["JPEG"]], ImageSettings(size_px=64, format=kind))
        stored = members(tmp_path / kind / "00000.tar")
        assert list(stored) == sorted([f"00000000.{kind}", "00000000.json"])
        assert decoded(stored[f"00000000.{kind}"]).shape == (64, 64, 3)
