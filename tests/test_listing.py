"""Shards whose files are known from one listing: the same columns as those that list the folder themselves."""

from typing import IO, ClassVar

import pyarrow as pa
import pytest
from count_sets import Made, pairs
from document_sets import Page, Slot, Words, jpeg, put_pages

from curate.listing import families_of, listed_shards
from curate.shard import Shard, list_shards
from curate.storage import Storage


@pytest.fixture
def made() -> Made:
    made = Made()
    made.shards([pairs(3)] * 4)
    made.shards([pa.table({"caption_words": [1, 2, 3]})] * 4, "caption_words")
    made.shards([pa.table({"score": [0.5] * 3}), pa.table({"score": [1] * 3})], "other")
    return made


def test_columns_are_those_of_the_files(made: Made) -> None:
    shards = listed_shards(made.storage)
    assert [one.id for one in shards] == [f"{number:05d}" for number in range(4)]
    for one, plain in zip(shards, list_shards(made.storage), strict=True):
        assert one.column_files == plain.column_files
        assert one.columns(["score" if "score" in one.column_files else "url"]).num_rows == 3


class Noted(Storage):
    """A folder that notes which files are opened."""

    opened: ClassVar[list[str]] = []

    def open(self, name: str) -> IO[bytes]:
        self.opened.append(name)
        return super().open(name)


def test_a_footer_is_read_once_and_shards_hold_what_they_share_together(made: Made) -> None:
    storage = Noted(made.storage.root)
    shards = listed_shards(storage)
    for one in shards:
        assert one.provenances().keys() == one.column_files.keys()
    assert sorted(storage.opened) == sorted(made.storage.files())
    assert shards[2].column_files is shards[3].column_files
    assert shards[0].schema("other") != shards[1].schema("other")


def test_parts_of_documents_know_whose_they_are() -> None:
    storage = Storage("memory://listed")
    put_pages(storage, "00000", [Page([Words("one"), Slot("http://a.test/x.jpg", jpeg(1))])])
    (one,) = listed_shards(storage)
    assert one.parts.owner is one
    assert one.parts is one.parts
    assert one.parts.column_files == Shard(storage, "00000").parts.column_files


def test_only_columns_of_shards_are_families() -> None:
    names = ["00000.parquet", "00000.blur.parquet", "00000.index.parquet", "00000.tar", "manifest.parquet", ".parquet"]
    assert families_of(dict.fromkeys(names, 7)) == {"00000": {"": 7, "blur": 7}}
