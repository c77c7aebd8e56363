"""The preset of DataComp's clip_score, end to end: real photos over HTTP, a ViT-B/32, uids that its trainers read."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate.models  # noqa: F401  (lets torchvision be imported)
from curate.cli import main
from curate.manifest import CommitLog
from curate.shard import Shard
from curate.storage import Storage
from curate.subset import UID

ROOT = Path(__file__).resolve().parents[1]
PAIRS = ROOT.parent / "shared" / "data" / "pairs"
ROWS = 48


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def photos() -> Iterator[str]:
    if not (PAIRS / "openstax.jsonl").is_file():
        pytest.skip("the photos of pairs/openstax are not beside this checkout")
    handler = functools.partial(Quiet, directory=str(PAIRS))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vit_b_32.safetensors"
    model = open_clip.create_model("ViT-B-32", load_weights=False)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def adapted(preset: str, folder: Path, weights: Path, fraction: float) -> Path:
    """The preset with a smaller model, other files, and the loopback allowed."""
    text = (ROOT / "configs" / f"{preset}.toml").read_text()
    for pattern, new in {
        'path = "metadata" .*': f'path = "{folder / "metadata"}"',
        'contact = ""': 'contact = "you@example.org"\nallow_addresses = ["127.0.0.0/8"]\nper_host_rate = 0\n#',
        'architecture = "ViT-L-14"': 'architecture = "ViT-B-32"',
        'weights = "openai" .*': f'weights = "{weights}"',
        "samples = 10000": "samples = 20",
        r"fraction = 0\.3": f"fraction = {fraction}",
    }.items():
        text, found = re.subn(pattern, new, text)
        assert found == 1, pattern
    path = folder / f"{preset}-{fraction}.toml"
    path.write_text(text)
    return path


def write_metadata(folder: Path, base: str) -> list[str]:
    rows = [json.loads(line) for line in (PAIRS / "openstax.jsonl").read_text("utf-8").splitlines()[: ROWS - 1]]
    urls = [f"{base}/{quote(row['image'])}" for row in rows] + [f"{base}/nothing.jpg"]
    texts = [row["alt"] for row in rows] + ["a picture that is gone"]
    uids = [hashlib.md5(f"{t}{u}".encode()).hexdigest() for t, u in zip(texts, urls, strict=True)]
    (folder / "metadata").mkdir()
    pq.write_table(pa.table({"uid": uids, "url": urls, "text": texts}), folder / "metadata" / "00000.parquet")
    return uids


@pytest.mark.slow
def test_datacomp_clip_score_end_to_end(photos: str, weights: Path, tmp_path: Path) -> None:
    uids = write_metadata(tmp_path, photos)
    out = str(tmp_path / "out")
    assert main(["run", str(adapted("datacomp_clip_l14", tmp_path, weights, 0.3)), "--out", out]) == 0
    storage = Storage(out)
    tables = [
        Shard(storage, shard).columns(["uid", "l14_similarity", "keep", "drop_reasons"])
        for shard in ("00000", "00001", "00002")
    ]
    rows = pa.concat_tables(tables).to_pylist()
    assert [row["uid"] for row in rows] == uids
    assert rows[-1]["l14_similarity"] is None
    assert set(rows[-1]["drop_reasons"]) == {"not_found", "similarity_unknown"}
    scores = np.array([row["l14_similarity"] for row in rows[:-1]], np.float32)
    assert np.isfinite(scores).all()
    threshold = -np.sort(-scores)[int(len(scores) * 0.3)]
    wanted = sorted(
        (int(r["uid"][:16], 16), int(r["uid"][16:], 16)) for r in rows[:-1] if r["l14_similarity"] >= threshold
    )
    assert np.load(tmp_path / "out" / "subset.npy").tobytes() == np.array(wanted, UID).tobytes()
    assert [row["keep"] for row in rows[:-1]] == (scores >= threshold).tolist()
    embeddings = Shard(storage, "00000").schema("l14").field("l14_image_embedding")
    assert embeddings.type == pa.list_(pa.float16(), 512)
    assert embeddings.metadata[b"model"] == b"ViT-B-32 vit_b_32.safetensors"
    before = {stage: CommitLog(storage).names(stage) for stage in ("score_l14", "rank_l14_similarity", "select")}
    assert main(["run", str(adapted("datacomp_clip_l14", tmp_path, weights, 0.1)), "--out", out]) == 0
    after = {stage: CommitLog(storage).names(stage) for stage in before}
    assert [stage for stage in before if before[stage] != after[stage]] == ["select"]
    assert len(np.load(tmp_path / "out" / "subset.npy")) == int(len(scores) * 0.1) + 1
