"""Bodies that wait for a decoder are bounded in number and in bytes, and every row comes out once all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fault_web import Web, reply, wait_until
from stage_runs import column, fetch_tables, picture

from curate.fetch import crawl as module
from curate.fetch.crawl import crawl
from curate.fetch.image import ImageSettings, Picture, process
from curate.fetch.settings import FetchSettings
from curate.stage import Runtime

ROWS = 120
IMAGE = ImageSettings(size_px=32)
FETCH = FetchSettings(per_host_rate=0, concurrency=4, per_host_concurrency=4)
BODY = picture()


class SlowDecoder:
    """Stands for `process`: nobody is served before `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = 0

    def __call__(self, data: bytes, settings: ImageSettings, boxes: Any) -> Picture:
        self.begun += 1
        assert self.go.wait(60)
        return process(data, settings, boxes)


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web(routes={"/robots.txt": reply(404), "/a": reply(body=BODY), "/none": reply(404)})
    yield served
    served.close()


def asked_while_decoders_wait(web: Web, monkeypatch: pytest.MonkeyPatch, least: int) -> int:
    """How many pictures were asked for while none was decoded, at least so many; afterwards all must arrive."""
    decoder, rows = SlowDecoder(), []
    monkeypatch.setattr(module, "process", decoder)
    urls = [(number, f"http://a.test/a?{number}") for number in range(ROWS)]

    def work() -> None:
        rows.extend(crawl(urls, FETCH, IMAGE, {}, Runtime(threads=2, addresses={"*": web.address})))

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: len(web.calls) > least)
    time.sleep(0.3)  # more would come now
    before = len(web.calls)
    assert rows == []
    decoder.go.set()
    thread.join(60)
    assert sorted(response.row for response, _ in rows) == list(range(ROWS))
    assert all(response.body == b"" and picture.status == "success" for response, picture in rows)
    assert web.paths().count("/robots.txt") == 1
    return before - 1


def test_the_number_of_waiting_bodies_is_bounded(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    assert 10 <= asked_while_decoders_wait(web, monkeypatch, 10) < 10 + FETCH.concurrency


def test_the_bytes_of_waiting_bodies_are_bounded(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 20 * len(BODY))
    assert 20 <= asked_while_decoders_wait(web, monkeypatch, 20) < 20 + FETCH.concurrency


def test_rows_without_a_picture_pass_while_decoders_wait(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = SlowDecoder()
    monkeypatch.setattr(module, "process", decoder)
    urls = [(0, "http://a.test/a"), *((number, "http://a.test/none") for number in range(1, 9))]
    found = crawl(urls, FETCH, IMAGE, {}, Runtime(addresses={"*": web.address}))
    first = [next(found) for _ in range(8)]
    assert {response.row for response, _ in first} == set(range(1, 9))
    assert all(picture is None for _, picture in first)
    decoder.go.set()
    ((last, shot),) = found
    assert (last.row, shot.status) == (0, "success")


def test_boxes_go_to_their_rows(web: Web) -> None:
    urls = [(7, "http://a.test/a"), (8, "http://a.test/a")]
    boxes = {8: [[0.0, 0.0, 1.0, 1.0]]}
    image = ImageSettings(resize_mode="no", format="png")
    found = crawl(urls, FETCH, image, boxes, Runtime(addresses={"*": web.address}))
    shots = {response.row: shot.data for response, shot in found}
    assert shots == {7: process(BODY, image).data, 8: process(BODY, image, boxes[8]).data}
    assert shots[7] != shots[8]


def test_connections_outlive_a_shard(web: Web, tmp_path: Path) -> None:
    tables = [pa.table({"url": [f"http://a.test/a?{n}"]}) for n in range(4)]
    fetch_tables(tmp_path, tables, {"*": web.address}, FETCH, IMAGE)
    assert [column(tmp_path, "status", shard=f"0000{n}") for n in range(4)] == [["success"]] * 4
    assert web.paths().count("/robots.txt") == 1
    assert web.connections == 1
