"""Every record of every archive at hand, read by warcio, by FastWARC and by us: where we differ, and who is right."""

from collections import Counter
from pathlib import Path

import archive_peers
import pytest
from archive_peers import Seen

ARC_HEADER = {"type": 1, "entity": 1, "body": 1}
ARC_WORDS = "a name: warcio calls an ARC's first record arc_header, and its payload begins behind two lines"
NO_ARC = "ours: FastWARC reads no ARC"

DIFFERENCES: dict[str, dict[str, tuple[dict[str, int], str]]] = {
    "warcio": {
        "py-wacz__invalid_example_1.wacz": ({"count": 0}, "ours: a WACZ without archives is a problem that is told"),
        "aut__badexample.arc.gz": (ARC_HEADER | {"count": 1}, "ours: gzipped as a whole and with gaps, warcio stops"),
        "commons__IAH-20080430204825-00000-blackbook-truncated.arc": (
            ARC_HEADER | {"count": 1},
            "ours: it begins with no empty line behind the header, warcio stops; we read the 8 others",
        ),
        "discovery__IAH-20080430204825-00000-blackbook-truncated.arc.gz": (ARC_HEADER, ARC_WORDS),
        "suite__IAH-20080430204825-00000-blackbook-truncated.arc": (ARC_HEADER, ARC_WORDS),
        "aut__example.arc.gz": (ARC_HEADER, ARC_WORDS),
        "warcio__example-space-in-url.arc": (ARC_HEADER, ARC_WORDS),
        "pywb__bad.arc": (
            {"type": 2, "entity": 1, "body": 1},
            "ours: the length abc is a problem, not a response; a body of 1 byte (a line feed) is 1 byte",
        ),
        "warcat__bad_http_chunked_content.warc": (
            {"body": 1},
            "ours: the chunk that is there, and bad_chunks; warcio gives nothing and says nothing",
        ),
        "pywb__example-bad.warc.gz.bad": ({"count": 1}, "ours: gzipped as a whole, warcio stops"),
        "warcio__example-bad-non-chunked.warc.gz": ({"count": 1}, "ours: gzipped as a whole, warcio stops"),
        "warcio__example-wrong-chunks.warc.gz": (
            {"entity": 1, "body": 1, "count": 1},
            "ours: the record lies in two gzip members, warcio sees an empty one and stops",
        ),
        "resiliparse__warcfile.warc.lz4": ({"count": 0}, "ours: warcio reads no lz4"),
        "transfer_compression_brotli.warc": ({"body": 1}, "ours: warcio 1.8 calls a method that brotli does not have"),
        "transfer_compression_brotli.warc.gz": ({"body": 1}, "ours: the same"),
        "warcio__example-space-in-target-uri.warc.gz": (
            {"url": 1},
            "either: warcio writes spaces as %20, we as they are",
        ),
    },
    "FastWARC": {
        "py-wacz__invalid_example_1.wacz": ({"count": 0}, "ours: the same"),
        "aut__badexample.arc.gz": ({"count": 0}, NO_ARC),
        "commons__IAH-20080430204825-00000-blackbook-truncated.arc": ({"count": 0}, NO_ARC),
        "discovery__IAH-20080430204825-00000-blackbook-truncated.arc.gz": ({"count": 0}, NO_ARC),
        "suite__IAH-20080430204825-00000-blackbook-truncated.arc": ({"count": 0}, NO_ARC),
        "aut__example.arc.gz": ({"count": 0}, NO_ARC),
        "warcio__example-space-in-url.arc": ({"count": 0}, NO_ARC),
        "pywb__bad.arc": ({"count": 0}, NO_ARC),
        "resiliparse__clueweb-quirk.warc.gz": (
            {"entity": 29, "body": 29},
            "ours: HTTP headers that end in line feeds alone; FastWARC takes the page's first lines for headers",
        ),
        "solrwayback__Evil-Warc-Headers.warc": (
            {"type": 1, "url": 1, "status": 1, "entity": 1, "body": 1},
            "ours: record headers with line feeds alone; FastWARC takes them all for one",
        ),
        "warcio__example-trunc.warc": (
            {"count": 3},
            "ours: a length that is too short; FastWARC passes over the record and the next one without a word",
        ),
        "node-warc__books.toscrape.warc": ({"body": 59}, "ours: declared chunked and is not; FastWARC stops there"),
        "pywb__iana.warc.gz": ({"body": 342}, "ours: declared chunked and is not; FastWARC stops there"),
        "transfer_compression_gzip_chunked.warc.gz": (
            {"body": 1},
            "ours: FastWARC, when it undoes chunks, loses the record behind a chunked one",
        ),
    },
}
"""By file (the end of its name): in how many records a field differs, and with `count` how many the peer reads."""


def differences(data: bytes, theirs: list[Seen]) -> dict[str, int]:
    mine = archive_peers.ours(data)
    found = Counter(
        f for a, b in zip(mine, theirs, strict=False) for f in Seen._fields if getattr(a, f) != getattr(b, f)
    )
    return dict(found) | ({"count": len(theirs)} if len(theirs) != len(mine) else {})


@pytest.mark.parametrize("peer", ["warcio", "FastWARC"])
def test_where_we_differ_from_a_peer_is_known(peer: str, shared_data: Path) -> None:
    read = archive_peers.with_warcio if peer == "warcio" else archive_peers.with_fastwarc
    found = {}
    files = [*(shared_data / "web" / "warc").iterdir(), *(shared_data / "broken" / "warc").iterdir()]
    for file in files:
        data = file.read_bytes()
        theirs = [seen for archive in archive_peers.archives_in(data) for seen in read(archive)]
        if different := differences(data, theirs):
            found[next((n for n in DIFFERENCES[peer] if file.name.endswith(n)), file.name)] = different
    assert len(files) == 53
    assert found == {name: counts for name, (counts, _) in DIFFERENCES[peer].items()}


def test_all_records_are_found(shared_data: Path) -> None:
    files = [*(shared_data / "web" / "warc").iterdir(), *(shared_data / "broken" / "warc").iterdir()]
    assert sum(len(archive_peers.ours(file.read_bytes())) for file in files) == 2342
