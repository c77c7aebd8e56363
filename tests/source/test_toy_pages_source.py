"""Pages of the toy web as a source, fetched over HTTP: every page whole, whichever came first."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from curate.config import build
from curate.errors import ConfigError
from curate.fetch.client import Client
from curate.fetch.pages import FetchPages
from curate.fetch.settings import FetchSettings
from curate.manifest import Attempt
from curate.shard import Shard
from curate.source.ingest import ingest
from curate.source.kinds import build_source
from curate.source.toy_pages import ToyPages
from curate.stage import Runtime
from curate.storage import Storage
from curate.toyweb.pages import page
from curate.toyweb.plan import Plan

FETCH = FetchSettings(per_host_rate=0, concurrency=16, per_host_concurrency=16)


def test_a_row_per_page() -> None:
    source = build_source({"kind": "toy_pages", "count": 1200, "seed": 3})
    rows = [row for part in source.parts() for batch in part for row in batch.to_pylist()]
    assert [row["toy_page"] for row in rows] == list(range(1200))
    assert rows[1001]["url"] == page(Plan(3), 1001).url
    assert rows[1001]["toy_parts"] == [asdict(part) for part in page(Plan(3), 1001).parts]
    assert source.known_columns() == ("url", "toy_page", "toy_parts")
    assert ToyPages(5).identity() != ToyPages(5, seed=1).identity() != ToyPages(5, shares={"gone": 0.02}).identity()


@pytest.mark.parametrize(("table", "words"), [({"count": 0}, "count = 0"), ({"shares": {"no_such": 0.1}}, "no_such")])
def test_settings_that_cannot_be_are_refused(table: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(ToyPages, table, "source")


def test_pages_are_fetched_whole_and_their_pictures_are_there(tmp_path: Path) -> None:
    source, storage, plan = ToyPages(30, seed=2), Storage(str(tmp_path)), Plan(2)
    (piece,) = ingest(source, storage, 100)
    shard = Shard(storage, piece.shard)
    with source.serve() as addresses:
        attempt = Attempt(storage, "fetch_pages", piece.shard, "0")
        FetchPages(FETCH).run(shard, attempt, Runtime(addresses=addresses))
        attempt.commit()
        clean = [row.url for row in plan.rows(0, 90) if row.defect == "clean"][:20]
        client = Client(FETCH, addresses)
        answers = [r for r in client.fetch(enumerate(clean)) if r is not None]
        client.close()
    assert {response.status for response in answers} == {"success"}
    found = list(source.pages(shard.source(), shard))
    assert [(p.url, p.body.decode(), p.row) for p in found] == [
        (page(plan, n).url, page(plan, n).html, n) for n in range(30)
    ]
    assert {p.content_type for p in found} == {"text/html; charset=utf-8"}
