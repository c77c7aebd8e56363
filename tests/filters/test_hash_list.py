"""Listed pictures are dropped by every kind of hash, at both sides of PDQ's radius; no word of them is written."""

import hashlib
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tombstone_sets import SECRET, entries, members, photo, pixels, put_shard

from curate.config import build_filters
from curate.errors import ConfigError, ShardError
from curate.export import exporter
from curate.filter import Batch
from curate.perceptual.pdq import pdq
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.shard import Shard
from curate.signals import signal_steps
from curate.storage import Storage
from curate.tar import TarWriter
from curate.tombstones import HASH_LIST_MATCH, hidden_keys, refuse_hidden
from filters.hash_list import HashList
from pipelines.image_text_pairs import image_text_pairs

HASHED = [kind for kind in entries(3) if kind not in ("key", "url", "uid")]


def listing(tmp_path, *lines):
    path = tmp_path / "hashes.txt"
    path.write_text("\n".join(lines))
    return str(path)


def run(tmp_path, path, **filters):
    source = Storage(str(tmp_path / "crawl"))
    put_shard(source, "00000", 0)
    config = {
        "pipeline": "image_text_pairs",
        "source": {"kind": "webdataset", "path": source.root},
        "filters": {**filters, "hash_list": {"paths": [path]}},
    }
    target = Storage(str(tmp_path / "out"))
    assert run_job(image_text_pairs(config), target, InlineEngine()).failed == {}
    return Shard(target, "00000")


@pytest.mark.parametrize("kind", HASHED)
def test_a_run_drops_what_is_listed_and_hides_it(tmp_path, kind):
    shard = run(tmp_path, listing(tmp_path, entries(3)[kind]))
    rows = shard.columns(["key", HASH_LIST_MATCH, "drop_reason"]).to_pylist()
    assert [row for row in rows if row["drop_reason"]] == [
        {"key": "000000003", HASH_LIST_MATCH: kind.split()[0], "drop_reason": "listed_hash"}
    ]
    assert hidden_keys(shard) == {"000000003"}
    with pytest.raises(ShardError, match="is on a hash list"):
        refuse_hidden(shard, ["000000003"])
    own = [n for n in shard.storage.files() if "hash_list" in n or "file_digests" in n or "select" in n]
    own += [name for stage in shard.storage.folders("commits") for name in shard.storage.files(f"commits/{stage}")]
    assert not [name for name in own if SECRET.encode() in shard.storage.read(name)]
    job, finish = exporter("webdataset")(shard.storage, 10, True, 0)
    target = Storage(str(tmp_path / "packed"))
    run_job(job, target, InlineEngine())
    finish(target)
    assert members(target).keys() == {f"00000000{row}" for row in range(8) if row != 3}


def test_it_is_hidden_though_another_filter_drops_it_first(tmp_path):
    shard = run(tmp_path, listing(tmp_path, entries(3)["md5"]), caption_words={"min": 50})
    assert set(shard.columns(["drop_reason"])["drop_reason"].to_pylist()) == {"too_few_words"}
    assert hidden_keys(shard) == {"000000003"}


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256 as stored", "pixel_hash", "pdq"])
def test_all_members_of_a_sample_are_looked_up(tmp_path, kind):
    """Somebody's tar with two pictures and a mask a sample, of which filters see the first alone."""
    (tmp_path / "crawl").mkdir()
    with open(tmp_path / "crawl" / "00000.tar", "wb") as target:
        tar = TarWriter(target)
        jpeg = io.BytesIO()
        Image.fromarray(pixels(5)).save(jpeg, "JPEG")
        for key, other, mask in (("a", 1, 2), ("b", 3, 2), ("c", 1, 3)):
            tar.add(f"{key}.jpg", jpeg.getvalue())
            tar.add(f"{key}.png", photo(other))
            tar.add(f"{key}.mask.png", photo(mask))
            tar.add(f"{key}.npy", b"no picture")
        tar.finish()
    source = {"kind": "webdataset", "path": str(tmp_path / "crawl")}
    filters = {"hash_list": {"paths": [listing(tmp_path, entries(3)[kind])]}}
    config = {"pipeline": "image_text_pairs", "source": source, "filters": filters}
    target = Storage(str(tmp_path / "out"))
    assert run_job(image_text_pairs(config), target, InlineEngine()).failed == {}
    told = Shard(target, "00000").columns([HASH_LIST_MATCH])[HASH_LIST_MATCH].to_pylist()
    assert told == [None, kind.split()[0], kind.split()[0]]


@pytest.mark.parametrize(("bits", "radius", "found"), [(31, 31, "pdq"), (32, 31, None), (5, 4, None), (0, 0, "pdq")])
def test_the_radius_is_included(tmp_path, bits, radius, found):
    own = np.unpackbits(np.frombuffer(pdq(pixels(3)).hash, np.uint8))
    own[np.random.default_rng(2).permutation(256)[:bits]] ^= 1
    path = listing(tmp_path, f"pdq:{np.packbits(own).tobytes().hex()}", "pdq:" + "5a" * 32)
    scorer = HashList(paths=(path,), pdq_radius=radius).scorer()
    assert scorer.reads == ("pdq",)
    column = pa.array([pdq(pixels(3)).hash, None, pdq(pixels(4)).hash], pa.binary(32))
    assert scorer.score(Batch(pa.table({"pdq": column})))[HASH_LIST_MATCH].to_pylist() == [found, None, None]


def test_only_what_the_lists_hold_is_computed(tmp_path):
    def labels(*lines):
        path = listing(tmp_path, *lines)
        return [step.label for step in signal_steps(build_filters({"hash_list": {"paths": [path]}}), {}, set())]

    assert labels() == ["score_hash_list"]
    assert labels("pdq:" + "0" * 64) == ["score_pdq", "hash_list_members", "score_hash_list"]
    assert labels("0" * 32) == ["file_digests", "hash_list_members", "score_hash_list"]
    all_of_it = ["score_pixel_hash", "file_digests", "hash_list_members", "score_hash_list"]
    assert labels("0" * 64, "pixel_hash:" + "0" * 32) == all_of_it


def test_the_exact_kinds_are_told_before_a_near_one(tmp_path):
    shard = run(tmp_path, listing(tmp_path, *(entries(3)[kind] for kind in ("pdq", "sha1", "md5"))))
    assert shard.columns([HASH_LIST_MATCH])[HASH_LIST_MATCH].to_pylist()[3] == "md5"


def test_an_empty_list_drops_nothing(tmp_path):
    scorer = HashList(paths=(listing(tmp_path, "# none"),)).scorer()
    batch = Batch(pa.table({name: ["a", "b"] for name in scorer.reads}))
    assert scorer.score(batch)[HASH_LIST_MATCH].to_pylist() == [None, None]


def test_a_changed_list_decides_anew_and_its_path_does_not_count(tmp_path):
    path = listing(tmp_path, hashlib.md5(photo(1)).hexdigest())
    first = HashList(paths=(path,)).scorer().identity()
    (tmp_path / "moved").mkdir()
    assert (
        HashList(paths=(listing(tmp_path / "moved", hashlib.md5(photo(1)).hexdigest()),)).scorer().identity() == first
    )
    listing(tmp_path, hashlib.md5(photo(2)).hexdigest(), "0" * 40)
    assert HashList(paths=(path,)).scorer().identity() != first


def test_the_reason(reasons):
    assert reasons(HashList(paths=("x",)), **{HASH_LIST_MATCH: ["md5", None]}) == ["listed_hash", None]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("host:a.test", "line 1 of .* is a host; only"),
        ("nothing", "line 1 of .* is no entry"),
        (None, r"\[filters.hash_list\] paths: .*gone cannot be read: No such file"),
    ],
)
def test_what_is_no_list_of_hashes_is_told(tmp_path, line, words):
    path = listing(tmp_path, line) if line else str(tmp_path / "gone")
    with pytest.raises(ConfigError, match=words):
        signal_steps(build_filters({"hash_list": {"paths": [path]}}), {}, set())


def test_settings_that_make_no_sense():
    for table, words in (({}, "needs `paths`"), ({"paths": ["a"], "pdq_radius": 64}, "pdq_radius = 64")):
        with pytest.raises(ConfigError, match=words):
            build_filters({"hash_list": table})
