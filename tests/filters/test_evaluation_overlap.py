"""What is in an evaluation is found, in every way in which it can be and at every bound; what is not is kept."""

import hashlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tombstone_sets import photo, put_shard

from curate.config import build_filters
from curate.decontamination import comparing, searching
from curate.decontamination.comparing import BITS, BY, COSINE, ITEM, NEAREST, SET
from curate.decontamination.index import build_index
from curate.decontamination.searching import Bounds, find_matches, nearest_pictures
from curate.errors import ConfigError
from curate.filter import Batch
from curate.models.settings import build_models
from curate.perceptual.pdq import pdq
from curate.perceptual.phash import phash
from curate.perceptual.pixels import pixel_hash
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.shard import Shard
from curate.signals import signal_steps
from curate.storage import Storage
from filters.evaluation_overlap import COSINES, EvaluationOverlap
from pipelines.image_text_pairs import image_text_pairs

LONG = "the quick brown fox jumps over the lazy dog while a small grey cat looks on"
SHORT = "two red stars on blue"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "default_folder", lambda mark: tmp_path / "home" / mark)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "val"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(photo(number))
    return str(folder)


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "questions.jsonl"
    lines = [{"question": LONG}, {"caption": SHORT}, {"text": "a dog"}, {"text": ""}]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def compared(rule, **columns):
    """The columns of the fast scorer for these values of its columns."""
    scorer = rule.scorers({})[-1]
    scorer.require()
    kinds = {"pdq": pa.binary(32), "pixel_hash": pa.binary(16), "pdq_quality": pa.int32(), "phash": pa.uint64()}
    given = {n: pa.array(columns[n], kinds.get(n, pa.string())) for n in scorer.reads}
    answer = scorer.score(Batch(pa.table(given)))
    assert {name: values.type for name, values in answer.items()} == scorer.writes
    return pa.table(answer).to_pylist()


def flipped(number, bits):
    own = np.unpackbits(np.frombuffer(pdq(decoded(number)).hash, np.uint8))
    own[np.random.default_rng(1).permutation(256)[:bits]] ^= 1
    return np.packbits(own).tobytes()


def decoded(number):
    return np.asarray(Image.open(io.BytesIO(photo(number))).convert("RGB"))


@pytest.mark.parametrize(
    ("bits", "quality", "radius", "found"),
    [(0, 100, 31, 0), (31, 50, 31, 31), (32, 100, 31, None), (31, 49, 31, None), (31, None, 31, None),
     (5, 100, 5, 5), (6, 100, 5, None), (63, 100, 63, 63)],
)  # fmt: skip
def test_near_hashes_at_both_sides_of_their_bounds(images, bits, quality, radius, found):
    rule = EvaluationOverlap(sets=(images,), by=("pdq",), pdq_radius=radius)
    (row,) = compared(rule, pdq=[flipped(2, bits)], pdq_quality=[quality])
    if found is None:
        assert row == {BY: None, SET: None, ITEM: None, BITS: None}
    else:
        assert row == {BY: "pdq", SET: "val", ITEM: "2.png", BITS: found}


def test_flat_pictures_of_the_evaluation_take_no_part(tmp_path, images):
    flat = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(flat, "PNG")
    (tmp_path / "val" / "flat.png").write_bytes(flat.getvalue())
    own = pdq(np.asarray(Image.new("RGB", (64, 64), "red")))
    for least, found in ((50, None), (own.quality, "pdq")):
        rule = EvaluationOverlap(sets=(images,), by=("pdq",), min_quality=least)
        assert compared(rule, pdq=[own.hash], pdq_quality=[100])[0][BY] == found


def test_captions_whole_and_in_runs(texts):
    rule = EvaluationOverlap(sets=(texts,), by=("caption", "ngram"))
    words = LONG.split()
    captions = [
        LONG.upper() + "!",
        "So: " + " ".join(words[1:14]) + " at noon",
        " ".join(words[1:13]),
        "Two RED stars, on (blue)",
        "two red stars on blue today",
        "a dog",
        None,
        "",
        "x " * 50_000,
    ]
    found = compared(rule, caption=captions)
    assert [row[BY] for row in found] == ["caption", "ngram", None, "caption", None, None, None, None, None]
    assert [row[ITEM] for row in found[:4]] == [f"{n}" for n in ("questions.jsonl:1", "questions.jsonl:1")] + [
        None,
        "questions.jsonl:2",
    ]
    shorter = EvaluationOverlap(sets=(texts,), by=("caption", "ngram"), words=12, min_words=2)
    found = compared(shorter, caption=captions)
    assert [row[BY] for row in found] == ["caption", "ngram", "ngram", "caption", None, "caption", None, None, None]
    questions = EvaluationOverlap(sets=(texts,), by=("caption",), text_fields=("question",))
    assert [row[BY] for row in compared(questions, caption=[SHORT, LONG])] == [None, "caption"]


def test_the_surest_way_is_told(images, texts):
    rule = EvaluationOverlap(sets=(images, texts), by=("caption", "hash", "pdq", "pixels", "phash"), phash_radius=0)
    assert rule.kinds == ("hash", "pixels", "pdq", "phash", "caption")
    rows = 5
    found = compared(
        rule,
        sha256=[hashlib.sha256(photo(1)).hexdigest().upper(), None, "no digest", None, None],
        pixel_hash=[pixel_hash(decoded(2)), pixel_hash(decoded(3)), None, None, None],
        pdq=[flipped(4, 1)] * 3 + [None] * 2,
        pdq_quality=[90] * rows,
        phash=[phash(decoded(5))] * 4 + [None],
        caption=[SHORT] * rows,
    )
    assert [(row[BY], row[ITEM], row[BITS]) for row in found] == [
        ("hash", "1.png", None),
        ("pixels", "3.png", None),
        ("pdq", "4.png", 1),
        ("phash", "5.png", 0),
        ("caption", "questions.jsonl:2", None),
    ]
    assert [row[SET] for row in found] == ["val"] * 4 + ["questions.jsonl"]


@pytest.mark.parametrize("block", [1, 4 * 9 * 7, 1 << 25])
def test_as_a_comparison_of_all_with_all(monkeypatch, block):
    """PDQ and embeddings against brute force, the nearest and of equals the first."""
    monkeypatch.setattr(searching, "BLOCK_BYTES", block)
    random = np.random.default_rng(0)
    base = random.integers(0, 2**63, (50, 4), dtype=np.uint64)
    known = np.concatenate([base, base[:10] ^ np.uint64(7)])
    index = SimpleNamespace(
        card=SimpleNamespace(digest="x"), pdq=known, quality=random.integers(40, 100, 60).astype(np.uint8),
        picture_items=np.arange(60) * 3, embeddings=random.normal(size=(60, 9)).astype(np.float16),
    )  # fmt: skip
    asked = known[random.integers(0, 60, 40)] ^ (random.integers(0, 2**20, (40, 4), dtype=np.uint64))
    rows = pa.table({"pdq": pa.array([r.astype(">u8").tobytes() for r in asked], pa.binary(32)),
                     "pdq_quality": [99] * 40})  # fmt: skip
    match = find_matches(index, "pdq", rows, Bounds(pdq_radius=40))
    apart = np.bitwise_count(asked[:, None] ^ known).sum(axis=2).astype(int)
    apart[:, index.quality < 50] = 999
    near = np.flatnonzero(apart.min(axis=1) <= 40)
    assert match.rows.tolist() == near.tolist()
    assert 0 < len(near) < 40
    assert match.items.tolist() == (apart[near].argmin(axis=1) * 3).tolist()
    assert match.bits.tolist() == apart[near].min(axis=1).tolist()
    queries = random.normal(size=(20, 9)).astype(np.float32)
    cosine, item = nearest_pictures(index, queries)
    products = queries.astype(np.float64) @ index.embeddings.astype(np.float64).T
    np.testing.assert_allclose(cosine, products.max(axis=1))
    assert item.tolist() == (products.argmax(axis=1) * 3).tolist()


def test_each_way_has_its_reason(reasons):
    by = ["hash", "pixels", "pdq", "phash", "embedding", "caption", "ngram", None]
    assert reasons(EvaluationOverlap(index="x"), **{BY: by}) == [
        "evaluation_file", "evaluation_pixels", "near_evaluation_picture", "near_evaluation_picture",
        "like_evaluation_picture", "evaluation_caption", "evaluation_words", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "needs `sets` "),
        ({"sets": ["a"], "by": ["embedding"]}, "compares embeddings and has no `model`"),
        ({"sets": ["a"], "min_cosine": 0.5}, "compares embeddings and has no `model`"),
        ({"sets": ["a"], "by": ["hash"], "model": "clip"}, "asks for no embedding"),
        ({"sets": ["a"], "model": "A"}, "model = 'A'"),
        ({"sets": ["a"], "by": ["md5"]}, "by"),
        ({"sets": ["a"], "pdq_radius": 64}, "pdq_radius = 64"),
        ({"sets": ["a"], "phash_radius": 16}, "phash_radius = 16"),
        ({"sets": ["a"], "words": 1}, "words = 1"),
        ({"sets": ["a"], "min_words": 0}, "min_words = 0"),
        ({"sets": ["a"], "min_cosine": 1.1, "model": "clip"}, "min_cosine = 1.1"),
    ],
)
def test_settings_that_make_no_sense(table, words):
    with pytest.raises(ConfigError, match=words):
        build_filters({"evaluation_overlap": table})


def steps_of(table, models):
    rules = build_filters({"evaluation_overlap": table})
    return [step.label for step in signal_steps(rules, build_models(models), set())]


def test_only_what_is_asked_for_is_computed(images):
    table = {"sets": [images], "by": ["caption"]}
    assert steps_of(table, {}) == ["score_evaluation_overlap"]
    assert steps_of({**table, "by": ["phash"]}, {}) == ["score_phash", "score_pdq", "score_evaluation_overlap"]
    assert steps_of({"sets": [images], "model": "clip"}, {"clip": {}}) == [
        "score_clip", "score_pixel_hash", "score_pdq", "score_evaluation_embedding", "score_evaluation_overlap",
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "least"), [("clip", 0.96), ("sscd", 0.75), ("isc", 0.604169)])
def test_the_least_cosine_is_that_of_the_models_kind(tmp_path, images, kind, least):
    (tmp_path / "w.pt").write_bytes(b"weights")
    given = {} if kind == "clip" else {"weights": str(tmp_path / "w.pt")}
    models = build_models({"copies": {"kind": kind, **given}})
    for own, wanted in ((None, least), (0.5, 0.5)):
        rule = EvaluationOverlap(sets=(images,), model="copies", min_cosine=own)
        assert rule.scorers(models)[-1].min_cosine == wanted
    assert COSINES[kind] == least


def test_a_near_embedding_counts_from_its_bound_on_and_after_surer_ways(images):
    rule = EvaluationOverlap(sets=(images,), by=("hash", "embedding", "caption"), model="clip", min_cosine=0.8)
    scorer = rule.scorers(build_models({"clip": {}}))[-1]
    kinds, items, bits = [None, "hash", "caption", None, None], np.full(5, -1), np.full(5, -1)
    columns = pa.table({COSINE: pa.array([0.8, 0.9, 0.9, 0.79, None], pa.float32()), NEAREST: [1, 2, 3, 4, None]})
    scorer._add_near(columns, kinds, items, bits)
    assert kinds == ["embedding", "hash", "embedding", None, None]
    assert items.tolist() == [1, -1, 3, -1, -1]


def job(source, **filters):
    config = {"pipeline": "image_text_pairs", "source": {"kind": "webdataset", "path": source}, "filters": filters}
    return config


def run(config, folder, **more):
    outcome = run_job(image_text_pairs({**config, **more}), Storage(str(folder)), InlineEngine())
    assert outcome.failed == {}
    shards = [Shard(Storage(str(folder)), name) for name in ("00000", "00001")]
    rows = [row for s in shards for row in s.columns(["key", BY, SET, ITEM, "drop_reason"]).to_pylist()]
    return {row.pop("key"): row for row in rows}


def test_a_run_finds_what_was_planted_and_nothing_else(tmp_path):
    """Shards of 16 pictures; the evaluation has three of them: as they are, as JPEG, turned to black and white."""
    source = Storage(str(tmp_path / "crawl"))
    for number in range(2):
        put_shard(source, f"{number:05d}", number * 8)
    val = tmp_path / "val"
    val.mkdir()
    (val / "same.png").write_bytes(photo(1))
    image = Image.open(io.BytesIO(photo(10))).convert("RGB")
    image.resize((150, 150)).save(val / "again.jpg", quality=80)
    Image.fromarray(decoded(4)).save(val / "other.bmp")
    (val / "broken.png").write_bytes(b"\x89PNG")
    table = {"sets": [str(val)]}
    found = run(job(source.root, evaluation_overlap=table), tmp_path / "out")
    overlap = {key: (row[BY], row[ITEM]) for key, row in found.items() if row[BY]}
    assert overlap == {
        "000000001": ("pixels", "same.png"),
        "000000004": ("pixels", "other.bmp"),
        "000010002": ("pdq", "again.jpg"),
    }
    assert {row["drop_reason"] for row in found.values()} == {None, "evaluation_pixels", "near_evaluation_picture"}
    told = Shard(Storage(str(tmp_path / "out")), "00000").provenance(BY)
    assert told["evaluations"] == "val: 3 pictures, 1 pictures unreadable"
    before = sorted((tmp_path / "home").iterdir())
    assert len(before) == 1
    run(job(source.root, evaluation_overlap={**table, "pdq_radius": 10}), tmp_path / "out")
    assert sorted((tmp_path / "home").iterdir()) == before, "another bound needs no other index"


def test_a_model_of_the_config_embeds_both_sides(tmp_path):
    source = Storage(str(tmp_path / "crawl"))
    for number in range(2):
        put_shard(source, f"{number:05d}", number * 8)
    val = tmp_path / "val"
    val.mkdir()
    (val / "same.png").write_bytes(photo(12))
    models = {"clip": {"device": "cpu", "precision": "fp32"}}
    table = {"index": str(tmp_path / "index"), "by": ["embedding"], "model": "clip", "min_cosine": 0.999}
    config = job(source.root, evaluation_overlap={**table, "sets": [str(val)]})
    found = run(config, tmp_path / "out", models=models)
    assert {key: row[BY] for key, row in found.items() if row[BY]} == {"000010004": "embedding"}
    assert found["000010004"]["drop_reason"] == "like_evaluation_picture"
    again = run(job(source.root, evaluation_overlap=table), tmp_path / "out", models=models)
    assert again == found, "the index alone"
    other = {"clip": {"device": "cpu", "precision": "bf16"}}
    with pytest.raises(ConfigError, match="was built with other settings"):
        run(job(source.root, evaluation_overlap=table), tmp_path / "out", models=other)


def test_an_index_of_other_settings_is_refused_before_the_run(tmp_path, images):
    build_index([images], tmp_path / "index")
    scorer = EvaluationOverlap(index=str(tmp_path / "index"), words=8).scorers({})[-1]
    with pytest.raises(ConfigError, match=r"was built with other settings \(its fingerprint is .* wanted is"):
        scorer.require()
    with pytest.raises(ConfigError, match="no evaluation index in"):
        EvaluationOverlap(index=str(tmp_path / "none")).scorers({})[-1].require()
    with pytest.raises(ConfigError, match=r"the set .*nowhere holds no pictures"):
        EvaluationOverlap(sets=(str(tmp_path / "nowhere"),)).scorers({})[-1].identity()


def test_a_worker_needs_the_index_and_not_the_sets(tmp_path, images):
    rule = EvaluationOverlap(sets=(images,), index=str(tmp_path / "index"), by=("hash",))
    scorer = rule.scorers({})[-1]
    scorer.require()
    (tmp_path / "val").rename(tmp_path / "elsewhere")
    batch = Batch(pa.table({"sha256": [hashlib.sha256(photo(2)).hexdigest()]}))
    assert scorer.score(batch)[ITEM].to_pylist() == ["2.png"]
