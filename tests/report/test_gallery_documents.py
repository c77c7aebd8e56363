"""Documents as a reader sees them: reading order, places of what did not arrive, cut where they are long."""

import pytest
from document_sets import Page, Slot, Words, jpeg, put_pages
from gallery_sets import picture, put_rows, row, shown

from curate.document.render import as_html
from curate.report.pictures import Draw, documents
from curate.report.pictures.document_pages import MOST_LETTERS, MOST_PARTS, MOST_PICTURES
from curate.sample import Picture, Text
from curate.shard import list_shards
from curate.storage import Storage


def put(folder, pages, sizes=None):
    storage, start = Storage(str(folder)), 0
    for number, size in enumerate(sizes or [len(pages)]):
        put_pages(storage, f"{number:05d}", pages[start : start + size])
        start += size
    return list_shards(storage)


def slot(number, data="own", **more):
    return Slot(f"http://s.test/{number}.png", picture(number) if data == "own" else data, extension="png", **more)


def test_reading_order_with_what_did_not_arrive(tmp_path):
    parts = [Words("Heading"), slot(3), Words("left out", keep=False), Words("said"), slot(4, None, status="timeout")]
    (found,) = documents(put(tmp_path, [Page(parts)]), Draw())
    kinds = [part.text if isinstance(part, Text) else (part.url, part.status) for part in found.parts]
    assert kinds == ["Heading", ("http://s.test/3.png", "success"), "said"]
    assert shown(found.parts[1].image) == 3
    assert found.parts[1].columns["alt"] == "alt of http://s.test/3.png"
    assert (found.key, found.columns["title"], found.columns["keep"]) == ("00000000000", "Title of 00000000000", True)
    assert "Heading" in as_html(found)


def test_a_dropped_document_shows_all_of_its_parts_where_none_is_kept(tmp_path):
    parts = [Words("dropped", keep=False), slot(4, None, status="timeout")]
    page = Page(parts, keep=False, more={"drop_reason": "too_little_text"})
    (found,) = documents(put(tmp_path, [page]), Draw())
    assert [type(part).__name__ for part in found.parts] == ["Text", "Picture"]
    assert (found.parts[1].image, found.parts[1].status) == (None, "timeout")
    assert (found.columns["keep"], found.columns["drop_reason"]) == (False, "too_little_text")
    assert "too_little_text" in as_html(found)


def test_some_kept_ones_then_some_dropped_ones_whatever_the_packing(tmp_path):
    pages = [
        Page([Words(f"text {n}")], url=f"http://site/{n}", keep=n % 3 > 0, more={"title": f"{n}"}) for n in range(18)
    ]
    told = []
    for place, (order, sizes) in enumerate([(pages, [18]), (pages, [5, 13]), (pages[::-1], [9, 9])]):
        found = documents(put(tmp_path / str(place), order, sizes), Draw())
        told.append([one.parts[0].text for one in found])
        assert [one.columns["keep"] for one in found] == [True] * 4 + [False] * 2
    assert told[0] == told[1] == told[2]
    other = documents(list_shards(Storage(str(tmp_path / "0"))), Draw(seed=1))
    assert [one.parts[0].text for one in other] != told[0]


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ([Words("x" * MOST_LETTERS)], 1),
        ([Words("x" * MOST_LETTERS), Words("y")], 1),
        ([Words("x" * (MOST_LETTERS + 1))], 1),
        ([Words("x" * 100_000)] * 3, 1),
        ([Words("x")] * MOST_PARTS, MOST_PARTS),
        ([Words("x")] * (MOST_PARTS + 1), MOST_PARTS),
        ([slot(n) for n in range(MOST_PICTURES)], MOST_PICTURES),
        ([slot(n) for n in range(MOST_PICTURES + 2)], MOST_PICTURES),
    ],
)
def test_a_book_is_cut_and_says_so(parts, kept, tmp_path):
    (found,) = documents(put(tmp_path, [Page(list(parts))]), Draw())
    letters = sum(len(part.text) for part in parts if isinstance(part, Words))
    is_cut = len(parts) > kept or letters > MOST_LETTERS
    assert len(found.parts) == kept + is_cut
    assert ("goes on" in getattr(found.parts[-1], "text", "")) == is_cut
    assert sum(len(part.text) for part in found.parts if isinstance(part, Text)) < MOST_LETTERS + 200


def test_words_of_strangers_are_plain(tmp_path):
    page = Page([Words("a\u202eb\0c\n  d"), slot(1)], more={"title": "\u202etitle" + "x" * 1_000})
    (found,) = documents(put(tmp_path, [page]), Draw())
    assert found.parts[0].text == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\n  d"
    assert len(found.columns["title"]) == 300
    assert "\u202e" not in found.columns["title"]


@pytest.mark.parametrize("name", ["00000.tar", "00000.index.parquet"])
def test_a_picture_that_cannot_be_read_keeps_its_place(name, tmp_path):
    shards = put(tmp_path, [Page([slot(1), Words("a")])])
    shards[0].storage.delete(name)
    (found,) = documents(shards, Draw())
    assert (found.parts[0].image, found.parts[0].status) == (None, "not in the tar")


@pytest.mark.parametrize("name", ["00000.parquet", "00000_parts.parquet", "00000_parts.select.parquet"])
def test_a_shard_that_cannot_be_read_is_passed_over(name, tmp_path):
    shards = put(tmp_path, [Page([Words("first")]), Page([Words("second")])], [1, 1])
    shards[0].storage.write(name, b"PAR1 no")
    assert [one.parts[0].text for one in documents(shards, Draw())] == ["second"]


def test_pages_without_a_word_are_not_shown_and_samples_are_no_documents(tmp_path):
    assert documents(put(tmp_path / "pages", [Page([]), Page([Words("a")])]), Draw())[0].parts[0].text == "a"
    storage = Storage(str(tmp_path / "pairs"))
    put_rows(storage, "00000", [row(0)])
    assert documents(list_shards(storage), Draw()) == ()


def test_thumbnails_of_pages_have_their_share_of_bytes(tmp_path):
    shards = put(tmp_path, [Page([slot(n, jpeg(n, 200)) for n in range(4)])])
    sizes = []
    for most in (2_800_000, 60_000, 100):
        (found,) = documents(shards, Draw(picture_bytes=most))
        sizes.append(sum(len(part.image or b"") for part in found.parts if isinstance(part, Picture)))
    assert sizes[0] > 9_000
    assert 2_000 < sizes[1] <= 9_000
    assert sizes[2] == 0
