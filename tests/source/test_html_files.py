"""Folders of pages: which files, under which URLs, what cannot be read, and a server that gives nothing else away."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from curate.config import build
from curate.errors import ConfigError, SourceError
from curate.fetch.client import Client, Response
from curate.fetch.settings import FetchSettings
from curate.shard import Shard
from curate.source.folder_server import inside, serve_folder
from curate.source.html_files import HtmlFiles
from curate.source.ingest import ingest
from curate.source.kinds import build_source
from curate.source.raw_page import RawPage
from curate.storage import Storage

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "web"
PAGES = {
    "index.html": b"<p>index",
    "b/Caf\u00e9 100%.HTM": b"<p>caf\xc3\xa9",
    "b/c/deep.xhtml": b"<p>deep",
    "b/picture.jpg": b"\xff\xd8",
    "notes.txt": b"no page",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in PAGES.items():
        path = tmp_path / "books" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "secret.html").write_bytes(b"<p>secret")
    return tmp_path / "books"


def rows(source: HtmlFiles) -> list[dict[str, object]]:
    return [row for part in source.parts() for batch in part for row in batch.to_pylist()]


def pages(source: HtmlFiles) -> list[RawPage]:
    table = pa.Table.from_batches([batch for part in source.parts() for batch in part])
    return list(source.pages(table, Shard(Storage("/nowhere"), "00000")))


def test_pages_below_a_folder_have_urls_below_its_base(folder: Path) -> None:
    source = HtmlFiles(str(folder), base_url="http://books.test/all")
    assert [(r["url"], r["path"], r["size"]) for r in rows(source)] == [
        ("http://books.test/all/b/Caf%C3%A9%20100%25.HTM", "b/Caf\u00e9 100%.HTM", 8),
        ("http://books.test/all/b/c/deep.xhtml", "b/c/deep.xhtml", 7),
        ("http://books.test/all/index.html", "index.html", 8),
    ]
    found = pages(source)
    assert [page.body for page in found] == [b"<p>caf\xc3\xa9", b"<p>deep", b"<p>index"]
    assert [page.status for page in found] == ["ok"] * 3
    assert [page.file for page in found] == [r["path"] for r in rows(source)]
    assert not source.fetches_pages


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", ["b/Caf\u00e9 100%.HTM", "b/c/deep.xhtml", "index.html"]),
        ("index.html", ["index.html"]),
        ("b/**/*.xhtml", ["c/deep.xhtml"]),
        ("*/c/*", ["b/c/deep.xhtml"]),
    ],
)
def test_a_folder_a_file_or_a_glob(folder: Path, path: str, found: list[str]) -> None:
    source = HtmlFiles(str(folder / path))
    assert [r["path"] for r in rows(source)] == found
    assert all(page.status == "ok" and page.body for page in pages(source))


def test_without_a_base_the_url_is_the_files_own(folder: Path) -> None:
    assert rows(HtmlFiles(str(folder / "index.html")))[0]["url"] == (folder / "index.html").as_uri()


def test_a_bucket_is_a_folder_too(s3: Storage) -> None:
    s3.write("a/one.html", b"<p>one")
    s3.write("two.htm", b"<p>two")
    source = HtmlFiles(s3.root, base_url="http://books.test/")
    assert [r["url"] for r in rows(source)] == ["http://books.test/a/one.html", "http://books.test/two.htm"]
    assert [page.body for page in pages(source)] == [b"<p>one", b"<p>two"]
    s3.delete("two.htm")
    gone = list(source.pages(pa.table({"url": ["u"], "path": ["two.htm"]}), Shard(s3, "00000")))
    assert [page.status for page in gone] == ["file_gone"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("index.html", "ok"),
        ("link_inside.html", "ok"),
        ("link_out.html", "file_gone"),
        ("linked_folder/secret.html", "file_gone"),
        ("../secret.html", "file_gone"),
        ("b/../index.html", "file_gone"),
        ("/etc/hostname", "file_gone"),
        ("gone.html", "file_gone"),
        ("b", "file_gone"),
        ("pipe.html", "file_gone"),
        ("loop.html", "file_gone"),
        ("x" * 5000 + ".html", "file_gone"),
        ("nul\0.html", "file_gone"),
        ("large.html", "too_large"),
        ("just.html", "ok"),
    ],
)
def test_what_is_not_in_the_folder_is_not_read(folder: Path, path: str, status: str) -> None:
    (folder / "link_inside.html").symlink_to(folder / "index.html")
    (folder / "link_out.html").symlink_to(folder.parent / "secret.html")
    (folder / "linked_folder").symlink_to(folder.parent)
    (folder / "loop.html").symlink_to(folder / "loop.html")
    os.mkfifo(folder / "pipe.html")
    (folder / "just.html").write_bytes(bytes(100))
    (folder / "large.html").write_bytes(bytes(101))
    source = HtmlFiles(str(folder), max_file_bytes=100)
    (page,) = source.pages(pa.table({"url": ["u"], "path": [path]}), Shard(Storage("/nowhere"), "00000"))
    assert (page.status, bool(page.body)) == (status, status == "ok")
    listed = {r["path"]: r for r in rows(source)}
    assert "link_out.html" in listed
    assert not any(name.startswith("linked_folder") for name in listed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(folder: Path) -> None:
    (folder / "index.html").chmod(0)
    assert {p.file: p.status for p in pages(HtmlFiles(str(folder)))}["index.html"] == "file_unreadable"


def test_a_file_written_anew_makes_another_source(folder: Path, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "out"))
    (piece,) = ingest(HtmlFiles(str(folder)), storage, 100)
    assert piece.rows == 3
    (folder / "index.html").write_bytes(b"<p>other")
    os.utime(folder / "index.html", (1, 1))
    with pytest.raises(ConfigError, match="another source"):
        list(ingest(HtmlFiles(str(folder)), storage, 100))


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ({"path": "nowhere/at/all"}, SourceError, "no file that ends in"),
        ({"path": "x", "serve_files": True}, ConfigError, "cannot be served"),
        ({"path": "x", "serve_files": True, "base_url": "https://a.test/"}, ConfigError, "cannot be served"),
        ({"path": "x", "serve_files": True, "base_url": "http://127.0.0.1/"}, ConfigError, "cannot be served"),
        ({"path": "x", "base_url": "ftp://a.test/"}, ConfigError, "scheme 'ftp'"),
        ({"path": "x", "max_file_bytes": 0}, ConfigError, "max_file_bytes"),
    ],
)
def test_settings_that_cannot_be_are_refused(table: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        rows(build(HtmlFiles, table, "source"))


def test_only_a_folder_on_a_disk_is_served() -> None:
    with (
        pytest.raises(SourceError, match="no folder on this disk"),
        HtmlFiles("memory://books", "http://b.test/", True).serve(),
    ):
        pass


def test_it_is_found_by_its_kind(folder: Path) -> None:
    assert build_source({"kind": "html_files", "path": str(folder)}) == HtmlFiles(str(folder))


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    (folder / "b" / "secret.jpg").symlink_to(folder.parent / "secret.html")
    with serve_folder(folder, "/all/") as address:
        yield address


def ask(address: str, target: str, method: str = "GET") -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.putrequest(method, target)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.getheader("Content-Type")
    connection.close()
    return found


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/all/index.html", b"<p>index"),
        ("/all/b/Caf%C3%A9%20100%25.HTM?page=1", b"<p>caf\xc3\xa9"),
        ("/all/b/picture.jpg", b"\xff\xd8"),
        ("/index.html", None),
        ("/all", None),
        ("/all/", None),
        ("/all/b", None),
        ("/all/b/", None),
        ("/all/../secret.html", None),
        ("/all/%2e%2e/secret.html", None),
        ("/all/b/..%2f..%2f..%2fsecret.html", None),
        ("/all/b/%2e%2e/index.html", None),
        ("/all//etc/hostname", None),
        ("/all/%2fetc/hostname", None),
        ("/all/..%5csecret.html", None),
        ("/all/index.html%00.jpg", None),
        ("/all/b/secret.jpg", None),
        ("/all/%ff%fe", None),
        ("/robots.txt", None),
        ("http://other.test/all/index.html", None),
    ],
)
def test_the_server_gives_files_of_the_folder_and_nothing_else(address: str, target: str, body: bytes | None) -> None:
    status, found, _ = ask(address, target)
    assert (status, found) == ((404, b"") if body is None else (200, body))


def test_the_server_says_what_a_file_is_and_writes_nothing(address: str, folder: Path) -> None:
    assert ask(address, "/all/b/picture.jpg", "HEAD") == (200, b"", "image/jpeg")
    assert ask(address, "/all/index.html")[2] == "text/html"
    assert ask(address, "/all/notes.txt", "PUT")[0] == 501
    assert (folder / "notes.txt").read_bytes() == PAGES["notes.txt"]


def test_the_server_is_gone_when_the_block_ends(folder: Path) -> None:
    with serve_folder(folder) as address:
        assert ask(address, "/index.html")[0] == 200
        assert "folder" in {thread.name for thread in threading.enumerate()}
    assert "folder" not in {thread.name for thread in threading.enumerate()}


def test_names_lead_into_the_folder_or_nowhere(folder: Path) -> None:
    assert inside(folder, "b/c/deep.xhtml") == (folder / "b/c/deep.xhtml").resolve()
    for name in ("", ".", "..", "b", "/index.html", "b//c/deep.xhtml", "b\\c\\deep.xhtml", "b/./../index.html"):
        assert inside(folder, name) is None, name


def fetched(source: HtmlFiles, urls: list[str]) -> list[Response]:
    with source.serve() as addresses:
        client = Client(FetchSettings(contact="tests@example.org", per_host_rate=0, retries=0), addresses)
        found = [r for r in client.fetch(enumerate(urls)) if r is not None]
        client.close()
    return sorted(found, key=lambda response: response.row)


def test_pictures_beside_the_pages_are_fetched_like_any_others(folder: Path) -> None:
    source = HtmlFiles(str(folder), base_url="http://books.test/all", serve_files=True)
    answers = fetched(source, [f"http://books.test/all/{name}" for name in ("b/picture.jpg", "b/other.jpg")])
    assert [(r.status, r.body) for r in answers] == [("success", PAGES["b/picture.jpg"]), ("not_found", b"")]
    with HtmlFiles(str(folder), base_url="http://books.test/all").serve() as addresses:
        assert addresses == {}


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not beside the checkout")
def test_real_books_are_listed_read_and_served() -> None:
    source = HtmlFiles(str(DATA / "openstax"), base_url="http://openstax.test/", serve_files=True)
    found = pages(source)
    assert len(found) == 121
    assert {page.status for page in found} == {"ok"}
    figures = sorted((DATA / "openstax").rglob("*.jpg"))[:50]
    urls = [f"http://openstax.test/{path.relative_to(DATA / 'openstax')}" for path in figures]
    assert [r.body for r in fetched(source, urls)] == [path.read_bytes() for path in figures]
