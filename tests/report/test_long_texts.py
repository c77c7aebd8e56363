"""Long texts are read a few rows at a time: whose rows they are, and that a whole column is never held."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gallery_sets import FILTERS, SAMPLES, pack, put_table, row

from curate.errors import ShardError
from curate.report.long_texts import batches, rows_of
from curate.report.pictures import Draw, galleries
from curate.shard import Shard
from curate.storage import Storage

ROWS = 700


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A shard of several row groups, its columns in two files."""
    storage = Storage(str(tmp_path_factory.mktemp("texts")))
    keys = [f"{n:09d}" for n in range(ROWS)]
    captions = pa.array([f"caption {n}".encode() + b"\xff" * (n == 300) for n in range(ROWS)]).cast(pa.large_binary())
    target = io.BytesIO()
    table = pa.table({"key": keys, "caption": captions.view(pa.large_string()), "number": range(ROWS)})
    pq.write_table(table, target, row_group_size=300)
    storage.write("00000.parquet", target.getvalue())
    reasons = pa.array(
        [["few"] if n % 2 else [] for n in range(ROWS)], pa.list_(pa.dictionary(pa.int32(), pa.string()))
    )
    put_table(storage, "00000.more.parquet", pa.table({"key": keys, "drop_reasons": reasons, "alt": keys}))
    return Shard(storage, "00000")


@pytest.mark.parametrize("rows", [[], [0], [255, 256, 299], [300], [299, 301, 555, 556, 699], [*range(ROWS)]])
def test_the_rows_that_are_asked_for(shard, rows):
    names = ["alt", "number", "drop_reasons", "caption"]
    found = rows_of(shard, names, rows)
    assert found.column_names == names
    assert (found["number"].to_pylist(), found["alt"].to_pylist()) == (rows, [f"{n:09d}" for n in rows])
    assert found["drop_reasons"].to_pylist() == [["few"] if n % 2 else [] for n in rows]
    assert found["caption"].cast(pa.large_binary()).to_pylist() == [
        f"caption {n}".encode() + b"\xff" * (n == 300) for n in rows
    ]


def test_a_row_that_is_not_there(shard):
    with pytest.raises(ShardError, match=r"00000\.parquet has 700 rows, fewer"):
        rows_of(shard, ["caption"], [699, 700])


def test_no_more_than_some_rows_at_a_time(shard):
    assert [len(batch) for batch in batches(shard, "", ["caption"])] == [512, 188]


class Noted(Shard):
    """A shard that notes which columns are read whole."""

    def table(self, family="", columns=None):
        NOTED.extend(columns or ())
        return super().table(family, columns)


NOTED: list[str] = []


def test_captions_are_never_read_whole(tmp_path):
    rows = [row(n, ["too_small"] * (n % 2)) for n in range(4)]
    shards = [Noted(shard.storage, shard.id) for shard in pack(tmp_path, rows, [3, 1])]
    assert len(galleries(shards, SAMPLES, FILTERS, Draw())) == 2
    assert {"key", "keep"} <= {*NOTED}
    assert not {*NOTED} & {"caption", "url"}
