"""Documents in `curate browse`: read with and without what was dropped, in pieces, and hidden parts nowhere."""

import html
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import browse_sets as sets
import pyarrow as pa
import pytest
from browse_sets import Site
from document_sets import Page, Slot, Words, jpeg, put_pages, put_table

from curate.run_record import RunRecord, write_record
from curate.storage import Storage
from curate.tombstones import HASH_LIST_MATCH


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("documents")
    first = [
        Page([Words(sets.HOSTILE[0]), Slot("http://i/a.jpg", jpeg(1)), Words("an advertisement", keep=False)]),
        Page([Words(f"paragraph {n}") for n in range(250)]),
        Page([Words("dropped"), Slot("javascript:1", None, "not_found")], keep=False),
    ]
    put_pages(Storage(str(folder)), "00000", first)
    running = Site(folder)
    yield running
    running.close()


def test_a_document_is_read_with_and_without_what_was_dropped(documents: Site) -> None:
    kept = documents.page("/document/00000/00000000000")
    assert "&lt;script&gt;document.title" in kept
    assert "an advertisement" not in kept
    assert '<img src="/picture/00000/00000000000.1"' in kept
    every = documents.page("/document/00000/00000000000", parts="all")
    block = every.partition('id="part-00000000000.2"')
    assert "dropped" in block[0][-60:]
    assert "an advertisement" in block[2][:200]
    assert documents.get("/picture/00000/00000000000.1")[1]["Content-Type"] == "image/webp"
    assert documents.get("/picture/00000/00000000000.0")[0] == 404


def test_a_long_document_comes_in_pieces(documents: Site) -> None:
    page = documents.page("/document/00000/00000000001")
    assert "paragraph 199<" in page
    assert "paragraph 200<" not in page
    rest = documents.page(
        "/document/00000/00000000001" + html.unescape(re.search(r'rel="next" href="([^"]*)"', page)[1])
    )
    assert "paragraph 249<" in rest
    assert documents.get("/document/00000/00000000001?from=x")[0] == 404


def test_a_slot_without_a_picture_says_why(documents: Site) -> None:
    page = documents.page("/document/00000/00000000002", parts="all")
    assert "no picture: not_found" in page
    assert 'href="javascript' not in page


def test_hidden_parts_of_a_document_are_counted_and_not_shown(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    put_pages(storage, "00000", [Page([Words("a story"), Slot("http://i/listed.jpg", jpeg(1)), Words("its end")])])
    listed = {"key": [f"00000000000.{n}" for n in range(3)], HASH_LIST_MATCH: [None, "pdq", None]}
    put_table(storage, "00000_parts.hash_list.parquet", pa.table(listed))
    with closing(Site(tmp_path)) as running:
        page = running.page("/document/00000/00000000000", parts="all")
        assert "its end" in page
        assert "listed.jpg" not in page
        assert "2 of 2 kept; 1 hidden, shown to nobody" in page
        assert running.get("/sample/00000/00000000000.1?unit=parts")[0] == 403
        assert running.get("/picture/00000/00000000000.1")[0] == 403


def test_documents_and_parts_are_listed_and_lead_to_their_pages(documents: Site) -> None:
    assert documents.keys() == [f"0000000000{n}" for n in range(3)]
    assert '<img src="/picture/00000/00000000000.1"' in documents.page("/samples")
    parts = documents.page("/samples", unit="parts", where="kind = 'image'")
    assert 'href="/sample/00000/00000000000.1?unit=parts"' in parts
    assert "/selection?" not in parts
    part = documents.page("/sample/00000/00000000000.1", unit="parts")
    assert 'href="/document/00000/00000000000"' in part
    assert documents.get("/sample/00000/00000000000", unit="documents")[0] == 404


def test_a_selection_of_documents_is_offered_and_says_what_it_keeps(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    put_pages(storage, "00000", [Page([Words("a story")])])
    record = RunRecord("pages", {"config": {"name": "pages"}}, {"python": "3"}, ("select",), ())
    write_record(storage, record)
    with closing(Site(tmp_path)) as running:
        link = re.search(r'href="(/selection\?[^"]*)"', running.page("/samples", where="title is not null"))
        page = running.page(html.unescape(link[1]))
    assert "documents that the run keeps" in page
    assert "title is not null" in page


def test_what_no_run_told_is_counted_by_looking(documents: Site, tmp_path: Path) -> None:
    page = documents.page("/")
    assert re.search(r">3 documents</a> in 1 shard; <a [^>]*>2 kept</a> \(66.7%\)", page)
    put_pages(Storage(str(tmp_path)), "00000", [Page([Words("a")])], decided=False)
    with closing(Site(tmp_path)) as undecided:
        assert undecided.page("/").count("nothing was decided yet") == 2
