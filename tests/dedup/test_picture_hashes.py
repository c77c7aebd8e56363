"""Which columns the hashes of pictures make, for which rows, and that they come from one decode."""

import hashlib
import io
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import curate.dedup.picture_hashes as module
from curate.dedup.picture_hashes import KINDS, PictureHashes
from curate.errors import ConfigError
from curate.filter import Batch
from curate.manifest import Attempt
from curate.perceptual.dhash import dhash, dhash_imagededup
from curate.perceptual.pdq import pdq
from curate.perceptual.phash import phash, phash_imagededup
from curate.perceptual.pixels import pixel_hash
from curate.score import Score
from curate.shard import Shard
from curate.stage import Runtime
from curate.storage import Storage
from curate.tar import TarWriter

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8).repeat(10, 0).repeat(10, 1)
MADE = {
    "pixel_hash": pixel_hash, "phash": phash, "phash_imagededup": phash_imagededup, "dhash": dhash,
    "dhash_imagededup": dhash_imagededup, "pdq": lambda pixels: pdq(pixels).hash,
}  # fmt: skip


def scored(scorer, *pictures):
    views = [None if p is None else scorer.prepare(p) for p in pictures]
    found = scorer.score(Batch(pa.table({"key": [str(n) for n in range(len(views))]}), views))
    assert {name: values.type for name, values in found.items()} == dict(scorer.writes)
    return {name: values.to_pylist() for name, values in found.items()}


def test_all_kinds_at_once_are_those_of_each_alone():
    expected = {kind: [made(PIXELS), None] for kind, made in MADE.items()}
    assert scored(PictureHashes(tuple(KINDS)), PIXELS, None) == expected | {"pdq_quality": [pdq(PIXELS).quality, None]}


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_writes_its_own_columns(kind):
    found = scored(PictureHashes((kind,)), None, PIXELS)
    assert list(found) == list(KINDS[kind])
    assert found[kind] == [None, MADE[kind](PIXELS)]


def test_types_are_what_parquet_readers_know():
    kinds = {name: str(type_) for name, type_ in PictureHashes(tuple(KINDS)).writes.items()}
    assert kinds == {
        "pixel_hash": "fixed_size_binary[16]", "phash": "uint64", "phash_imagededup": "uint64", "dhash": "uint64",
        "dhash_imagededup": "uint64", "pdq": "fixed_size_binary[32]", "pdq_quality": "int32",
    }  # fmt: skip


def test_what_is_kept_of_a_picture_is_small():
    kept = PictureHashes(tuple(KINDS)).prepare(PIXELS)
    assert all(isinstance(value, int) or len(value) <= 32 for value in kept.values())


@pytest.mark.parametrize(("side", "hashed"), [(65_535, True), (65_536, False)])
def test_the_longest_pictures_have_a_hash_of_pixels_alone(side, hashed):
    found = scored(PictureHashes(tuple(KINDS)), np.zeros((1, side, 3), np.uint8))
    assert found.pop("pixel_hash") != [None]
    assert {value is not None for (value,) in found.values()} == {hashed}


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ((), "names none"),
        (("pdq", "pdq"), "names one twice"),
        (("phsh",), r"'phsh', which is no hash: did you mean 'phash'\?"),
        (("md5",), "there are pixel_hash, phash"),
    ],
)
def test_kinds_say_what_is_wrong(kinds, words):
    with pytest.raises(ValueError, match=words):
        PictureHashes(kinds)


@pytest.mark.parametrize(("kinds", "installed", "fine"), [(("pdq",), False, False), (("phash",), False, True)])
def test_pdq_needs_its_compiler(monkeypatch, kinds, installed, fine):
    monkeypatch.setattr(module, "find_spec", lambda name: find_spec(name) if installed else None)
    if fine:
        PictureHashes(kinds).require()
        return
    with pytest.raises(ConfigError, match="pip install"):
        PictureHashes(kinds).require()


def test_pdq_is_fine_where_it_is_installed():
    PictureHashes(("pdq",)).require()


def test_pixels_are_hashed_with_their_size():
    assert pixel_hash(PIXELS) == hashlib.blake2b(b"90 120 " + PIXELS.tobytes(), digest_size=16).digest()
    square, flat = np.zeros((4, 9, 3), np.uint8), np.zeros((9, 4, 3), np.uint8)
    changed = PIXELS.copy()
    changed[-1, -1, -1] ^= 1
    assert len({pixel_hash(p) for p in (square, flat, PIXELS, changed)}) == 4
    assert pixel_hash(PIXELS[:, ::-1][:, ::-1]) == pixel_hash(np.asfortranarray(PIXELS)) == pixel_hash(PIXELS)


def encoded(format_: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, format_)
    return out.getvalue()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_shard_gets_columns_aligned_with_its_rows(tmp_path, threads):
    keys = [f"00000{n:04d}" for n in range(5)]
    pq.write_table(pa.table({"key": keys}), tmp_path / "00000.parquet")
    with open(tmp_path / "00000.tar", "wb") as target:
        tar = TarWriter(target)
        for row, data in {0: encoded("PNG"), 2: encoded("BMP"), 3: b"no picture", 4: encoded("JPEG")}.items():
            tar.add(f"{keys[row]}.json", b"{}")
            tar.add(f"{keys[row]}.png", data)
        tar.finish()
    shard = Shard(Storage(str(tmp_path)), "00000")
    stage = Score(PictureHashes())
    stage.run(shard, attempt := Attempt(shard.storage, stage.label, shard.id, "0" * 16), Runtime(threads=threads))
    attempt.commit()
    found = Shard(shard.storage, shard.id).table("pixel_hash_phash_pdq").to_pydict()
    assert found["key"] == keys
    assert found["pixel_hash"][:4] == [pixel_hash(PIXELS), None, pixel_hash(PIXELS), None]
    assert found["pixel_hash"][4] not in (None, pixel_hash(PIXELS))
    assert found["phash"][:4] == [phash(PIXELS), None, phash(PIXELS), None]
    assert (found["phash"][4] ^ phash(PIXELS)).bit_count() <= 4
    assert found["pdq"][:4] == [pdq(PIXELS).hash, None, pdq(PIXELS).hash, None]
    assert [quality is None for quality in found["pdq_quality"]] == [False, True, False, True, False]
