"""`curate.open(DIR)`: shards, and columns and samples as each library sees them."""

import io
import pickle
from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pytest
from datasets.distributed import split_dataset_by_node
from document_sets import Page, Slot, Words, jpeg, put_pages
from PIL import Image
from tombstone_sets import ROWS, copied, put, put_shard

import curate
from curate.errors import ConfigError, ShardError
from curate.shard import Shard
from curate.storage import Storage
from curate.tombstones import write_dead

KEYS = [f"{shard:05d}{row:04d}" for shard in range(2) for row in range(ROWS)]
KEPT = [key for key in KEYS if int(key) % 2 == 0]
DEAD, HIDDEN = KEYS[2], KEYS[12]
SHOWN = [key for key in KEYS if key not in (DEAD, HIDDEN)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> str:
    """Two shards of eight pairs; every second one is kept, one was taken back, one is on a hash list."""
    storage = Storage(str(tmp_path_factory.mktemp("pairs")))
    for number in range(2):
        name = f"{number:05d}"
        put_shard(storage, name, number * ROWS)
        keys = [key for key in KEYS if key.startswith(name)]
        keep = [key in KEPT for key in keys]
        reasons = pa.array([None if kept else "blurred" for kept in keep], pa.string())
        put(storage, f"{name}.select.parquet", pa.table({"key": keys, "keep": keep, "drop_reason": reasons}))
    write_dead(Shard(storage, "00000"), {DEAD: "url"})
    matched = pa.array([("sha256" if key == HIDDEN else None) for key in KEYS[ROWS:]], pa.string())
    put(storage, "00001.hash_list.parquet", pa.table({"key": KEYS[ROWS:], "hash_list_match": matched}))
    return storage.root


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("pages")
    listed = [
        Page([Words("One."), Slot("http://a.test/1.jpg", jpeg(1)), Words("Gone.", keep=False)], "http://a.test/"),
        Page([Words("Dropped.")], "http://b.test/", keep=False),
        Page([Slot("http://a.test/2.jpg", None, "not_found"), Words("Two.")], "http://c.test/"),
    ]
    put_pages(Storage(str(folder)), "00000", listed)
    return str(folder)


def test_tables_have_all_rows_and_samples_the_kept_ones(pairs: str) -> None:
    data = curate.open(pairs)
    assert [shard.id for shard in data.shards] == ["00000", "00001"]
    assert (len(data), data.units) == (14, ("samples",))
    assert data.to_arrow("key")["key"].to_pylist() == SHOWN
    assert data.to_arrow("drop_reason", "key", kept=True).to_pydict() == {
        "drop_reason": [None] * 6,
        "key": [key for key in KEPT if key in SHOWN],
    }
    assert [s.key for s in data.samples()] == [key for key in KEPT if key in SHOWN]
    assert [s.key for s in data.samples(kept=False)] == SHOWN
    assert {"key", "caption", "keep", "drop_reason"} <= set(data.columns())
    assert data.columns()["keep"] == pa.bool_()


def test_pandas_and_batches_say_the_same(pairs: str) -> None:
    data = curate.open(pairs)
    assert list(data.to_pandas("key", "keep").columns) == ["key", "keep"]
    assert data.to_pandas("key")["key"].tolist() == SHOWN
    assert [table.num_rows for table in data.batches("key")] == [7, 7]
    assert data.to_arrow().column_names == list(data.columns())


def test_torch_in_order_and_with_workers(pairs: str) -> None:
    from torch.utils.data import DataLoader

    wanted = [key for key in KEPT if key in SHOWN]
    plain = curate.open(pairs).to_torch(lambda sample: sample.key)
    assert list(plain) == wanted
    several = pickle.loads(pickle.dumps(curate.open(pairs).to_torch(attrgetter("key"))))  # as spawned workers get it
    found = list(DataLoader(several, batch_size=None, num_workers=2))
    assert sorted(found) == wanted


def test_hugging_face_sees_pictures_and_captions(pairs: str) -> None:
    found = curate.open(pairs).to_hf()
    rows = list(found)
    assert [row["key"] for row in rows] == [key for key in KEPT if key in SHOWN]
    assert isinstance(rows[0]["image"], Image.Image)
    assert rows[0]["image"].size == (96, 96)
    assert rows[0]["caption"] == "secret-words"
    assert found.num_shards == 2
    halves = [split_dataset_by_node(found, rank=rank, world_size=2) for rank in range(2)]
    assert [[row["key"] for row in half] for half in halves] == [
        [r["key"] for r in rows[:3]],
        [r["key"] for r in rows[3:]],
    ]


def test_duckdb_queries_the_columns(pairs: str) -> None:
    found = curate.open(pairs).to_duckdb().sql("select drop_reason, count(*) from samples group by all order by all")
    assert found.fetchall() == [("blurred", 8), (None, 6)]


def test_documents_and_their_parts(pages: str) -> None:
    data = curate.open(pages)
    assert data.units == ("documents", "parts")
    assert [len(d.parts) for d in data.documents()] == [2, 1]
    assert [len(d.parts) for d in data.documents(kept=False)] == [3, 1, 2]
    assert data.to_arrow("kind", unit="parts")["kind"].to_pylist() == ["text", "image", "text", "text", "image", "text"]
    kept = data.to_arrow("text", unit="parts", kept=True)["text"].to_pylist()
    assert kept == ["One.", None, "Two."], "kept parts of kept documents"
    assert data.to_arrow("url")["url"].to_pylist() == ["http://a.test/", "http://b.test/", "http://c.test/"]
    rows = list(data.to_hf())
    assert [row["texts"] for row in rows] == [["One.", None], ["Two."]]
    assert [[image is not None for image in row["images"]] for row in rows] == [[False, True], [False]]
    assert [d.key for d in data.to_torch()] == [d.key for d in data.documents()]


def test_what_is_not_there_is_said(pairs: str, pages: str, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="holds no data set"):
        curate.open(str(tmp_path))
    with pytest.raises(ConfigError, match="has samples, no 'documents'"):
        curate.open(pairs).documents()
    with pytest.raises(ConfigError, match="has documents and parts, no 'samples'"):
        curate.open(pages).samples()
    with pytest.raises(ConfigError, match="did you mean 'parts'"):
        curate.open(pages).to_arrow(unit="part")
    with pytest.raises(ShardError, match="has no column 'captoin'"):
        curate.open(pairs).to_arrow("captoin")


def test_parts_of_dead_documents_are_not_shown(pages: str, tmp_path: Path) -> None:
    storage = copied(Path(pages), tmp_path / "copy")
    first = curate.open(pages).to_arrow("key")["key"][0].as_py()
    write_dead(Shard(storage, "00000"), {first: "host"})
    data = curate.open(storage.root)
    assert data.to_arrow("key").num_rows == 2
    assert data.to_arrow("kind", unit="parts").num_rows == 3
    assert len(list(data.documents(kept=False))) == 2


def test_copies_of_what_is_on_a_hash_list_are_in_no_view(pairs: str, tmp_path: Path) -> None:
    """In whichever shard they are, also where their cluster keeps another row."""
    storage = copied(Path(pairs), tmp_path / "copy")
    for name, place in (("00000", 0), ("00001", ROWS)):
        of = pa.array([KEYS[14] if key in (HIDDEN, KEYS[4]) else None for key in KEYS[place : place + ROWS]])
        own = pa.table({"key": KEYS[place : place + ROWS], "bytes_duplicate_of": of.cast(pa.string())})
        put(storage, f"{name}.bytes_clusters.parquet", own)
    shown = [key for key in SHOWN if key not in (KEYS[4], KEYS[14])]
    data = curate.open(storage.root)
    assert len(data) == len(shown)
    assert data.to_arrow("key")["key"].to_pylist() == shown
    assert [sample.key for sample in data.samples(kept=False)] == shown
    reader = pickle.loads(pickle.dumps(data.to_torch(kept=False)))
    assert [sample.key for sample in reader] == shown
    assert [key for (key,) in data.to_duckdb().sql("select key from samples order by key").fetchall()] == shown


def test_a_documents_picture_on_a_hash_list_is_in_no_view(pages: str, tmp_path: Path) -> None:
    storage = copied(Path(pages), tmp_path / "copy")
    keys = curate.open(pages).to_arrow("key", unit="parts")["key"].to_pylist()
    matched = pa.array([None, "sha256", *[None] * 4], pa.string())
    put(storage, "00000_parts.hash_list.parquet", pa.table({"key": keys, "hash_list_match": matched}))
    data = curate.open(storage.root)
    assert data.to_arrow("key", unit="parts")["key"].to_pylist() == [keys[0], *keys[2:]]
    for documents in (list(data.documents(kept=False)), list(data.to_torch(kept=False))):
        assert [len(d.parts) for d in documents] == [2, 1, 2]
    assert next(iter(data.to_hf()))["images"] == [None]


def test_a_picture_is_the_bytes_of_the_tar(pairs: str) -> None:
    sample = next(iter(curate.open(pairs).samples()))
    assert Image.open(io.BytesIO(sample.image)).size == (96, 96)


@pytest.fixture
def uneven(pairs: str, tmp_path: Path) -> Storage:
    """The pairs in the middle of a run: the second shard has no verdict yet, and a column in other types."""
    storage = copied(Path(pairs), tmp_path / "copy")
    put(storage, "00000.size.parquet", pa.table({"key": KEYS[:ROWS], "size": pa.array([1] * ROWS, pa.int32())}))
    put(storage, "00001.size.parquet", pa.table({"key": KEYS[ROWS:], "size": pa.array([0.5] * ROWS, pa.float16())}))
    put(
        storage,
        "00001.late.parquet",
        pa.table({"key": KEYS[ROWS:], "late": pa.array(["x"] * ROWS).dictionary_encode()}),
    )
    storage.delete("00001.select.parquet")
    return storage


def test_shards_that_differ_are_one_table_in_every_view(uneven: Storage) -> None:
    data = curate.open(uneven.root)
    assert {"size": pa.float64(), "late": pa.string()}.items() <= data.columns().items()
    table = data.to_arrow("late", "size", "keep")
    assert table["size"].to_pylist() == [1.0] * 7 + [0.5] * 7
    assert table["late"].to_pylist() == [None] * 7 + ["x"] * 7
    assert data.to_arrow("late", "size", "late").column_names == ["late", "size"]
    assert data.to_duckdb().sql("select late, size, keep from samples").fetchall() == [
        tuple(r.values()) for r in table.to_pylist()
    ]


def test_shards_without_a_verdict_are_not_kept_and_without_any_all_are(uneven: Storage) -> None:
    wanted = [key for key in KEPT[:4] if key in SHOWN]
    data = curate.open(uneven.root)
    assert data.to_arrow("key", kept=True)["key"].to_pylist() == wanted
    assert [s.key for s in data.samples()] == [s.key for s in data.to_torch()] == wanted
    assert [row["key"] for row in data.to_hf()] == wanted
    uneven.delete("00000.select.parquet")
    data = curate.open(uneven.root)
    assert data.to_arrow("key", kept=True)["key"].to_pylist() == [s.key for s in data.samples()] == SHOWN


def test_broken_shards_are_errors_with_a_name(uneven: Storage) -> None:
    put(uneven, "00001.size.parquet", pa.table({"key": KEYS[:3], "size": [0.5] * 3}))
    with pytest.raises(ShardError, match=r"00001\.size\.parquet .* has 3 rows"):
        curate.open(uneven.root).to_arrow("size")
    uneven.write("00001.tar", b"no tar")
    uneven.write("00000.late.parquet", b"PAR1 no parquet PAR1")
    with pytest.raises(ShardError, match=r"00000\.late\.parquet"):
        curate.open(uneven.root).to_arrow("late")
    with pytest.raises(ShardError, match=r"00001\.tar|00000\.late"):
        list(curate.open(uneven.root).samples(kept=False))
    put(uneven, "00000.select.parquet", pa.table({"key": KEYS[:ROWS], "keep": ["yes"] * ROWS}))
    with pytest.raises(ShardError, match=r"`keep` in .* is string"):
        curate.open(uneven.root).samples()


def test_an_open_data_set_can_be_sent_to_workers(pairs: str) -> None:
    data = curate.open(Path(pairs))
    assert len(data) == len(SHOWN)
    assert pickle.loads(pickle.dumps(data)) == data


def put_composed(storage: Storage, name: str, kind: str) -> None:
    """The sample table of a shard of a hand-over; shards of pages lack the columns of pairs."""
    keys = [f"{name}{row:04d}" for row in range(ROWS)]
    own = {"key": keys, "source_key": keys, "source": ["a"] * ROWS, "kind": [kind] * ROWS, "images": [1] * ROWS}
    sizes = {"widths": [[96]] * ROWS, "heights": [[96]] * ROWS, "chars": [9] * ROWS}
    put(storage, f"{name}.parquet", pa.table({**own, **sizes, **({"url": keys} if kind == "pairs" else {})}))


def test_a_hand_over_has_columns_and_its_pages_are_not_passed_over(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    for number, kind in enumerate(("pairs", "interleaved")):
        put_shard(storage, f"{number:05d}", number * ROWS)
        put_composed(storage, f"{number:05d}", kind)
    data = curate.open(tmp_path)
    assert data.to_arrow()["url"].null_count == ROWS
    for view in (data.samples, data.to_torch, data.to_hf):
        with pytest.raises(ConfigError, match="a hand-over with interleaved"):
            view()
    put_composed(storage, "00001", "pairs")
    assert len(list(curate.open(tmp_path).samples())) == 2 * ROWS


def test_columns_that_are_called_as_those_of_a_hand_over_make_none(pairs: str, tmp_path: Path) -> None:
    storage = copied(Path(pairs), tmp_path / "copy")
    put(storage, "00000.more.parquet", pa.table({"source_key": KEYS[:ROWS], "kind": ["photo", None] * 4}))
    assert len(list(curate.open(storage.root).samples(kept=False))) == len(SHOWN)


def test_what_is_not_installed_is_said(pairs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("curate.dataset.find_spec", "curate.balance.extras.find_spec", "curate.duck.find_spec"):
        monkeypatch.setattr(place, lambda name: None)
    data = curate.open(pairs)
    for view, remedy in (
        (data.to_pandas, r"curate-vl\[report\]"),
        (data.to_duckdb, r"curate-vl\[report\]"),
        (data.to_torch, r"curate-vl\[models\]"),
        (data.to_hf, "pip install datasets"),
    ):
        with pytest.raises(ConfigError, match=remedy):
            view()


def test_a_bucket_is_read_as_a_folder_is(pairs: str, s3: Storage) -> None:
    for file in Path(pairs).rglob("*.*"):
        s3.write(str(file.relative_to(pairs)), file.read_bytes())
    here, there = curate.open(pairs), curate.open(s3.root)
    assert there.to_arrow().equals(here.to_arrow())
    assert [sample.key for sample in there.samples()] == [sample.key for sample in here.samples()]
