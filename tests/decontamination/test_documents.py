"""Pictures of documents are held against hash lists and evaluations too, by the steps that pairs have."""

import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from curate.decontamination import comparing
from curate.document.read import read_pictures
from curate.errors import ConfigError
from curate.perceptual.pdq import pdq
from curate.perceptual.pixels import pixel_hash
from curate.plan import check
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.shard import Shard, list_shards
from curate.stage import Runtime
from curate.storage import Storage
from pipelines.interleaved import interleaved


def config(**picture_filters):
    fast = {"per_host_rate": 0, "least_rate_window_s": 1.0, "most_bytes": 8_000_000, "backoff_s": 0.1}
    source = {"kind": "toy_pages", "count": 4, "seed": 5}
    return {"pipeline": "interleaved", "source": source, "fetch": fast, "picture_filters": picture_filters}


def run(folder, **picture_filters):
    storage = Storage(str(folder))
    job = interleaved(config(**picture_filters))
    with job.serve() as addresses:
        assert run_job(job, storage, InlineEngine(), runtime=Runtime(addresses=addresses)).failed == {}
    return list_shards(storage)[0]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of parts by key, as they are stored."""
    return dict(read_pictures(run(tmp_path_factory.mktemp("documents") / "plain")))


def dropped(shard: Shard, reason):
    parts = shard.parts.columns(["key", "drop_reason"])
    reasons = parts["drop_reason"].cast(pa.string())
    return set(parts.filter(pc.fill_null(pc.equal(reasons, reason), False))["key"].to_pylist())


def hashed(data):
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return {
        "md5": hashlib.md5(data).hexdigest(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "pixel_hash": pixel_hash(pixels).hex(),
        "pdq": pdq(pixels).hash.hex(),
    }


@pytest.mark.parametrize("kind", ["md5", "sha256", "pixel_hash", "pdq"])
def test_hash_lists_drop_pictures_of_documents(tmp_path, pictures, kind):
    key, data = next((key, data) for key, data in pictures.items() if Image.open(io.BytesIO(data)).width > 60)
    (tmp_path / "list").write_text(f"{kind}:{hashed(data)[kind]}")
    shard = run(tmp_path / "out", hash_list={"paths": [str(tmp_path / "list")]})
    same = {other for other, found in pictures.items() if found == data}
    assert key in same
    assert same <= dropped(shard, "listed_hash") < pictures.keys()


def test_evaluations_drop_pictures_of_documents(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(comparing, "default_folder", lambda mark: tmp_path / "home" / mark)
    key, data = next(iter(pictures.items()))
    (tmp_path / "val").mkdir()
    Image.open(io.BytesIO(data)).convert("RGB").save(tmp_path / "val" / "again.png")
    shard = run(tmp_path / "out", evaluation_overlap={"sets": [str(tmp_path / "val")]})
    assert key in dropped(shard, "evaluation_pixels")


def test_both_may_ask_for_the_same_hashes(tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "default_folder", lambda mark: tmp_path / "home" / mark)
    (tmp_path / "list").write_text("pdq:" + "0" * 64 + "\n" + "0" * 32)
    (tmp_path / "val").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "val" / "a.png")
    table = {"hash_list": {"paths": [str(tmp_path / "list")]}, "evaluation_overlap": {"sets": [str(tmp_path / "val")]}}
    job = interleaved(config(**table))
    check(job)
    labels = [step.label for step in job.steps]
    assert labels.count("score_parts_pdq") == 1
    assert labels.index("part_file_digests") < labels.index("score_parts_hash_list")


def test_embeddings_are_not_compared_and_this_is_told():
    with pytest.raises(ConfigError, match=r"\[picture_filters.evaluation_overlap\] .*documents have no \[models\]"):
        interleaved(config(evaluation_overlap={"sets": ["val"], "model": "sscd"}))
