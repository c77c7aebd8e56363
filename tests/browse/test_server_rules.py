"""Rules of the browser that need no server: who may ask, what is believed for how long, how values are told."""

from pathlib import Path

import browse_sets as sets
import pytest
from document_sets import Page, Slot, Words, jpeg, put_pages

from curate.browse.access import is_loopback
from curate.browse.answer import BadAddress, read_target
from curate.browse.cards import card_of, picture_address, value_text
from curate.browse.find import Row
from curate.browse.list_page import Question, quoted
from curate.browse.picture_shelf import NotShown, PictureShelf
from curate.browse.recent import FRESH_S, Recent
from curate.shard import Shard
from curate.storage import Storage
from curate.tombstones import write_dead


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.", False),
        ("127.0.0.1.example", False),
        ("0x7f000001", False),
        ("", False),
    ],
)
def test_what_only_this_machine_reaches(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


def test_a_target_is_segments_and_never_a_path() -> None:
    assert read_target("/").path == ()
    assert read_target("/a%2fb/..%2f?x=1").path == ("a/b", "../")
    assert read_target("/samples?where=%ff").query == {"where": "\N{REPLACEMENT CHARACTER}"}
    for odd in ("", "a", "http://h/", "/%c3", "?x"):
        with pytest.raises(BadAddress):
            read_target(odd)


def test_what_was_read_is_believed_for_a_minute() -> None:
    now, made = [0.0], []
    recent = Recent(2, lambda name: made.append(name) or len(made), lambda: now[0])
    assert [recent.get("a"), recent.get("b"), recent.get("a")] == [1, 2, 1]
    now[0] = FRESH_S
    assert recent.get("a") == 1
    now[0] = FRESH_S + 0.1
    assert recent.get("a") == 3
    assert recent.get("c") == 4
    assert (recent.get("a"), recent.get("b")) == (3, 5)
    assert made == ["a", "b", "a", "c", "b"]


def test_a_picture_that_is_taken_back_meanwhile_is_not_shown_for_longer_than_a_minute(tmp_path: Path) -> None:
    storage, now, key = sets.put_pairs(tmp_path / "pairs"), [0.0], sets.key_of(1, 3)
    shelf = PictureShelf(storage, lambda: now[0])
    assert shelf.read("00001", key, 64)
    write_dead(Shard(storage, "00001"), {key: "url"})
    now[0] = FRESH_S + 1
    assert shelf.why_not("00001", key) == "tombstone: url"
    with pytest.raises(NotShown, match="withheld") as caught:
        shelf.read("00001", key, 64)
    assert caught.value.status == 403


def test_a_picture_may_be_shown_that_nothing_flags(tmp_path: Path) -> None:
    storage = sets.put_pairs(tmp_path / "pairs")
    shelf = PictureShelf(storage)
    assert shelf.why_not("00001", sets.key_of(1, 3)) == ""
    assert shelf.has("00001", sets.key_of(1, 3))
    assert not shelf.has("00000", sets.key_of(0, sets.NO_PICTURE))
    assert not shelf.has("00009", "x")
    assert shelf.first_of("00000", sets.key_of(0, 1)) == ""
    storage.delete("00001.tar")
    with pytest.raises(NotShown, match=r"00001\.tar is gone"):
        shelf.read("00001", sets.key_of(1, 3), 64)


def test_a_row_of_several_pictures_shows_its_first_and_a_document_none(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    put_pages(storage, "00000", [Page([Words("a"), Slot("http://i/a.jpg", jpeg(1))])])
    shelf = PictureShelf(storage)
    assert shelf.has("00000", "00000000000.1")
    assert not shelf.has("00000", "00000000000")
    for name in storage.names("00000_parts."):
        storage.delete(name)
    assert PictureShelf(storage).read("00000", "00000000000", 64)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (12345, "12,345"),
        (0.25, "0.25"),
        (float("nan"), "not a number"),
        ("x" * 11, "xxxxxxxxxx… (11 letters)"),
        ("x" * 10, "x" * 10),
        ([], "(none)"),
        (["a", 1, None], "a, 1, null"),
        (b"\x00\xff", "00ff"),
        ({"a": [1, 2]}, "a: 1, 2"),
        ([("k", 1)], "k, 1"),
    ],
)
def test_values_are_told_in_words(value: object, text: str) -> None:
    assert value_text(value, 10) == text


def test_a_long_list_is_cut_before_it_is_told() -> None:
    assert len(value_text([["x" * 1_000] * 1_000] * 1_000, 100)) < 200


@pytest.mark.parametrize(
    ("name", "sql"),
    [("width", '"width"'), ('a"b', '"a""b"'), ("a b", '"a b"'), ("größe", '"größe"'), ("order", '"order"')],
)
def test_a_column_is_named_as_sql_has_it(name: str, sql: str) -> None:
    assert quoted(name) == sql


def test_an_address_holds_what_is_asked_and_no_more() -> None:
    asked = Question("samples", "a = 'b&c'", "width", True, 2, 24)
    assert asked.address() == "/samples?unit=samples&where=a+%3D+%27b%26c%27&by=width&down=1&page=2&size=24"
    assert asked.address(page=0, by="", where="") == "/samples?unit=samples&size=24"
    assert asked.order == "width desc"
    assert picture_address("00000", "a/b?c#d") == "/picture/00000/a%2Fb%3Fc%23d"


def test_a_card_tells_what_was_asked_before_sizes(tmp_path: Path) -> None:
    shelf = PictureShelf(sets.put_pairs(tmp_path / "pairs"))
    columns = {"url": "u", "caption": "c", "width": 2, "height": 1, "original_width": 20, "original_height": 10}
    card = card_of(Row("00001", sets.key_of(1, 3), {**columns, "keep": False, "score": 0.5}), "samples", shelf)
    assert card.facts == (("score", "0.5"), ("size", "20 × 10 px"))
    assert (card.kept, card.withheld, card.words) == (False, False, "c")
    assert card.picture == f"/picture/00001/{sets.key_of(1, 3)}"
    bare = card_of(Row("00000", sets.key_of(0, sets.NO_PICTURE), {"fetch_status": "not_found"}), "samples", shelf)
    assert (bare.picture, bare.no_picture, bare.kept) == ("", "no picture: not_found", None)
