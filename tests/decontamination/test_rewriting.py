"""A kill leaves each shard old or new; what cannot be rewritten is told, and the others are done."""

import hashlib
import io
import json
import tarfile
from contextlib import suppress

import pyarrow as pa
import pytest
from tombstone_sets import ROWS, SECRET, copied, entries, export, listing, members, photo, put, put_shard, state

from curate.decontamination import removal
from curate.decontamination.removal import remove_listed
from curate.errors import ConfigError, ShardError
from curate.manifest import CommitLog, Manifest
from curate.shard import Shard
from curate.storage import Storage
from curate.tar import TarWriter
from curate.tombstones import alive


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set of 16 samples and its export to webdataset in 4 tars, as bytes."""
    folder = tmp_path_factory.mktemp("made")
    source = Storage(str(folder / "data"))
    for number in range(2):
        put_shard(source, f"{number:05d}", number * ROWS)
    export(source, Storage(str(folder / "out")))
    return folder


@pytest.fixture
def data(made, tmp_path):
    return copied(made / "data", tmp_path / "data")


@pytest.fixture
def out(made, tmp_path):
    return copied(made / "out", tmp_path / "out")


class Killed(BaseException):
    """Stands for a SIGKILL: nothing catches it."""


def steps_until_killed(monkeypatch, after):
    """The storage dies at the n-th change."""
    count = iter(range(10**6))
    for name in ("write", "create", "move", "delete", "delete_folder"):
        real = getattr(Storage, name)

        def dying(self, *arguments, real=real):
            if next(count) == after:
                raise Killed
            return real(self, *arguments)

        monkeypatch.setattr(Storage, name, dying)


@pytest.mark.parametrize("after", range(30))
def test_a_kill_leaves_each_shard_old_or_new_and_the_next_call_ends_it(tmp_path, out, monkeypatch, after):
    lines = [entries(3)["key"], entries(12)["key"], entries(7)["key"]]
    whole = copied(tmp_path / "out", tmp_path / "whole")
    wanted, old = listing(tmp_path, *lines), members(out)
    told = remove_listed(whole, wanted).report()
    with monkeypatch.context() as patch:
        steps_until_killed(patch, after)
        with suppress(Killed):
            remove_listed(out, wanted)
    for name in sorted(n for n in out.files() if n.endswith(".tar")):
        assert out.read(name) in (read(tmp_path / "whole", name), read_old(old, out, name))
        shard = Shard(out, name.removesuffix(".tar"))
        if out.exists(shard.table_name("index")):
            assert all(shard.sample(s.key).image == s.image for s in shard.samples()), "an index of the other tar"
    assert remove_listed(out, wanted).report() == told, "what was done before the kill too"
    assert state(out) == state(whole)
    assert out.folders("_attempts") == []
    assert Manifest.read(out).missing(out) == []


def read(folder, name):
    return (folder / name).read_bytes()


def read_old(old, out, name):
    """The tar as it was: the same samples."""
    with tarfile.open(fileobj=io.BytesIO(out.read(name))) as tar:
        keys = list(dict.fromkeys(m.name.partition(".")[0] for m in tar))
    target = io.BytesIO()
    writer = TarWriter(target)
    for key in keys:
        for extension, content in old[key].items():
            writer.add(f"{key}.{extension}", content)
    writer.finish()
    return target.getvalue() if len(keys) == 4 else b""


def test_what_an_earlier_call_took_out_is_verified_too(out, tmp_path):
    wanted, old = listing(tmp_path, "key:000000003"), copied(tmp_path / "out", tmp_path / "old")
    (shard,) = remove_listed(out, wanted).dead
    index = f"{shard}.index.parquet"
    out.write(index, old.read(index))
    with pytest.raises(ShardError, match=rf"1 removed samples are still in shard {shard}, e.g. 000000003; apply again"):
        remove_listed(out, wanted)


def test_a_member_that_is_left_is_an_error(out, tmp_path, monkeypatch):
    monkeypatch.setattr(removal, "rewrite", lambda *_: None)
    with pytest.raises(ShardError, match=r"1 removed samples are still in shard 0000.*e.g. 000000003; apply again"):
        remove_listed(out, listing(tmp_path, "key:000000003"))


def test_what_cannot_be_rewritten_is_told_with_what_to_do(tmp_path, data, out):
    wanted = listing(tmp_path, "key:000000003")
    with pytest.raises(ConfigError, match="holds no tars; tombstones are for data sets of pairs in tars"):
        remove_listed(Storage(str(tmp_path / "none")), wanted)
    data.write("commits/fetch/00000-aa.json", b"{}")
    with pytest.raises(ConfigError, match=r"is no plain export \(fetch made it\).*--tombstones-only"):
        remove_listed(data, wanted)
    out.write("00000.tar.idx", b"")
    with pytest.raises(ConfigError, match=r"an index of its own \(00000.tar.idx\), and cannot"):
        remove_listed(out, wanted)
    out.delete("00000.tar.idx")
    out.write(".nv-meta/dataset.yaml", b"")
    with pytest.raises(ConfigError, match=r"is an export of documents, .* \(.nv-meta\)"):
        remove_listed(out, wanted)


def test_files_that_are_aligned_with_the_rows_keep_their_shard_and_the_others_are_done(tmp_path, out):
    wanted = listing(tmp_path, "host:test")
    out.write("00001.npz", b"embeddings")
    out.write("00002.tar", out.read("00002.tar")[:-3000])
    done = remove_listed(out, wanted)
    assert done.failed["00001"].startswith(
        "00001.npz belongs to 00001.tar and cannot be rewritten; use --tombstones-only"
    )
    assert "is not a whole tar" in done.failed["00002"]
    assert [*done.dead] == ["00000", "00003"]


DOCUMENTS = {
    "openflamingo": ["a.json"],
    "m4": ["0_a.0.text.txt", "0_a.1.image.jpeg", "0_a.metadata.txt"],
    "omnicorpus": ["3f" * 32],
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_tars_whose_pictures_nobody_would_find_are_refused(tmp_path, kind):
    """A takedown that finds nothing because it does not know where to look would be a lie."""
    target = io.BytesIO()
    tar = TarWriter(target)
    for name in DOCUMENTS[kind]:
        tar.add(name, b'{"text_list": []}')
    tar.finish()
    storage = Storage(str(tmp_path / "documents"))
    storage.write("00000.tar", target.getvalue())
    done = remove_listed(storage, listing(tmp_path, "key:a"))
    assert "no sample of 00000.tar has a picture that is known here" in done.failed["00000"]
    storage.write("export.json", b"{}")
    with pytest.raises(ConfigError, match=r"is an export of documents, .* \(export.json\), and cannot be rewritten"):
        remove_listed(storage, listing(tmp_path, "key:a"))


def test_documents_get_tombstones_by_their_own_and_their_pictures_urls(tmp_path):
    storage = Storage(str(tmp_path / "pages"))
    put(storage, "00000.parquet", pa.table({"key": ["0", "1", "2"], "url": [f"http://{c}.test/" for c in "abc"]}))
    parts = {
        "key": ["0.0", "1.0", "1.1", "2.0"],
        "document": [0, 1, 1, 2],
        "url": [None, None, "http://x.test/1.jpg", ""],
    }
    put(storage, "00000_parts.parquet", pa.table(parts))
    storage.write("00000.tar", bytes(1024))
    done = remove_listed(storage, listing(tmp_path, "host:x.test", "http://a.test"), "index")
    assert done.dead == {"00000": {"0": "url", "1": "host"}}
    done = remove_listed(storage, listing(tmp_path, "md5:" + "0" * 32), "index")
    assert "has hashes of kind md5, and of documents only the SHA-256" in done.failed["00000"]


def test_tars_of_other_people_are_taken_as_they_are(tmp_path):
    """No table, no index; odd members, upper case and folders stay as they are."""
    path = tmp_path / "foreign" / "a.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as tar:
        for name in ("x/1.JPG", "x/1.txt", "README", "x/2.JPG", "x/2.seg.png", "x/1.json"):
            content = b'{"url": "https://gone.test/a"}' if name.endswith("json") else name.encode() * 50
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    storage = Storage(str(path.parent))
    storage.write("sizes.json", b'{"a.tar": 2, "other.tar": 5}')
    storage.write(
        "a_stats.json", b'{"count": 3, "successes": 2, "duration": 0.5, "status_dict": {"success": 2, "x": 1}}'
    )
    second = hashlib.sha1(b"x/2.seg.png" * 50).hexdigest()
    assert remove_listed(storage, listing(tmp_path, second), "index").dead == {"a": {"x/2": "sha1"}}
    done = remove_listed(storage, listing(tmp_path, "host:gone.test"))
    assert done.dead == {"a": {"x/1": "host"}}
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["README", "x/2.JPG", "x/2.seg.png"]
    assert json.loads(storage.read("sizes.json")) == {"a.tar": 1, "other.tar": 5}
    stats = json.loads(storage.read("a_stats.json"))
    assert stats == {"count": 2, "successes": 1, "duration": 0.5, "status_dict": {"success": 1, "x": 1}}
    assert "a.index.parquet" not in storage.files()


@pytest.mark.parametrize("stats", [b"[]", b"{", b'{"count": "many", "status_dict": 3}', b"[" * 100_000])
def test_odd_counts_of_others_are_no_obstacle(tmp_path, out, stats):
    for name in [n for n in out.files() if n.endswith("_stats.json")]:
        out.write(name, stats)
    assert remove_listed(out, listing(tmp_path, "key:000000003")).counts()["samples"] == 1


def test_broken_sizes_are_told(tmp_path, out):
    out.write("sizes.json", b"[1")
    with pytest.raises(ShardError, match=r"sizes.json .* is no table of tars and their sizes"):
        remove_listed(out, listing(tmp_path, "key:000000003"))


def test_a_failed_row_of_the_table_goes_too(tmp_path, out):
    shard = Shard(out, "00000")
    table = shard.table()
    extra = table.slice(0, 1).set_column(table.column_names.index("key"), "key", pa.array(["failed"]))
    extra = extra.set_column(table.column_names.index("url"), "url", pa.array([f"https://opted.test/{SECRET}"]))
    extra = extra.set_column(table.column_names.index("status"), "status", pa.array(["failed_to_download"]))
    put(out, "00000.parquet", pa.concat_tables([table, extra]))
    assert remove_listed(out, listing(tmp_path, "host:opted.test")).dead == {"00000": {"failed": "host"}}
    assert SECRET.encode() + b"\n" not in out.read("00000.parquet")
    assert shard.table() == table


@pytest.mark.parametrize(
    ("status", "spelled"), [(None, "./{}"), ("success", "00000/{}"), ("success", "{}"), ("failed_to_resize", "./{}")]
)
def test_a_table_whose_keys_the_tar_spells_otherwise_is_told(tmp_path, status, spelled):
    """Else its row would go, and the picture stay."""
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, (spelled.format("a") + ".png", b"1"), (spelled.format("b") + ".png", b"2"))
    put(storage, "00000.parquet", pa.table({"key": ["a"], "url": ["http://gone.test/1"], "status": [status]}))
    before = state(storage)
    done = remove_listed(storage, listing(tmp_path, "host:gone.test"))
    if spelled == "{}" or status == "failed_to_resize":
        assert done.dead == {"00000": {"a": "host"}}
    else:
        assert "in 00000.parquet and not in 00000.tar, e.g. a: its keys are spelled otherwise" in done.failed["00000"]
        assert state(storage) == before


@pytest.mark.parametrize("upper", ["list", "table"])
def test_a_uid_is_found_in_upper_and_lower_case(tmp_path, upper):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("a.png", b"1"))
    uid = "ab" * 16
    put(storage, "00000.parquet", pa.table({"key": ["a"], "uid": [uid.upper() if upper == "table" else uid]}))
    wanted = listing(tmp_path, f"uid:{uid.upper() if upper == 'list' else uid}")
    assert remove_listed(storage, wanted).dead == {"00000": {"a": "uid"}}


JSON = b'{"url": "http://gone.test/1"}'
HIDDEN = {
    "a repeated name": ("a.png", b"second"),
    "upper case behind lower case": ("a.PNG", b"second"),
    "a pickle": ("a.pkl", b"second"),
    "a text": ("a.txt", b"second"),
    "a second picture": ("a.mask.tiff", b"second"),
    "a picture as text": ("a.json", b"second"),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_no_member_of_a_sample_hides(tmp_path, kind):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("a.png", b"1"), HIDDEN[kind], ("b.png", b"2"))
    done = remove_listed(storage, listing(tmp_path, hashlib.sha256(b"second").hexdigest()))
    assert done.dead == {"00000": {"a": "sha256"}}
    assert members(storage) == {"b": {"png": b"2"}}


@pytest.mark.parametrize("name", ["a", ".png", "x/.json"])
@pytest.mark.parametrize("entry", ["hash", "name", "json"])
def test_a_listed_member_without_a_key_is_told(tmp_path, name, entry):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("b.png", b"2"), (name, JSON), ("c.png", b"3"))
    wanted = {"hash": hashlib.md5(JSON).hexdigest(), "name": f"key:{name}", "json": "key:c"}[entry]
    before = state(storage)
    done = remove_listed(storage, listing(tmp_path, wanted))
    if entry == "json":
        assert done.dead == {"00000": {"c": "key"}}
    else:
        assert f"00000.tar has a listed member that belongs to no sample, {name!r}" in done.failed["00000"]
        assert state(storage) == before
        assert remove_listed(storage, listing(tmp_path, wanted, "key:c"), "index").dead == {"00000": {"c": "key"}}


@pytest.mark.parametrize("name", ["a.seg.png", "a.tiff", "a.png", "a.data", "a.pkl", "README"])
@pytest.mark.parametrize("kind", ["pdq", "pixel_hash"])
@pytest.mark.parametrize("known", [False, True])
def test_every_picture_of_a_sample_is_decoded(tmp_path, name, kind, known):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("a.png", photo(1)), (name, photo(3)), ("b.png", photo(2)))
    if known:
        columns = {"pdq": pa.nulls(2, pa.binary(32)), "pixel_hash": pa.nulls(2, pa.binary(16))}
        put(storage, "00000.parquet", pa.table({"key": ["a", "b"], **columns}))
    done = remove_listed(storage, listing(tmp_path, entries(3)[kind]))
    if name == "README":
        assert "belongs to no sample, 'README'" in done.failed["00000"]
    else:
        assert done.dead == {"00000": {"a": kind}}


def test_a_repeated_json_and_a_key_that_only_a_pickle_has(tmp_path):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("a.png", b"1"), ("a.json", b"{}"), ("a.json", JSON), ("b.png", b"2"), ("c.pkl", b"3"))
    done = remove_listed(storage, listing(tmp_path, "host:gone.test", "key:c"))
    assert done.dead == {"00000": {"a": "host", "c": "key"}}
    assert members(storage) == {"b": {"png": b"2"}}


def test_what_a_killed_export_left_goes_and_what_it_committed_is_looked_into(tmp_path, out):
    (commit,) = (c for c in CommitLog(out).fold(["pack"]) if c.shard == "00000")
    for record in commit.files:
        out.move(record.name, f"_attempts/pack.00000.{commit.attempt}/{record.name}")
    out.write("_attempts/pack.00001.0123456789ab/00001.tar", out.read("00001.tar"))
    done = remove_listed(out, listing(tmp_path, "host:test"))
    assert done.counts()["samples"] == 2 * ROWS
    assert (done.failed, out.folders("_attempts")) == ({}, [])
    assert Manifest.read(out).missing(out) == []


@pytest.mark.parametrize("mode", ["rewrite", "index"])
def test_files_that_may_be_tars_and_are_not_looked_into_are_told(tmp_path, out, mode):
    others = ["00001.TAR", "00001.tar.gz", "00001.tar.part", "00001.tgz", "extra/00009.tar", "extra/b/9.tar.1"]
    for name in (*others, "notes.txt", "extra/start.parquet", "00007.target"):
        out.write(name, b"1")
    done = remove_listed(out, listing(tmp_path, "key:000000003"), mode)
    assert {n: m.partition(",")[0] for n, m in done.failed.items() if n in others} == {
        name: f"{name} was not looked into" for name in others
    }
    assert done.failed.keys() - others <= {"00001"}
    assert done.counts()["samples"] == 1


TABLES = {
    "none": None,
    "no key": {"url": ["http://gone.test/1"] * 2},
    "URL": {"key": ["a", "b"], "URL": ["http://gone.test/1"] * 2},
    "nulls": {"key": ["a", "b"], "url": pa.nulls(2, pa.string())},
}


@pytest.mark.parametrize("mode", ["rewrite", "index"])
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(
    ("kind", "entry"), [("url", "http://gone.test/1"), ("host", "host:test"), ("uid", "uid:" + "0" * 32)]
)
def test_a_shard_that_tells_no_url_is_told(tmp_path, name, kind, entry, mode):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("a.png", b"1"), ("a.json", b'{"image_url": "http://gone.test/1"}'), ("b.png", b"2"))
    if TABLES[name]:
        put(storage, "00000.parquet", pa.table(TABLES[name]))
    done = remove_listed(storage, listing(tmp_path, entry, "key:b"), mode)
    if name == "no key" and mode == "rewrite":
        assert done.failed["00000"].startswith("00000.parquet has no column `key`, so that nobody knows which of its")
        assert members(storage).keys() == {"a", "b"}
        return
    assert f"nothing of 00000.tar can be found by a {kind}: neither a table" in done.failed["00000"]
    assert done.dead == {"00000": {"b": "key"}}, "other entries still find theirs"
    assert remove_listed(storage, listing(tmp_path, "key:a"), mode).failed == {}


def test_one_sample_that_tells_its_url_is_enough(tmp_path):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("a.png", b"1"), ("a.json", JSON), ("b.png", b"2"))
    assert remove_listed(storage, listing(tmp_path, "host:other.test", "key:a")).failed == {}


@pytest.mark.parametrize("kind", [pa.int64(), pa.large_string(), pa.binary()])
@pytest.mark.parametrize("entry", ["key:1", "host:gone.test"])
def test_keys_of_other_types_are_compared_as_text(tmp_path, kind, entry):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("1.png", b"1"), ("2.png", b"2"))
    keys = pa.array(["1", "2", None]).cast(kind)
    urls = ["http://gone.test/1", "http://a.test", "http://a.test"]
    put(storage, "00000.parquet", pa.table({"key": keys, "url": urls}))
    assert remove_listed(storage, listing(tmp_path, entry), "index").counts()["samples"] == 1
    shard = Shard(storage, "00000")
    assert alive(shard, shard.table()["key"]).tolist() == [False, True, True]
    assert remove_listed(storage, listing(tmp_path, entry)).counts()["samples"] == 1
    assert shard.table()["key"].to_pylist() == keys[1:].to_pylist()
    put(storage, "00000.parquet", pa.table({"key": ["1", None], "url": ["", "http://gone.test/1"]}))
    failed = remove_listed(storage, listing(tmp_path, "host:gone.test")).failed
    assert failed["00000"].startswith("a listed row of 00000.parquet has no key")
    put(storage, "00000.parquet", pa.table({"key": [["1"], ["2"]], "url": ["", ""]}))
    assert "keys are of type list" in remove_listed(storage, listing(tmp_path, entry)).failed["00000"]


@pytest.mark.parametrize("other", ["00000_1", "00000.b", "00000_a.b", "00000_stats"])
def test_a_shard_whose_name_goes_on_from_anothers_is_no_part_of_it(tmp_path, other):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("a.png", b"1"), ("b.png", b"2"))
    storage.write(f"{other}.tar", storage.read("00000.tar"))
    storage.write(f"{other}_stats.json", b"{}")
    done = remove_listed(storage, listing(tmp_path, "key:a"))
    assert (done.failed, done.dead.keys()) == ({}, {"00000", other})
    storage.write(f"{other}.npz", b"")
    assert remove_listed(storage, listing(tmp_path, "key:b")).failed.keys() == {other}


def test_a_table_that_two_shards_would_read_keeps_the_first(tmp_path):
    storage = Storage(str(tmp_path / "foreign"))
    put_tar(storage, ("a.png", b"1"))
    storage.write("00000.b.tar", storage.read("00000.tar"))
    put(storage, "00000.b.parquet", pa.table({"key": ["a"]}))
    failed = remove_listed(storage, listing(tmp_path, "key:a")).failed
    assert failed["00000"].startswith("00000.b.parquet belongs to 00000.tar and cannot be rewritten")


def put_tar(storage, *parts):
    target = io.BytesIO()
    tar = TarWriter(target)
    for name, content in parts:
        tar.add(name, content)
    tar.finish()
    storage.write("00000.tar", target.getvalue())
