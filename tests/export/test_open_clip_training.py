"""open_clip's own program trains on an export: an epoch of a tiny model on the CPU, and the loss falls below chance."""

import io
import json
import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from example_sets import put_pairs, run_export
from PIL import Image

from curate.sample import Sample
from curate.storage import Storage
from curate.toyweb.caption import WORDINGS, describe
from curate.toyweb.render import render
from curate.toyweb.scene import random_scene

pytest.importorskip("open_clip_train")

PAIRS = 512
BATCH = 8
MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PROGRAM = """
import functools, inspect, random, runpy, sys
import curate.models  # lets torchvision be imported
import webdataset, webdataset.tariterators as tars
# webdataset 1.0 ends each tar with an empty dict, of which open_clip_train 3.3 asks a name
if "eof_value" in inspect.signature(tars.tar_file_expander).parameters:
    tars.tar_file_expander = functools.partial(tars.tar_file_expander, eof_value=None)
webdataset.shuffle = functools.partial(webdataset.shuffle, rng=random.Random(0))  # seeded by the clock else
import open_clip
open_clip.add_model_config(sys.argv.pop(1))
runpy.run_module("open_clip_train.main", run_name="__main__")
"""


def toy_pairs(count: int) -> list[Sample]:
    dice = random.Random(0)
    found = []
    for number in range(count):
        scene, target = random_scene(dice), io.BytesIO()
        Image.fromarray(render(scene, (64, 64), dice.getrandbits(32))).save(target, "jpeg", quality=95)
        found.append(Sample(f"{number:06d}", target.getvalue(), "jpg", describe(scene, dice.randrange(WORDINGS)), {}))
    return found


@pytest.mark.slow
def test_an_epoch_of_its_training(tmp_path: Path) -> None:
    data, target = Storage(str(tmp_path / "data")), Storage(str(tmp_path / "out"))
    put_pairs(data, "00000", toy_pairs(PAIRS))
    run_export("open_clip", data, target, shard_samples=256, shuffle=True)
    (tmp_path / "tiny.json").write_text(json.dumps(MODEL))
    own = f"--model tiny --batch-size {BATCH} --epochs 1 --workers 0 --device cpu --precision fp32 --lr 1e-3 --warmup 8"
    own += f" --logs {tmp_path} --name run --log-every-n-steps 2 --save-frequency 0 --wd 0.1"
    command = ["xargs", "-a", target.path("open_clip_flags.txt"), sys.executable, "-c", PROGRAM]
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, str(tmp_path / "tiny.json"), *own.split()],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    steps = re.findall(r"\[ *(\d+)/(\d+) .* Loss: ([0-9.]+) ", done.stderr)
    losses = [float(loss) for _, _, loss in steps]
    assert steps[-1][:2] == (str(PAIRS), str(PAIRS))
    assert losses[0] > math.log(BATCH) > sum(losses[-20:]) / 20 + 0.15, losses
