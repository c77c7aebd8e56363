"""A data set of pairs, its export to webdataset, and lists that name its samples."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.decontamination.lists import read_lists
from curate.export import exporter
from curate.manifest import write_parquet
from curate.perceptual.pdq import pdq
from curate.perceptual.pixels import pixel_hash
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.storage import Storage
from curate.tar import TarWriter

ROWS = 8
SECRET = "secret-words"


def photo(number):
    """A picture of soft blobs, as PNG: enough to see in it for PDQ."""
    random = np.random.default_rng(number)
    grid = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(grid).resize((96, 96), Image.Resampling.BICUBIC).save(target, "PNG")
    return target.getvalue()


def pixels(number):
    return np.asarray(Image.open(io.BytesIO(photo(number))).convert("RGB"))


def put_shard(storage, name, first):
    target = io.BytesIO()
    tar = TarWriter(target)
    keys = [f"{name}{row:04d}" for row in range(ROWS)]
    names, table = [], []
    for row, key in enumerate(keys):
        data = photo(first + row)
        record = {
            "key": key,
            "url": f"https://h{row % 3}.test/{SECRET}/{key}.png",
            "uid": hashlib.md5(key.encode()).hexdigest(),
            "sha256": hashlib.sha256(b"as downloaded " + key.encode()).hexdigest(),
            "caption": f"{SECRET} {key}",
        }
        for extension, content in (("png", data), ("json", json.dumps(record).encode()), ("txt", SECRET.encode())):
            tar.add(f"{key}.{extension}", content)
            names.append((key, extension))
        table.append({**record, "status": "success"})
    tar.finish()
    storage.write(f"{name}.tar", target.getvalue())
    columns = list(zip(*names, strict=True))
    places = {"offset": [m.offset for m in tar.members], "size": [m.size for m in tar.members]}
    put(storage, f"{name}.index.parquet", pa.table({"key": columns[0], "extension": columns[1], **places}))
    put(storage, f"{name}.parquet", pa.Table.from_pylist(table))


def put(storage, name, table):
    target = io.BytesIO()
    write_parquet(table, target)
    storage.write(name, target.getvalue())


def export(source, target):
    job, finish = exporter("webdataset")(source, 4, True, 0)
    run_job(job, target, InlineEngine())
    return finish(target)


def copied(origin, to):
    for path in origin.rglob("*"):
        if path.is_file():
            target = to / path.relative_to(origin)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return Storage(str(to))


def members(storage):
    """Key to extensions to bytes, over all tars, by the standard library."""
    found = {}
    for name in sorted(storage.files()):
        if name.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(storage.read(name))) as tar:
                for member in tar:
                    key, _, extension = member.name.partition(".")
                    found.setdefault(key, {})[extension] = tar.extractfile(member).read()
    return found


def state(storage):
    """All files but commits, which hold times."""
    return {n: storage.read(n) for n in storage.files()}


def listing(tmp_path, *lines):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(["# a list", "", *lines]), "utf-8")
    return read_lists([str(path)], "--apply-tombstones")


def entries(number):
    """One entry of every kind that names sample `number` of the data set, and the kind that is told."""
    key = f"{number // ROWS:05d}{number % ROWS:04d}"
    data = photo(number)
    bits = np.unpackbits(np.frombuffer(pdq(pixels(number)).hash, np.uint8))
    bits[np.random.default_rng(1).permutation(256)[:31]] ^= 1
    return {
        "key": f"key:{key}",
        "url": f"HTTP://H{number % ROWS % 3}.test:80/{SECRET}/{key}.png#top",
        "uid": f"uid: {hashlib.md5(key.encode()).hexdigest()}",
        "md5": hashlib.md5(data).hexdigest().upper(),
        "sha1": hashlib.sha1(data).hexdigest(),
        "sha256": hashlib.sha256(b"as downloaded " + key.encode()).hexdigest(),
        "sha256 as stored": "sha256," + hashlib.sha256(data).hexdigest(),
        "pixel_hash": f"pixel_hash:{pixel_hash(pixels(number)).hex()}",
        "pdq": f"PDQ: {np.packbits(bits).tobytes().hex()}",
    }
