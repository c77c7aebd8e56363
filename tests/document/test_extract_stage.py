"""Pages become two aligned tables; whatever is wrong with a page is its row's status."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from curate.document.columns import DOCUMENT_COLUMNS, PART_COLUMNS
from curate.document.settings import DocumentSettings
from curate.document.stage import Extract
from curate.errors import ConfigError
from curate.manifest import Attempt
from curate.shard import Shard
from curate.slices import write_slices
from curate.source.raw_page import RawPage
from curate.stage import Runtime
from curate.storage import Storage

PAGE = b"""<!DOCTYPE html><html lang="en"><head><title>A walk</title></head><body><article><h1>A walk</h1>
<p>It was a long walk, and a pleasant one, along the river and back again over the hills, until the evening came.</p>
<figure><img src="/a.jpg" alt="the river" width="640" height="480">
<figcaption>The river, seen from the hill.</figcaption></figure>
<p>On the way home it began to rain, but nobody minded, because there was tea, and cake, and a warm room.</p>
</article><script>var x = 1;</script></body></html>"""


@dataclass(frozen=True)
class Pages:
    """A source that has its pages in hand."""

    given: tuple[RawPage, ...] = field(metadata={"runtime": True})

    def pages(self, rows: pa.Table, shard: Shard) -> Iterator[RawPage]:
        yield from self.given

    def page_identity(self) -> Any:
        return "pages"


@pytest.fixture
def run(tmp_path):
    def call(*pages: RawPage, rows: pa.Table | None = None) -> tuple[Shard, dict[str, int]]:
        storage = Storage(str(tmp_path))
        list(write_slices(storage, [rows if rows is not None else pa.table({"url": ["http://x.test/"]})]))
        stage = Extract(Pages(pages), DocumentSettings())
        attempt = Attempt(storage, stage.label, "00000", "0")
        shard = Shard(storage, "00000")
        stage.run(shard, attempt, Runtime())
        return shard, dict(attempt.commit().counts)

    return call


def test_a_page_is_a_row_and_its_blocks_and_slots_are_rows(run):
    page = RawPage("http://x.test/walk/", PAGE, content_type="text/html; charset=utf-8", file="a.warc.gz", offset=17)
    shard, counts = run(page)
    (row,) = shard.table().to_pylist()
    parts = shard.parts.table().to_pylist()
    assert row["key"] == "00000000000"
    assert (row["document_status"], row["title"], row["html_language"]) == ("ok", "A walk", "en")
    assert (row["source_file"], row["source_offset"], row["charset"]) == ("a.warc.gz", 17, "utf-8")
    assert dict(row["nodes_dropped"])
    assert row["parts"] == len(parts) == counts["parts"]
    assert [p["kind"] for p in parts if p["region_reason"] is None] == ["text", "text", "image", "text", "text"]
    slot = next(p for p in parts if p["kind"] == "image")
    assert (slot["url"], slot["alt"], slot["rendered_width_px"]) == ("http://x.test/a.jpg", "the river", 640)
    assert (slot["caption"], slot["section"]) == ("The river, seen from the hill.", "A walk")
    assert [p["key"] for p in parts] == [f"00000000000.{number}" for number in range(len(parts))]


def test_tables_have_their_columns_also_without_any_page(run):
    shard, counts = run()
    assert shard.table().schema == pa.schema(DOCUMENT_COLUMNS)
    assert shard.parts.table().schema == pa.schema(PART_COLUMNS)
    assert counts == {}


def test_a_page_that_could_not_be_had_keeps_its_row(run):
    gone = RawPage("http://x.test/gone", status="http_404", detail="404 Not Found", http_status=404)
    shard, counts = run(gone, RawPage("http://x.test/walk/", PAGE))
    rows = shard.columns(["document_status", "document_detail", "parts"]).to_pylist()
    assert rows[0] == {"document_status": "http_404", "document_detail": "404 Not Found", "parts": 0}
    assert rows[1]["document_status"] == "ok"
    assert set(shard.parts.columns(["document"])["document"].to_pylist()) == {1}
    assert counts["dropped.http_404"] == 1
    assert (counts["in"], counts["kept"]) == (2, 1)


def test_a_page_that_breaks_the_extractor_is_one_row_with_the_error(run, monkeypatch):
    def broken(*_: object) -> None:
        raise RecursionError("too much of it")

    monkeypatch.setattr("curate.document.extract.extract", broken)
    shard, counts = run(RawPage("http://x.test/", PAGE), RawPage("http://x.test/2", PAGE))
    statuses = shard.columns(["document_status", "document_detail"]).to_pylist()
    assert (
        statuses == [{"document_status": "extraction_failed", "document_detail": "RecursionError: too much of it"}] * 2
    )
    assert counts["dropped.extraction_failed"] == 2


def test_columns_of_the_slice_are_carried_where_a_row_leads_to_a_page(run):
    rows = pa.table(
        {"url": ["http://x.test/1", "http://x.test/2"], "topic": ["tea", "rain"], "title": ["mine", "mine"]}
    )
    shard, _ = run(RawPage("http://x.test/2", PAGE, row=1), RawPage("http://x.test/1", PAGE, row=0), rows=rows)
    table = shard.table()
    assert table["topic"].to_pylist() == ["rain", "tea"]
    assert table["title"].to_pylist() == ["A walk", "A walk"]


def test_the_same_pages_give_the_same_bytes(run, tmp_path):
    page = RawPage("http://x.test/walk/", PAGE)
    first = [run(page)[0].storage.read(name) for name in ("00000.parquet", "00000_parts.parquet")]
    second = [run(page)[0].storage.read(name) for name in ("00000.parquet", "00000_parts.parquet")]
    assert first == second


def test_settings_and_source_are_what_the_fingerprint_covers():
    plain = Extract(Pages(()), DocumentSettings())
    assert plain.identity() == Extract(Pages((RawPage(None),)), DocumentSettings()).identity()
    assert plain.identity() != Extract(Pages(()), DocumentSettings(mode="obelics")).identity()


def test_a_missing_extra_is_said_before_the_run(monkeypatch):
    stage = Extract(Pages(()), DocumentSettings())
    stage.require(Runtime())
    monkeypatch.setattr("curate.document.stage.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"selectolax, resiliparse, tldextract; pip install 'curate-vl\[web\]'"):
        stage.require(Runtime())


def test_the_stage_can_be_named_without_the_extra():
    code = "import sys; sys.modules['selectolax'] = None; import pipelines.interleaved"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
