"""Small data sets as a run leaves them, with everything in them that a browser must not believe."""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.browse.find import Finder
from curate.browse.pages import Pages
from curate.browse.server import BrowseServer
from curate.gauge import Gauge
from curate.manifest import Attempt, Commit, CommitLog, Manifest, write_parquet
from curate.run_record import RUN_RECORD, DecisionRecord, FilterRecord, RunRecord, write_record
from curate.select import DECISION, count_reasons
from curate.shard import Shard
from curate.storage import Storage
from curate.tar import TarWriter
from curate.tombstones import write_dead

ROWS, SHARDS = 40, 2
HOSTILE = (
    "<script>document.title = 'owned'</script>",
    "\"><img src=x onerror=\"document.title='owned'\"><a href='javascript:alert(1)'>",
    "{{ 7 * 7 }} {% raw %} '; DROP TABLE rows; --",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe\N{RIGHT-TO-LEFT ISOLATE} מבחן \x00\x1b[31m",
    "long " + "a" * 100_000,
    "</title></style></textarea><h1>big</h1>",
)
ODD_COLUMN = "odd \"name' <b>&</b>"
UNSAFE, HIDDEN, BROKEN, NO_PICTURE = 7, 8, 9, 10
"""Rows of the first shard: flagged by a detector, on a hash list, with bytes that are no picture, with none."""


def key_of(shard: int, row: int) -> str:
    return f"{shard:05d}{row:04d}"


def caption_of(shard: int, row: int) -> str:
    return HOSTILE[row] if shard == 0 and row < len(HOSTILE) else f"caption {row} of a {'cat' if row % 3 else 'dog'}"


def similarity_of(shard: int, row: int) -> float:
    return round(((shard * ROWS + row) * 37 % 80) / 100, 2)


def url_of(shard: int, row: int) -> str:
    return (
        "javascript:alert(1)" if (shard, row) == (0, 0) else f"https://site{row % 5}.test/{shard}/{row}.png?a=1&b=<i>"
    )


def picture(seed: int, side: int = 96) -> bytes:
    """A coloured square in a coloured field, as PNG."""
    pixels = np.full((side, side + 16, 3), (seed * 67 % 256, seed * 31 % 256, seed * 151 % 256), np.uint8)
    pixels[side // 4 : side // 2, side // 4 : side // 2] = 255 - pixels[0, 0]
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def digest_of(folder: Path) -> str:
    """Of all files: names and bytes."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(f"{path.relative_to(folder)}\n".encode())
        if path.is_file():
            found.update(path.read_bytes())
    return found.hexdigest()


def put_pairs(folder: Path) -> Storage:
    """Pairs with a decision, copies, a detector's column, a hidden row; its decision is in the manifest and run.json.

    Rows with a similarity below 0.2 are dropped, and in shard 0 the UNSAFE one. Row 20 + n of shard 1 is a copy of row
    20 + n of shard 0 for n below 3.
    """
    storage = Storage(str(folder))
    made = [_put_shard(storage, number) for number in range(SHARDS)]
    log = CommitLog(storage)
    Manifest.fold(log, [(one.stage, one.shard, one.fingerprint) for one in made], made)
    write_dead(Shard(storage, "00000"), {key_of(0, HIDDEN): "sha256"})
    low = FilterRecord(
        "clip_similarity",
        {"similarity_too_low": "picture & caption do <not> fit"},
        ("clip_similarity",),
        {"min": 0.2},
        (Gauge("clip_similarity", ("clip_similarity",), min=0.2, too_low="similarity_too_low"),),
    )
    unsafe = FilterRecord("nsfw", {"not_safe_for_work": "not safe for work"}, ("nsfw_probability",), {"max": 0.1})
    decision = DecisionRecord("select", "samples", "keep", (low, unsafe))
    about = {"package": "curate-vl", "version": "1", "commit": "abc", "config": {"name": "pairs"}}
    write_record(storage, RunRecord("pairs", about, {"python": "3"}, ("pairs", "scores", "select"), (decision,)))
    assert storage.exists(RUN_RECORD)
    return storage


def _put_shard(storage: Storage, number: int) -> Commit:
    shard = Shard(storage, f"{number:05d}")
    keys = [key_of(number, row) for row in range(ROWS)]
    _put_tar(shard, keys)
    similarity = [similarity_of(number, row) for row in range(ROWS)]
    unsafe = [0.99 if (number, row) == (0, UNSAFE) else 0.01 for row in range(ROWS)]
    absent = [number == 0 and row == NO_PICTURE for row in range(ROWS)]
    sample = pa.table(
        {
            "key": keys,
            "url": [url_of(number, row) for row in range(ROWS)],
            "caption": _texts([caption_of(number, row).encode() for row in range(ROWS)], broken=number == 1),
            "status": ["failed_to_download" if gone else "success" for gone in absent],
            "width": pa.array([112] * ROWS, pa.int32()),
            ODD_COLUMN: [f"<u>{row}</u>" for row in range(ROWS)],
        }
    )
    _commit(shard, "pairs", "", sample)
    scores = pa.table(
        [pa.array(keys), pa.array(similarity, pa.float32()), pa.array(unsafe, pa.float32())],
        schema=pa.schema(
            [
                pa.field("key", pa.string()),
                pa.field("clip_similarity", pa.float32(), metadata={"model": "toy <i>model</i>"}),
                pa.field("nsfw_probability", pa.float32()),
            ]
        ),
    )
    _commit(shard, "scores", "scores", scores)
    of = [key_of(0, row) if number == 1 and 20 <= row < 23 else None for row in range(ROWS)]
    size = [2 if 20 <= row < 23 else 1 for row in range(ROWS)]
    copies = {"key": keys, "bytes_duplicate_of": pa.array(of, pa.string()), "bytes_cluster_size": size}
    _put(storage, shard.table_name("bytes_clusters"), pa.table(copies))
    return _decide(shard, keys, similarity, unsafe)


def _commit(shard: Shard, step: str, family: str, table: pa.Table, counts: Mapping[str, int] | None = None) -> Commit:
    """A column file as the step that wrote it leaves it."""
    attempt = Attempt(shard.storage, step, shard.id, "0" * 16, id=f"attempt{shard.id}")
    attempt.write_table(shard.table_name(family), table)
    attempt.counts.update(counts or {})
    return attempt.commit()


def _decide(shard: Shard, keys: Sequence[str], similarity: Sequence[float], unsafe: Sequence[float]) -> Commit:
    reasons = [
        [*(["similarity_too_low"] if low < 0.2 else []), *(["not_safe_for_work"] if bad > 0.1 else [])]
        for low, bad in zip(similarity, unsafe, strict=True)
    ]
    columns = [[not one for one in reasons], [one[0] if one else None for one in reasons], reasons]
    decided = pa.table([pa.array(c, f.type) for c, f in zip(columns, DECISION, strict=True)], schema=DECISION)
    return _commit(shard, "select", "select", decided.add_column(0, "key", pa.array(keys)), count_reasons(decided))


def _put_tar(shard: Shard, keys: Sequence[str]) -> None:
    target = io.BytesIO()
    tar, index = TarWriter(target), []
    for row, key in enumerate(keys):
        if int(shard.id) == 0 and row == NO_PICTURE:
            continue
        data = b"GIF89a no picture" if int(shard.id) == 0 and row == BROKEN else picture(row)
        tar.add(f"{key}.png", data)
        index.append((key, "png"))
    tar.finish()
    shard.storage.write(shard.tar, target.getvalue())
    places = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    names = {"key": [k for k, _ in index], "extension": [e for _, e in index]}
    _put(shard.storage, shard.table_name("index"), pa.table(names | places))


def _texts(texts: Sequence[bytes], broken: bool) -> pa.Array:
    """Text as Arrow has it; with `broken` the last one is no UTF-8, as somebody's Parquet file may have it."""
    data = [*texts[:-1], b"broken \xff\xfe utf-8"] if broken else list(texts)
    binary = pa.array(data, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())


def _put(storage: Storage, name: str, table: pa.Table) -> None:
    target = io.BytesIO()
    write_parquet(table, target)
    storage.write(name, target.getvalue())


class Site:
    """A running browser of a data set."""

    def __init__(self, folder: Path, ask_token: bool = False) -> None:
        self.folder = folder
        self.told: list[str] = []
        pages = Pages(Finder(Storage(str(folder))), folder.name)
        self.server = BrowseServer(pages.answer, ask_token=ask_token, tell=self.told.append)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def get(self, target: str, **query: str) -> tuple[int, dict[str, str], bytes]:
        asked = target + ("?" + urlencode(query) if query else "")
        with closing(HTTPConnection("127.0.0.1", self.server.server_address[1], timeout=30)) as client:
            client.request("GET", asked)
            response = client.getresponse()
            return response.status, dict(response.headers), response.read()

    def page(self, target: str, **query: str) -> str:
        status, _, body = self.get(target, **query)
        assert status == 200, body.decode()
        return body.decode()

    def keys(self, **query: str) -> list[str]:
        """The keys of the rows on a page of the list."""
        return re.findall(r'<p class="br-key" dir="auto">([^<]*)</p>', self.page("/samples", **query))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)
