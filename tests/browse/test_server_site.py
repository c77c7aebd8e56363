"""The site of `curate browse` over a data set that nobody should trust, asked byte by byte."""

import html
import io
import re
import socket
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import browse_sets as sets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browse_sets import Site
from PIL import Image

from curate.browse.answer import Asked
from curate.browse.find import Finder, Found
from curate.browse.pages import Pages
from curate.browse.recent import FRESH_S
from curate.shard import Shard
from curate.storage import Storage

SECRET = "root-password-of-nobody"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("browse")
    (folder / "secret.txt").write_text(SECRET)
    sets.put_pairs(folder / "pairs")
    running = Site(folder / "pairs")
    yield running
    running.close()


@pytest.fixture(scope="module")
def before(site: Site) -> str:
    return sets.digest_of(site.folder.parent)


ALL = [(shard, row) for shard in range(sets.SHARDS) for row in range(sets.ROWS) if (shard, row) != (0, sets.HIDDEN)]


def expected(keep) -> list[str]:
    return [sets.key_of(shard, row) for shard, row in ALL if keep(shard, row)]


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("", lambda shard, row: True),
        ("clip_similarity < 0.2", lambda shard, row: sets.similarity_of(shard, row) < 0.2),
        ("caption like '%cat%'", lambda shard, row: "cat" in sets.caption_of(shard, row) and (shard, row) != (1, 39)),
        ("not keep and key > '0000100'", lambda shard, row: shard == 1 and sets.similarity_of(shard, row) < 0.2),
        (f"\"{sets.ODD_COLUMN.replace(chr(34), chr(34) * 2)}\" = '<u>3</u>'", lambda shard, row: row == 3),
        ("list_contains(drop_reasons, 'not_safe_for_work')", lambda shard, row: (shard, row) == (0, sets.UNSAFE)),
    ],
)
def test_a_condition_finds_the_rows_that_python_finds_page_by_page(site: Site, before: str, where: str, keep) -> None:
    wanted, found, page = expected(keep), [], 0
    while part := site.keys(where=where, size="24", page=str(page)):
        assert len(part) <= 24
        found += part
        page += 1
    assert found == wanted
    assert page == -(-len(wanted) // 24)
    assert f"<strong>{len(wanted)} sample" in site.page("/samples", where=where)


def test_rows_come_in_the_order_that_is_asked_for(site: Site) -> None:
    for down in ("", "1"):
        keys = site.keys(by="clip_similarity", down=down, size="120")
        values = [sets.similarity_of(int(key[:5]), int(key[5:])) for key in keys]
        assert len(values) == len(ALL)
        assert values == sorted(values, reverse=down == "1")


def test_links_keep_what_was_asked(site: Site) -> None:
    page = site.page(
        "/samples", where="clip_similarity < 0.7 and 'a&b' <> '\"'", by="key", down="1", size="24", page="1"
    )
    links = [html.unescape(link) for link in re.findall(r'rel="(?:prev|next)" href="([^"]*)"', page)]
    assert len(links) == 2
    for link in links:
        assert "where=clip_similarity+%3C+0.7+and+%27a%26b%27+%3C%3E+%27%22%27" in link
        assert "by=key&down=1" in link
        assert "size=24" in link
        assert site.get(link)[0] == 200
    assert "page=2" in links[1]
    assert "page=" not in links[0]


@pytest.mark.parametrize(
    "where",
    [
        "clip_similarity <",
        "no_such_column > 1",
        "select 1",
        "true; attach 'x.db'",
        "true); copy rows to 'x.csv'; --",
        "key in (select content from read_text('../secret.txt'))",
        "exists (from read_text('/etc/passwd'))",
        "read_text('../secret.txt') is not null",
        "getenv('HOME') <> ''",
        "install httpfs",
        "repeat('a', 1000000000) <> ''",
        "true limit 1",
        "key = ?",
        "'\0' = caption",
        "\ud800",
    ],
)
def test_what_cannot_be_asked_is_told_beside_what_was_typed(site: Site, before: str, where: str) -> None:
    status, _, body = site.get(f"/samples?where={quote(where, errors='surrogatepass')}")
    page = body.decode()
    assert status == 200
    assert 'role="alert"' in page
    assert not re.search(r'class="br-card', page)
    assert SECRET not in page
    assert "Traceback" not in page
    box = re.search(r'<input id="where"[^>]* value="([^"]*)"', page)
    assert box
    if where.isprintable():
        assert html.unescape(box[1]) == where
    assert sets.digest_of(site.folder.parent) == before


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/samples/../../secret.txt",
        "/picture/../secret.txt",
        "/picture/..%2f..%2f/secret.txt",
        "/picture/00000/..%2f..%2fsecret.txt",
        "/picture/00000/%2fetc%2fpasswd",
        "/picture/00000.tar/x",
        "/picture/00000/000000001.png",
        "/picture/00000_parts/000000001",
        "/picture//000000001",
        "/picture/00000/",
        "/picture/00000/%00",
        "/picture/00000/000000001%00",
        "/picture/00000/..\\..\\secret.txt",
        "/picture/00009/000000001",
        "/picture/" + "a" * 2_000 + "/1",
        "/picture/00000/" + "a" * 8_000,
        "/sample/..%2fpairs/000000001",
        "/sample/00000/nothing",
        "/sample/00000/000000001/more",
        "/sample/00000/000000001?unit=documents",
        "/document/00000/000000001",
        "/00000.tar",
        "/run.json",
        "/manifest.parquet",
        "/browse.css/",
        "/static/browse.css",
        "/SAMPLES",
        "//evil.example/samples",
        "/sample",
        "/favicon.ico",
    ],
)
def test_a_path_is_never_a_file(site: Site, before: str, target: str) -> None:
    with socket.create_connection(("127.0.0.1", site.server.server_address[1]), timeout=10) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = b""
        while more := client.recv(1 << 16):
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 404 "), head
    assert SECRET.encode() not in body
    assert b"/tmp" not in body.replace(str(site.folder).encode(), b"") if b"<!doctype" in body else True
    assert len(body) < 40_000
    assert not site.told


@pytest.mark.parametrize("page", ["picture", "sample"])
def test_a_shard_must_be_one_that_is_listed(site: Site, page: str) -> None:
    for shard in ("00009", "..", "../..", "00000_parts", "manifest", "", "00000.scores"):
        status, _, body = site.get(f"/{page}/{quote(shard, safe='')}/{sets.key_of(0, 1)}")
        assert status == 404
        assert "There is no shard" in body.decode(), shard


@pytest.mark.parametrize("query", [{"page": "-1"}, {"page": "x"}, {"page": "9" * 30}, {"size": "x"}, {"unit": "parts"}])
def test_odd_questions_are_refused_in_words(site: Site, query: dict[str, str]) -> None:
    status, _, body = site.get("/samples", **query)
    assert status == 400
    assert next(iter(query)) in body.decode()


def test_strangers_words_are_text_everywhere(site: Site) -> None:
    pages = [site.page("/"), site.page("/samples", size="24"), site.page("/samples", where=sets.HOSTILE[0])]
    pages += [site.page(f"/sample/00000/{sets.key_of(0, row)}") for row in range(len(sets.HOSTILE))]
    for page in pages:
        assert not re.search(r"<(script|h1>big|img src=x|u>|b>&|i>)", page)
        assert 'href="javascript' not in page
        assert not re.search("[\x00\x1b\u202e\u2067]", page)
        assert page.count("<title>") == page.count("</title>") == 1
        assert len(page) < 400_000
    assert "&lt;script&gt;document.title" in pages[1]
    assert "picture &amp; caption do &lt;not&gt; fit" in pages[0]
    assert "toy &lt;i&gt;model&lt;/i&gt;" in pages[0]


def test_a_row_tells_its_columns_its_history_and_why(site: Site) -> None:
    row = next(row for row in range(20, 40) if sets.similarity_of(1, row) < 0.2)
    page = site.page(f"/sample/00001/{sets.key_of(1, row)}")
    assert '<span class="br-verdict dropped">dropped</span>' in page
    assert "similarity_too_low" in page
    assert "picture &amp; caption do &lt;not&gt; fit" in page
    for name in ("caption", "clip_similarity", "width", "drop_reasons"):
        assert f'<span dir="auto">{name}</span>' in page
    history = page.partition('<h2 id="history">')[2]
    assert history.index("scores") < history.index("select")


def test_copies_stand_side_by_side_and_are_links(site: Site) -> None:
    page = site.page(f"/sample/00001/{sets.key_of(1, 21)}")
    near = page.partition('id="near-1"')[2].partition("</section>")[0]
    assert "2 copies by bytes" in near
    kept, copy = sets.key_of(0, 21), sets.key_of(1, 21)
    assert near.index(f"/picture/00000/{kept}") < near.index(f"/picture/00001/{copy}")
    assert f'href="/sample/00000/{kept}"' in near
    assert "this row" in near
    assert 'id="near-1"' not in site.page(f"/sample/00001/{sets.key_of(1, 30)}")


def test_pictures_are_made_anew_and_small(site: Site) -> None:
    key = sets.key_of(0, 20)
    status, headers, small = site.get(f"/picture/00000/{key}")
    assert (status, headers["Content-Type"]) == (200, "image/webp")
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == ("WEBP", (112, 96))
    assert small not in sets.picture(20)
    assert site.get(f"/picture/00000/{key}?size=large")[0] == 200


def test_what_is_no_picture_is_said_and_not_sent(site: Site) -> None:
    status, headers, body = site.get(f"/picture/00000/{sets.key_of(0, sets.BROKEN)}")
    assert (status, headers["Content-Type"]) == (200, "image/svg+xml")
    assert b"GIF89a" not in body
    assert b"cannot be" in body
    assert site.get(f"/picture/00000/{sets.key_of(0, sets.NO_PICTURE)}")[0] == 404


def test_unsafe_pictures_are_withheld_and_counted(site: Site) -> None:
    key = sets.key_of(0, sets.UNSAFE)
    status, headers, body = site.get(f"/picture/00000/{key}")
    assert status == 403
    assert headers["Content-Type"].startswith("text/html")
    assert "not_safe_for_work" in body.decode()
    page = site.page("/samples", size="24")
    assert f"/picture/00000/{key}" not in page
    assert "withheld: not_safe_for_work" in page
    assert "1 picture here withheld" in page
    assert "withheld: not_safe_for_work" in site.page(f"/sample/00000/{key}")


def test_hidden_rows_are_shown_nowhere(site: Site) -> None:
    key = sets.key_of(0, sets.HIDDEN)
    for target in (f"/picture/00000/{key}", f"/sample/00000/{key}"):
        status, _, body = site.get(target)
        assert status == 403
        assert sets.caption_of(0, sets.HIDDEN) not in body.decode()
    page = site.page("/samples", size="24")
    assert key not in page
    assert "1 hidden row" in page


def test_the_overview_counts_and_links_to_the_rows(site: Site) -> None:
    page = site.page("/")
    low = [
        one for one in ((s, r) for s in range(sets.SHARDS) for r in range(sets.ROWS)) if sets.similarity_of(*one) < 0.2
    ]
    assert f"{sets.ROWS * sets.SHARDS} samples" in page
    assert f"{sets.ROWS * sets.SHARDS - len(low)} kept" in page
    link = re.search(r'<a href="([^"]*)">similarity_too_low</a></th><td class="number">(\d+)<', page)
    assert link
    assert int(link[2]) == len(low)
    answer = site.page(html.unescape(link[1]))
    assert f"<strong>{len(low)} samples" in answer


class Hurried(Finder):
    """A finder whose time is up after the first shard."""

    def find(self, *arguments: Any, **options: Any) -> Found:
        return replace(super().find(*arguments, **options), total=None, at_least=1234, more=True, looked_at=(1, 2))


def test_an_answer_that_took_too_long_says_what_is_there_so_far(site: Site) -> None:
    pages = Pages(Hurried(Storage(str(site.folder))), "pairs")
    page = pages.answer(Asked(("samples",), {"where": "keep"})).body.decode()
    assert "at least 1,234 samples" in page
    assert "the time was up after 1 of 2 shards" in page
    assert 'rel="next"' in page
    nothing = pages.answer(Asked(("samples",), {"where": "width = 0"})).body.decode()
    assert "No row fits this condition in what was looked at" in nothing


def test_a_selection_is_a_config(site: Site, before: str) -> None:
    where = "clip_similarity >= 0.2 and caption <> '\"'"
    status, headers, body = site.get("/selection.toml", where=where)
    assert status == 200
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Disposition"] == 'attachment; filename="selection.toml"'
    assert where in tomllib.loads(body.decode())["filters"]["condition"].values()
    assert body.decode() in html.unescape(site.page("/selection", where=where))
    assert site.get("/selection.toml", where="no_such_column = 1")[0] == 400
    assert sets.digest_of(site.folder.parent) == before


def test_nothing_was_written(site: Site, before: str) -> None:
    assert sets.digest_of(site.folder.parent) == before
    assert not site.told


def test_a_shard_that_is_broken_is_told_and_the_others_are_shown(tmp_path: Path) -> None:
    storage = sets.put_pairs(tmp_path / "pairs")
    storage.write(Shard(storage, "00001").table_name("scores"), b"PAR1 broken")
    running = Site(tmp_path / "pairs")
    try:
        page = running.page("/samples", where="clip_similarity >= 0")
        assert "Not everything could be read" in page
        assert "00001.scores.parquet" in page
        assert f"<strong>{sets.ROWS - 1} samples" in page
    finally:
        running.close()


def test_a_damaged_record_of_the_run_is_told_and_all_else_is_shown(tmp_path: Path) -> None:
    storage = sets.put_pairs(tmp_path / "pairs")
    storage.write("run.json", b'{"no')
    pages = Pages(Finder(storage), "pairs")
    overview = pages.answer(Asked())
    assert overview.status == 200
    assert b"is damaged" in overview.body
    row = pages.answer(Asked(("sample", "00001", sets.key_of(1, 3))))
    assert row.status == 200
    assert b"clip_similarity" in row.body


def test_what_a_run_has_written_since_is_seen_within_a_minute(tmp_path: Path) -> None:
    storage, now = sets.put_pairs(tmp_path / "pairs"), [0.0]
    pages = Pages(Finder(storage), "pairs", lambda: now[0])

    def shown() -> bytes:
        return pages.answer(Asked(("samples",), {"where": "late = 7"})).body

    assert b"no column &#39;late&#39;" in shown()
    keys = [sets.key_of(1, row) for row in range(sets.ROWS)]
    pq.write_table(pa.table({"key": keys, "late": range(sets.ROWS)}), tmp_path / "pairs/00001.late.parquet")
    assert b"no column &#39;late&#39;" in shown()
    now[0] = FRESH_S + 1
    assert sets.key_of(1, 7).encode() in shown()
    assert pages.answer(Asked(("sample", "00001", keys[7]))).status == 200
