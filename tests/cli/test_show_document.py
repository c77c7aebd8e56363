"""`curate show` on documents and on pages, as a user meets it."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from document_sets import Page, Slot, Words, jpeg, put_pages, small_set

from curate.cli import main
from curate.storage import Storage


@pytest.fixture
def data(tmp_path: Path) -> Path:
    small_set(Storage(str(tmp_path / "data")))
    return tmp_path / "data"


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["show", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["show", *map(str, arguments)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


def test_a_document_as_a_reader_sees_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, data / "00001", "00001000000", "--format", "table") == (
        "Title of 00001000000\n====================\nhttp://site/00001000000\n\nfive\n\n"
        '[picture "alt of http://i/gone.jpg" | failed_to_download]\n http://i/gone.jpg\n\nsix\n\n'
        '[picture "alt of http://i/c.jpg" | here]\n http://i/c.jpg\n'
    )


def test_a_document_that_was_left_out_says_so(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "left out of the data set" in shown(capsys, data / "00000.tar", "00000000002", "--format", "table")


def test_a_document_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, data / "00000", "00000000001"))
    assert found["document"]["url"] == "http://same/"
    assert [(p["kind"], p.get("text"), p.get("status")) for p in found["parts"]] == [
        ("picture", None, "success"),
        ("text", "four", None),
    ]
    assert found["parts"][0]["image"].endswith(" bytes")


def test_a_document_as_one_html_page(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, data / "00001", "00001000000", "--html", tmp_path / "x.html") == ""
    page = (tmp_path / "x.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "failed_to_download" in page
    assert "choose another --html" in refused(capsys, data / "00001", "00001000000", "--html", tmp_path / "no/x.html")


def test_why_of_a_document(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = json.loads(shown(capsys, data / "00000", "00000000000", "--why"))["blocks"]
    assert [(b["words"], b["in_output"]) for b in blocks][-1] == ("ad", False)
    assert "in_output" in shown(capsys, data / "00000", "00000000000", "--why", "--format", "table")


def test_the_picture_of_a_pair_is_not_asked_of_documents_or_pages(
    data: Path, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in ((data / "00000", "00000000000"), (page,)):
        assert "--html FILE writes a document" in refused(capsys, *what, "--image", tmp_path / "x.jpg")
    assert not (tmp_path / "x.jpg").exists()


def test_a_shard_of_documents(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, data / "00001"))
    assert (found["rows"], found["parts"]) == (2, 6)
    assert {row["fetch_status"]: row["parts"] for row in found["fetch_status of parts"]} == {
        "(none)": 3,
        "failed_to_download": 1,
        "success": 1,
        "not_found": 1,
    }
    assert "00001_parts.select.parquet" in {row["file"] for row in found["columns"]}


def test_what_cannot_be_shown(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no document '7'; its keys go from 00000000000 to 00000000002" in refused(capsys, data / "00000", "7")
    assert "name a shard of documents and a KEY" in refused(capsys, data / "00000", "--why")
    assert "there is no archive" in refused(capsys, f"{tmp_path}/no.warc.gz@12")
    assert "has no shard 00009; its shards go from 00000 to 00001" in refused(capsys, data / "00009", "1")


PAGE = """<!doctype html><html lang="en"><head><title>On cats</title><script>var x = 1</script></head><body>
<nav><a href="/">Home</a> <a href="/about">About us</a></nav>
<article><h1>On cats</h1><p>{text}</p><figure><img src="cat.jpg" alt="A cat" width="300" height="200">
<figcaption>A cat on a mat.</figcaption></figure><p>{text}</p></article>
<div style="display:none">unseen words</div></body></html>"""
TEXT = "The cat is a small animal that has lived with people for some ten thousand years, and sleeps most of the day. "


@pytest.fixture
def page(tmp_path: Path) -> Path:
    pytest.importorskip("curate.document.extract")  # the extra `web`
    path = tmp_path / "site" / "cats.html"
    path.parent.mkdir()
    path.write_text(PAGE.replace("{text}", TEXT * 3))
    (path.parent / "cat.jpg").write_bytes(jpeg(1))
    return path


def test_a_page_on_disk(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, page, "--format", "table")
    assert text.count("The cat is a small animal") == 6
    assert '"A cat" | here]' in text
    assert "A cat on a mat." in text
    assert "About us" not in text
    shown(capsys, page, "--html", tmp_path / "x.html")
    assert "data:image/jpeg;base64," in (tmp_path / "x.html").read_text()


def test_the_address_of_a_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, page, "--format", "table", "--url", "https://cats.example/a/b.html")
    assert "https://cats.example/a/cat.jpg" in text


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://h/site/cats.html", True),
        ("http://h/book/site/cats.html", True),
        ("http://h/other/cats.html", False),
        ("http://h/cats.html", False),
        (None, False),
    ],
)
def test_pictures_of_a_folder_beside_it(
    page: Path, capsys: pytest.CaptureFixture[str], url: str | None, here: bool
) -> None:
    (page.parent.parent / "images").mkdir()
    (page.parent / "cat.jpg").rename(page.parent.parent / "images/cat.jpg")
    page.write_text(page.read_text().replace("cat.jpg", "../images/cat.jpg"))
    text = shown(capsys, page, "--format", "table", *(["--url", url] if url else []))
    assert ("| here]" in text) == here


@pytest.mark.parametrize("source", ["../secret.jpg", "%2e%2e/secret.jpg", "link.jpg", "cats.html", "cat.jpg%00"])
def test_only_pictures_below_the_page_are_shown(page: Path, capsys: pytest.CaptureFixture[str], source: str) -> None:
    (page.parent.parent / "secret.jpg").write_bytes(jpeg(2))
    (page.parent / "link.jpg").symlink_to(page.parent.parent / "secret.jpg")
    page.write_text(page.read_text().replace("cat.jpg", source))
    assert "| here]" not in shown(capsys, page, "--format", "table")


def test_why_of_a_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(shown(capsys, page, "--why"))
    assert found["status"] == "ok"
    out = {block["words"][:8]: block["reason"] for block in found["blocks"] if not block["in_output"]}
    reasons = {**out, **{row["words"][:8]: row["reason"] for row in found["not_in_output"]}}
    assert any("unseen" in words for words in reasons)
    assert any(words.startswith(("Home", "About")) for words in reasons)
    assert all(reasons.values())
    table = shown(capsys, page, "--why", "--format", "table")
    assert "not_in_output" in table


def record(body: bytes, url: str = "http://cats.example/a/cats.html") -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(http)}\r\n\r\n"
    return gzip.compress(head.encode() + http + b"\r\n\r\n", mtime=0)


def test_a_record_of_an_archive(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = record(b"<p>another page</p>"), record(page.read_bytes())
    (tmp_path / "a.warc.gz").write_bytes(first + second)
    text = shown(capsys, f"{tmp_path}/a.warc.gz@{len(first)}", "--format", "table")
    assert "The cat is a small animal" in text
    assert "http://cats.example/a/cat.jpg" in text
    assert "| not fetched]" in text
    assert json.loads(shown(capsys, f"{tmp_path}/a.warc.gz@{len(first)}", "--why"))["status"] == "ok"
    wrong = refused(capsys, f"{tmp_path}/a.warc.gz@5")
    assert f"no record begins at byte 5 of {tmp_path}/a.warc.gz; the next one is" in wrong
    assert "none follows" in refused(capsys, f"{tmp_path}/a.warc.gz@{len(first + second) + 9}")


def test_a_shard_is_shown_without_a_parser_of_html(data: Path) -> None:
    """The extra `web` is not needed to look at what is there."""
    program = (
        "import sys\n"
        "sys.modules['selectolax'] = None\n"
        "from curate.cli import main\n"
        "raise SystemExit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "show", str(data / "00000"), "00000000001"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_export_of_documents(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: object) -> int:
        return main(["export", *map(str, (data, *arguments))])

    assert call("--to", "mmc4", "--missing", "slot", "--shard-samples", 3) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["documents"], told["shards"]) == (4, 2)
    assert told["slots_without_picture"] == {"failed_to_download": 1, "not_found": 1}
    assert told["written_to"] == f"{data}-mmc4"
    assert call("--to", "m4", "--placement", "document") == 2
    wrong = capsys.readouterr().err
    assert wrong.splitlines()[-1] == "curate: format m4 takes no --placement; it takes --missing, --sources"
    assert call("--to", "webdataset", "--missing", "slot") == 2
    assert "format webdataset takes no --missing" in capsys.readouterr().err


def test_documents_without_pictures_need_no_tar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage(str(tmp_path / "data"))
    put_pages(storage, "00000", [Page([Words("x"), Slot("u", None, None)])])
    storage.delete("00000.tar")
    assert "[picture" in shown(capsys, tmp_path / "data" / "00000", "00000000000", "--format", "table")
