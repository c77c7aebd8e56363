"""What is held while an index is built is as little as the module says."""

import tracemalloc
from collections import Counter

import numpy as np

from curate.decode import Prepared
from curate.decontamination.building import Build
from curate.decontamination.sets import Item

PICTURES = 5_000


def test_a_picture_takes_some_two_hundred_bytes(tmp_path):
    build, counts = Build(tmp_path, 13, 5, ("text",), None), Counter()
    random = np.random.default_rng(0)
    tracemalloc.start()
    for own in range(PICTURES):
        build._sets.append("val")
        build._names.append(f"n01440764/ILSVRC2012_val_{own:08d}.JPEG")
        build._add_files(own, Item("", random.bytes(20)))
        hashes = {"pixel_hash": random.bytes(16), "pdq": random.bytes(32), "pdq_quality": 100, "phash": 2**64 - 1 - own}
        build._add_picture(Prepared(str(own), [hashes], [1]), counts)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / PICTURES < 260
    build.finish()
    assert np.load(tmp_path / "phash.npy").tolist() == [2**64 - 1 - own for own in range(PICTURES)]
