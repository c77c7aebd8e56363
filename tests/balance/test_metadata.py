"""Lists of concepts: what is cleaned away, which files are read, and what an error says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.balance.metadata import Metadata, clean_entries, read_metadata, write_metadata
from curate.errors import ConfigError


@pytest.mark.parametrize(
    ("entries", "cleaned"),
    [
        (["b", "a", "b"], ("b", "a")),
        (["Dog", "dog"], ("Dog", "dog")),
        (["", " ", "\t", "\u3000"], ()),
        ([".", ",", "'", "«", "…", "-", "_", "!"], ()),
        (["..", "a.", "7", "$", "+", "é", "世", " a"], ("..", "a.", "7", "$", "+", "é", "世", " a")),
    ],
)
def test_what_is_cleaned_away(entries, cleaned):
    assert clean_entries(entries) == cleaned


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=4)))
def test_cleaning_twice_and_writing_changes_nothing(tmp_path_factory, entries):
    cleaned = clean_entries(entries)
    assert clean_entries(cleaned) == cleaned
    if not cleaned:
        return
    folder = tmp_path_factory.mktemp("lists")
    for name in ("list.txt", "list.json"):
        written = write_metadata(entries, folder / name)
        assert read_metadata(str(folder / name)) == written == Metadata.of(cleaned)


def test_the_digest_is_of_entries_and_their_order():
    marks = {Metadata.of(entries).digest for entries in (["a", "b"], ["b", "a"], ["a"], ["a b"], ["a", "b", "a"])}
    assert len(marks) == 4


def test_lines_of_any_system_are_read(tmp_path):
    (tmp_path / "list.txt").write_bytes("dog\r\nhot dog\r\nCafé".encode())
    assert read_metadata(str(tmp_path / "list.txt")).entries == ("dog", "hot dog", "Café")


def test_a_byte_order_mark_is_no_part_of_the_first_entry(tmp_path):
    for name, text in (("list.txt", "dog\ncat"), ("list.json", '["dog", "cat"]')):
        (tmp_path / name).write_text(text, "utf-8-sig")
        assert read_metadata(str(tmp_path / name)) == Metadata.of(["dog", "cat"])
    written = write_metadata(["\ufeffdog"], tmp_path / "odd.txt")
    assert read_metadata(str(tmp_path / "odd.txt")) == written == Metadata.of(["\ufeffdog"])


def test_a_path_that_cannot_be_one_is_told():
    with pytest.raises(ConfigError, match=r"metadata = .* cannot be read: embedded null byte; give the path of a list"):
        read_metadata("a\0b")


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("dog\n")
    first = read_metadata(str(path))
    path.write_text("dog\nhouse\n")
    assert read_metadata(str(path)).digest != first.digest


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.json", b'{"a": 1}', "is JSON but no list"),
        ("list.json", b'["a", 1]', "entry 1 is 1, no string"),
        ("list.json", b'["a"', "cannot be read: .*one entry a line in UTF-8, or a JSON list"),
        ("list.json", b'["\\ud800"]', "cannot be read: .*surrogates"),
        ("list.json", b"[" * 100_000, "cannot be read"),
        ("list.txt", b"caf\xe9", "cannot be read: .*utf-8"),
        ("list.txt", b"", "has 0 entries"),
        ("list.txt", b".\n,\n \n", "has 0 entries"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_metadata(str(tmp_path / name), "[filters.metaclip_balance] metadata")


def test_the_option_and_the_path_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"\[a\] b = '.*/none' cannot be read: No such file or directory; give"):
        read_metadata(str(tmp_path / "none"), "[a] b")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_metadata(["a"], tmp_path / "no" / "list.txt")
    with pytest.raises(ConfigError, match="has a line break; write to a name that ends"):
        write_metadata(["a\nb"], tmp_path / "list.txt")
    assert json.loads(write_metadata(["a\nb"], tmp_path / "l.json") and (tmp_path / "l.json").read_text()) == ["a\nb"]
