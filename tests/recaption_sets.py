"""Small sets of toy pictures as tars, and a toy captioner with random weights: what recaptioning is tested on."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import curate.models  # noqa: F401  (lets torchvision be imported)
from curate.toyweb.caption import WORDINGS, describe
from curate.toyweb.render import render
from curate.toyweb.scene import random_scene

BROKEN = b"\xff\xd8\xff this is no picture"


def toy_set(folder: Path, tars: int, rows: int, wrong: float = 0.0, seed: int = 0, broken: Sequence[int] = ()) -> Path:
    """A folder of tars of so many rows; a share of the captions is of another picture, and some pictures are broken."""
    folder.mkdir(parents=True)
    dice = random.Random(seed)
    for number in range(tars):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for row in range(rows):
                scene = random_scene(dice)
                said = random_scene(dice) if dice.random() < wrong else scene
                picture = _jpeg(render(scene, (96, 96), dice.getrandbits(32)))
                if number == 0 and row in broken:
                    picture = BROKEN
                _add(tar, f"{number:05d}{row:04d}.jpg", picture)
                _add(tar, f"{number:05d}{row:04d}.txt", describe(said, dice.randrange(WORDINGS)).encode())
    return folder


def random_captioner(folder: Path) -> Path:
    """A toy captioner that knows nothing."""
    import torch

    from curate.models.toy import save_toy
    from curate.models.toy_captioner import ToyCaptioner

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_toy(ToyCaptioner(), folder / "model.safetensors", {})
    (folder / "toy.json").write_text(json.dumps({"kind": "captioner"}))
    return folder


def _jpeg(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "jpeg", quality=95)
    return data.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
