"""Small shards of toy pairs, and a tiny CLIP with random weights, written for a test."""

import hashlib
import io
import json
from dataclasses import dataclass
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from curate.tar import TarWriter
from curate.toyweb.caption import WORDINGS, describe
from curate.toyweb.render import draw
from curate.toyweb.scene import random_scene

SIZE = 64
BROKEN = b"\xff\xd8\xff\xe0 and then nothing"

TINY = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
        "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {
        "size": SIZE,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    },
}


@dataclass(frozen=True)
class ToyPair:
    image: bytes
    caption: str | None
    extension: str = "jpg"
    defect: str | None = "clean"
    keep: bool | None = True

    @property
    def url(self):
        return f"http://a.test/{self.sha256}"

    @property
    def sha256(self):
        return hashlib.sha256(self.image).hexdigest()


def picture(seed, size=(160, 128)):
    random = Random(f"picture {seed}")
    return draw(random_scene(random), size, random.getrandbits(32))


def encoded(image, kind="JPEG", **options):
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def toy_pairs(count, seed=0, size=(80, 64)):
    """`count` pairs of the toy web that fit."""
    pairs = []
    for number in range(count):
        random = Random(f"{seed}/{number}")
        scene = random_scene(random)
        image = draw(scene, size, random.getrandbits(32))
        pairs.append(ToyPair(encoded(image, quality=90), describe(scene, random.randrange(WORDINGS))))
    return pairs


def write_tar(path, pairs, first=0):
    """A WebDataset tar; returns its members by key."""
    members = []
    with open(path, "wb") as target:
        tar = TarWriter(target)
        for number, pair in enumerate(pairs, first):
            parts = {pair.extension: pair.image, "json": json.dumps({"toy_defect": pair.defect, "alt": "x"}).encode()}
            if pair.caption is not None:
                parts["txt"] = pair.caption.encode()
            for extension, data in parts.items():
                tar.add(f"{number:05d}.{extension}", data)
                members.append((f"{number:05d}", extension))
        tar.finish()
    return [(key, kind, m.offset, m.size) for (key, kind), m in zip(members, tar.members, strict=True)]


def write_shard(folder, name, pairs, index=True, keep=False):
    """A shard as a run leaves it: tar, sample table, index, and the decision where `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    members = write_tar(folder / f"{name}.tar", pairs)
    keys = [f"{number:05d}" for number in range(len(pairs))]
    table = {
        "url": [pair.url for pair in pairs],
        "caption": pa.array([pair.caption for pair in pairs], pa.string()),
        "key": keys,
        "sha256": [pair.sha256 for pair in pairs],
        "toy_defect": pa.array([pair.defect for pair in pairs], pa.string()),
    }
    pq.write_table(pa.table(table), folder / f"{name}.parquet")
    if index:
        columns = zip(*members, strict=True)
        own = dict(zip(("key", "extension", "offset", "size"), map(list, columns), strict=True))
        pq.write_table(pa.table(own), folder / f"{name}.index.parquet")
    if keep:
        decided = {"key": keys, "keep": [pair.keep for pair in pairs]}
        pq.write_table(pa.table(decided), folder / f"{name}.select.parquet")
    return str(folder)


def write_tiny_clip(folder, seed=0, logit_scale=None):
    """A folder with a CLIP of 3.4 M parameters and random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    import curate.models  # noqa: F401 - before open_clip, for torchvision's sake

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(TINY))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    if logit_scale is not None:
        state["logit_scale"] = torch.tensor(logit_scale)
    save_file(state, folder / "open_clip_model.safetensors")
    return str(folder)
