"""WET files: pages with text alone."""

from pathlib import Path

import pyarrow as pa
import pytest
from archive_bytes import pack

from curate.shard import Shard
from curate.source.kinds import build_source
from curate.source.raw_page import OK, RawPage
from curate.source.wet import Wet
from curate.storage import Storage

WET = Path(__file__).resolve().parents[3] / "shared" / "data" / "web" / "warc"


def pages(source: Wet, tmp_path: Path) -> list[RawPage]:
    shard = Shard(Storage(str(tmp_path / "set")), "00000")
    return [p for part in source.parts() for batch in part for p in source.pages(pa.Table.from_batches([batch]), shard)]


def record(kind: str, text: str, length: int | None = None) -> bytes:
    body = text.encode()
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a/\r\nContent-Type: text/plain\r\n"
    return pack(f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode() + body + b"\r\n\r\n", "gzip")


def test_texts_and_problems_are_pages(tmp_path: Path) -> None:
    data = [record("warcinfo", "a: b"), record("conversion", "Größe\nzwei"), record("response", "no"), b"garbage"]
    (tmp_path / "a.warc.wet.gz").write_bytes(b"".join([*data, record("conversion", "cut", 90)]))
    found = pages(Wet(str(tmp_path)), tmp_path)
    assert [(p.status, p.text, p.body) for p in found] == [
        (OK, "Größe\nzwei", b""),
        ("bad_compression", None, b""),
        (OK, "cut\r\n\r\n", b""),
    ]
    assert found[2].detail.startswith("truncated")


def test_it_is_a_kind_of_source() -> None:
    assert isinstance(build_source({"kind": "wet", "path": "a", "range_mb": 5}), Wet)


@pytest.mark.skipif(not WET.is_dir(), reason="the shared data are not beside the checkout")
def test_a_file_of_common_crawl(tmp_path: Path) -> None:
    found = pages(Wet(str(WET / "commoncrawl+whirlwind-python__whirlwind.warc.wet.gz")), tmp_path)
    assert [p.url for p in found] == ["https://an.wikipedia.org/wiki/Escopete"]
    assert "Escopete" in (found[0].text or "")
