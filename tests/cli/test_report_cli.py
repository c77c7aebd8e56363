"""`curate report`: where the page goes and where not, what is printed, and the picture of its top by a browser."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import chromium
from PIL import Image

from curate.cli import main
from curate.errors import StorageError
from curate.report.screenshot import screenshot


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two shards of img2dataset's, without pictures; the second is damaged."""
    folder = tmp_path / "set"
    folder.mkdir()
    rows = {"key": ["000000000", "000000001"], "url": ["https://a.test/1.jpg", "https://b.test/2.jpg"]}
    rows |= {"caption": ["<script>alert(1)</script>", "a cell"], "status": ["success", "failed_to_download"]}
    pq.write_table(pa.table(rows), folder / "00000.parquet")
    (folder / "00001.parquet").write_bytes(b"no parquet")
    return folder


def test_the_page_is_written_beside_and_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(data.iterdir())
    assert main(["report", str(data), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = (tmp_path / "report.html").read_bytes()
    assert (told["report"], told["bytes"]) == ("report.html", len(page))
    assert any("00001" in trouble for trouble in told["troubles"])
    assert b"&lt;script&gt;alert(1)" in page
    assert b"<script>alert" not in page
    assert sorted(data.iterdir()) == before
    assert main(["report", str(data), "--out", "other.html", "--format", "table", "--tiles", "0"]) == 0
    assert "report: other.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "-"], "a page is not printed"),
        (["--out", "{data}/report.html"], "would lie in the data set"),
        (["--out", "{data}/../set/x/report.html"], "would lie in the data set"),
        (["--screenshot", "{data}/a.png"], "would lie in the data set"),
        (["--out", "{data}/../nowhere/report.html"], "No such file or directory; choose another --out"),
        (["--tiles", "-1"], "tiles"),
        (["--cpu-hour", "-1"], "cpu_hour"),
        (["--shards", "0"], "shards"),
    ],
)
def test_what_cannot_be_done_is_said(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["report", str(data), *(one.format(data=data) for one in arguments)]) == 2
    assert words in capsys.readouterr().err


def test_where_a_page_goes_is_looked_at_before_anything_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--out", "--screenshot"):
        assert main(["report", str(tmp_path / "no_set"), option, str(tmp_path / "nowhere/page")]) == 2
        assert f"No such file or directory; choose another {option}" in capsys.readouterr().err


def test_a_data_set_that_is_the_present_folder_keeps_clean(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data)
    assert main(["report", "."]) == 2
    assert "would lie in the data set" in capsys.readouterr().err
    assert not (data / "report.html").exists()


def test_without_a_browser_there_is_no_picture_and_no_page(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "r.html"
    assert main(["report", str(data), "--out", str(out), "--screenshot", str(tmp_path / "r.png")]) == 2
    assert "needs Chromium or Chrome, and none is on the PATH" in capsys.readouterr().err
    assert not out.exists()


def test_a_browser_takes_a_picture_of_the_top(tmp_path: Path) -> None:
    chromium()
    page = tmp_path / "a page #1.html"
    page.write_text("<!doctype html><body style='background: #00f'><p>x</p>")
    taken = Image.open(io.BytesIO(screenshot(page)))
    assert (taken.format, taken.size) == ("PNG", (1280, 1000))
    assert taken.convert("RGB").getpixel((600, 600)) == (0, 0, 255)


def _browser(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A program called chromium that does what the script says."""
    program = folder / "bin" / "chromium"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    page = folder / "page.html"
    page.write_text("x")
    return page


def test_a_browser_that_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = _browser(tmp_path, monkeypatch, f"sleep 60 & echo $! > {tmp_path}/child; wait")
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"took longer than 0\.5 s"):
        screenshot(page, 0.5)
    assert time.monotonic() - started < 50
    told = tmp_path / "child"
    with suppress(FileNotFoundError):  # a busy machine has not come so far, or it is gone
        child = Path("/proc") / (told.read_text().strip() or "none") / "stat"
        assert child.read_text().split()[2] == "Z"


def test_a_browser_that_takes_no_picture_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = _browser(tmp_path, monkeypatch, "echo first >&2; echo cannot open display >&2")
    with pytest.raises(StorageError, match=r"took no picture of .*: cannot open display"):
        screenshot(page)
