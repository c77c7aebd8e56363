"""Samples that lists name go from data that is there, whole shards at a time; nothing of a match is ever told."""

import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from tombstone_sets import ROWS, SECRET, copied, entries, export, listing, members, pixels, put, put_shard, state

from curate.cli import main
from curate.decontamination.removal import remove_listed
from curate.errors import ShardError
from curate.export import exporter
from curate.manifest import CommitLog, Manifest
from curate.perceptual.pdq import pdq
from curate.perceptual.pixels import pixel_hash
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.shard import Shard, list_shards
from curate.storage import Storage
from curate.tar import TarWriter
from curate.tombstones import alive, dead_rows, hidden_keys, refuse_hidden, write_dead


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


@pytest.mark.parametrize("kind", entries(3))
def test_every_kind_of_entry_takes_out_its_sample_and_no_other(tmp_path, out, kind):
    before = members(out)
    if "url" in kind:
        assert entries(3)[kind] != json.loads(before["000000003"]["json"])["url"]
    done = remove_listed(out, listing(tmp_path, entries(3)[kind]), threads=2)
    after = members(out)
    assert [*done.dead.values()] == [{"000000003": kind.split()[0]}]
    assert after == {key: parts for key, parts in before.items() if key != "000000003"}
    assert sum(json.loads(out.read("sizes.json")).values()) == 2 * ROWS - 1


def test_a_pdq_beyond_the_radius_is_another_picture(tmp_path, out):
    bits = np.unpackbits(np.frombuffer(pdq(pixels(3)).hash, np.uint8))
    bits[np.random.default_rng(1).permutation(256)[:32]] ^= 1
    assert not remove_listed(out, listing(tmp_path, f"pdq:{np.packbits(bits).tobytes().hex()}")).dead


def test_a_host_goes_with_its_subdomains(tmp_path, out):
    assert not remove_listed(out, listing(tmp_path, "host:1.test")).dead
    done = remove_listed(out, listing(tmp_path, "host:.TEST."))
    assert done.counts()["by"] == {"host": 2 * ROWS}
    assert members(out) == {}
    assert {*json.loads(out.read("sizes.json")).values()} == {0}


@pytest.mark.parametrize("described", [True, False])
def test_copies_of_a_sample_go_with_it(tmp_path, data, described):
    """Whether or not a `.json` says what it was called."""
    if not described:
        for name in ("00000", "00001"):
            strip_json(data, name)
    for name in ("00000", "00001"):
        keys = Shard(data, name).table("", ["key"])["key"]
        put(data, f"{name}.select.parquet", pa.table({"key": keys, "keep": [True] * ROWS, "multiplicity": [2] * ROWS}))
    target = Storage(str(tmp_path / "twice"))
    export(data, target)
    assert {"000000003", "000000003-1"} <= members(target).keys()
    done = remove_listed(target, listing(tmp_path, "key:000000003"))
    assert done.counts()["samples"] == 2
    assert len(members(target)) == 4 * ROWS - 2


def strip_json(data, name):
    target, rows = io.BytesIO(), []
    tar = TarWriter(target)
    for sample in Shard(data, name).samples():
        tar.add(f"{sample.key}.png", sample.image)
        rows.append({"key": sample.key, "extension": "png", "offset": tar.members[-1].offset})
        rows[-1]["size"] = tar.members[-1].size
    tar.finish()
    data.write(f"{name}.tar", target.getvalue())
    put(data, f"{name}.index.parquet", pa.Table.from_pylist(rows))


def test_all_records_of_the_export_agree_with_its_files(tmp_path, out, data):
    remove_listed(out, listing(tmp_path, entries(3)["key"], entries(12)["md5"]))
    assert Manifest.read(out).missing(out) == []
    for commit in CommitLog(out).fold(["pack"]):
        for record in commit.files:
            assert record.bytes == out.size(record.name)
            assert record.sha256 == hashlib.sha256(out.read(record.name)).hexdigest()
        shard = Shard(out, commit.shard)
        samples = list(shard.samples())
        assert [s.key for s in samples] == shard.table()["key"].to_pylist()
        assert all(shard.sample(s.key).image == s.image for s in samples), "the index fits"
        stats = json.loads(out.read(f"{shard.id}_stats.json"))
        assert stats["count"] == stats["successes"] == stats["status_dict"]["success"] == commit.counts["kept"]
        assert commit.counts["kept"] == json.loads(out.read("sizes.json"))[shard.tar] == len(samples)
    before = state(out)
    job, finish = exporter("webdataset")(data, 4, True, 0)
    assert run_job(job, out, InlineEngine()).failed == {}
    finish(out)
    assert state(out) == before, "the same export again changes nothing"


def test_a_second_list_and_the_same_list_again(tmp_path, out):
    first = listing(tmp_path, entries(3)["key"])
    told = remove_listed(out, first).report()
    before = state(out)
    assert remove_listed(out, first).report() == told
    assert state(out) == before
    second = listing(tmp_path, *(f"key:{k}" for k in members(out) if k != "000000005"))
    assert remove_listed(out, second).counts()["samples"] == 2 * ROWS - 2
    assert remove_listed(out, first).report() == told, "of each list what it took out itself"
    assert [*members(out)] == ["000000005"]
    log = CommitLog(out)
    assert all(len(marks) == 1 for marks in log.names("tombstones").values())
    assert Manifest.read(out).missing(out) == []


def test_tombstones_alone_leave_every_byte_and_exports_can_ask(tmp_path, data):
    before = state(data)
    done = remove_listed(data, listing(tmp_path, "key:000000003", entries(4)["md5"], "host:h2.test"), "index")
    assert state(data) == before
    assert done.counts() == {
        "mode": "index", "shards": 2, "shards_changed": 2, "shards_failed": 0, "samples": 6,
        "by": {"host": 4, "key": 1, "md5": 1},
    }  # fmt: skip
    shard = Shard(data, "00000")
    assert dead_rows(shard) == {"000000002": "host", "000000003": "key", "000000004": "md5", "000000005": "host"}
    keys = shard.table("", ["key"])["key"]
    assert keys.filter(pa.array(alive(shard, keys))).to_pylist() == [f"00000000{n}" for n in (0, 1, 6, 7)]
    assert hidden_keys(shard) == {"000000004"}
    assert remove_listed(data, listing(tmp_path, "key:000000003"), "index").dead == {}
    assert len(dead_rows(shard)) == 4
    assert [s.id for s in list_shards(data)] == ["00000", "00001"]


def test_a_hash_match_is_not_hidden_behind_an_opt_out(data):
    shard = Shard(data, "00000")
    write_dead(shard, {"a": "host", "b": "md5"})
    write_dead(shard, {"a": "pdq", "b": "url", "c": "url"})
    write_dead(shard, {"c": "key"})
    assert dead_rows(shard) == {"a": "pdq", "b": "md5", "c": "url"}
    assert hidden_keys(shard) == {"a", "b"}
    with pytest.raises(ShardError, match="sample a of shard 00000 is on a hash list; neither its row nor its picture"):
        refuse_hidden(shard, ["c", "a"])
    refuse_hidden(shard, ["c"])
    keys = shard.table("", ["key"])["key"]
    put(data, "00000.hash_list.parquet", pa.table({"key": keys, "hash_list_match": [None] * 7 + ["sha1"]}))
    assert hidden_keys(Shard(data, "00000")) == {"a", "b", "000000007"}
    data.write("tombstones/00000.parquet", b"no parquet")
    with pytest.raises(ShardError, match=r"tombstones/00000.parquet .* is damaged"):
        dead_rows(shard)


def test_hashes_that_columns_hold_need_no_decode(tmp_path, data, monkeypatch):
    key = [f"00000{row:04d}" for row in range(ROWS)]
    hashes = {
        "pdq": pa.array([pdq(pixels(row)).hash for row in range(ROWS)], pa.binary(32)),
        "pixel_hash": pa.array([None, *(pixel_hash(pixels(row)) for row in range(1, ROWS))], pa.binary(16)),
    }
    put(data, "00000.hashes.parquet", pa.table({"key": key, **hashes}))
    data.delete("00001.tar")
    monkeypatch.setattr("curate.decontamination.finding.prepared", lambda *_: pytest.fail("decoded"))
    done = remove_listed(data, listing(tmp_path, entries(3)["pdq"], entries(5)["pixel_hash"]), "index")
    assert done.dead == {"00000": {"000000003": "pdq", "000000005": "pixel_hash"}}


def test_on_a_store(tmp_path, s3, made):
    for path in sorted((made / "out").rglob("*")):
        if path.is_file():
            s3.write(str(path.relative_to(made / "out")), path.read_bytes())
    remove_listed(s3, listing(tmp_path, "key:000000003"))
    assert "000000003" not in members(s3)
    assert len(members(s3)) == 2 * ROWS - 1
    assert Manifest.read(s3).missing(s3) == []


def cli(*arguments):
    return main(["export", *map(str, arguments), "--format", "json"])


def test_the_command_line_tells_counts_and_nothing_of_a_match(tmp_path, out, data, capfd):
    listing(tmp_path, *(entries(3)[kind] for kind in ("md5", "pdq")), "host:h1.test", entries(2)["url"])
    report = tmp_path / "report.json"
    code = cli(out.root, "--apply-tombstones", tmp_path / "list.txt", "--tombstones-report", report)
    told, errors = capfd.readouterr()
    assert (code, errors) == (0, "")
    assert json.loads(told) == {
        "mode": "rewrite", "shards": 4, "shards_changed": 4, "shards_failed": 0, "samples": 8,
        "by": {"host": 6, "md5": 1, "url": 1},
    }  # fmt: skip
    record = json.loads(report.read_text())
    assert record.keys() == {*json.loads(told), "list_sha256", "dead", "failed"}
    assert sum(map(len, record["dead"].values())) == 8
    written = told + report.read_text()
    left = [n for folder in ("commits/tombstones", "tombstones", "commits/pack") for n in out.files(folder)]
    written += "".join(out.read(n).decode("latin-1") for n in left)
    for secret in (SECRET, "h1.test", *(entries(3)[k].split(":")[-1].strip().lower() for k in ("md5", "pdq"))):
        assert secret not in written
    assert cli(data.root, "--apply-tombstones", tmp_path / "list.txt", "--tombstones-only") == 0
    assert json.loads(capfd.readouterr()[0])["mode"] == "index"
    out.write("00000.npz", b"")
    (tmp_path / "list.txt").write_text("host:test")
    assert cli(out.root, "--apply-tombstones", tmp_path / "list.txt") == 1
    assert json.loads(capfd.readouterr()[0])["failed"][0]["shard"] == "00000"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say --to FORMAT, or --apply-tombstones FILE"),
        (["--tombstones-only"], "go with --apply-tombstones FILE"),
        (["--apply-tombstones", "gone.txt"], "--apply-tombstones gone.txt cannot be read: No such file"),
        (["--apply-tombstones", "gone.txt", "--to", "webdataset"], "exports nothing; leave --to and --out out"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, arguments, words, capsys):
    assert cli(tmp_path, *arguments) == 2
    assert words in capsys.readouterr().err


def test_exports_pass_over_the_dead(tmp_path, data):
    for name in ("00000", "00001"):
        keys = Shard(data, name).table("", ["key"])["key"]
        put(data, f"{name}.select.parquet", pa.table({"key": keys, "keep": [True] * ROWS}))
    remove_listed(data, listing(tmp_path, "key:000000003", entries(4)["md5"], "host:h2.test"), "index")
    target = Storage(str(tmp_path / "packed"))
    export(data, target)
    dead = {"000000003", "000000004", "000000002", "000000005", "000010002", "000010005"}
    assert members(target).keys() == {f"0000{s}000{r}" for s in (0, 1) for r in range(ROWS)} - dead


@pytest.mark.parametrize("more", [[], ["--image", "x.jpg"], ["--cluster", "bytes"], ["--cluster", "--html", "x.html"]])
def test_show_refuses_what_is_on_a_hash_list_and_its_copies(tmp_path, data, capsys, more, monkeypatch):
    monkeypatch.chdir(tmp_path)
    remove_listed(data, listing(tmp_path, entries(4)["md5"]), "index")
    keys = Shard(data, "00000").table("", ["key"])["key"]
    copy_of = [None] * 5 + ["000000004", None, None]
    put(data, "00000.bytes.parquet", pa.table({"key": keys, "bytes_duplicate_of": copy_of}))
    for key in ("000000004", "000000005"):
        assert main(["show", f"{data.root}/00000", key, *more]) == 2
        told = capsys.readouterr()
        assert "is on a hash list" in told.err
        assert SECRET not in told.out + told.err
    assert not list(tmp_path.glob("x.*"))
    assert main(["show", f"{data.root}/00000", "000000000"]) == 0


def test_show_refuses_a_copy_of_what_an_earlier_data_set_hides(tmp_path, data, capsys):
    """The row that is kept there is not on the list, but a copy of it is."""
    earlier = copied(tmp_path / "data", tmp_path / "earlier")
    keys = Shard(data, "00000").table("", ["key"])["key"]
    dup = {"key": keys, "bytes_duplicate_of": ["000000001", *[None] * 7]}
    put(data, "00000.bytes.parquet", pa.table({**dup, "bytes_duplicate_in": [earlier.root, *[None] * 7]}))
    put(
        earlier,
        "00000.bytes.parquet",
        pa.table({"key": keys, "bytes_duplicate_of": [None] * 4 + ["000000001"] + [None] * 3}),
    )
    show = ["show", f"{data.root}/00000", "000000000", "--cluster", "bytes"]
    assert main(show) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(m.get("data_set"), m["key"]) for m in told["members"]] == [
        (earlier.root, "000000001"),
        (None, "000000000"),
    ]
    remove_listed(earlier, listing(tmp_path, entries(4)["md5"]), "index")
    assert main(show) == 2
    assert "is on a hash list" in capsys.readouterr().err


def test_a_cluster_whose_earlier_data_set_is_gone_is_not_told(tmp_path, data, capsys):
    keys = Shard(data, "00000").table("", ["key"])["key"]
    dup = {"key": keys, "bytes_duplicate_of": ["000000001", *[None] * 7]}
    put(data, "00000.bytes.parquet", pa.table({**dup, "bytes_duplicate_in": [f"{tmp_path}/gone", *[None] * 7]}))
    assert main(["show", f"{data.root}/00000", "000000000", "--cluster", "bytes"]) == 2
    assert "000000001, the row that is kept, is not in" in capsys.readouterr().err
