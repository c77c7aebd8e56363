"""The Fetch stage as a run calls it, on tables in memory, and what it wrote read back by others' readers."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from curate.fetch.picture import ImageSettings
from curate.fetch.settings import FetchSettings
from curate.fetch.stage import Fetch
from curate.plan import Job
from curate.run.inline import InlineEngine
from curate.run.scheduler import Outcome, RunSettings, run_job
from curate.slices import write_slices
from curate.stage import Runtime
from curate.storage import Storage

CLOCKS = ("fetch_log.parquet", "_stats.json")


def fetch_tables(
    root: Path,
    tables: list[pa.Table],
    addresses: Mapping[str, str],
    fetch: FetchSettings,
    image: ImageSettings | None = None,
    *,
    threads: int = 2,
    samples_per_shard: int = 1000,
) -> Outcome:
    """One shard per table, fetched by the inline engine; no shard may fail."""
    stage = Fetch(fetch, image or ImageSettings(size_px=64), samples_per_shard)
    job = Job((stage,), lambda storage: write_slices(storage, tables))
    settings, runtime = RunSettings(attempts=1), Runtime(threads=threads, addresses=addresses)
    outcome = run_job(job, Storage(str(root)), InlineEngine(), settings, runtime)
    assert not outcome.failed
    return outcome


def members(path: Path) -> dict[str, bytes]:
    """A tar's members in its order, by the standard library."""
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]


def column(root: Path, name: str, family: str = "", shard: str = "00000") -> list[object]:
    """One column of a shard."""
    file = f"{shard}.{family}.parquet" if family else f"{shard}.parquet"
    return pq.read_table(root / file, columns=[name])[name].to_pylist()


def digests(root: Path) -> dict[str, str]:
    """Every file of the shards that holds no clock: name to digest."""
    files = [p for p in root.glob("0*") if not p.name.endswith(CLOCKS)]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def encoded(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    """Height x width x 3 as a file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def picture(kind: str = "JPEG", size: tuple[int, int] = (96, 72), seed: int = 0) -> bytes:
    """An encoded picture of soft colours; width and height in pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return encoded(np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)), kind)


def decoded(data: bytes) -> np.ndarray:
    """Height x width x 3, by Pillow."""
    image = Image.open(io.BytesIO(data))
    assert image.mode == "RGB"
    return np.asarray(image)
