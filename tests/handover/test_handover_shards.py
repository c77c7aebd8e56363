"""Where the examples of a hand-over lie, and what they are, as its tables say."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handover_sets import make_handover, page, pair, prose

from curate.errors import ConfigError, ShardError
from curate.handover.shards import open_handover, read_places, text_columns
from curate.sample import Document, Text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pairs = [pair(n, ["a", "b c"], ["web", "model"]) for n in range(12)]
    pages = [page(0, 3), page(1, 1), Document("no picture", (Text("four words of text"),))]
    one, two = [prose(n) for n in range(4)], [prose(n) for n in range(4)]
    return make_handover(tmp_path_factory.mktemp("shards") / "set", {"p": pairs, "i": pages, "t": one, "u": two})


@pytest.fixture(scope="module")
def handover(folder):
    return open_handover(str(folder))


def places(handover, source, number=0, columns=()):
    return read_places(handover.storage, handover.shards(source)[number], "words", columns)


def test_every_member_is_where_it_is_said_to_be(handover, folder):
    own = places(handover, "p", 1)
    assert own.keys.to_pylist() == ["0000100000", "0000100001"]
    data = (folder / "00001.tar").read_bytes()
    assert [own.extensions[n] for n in own.extension] == ["jpg", "json", "txt"] * 2
    assert own.first.tolist() == [0, 3, 6]
    assert data[own.offset[0] : own.offset[0] + 3] == b"\xff\xd8\xff"
    assert data[own.offset[5] : own.offset[5] + own.size[5]] == b"a"


def test_tokens_and_sizes_are_of_each_example(handover):
    own = places(handover, "i")
    assert own.tokens.tolist() == [24, 12, 4]
    assert own.images.tolist() == [3, 1, 0]
    assert own.picture.tolist() == [0, 3, 4, 4]
    assert (own.width.tolist(), own.height.tolist()) == ([32] * 4, [24] * 4)
    assert own.text_tokens is None
    assert places(handover, "p", columns=("caption_origins", "no such")).texts.column_names == ["caption_origins"]
    assert places(handover, "p").text_tokens.to_pylist() == [[1, 2]] * 10


def test_a_row_is_who_it_is_in_its_source(handover, folder, tmp_path):
    packed = make_handover(tmp_path / "set", {"t": [prose(n) for n in range(4)]}, 3)
    again = [places(open_handover(str(packed)), "t", number).identity for number in (0, 1)]
    assert np.array_equal(np.concatenate(again), places(handover, "t").identity), "in other shards"
    assert not (places(handover, "t").identity == places(handover, "u").identity).any(), "of another source"


def test_a_picture_without_a_size_is_one_pixel(handover, folder, tmp_path):
    other = make_handover(tmp_path / "set", {"p": [pair(1)]})
    table = pq.read_table(other / "00000.parquet")
    nothing = pa.array([[None]], pa.list_(pa.int32()))
    for name in ("widths", "heights"):
        table = table.set_column(table.column_names.index(name), name, nothing)
    pq.write_table(table, other / "00000.parquet")
    own = places(open_handover(str(other)), "p")
    assert (own.width.tolist(), own.height.tolist()) == ([1], [1])


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("00000.parquet", "key", ["a"]),
        ("00000.parquet", "images", "one"),
        ("00000.parquet", "widths", 32),
        ("00000.parquet", "caption_origins", 3),
        ("00000.parquet", "caption_weights", "half"),
        ("00000.index.parquet", "key", b"\xff"),
        ("00000.index.parquet", "offset", "far"),
        ("00000.index.parquet", "size", 0.5),
        ("00000.tokens.parquet", "tokens_words", "many"),
        ("00000.tokens.parquet", "captions_tokens_words", 7),
    ],
)
def test_a_column_of_another_type_is_said(folder, tmp_path, table, column, value):
    other = make_handover(tmp_path / "set", {"p": [pair(1, ["a"], ["web"])]})
    there = pq.read_table(other / table)
    strange = pa.array([value] * len(there))
    pq.write_table(there.set_column(there.column_names.index(column), column, strange), other / table)
    with pytest.raises(ShardError, match=f"{table} in .* is broken: .*; run the hand-over again"):
        places(open_handover(str(other)), "p", columns=("caption_origins", "caption_weights"))


def test_an_index_without_extensions_is_read(tmp_path):
    other = make_handover(tmp_path / "set", {"p": [pair(1)]})
    there = pq.read_table(other / "00000.index.parquet")
    pq.write_table(there.set_column(1, "extension", pa.nulls(len(there))), other / "00000.index.parquet")
    assert places(open_handover(str(other)), "p").extensions == ("",)


def test_the_digest_is_of_the_contents(handover, folder, tmp_path):
    same = make_handover(tmp_path / "same", {"t": [prose(1)]})
    moved = make_handover(tmp_path / "moved", {"t": [prose(1)]})
    other = make_handover(tmp_path / "other", {"t": [prose(2)]})
    digests = [open_handover(str(path)).digest for path in (same, moved, other)]
    assert digests[0] == digests[1] != digests[2]


def test_tokenizers_and_sources_are_found_by_name(handover):
    assert handover.tokenizer() == handover.tokenizer("words") == "words"
    with pytest.raises(ConfigError, match="no tokenizer 'word'; did you mean 'words'"):
        handover.tokenizer("word")
    with pytest.raises(ConfigError, match="has no source 'q'; known: i, p, t, u"):
        handover.shards("q")
    assert {"key", "caption", "web_caption"} <= set(text_columns(handover.storage, handover.shards("p")[0]))
