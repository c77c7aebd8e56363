"""`retry = "failed"`: only rows that may heal are asked for again, and every other row keeps its bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fault_web import Web, reply
from stage_runs import column, digests, fetch_tables, members, picture

from curate.fetch import stage
from curate.fetch.image import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.manifest import CommitLog
from curate.shard import Shard
from curate.storage import Storage

FETCH = FetchSettings(per_host_rate=0, retries=0, backoff_s=0, breaker_failures=1000)
RETRY = replace(FETCH, retry="failed")
AGAIN = replace(RETRY, retry_round=2)
PNG_AS_IT_IS = ImageSettings(size_px=64, keep_original="always")
FIRST = {
    "/good": "success",
    "/down": "server_error",
    "/gone": "not_found",
    "/cut": "connection_lost",
    "/html": "not_an_image",
    "/gif": "success",
    "/stays_down": "server_error",
    "/empty": "empty_body",
    "/last": "success",
}
HEALS = ["/down", "/cut", "/stays_down", "/empty"]
LAST = FIRST | dict.fromkeys(["/down", "/cut"], "success") | {"/empty": "gone"}


def table() -> pa.Table:
    urls = [f"http://a.test{path}" for path in FIRST]
    return pa.table({"rank": range(len(urls)), "caption": [f"of {url}" for url in urls], "url": urls})


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web(routes={"/robots.txt": reply(404)})
    break_web(served)
    yield served
    served.close()


def break_web(web: Web) -> None:
    web.routes |= {
        "/good": reply(body=picture(seed=1)),
        "/down": reply(503),
        "/cut": reply(body=picture(seed=2))[:200],
        "/html": reply(body=b"<html>no</html>"),
        "/gif": reply(body=picture("GIF", seed=3)),
        "/stays_down": reply(503),
        "/empty": reply(body=b""),
        "/last": reply(body=picture(seed=4)),
    }
    cut = web.routes["/cut"]
    web.routes["/cut"] = lambda connection, call: connection.sendall(cut)  # type: ignore[arg-type]


def mend_web(web: Web) -> None:
    web.routes |= {
        "/gone": reply(body=picture(seed=5)),
        "/html": reply(body=picture(seed=6)),
        "/good": reply(body=picture(seed=7)),
        "/down": reply(body=picture("PNG", seed=8)),
        "/cut": reply(body=picture(seed=2)),
        "/empty": reply(410),
    }


def run(root: Path, web: Web, fetch: FetchSettings) -> tuple[Any, Counter[str]]:
    """Fetch, and count what the server was asked for."""
    web.calls.clear()
    outcome = fetch_tables(root, [table()], {"*": web.address}, fetch, PNG_AS_IT_IS)
    asked = Counter(path for path in web.paths() if path != "/robots.txt")
    return outcome, asked


def statuses(root: Path) -> dict[str, object]:
    return dict(zip(FIRST, column(root, "fetch_status", "fetch"), strict=True))


def rows_but(root: Path, paths: list[str], end: str) -> list[dict[str, Any]]:
    """The rows of one table, without those of some paths."""
    rows = pq.read_table(root / f"00000{end}").to_pylist()
    return [row for row, path in zip(rows, FIRST, strict=True) if path not in paths]


def members_but(root: Path, paths: list[str]) -> dict[str, bytes]:
    keys = {f"00000{number:03d}" for number, path in enumerate(FIRST) if path in paths}
    return {name: data for name, data in members(root / "00000.tar").items() if name.split(".")[0] not in keys}


def test_failed_rows_are_filled_and_the_others_keep_their_bytes(web: Web, tmp_path: Path) -> None:
    outcome, asked = run(tmp_path, web, FETCH)
    assert outcome.made == 1
    assert asked == dict.fromkeys(FIRST, 1)
    assert statuses(tmp_path) == FIRST
    ends = (".parquet", ".fetch.parquet", ".fetch_log.parquet")
    tables = [rows_but(tmp_path, HEALS, end) for end in ends]
    stored = members_but(tmp_path, HEALS)
    assert {name.split(".")[1] for name in stored} == {"jpg", "gif", "json", "txt"}

    mend_web(web)
    outcome, asked = run(tmp_path, web, RETRY)
    assert outcome.made == 1
    assert asked == dict.fromkeys(HEALS, 1)
    assert statuses(tmp_path) == LAST
    assert [rows_but(tmp_path, HEALS, end) for end in ends] == tables
    assert members_but(tmp_path, HEALS) == stored
    now = members(tmp_path / "00000.tar")
    assert list(now) == sorted(now)
    assert now["00000001.png"] == picture("PNG", seed=8)
    assert now["00000003.jpg"] == picture(seed=2)
    assert [s.key for s in Shard(Storage(str(tmp_path)), "00000").samples()] == [
        f"00000{number:03d}" for number, status in enumerate(LAST.values()) if status == "success"
    ]
    (commit,) = CommitLog(Storage(str(tmp_path))).fold(["fetch"])
    assert commit.counts["kept"] == 5
    assert {n: c for n, c in commit.counts.items() if n.startswith("dropped.")} == {
        "dropped.gone": 1,
        "dropped.not_an_image": 1,
        "dropped.not_found": 1,
        "dropped.server_error": 1,
    }


def test_a_round_is_done_once_and_the_next_one_asks_for_what_still_fails(web: Web, tmp_path: Path) -> None:
    run(tmp_path, web, FETCH)
    mend_web(web)
    run(tmp_path, web, RETRY)
    before = digests(tmp_path)
    outcome, asked = run(tmp_path, web, RETRY)
    assert (outcome.made, outcome.skipped, asked) == (0, 1, {})
    outcome, asked = run(tmp_path, web, AGAIN)
    assert (outcome.made, asked) == (1, {"/stays_down": 1})
    assert digests(tmp_path) == before
    web.routes["/stays_down"] = reply(body=picture(seed=9))
    _, asked = run(tmp_path, web, replace(RETRY, retry_round=7))
    assert asked == {"/stays_down": 1}
    assert statuses(tmp_path) == LAST | {"/stays_down": "success"}


def test_the_same_bytes_as_if_nothing_had_failed(web: Web, tmp_path: Path) -> None:
    run(tmp_path / "once", web, FETCH)
    first = digests(tmp_path / "once")
    web.routes["/good"] = reply(503)
    run(tmp_path / "twice", web, FETCH)
    break_web(web)
    run(tmp_path / "twice", web, RETRY)
    assert digests(tmp_path / "twice") == first


def test_retry_on_a_new_folder_fetches_everything(web: Web, tmp_path: Path) -> None:
    _, asked = run(tmp_path, web, RETRY)
    assert asked == dict.fromkeys(FIRST, 1)
    assert statuses(tmp_path) == FIRST


def test_other_settings_fetch_everything_again(web: Web, tmp_path: Path) -> None:
    run(tmp_path, web, FETCH)
    _, asked = run(tmp_path, web, replace(RETRY, most_bytes=1_000_000))
    assert asked == dict.fromkeys(FIRST, 1)


def test_a_retry_that_breaks_off_leaves_the_shard_as_it_was(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, web, FETCH)
    before = digests(tmp_path)
    mend_web(web)

    def breaks_off(*arguments: Any) -> Iterator[Any]:
        yield next(iter(whole(*arguments)))
        raise KeyboardInterrupt

    whole = stage.crawl
    monkeypatch.setattr(stage, "crawl", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, web, RETRY)
    assert digests(tmp_path) == before
    monkeypatch.setattr(stage, "crawl", whole)
    _, asked = run(tmp_path, web, RETRY)
    assert set(asked) == set(HEALS)
    assert statuses(tmp_path) == LAST
