"""The NSFW MobileNet finds photos of a textbook and of food neutral; its bounds are OBELICS'."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.fetch.image import decode
from curate.filter import Batch
from filters.nsfw_picture import CLASSES, NsfwPicture, ScoreNsfwPicture

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WEIGHTS = DATA / "models" / "nsfwjs_mobilenet" / "models" / "mobilenet_v2"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the model of shared/data is not here")


@pytest.mark.parametrize(
    ("hentai", "porn", "reason"),
    [
        (0.9, 0.0, None),
        (0.91, 0.9, "pornographic_drawing"),
        (0.0, 0.85, None),
        (0.0, 0.86, "pornographic"),
        (None, None, "nsfw_picture_unknown"),
        (math.nan, math.nan, "nsfw_picture_unknown"),
    ],
)
def test_bounds_are_included(reasons, hentai, porn, reason):
    found = reasons(NsfwPicture("w"), nsfw_hentai_probability=[hentai], nsfw_porn_probability=[porn])
    assert found == [reason]


def test_other_bounds(reasons):
    rule = NsfwPicture("w", max_hentai=None, max_porn=None, max_sexy=0.5)
    assert reasons(rule, nsfw_sexy_probability=[0.5, 0.51, None]) == [None, "suggestive", "nsfw_picture_unknown"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs a value for 'weights'"),
        ({"weights": "w", "max_porn": 1.1}, "max_porn = 1.1 is out of range"),
        ({"weights": "w", "max_hentai": None, "max_porn": None}, "has no bound"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        NsfwPicture(**settings)


def test_the_folder_or_the_topology_in_it_name_the_same_model():
    folder, file = (NsfwPicture(weights).scorer() for weights in ("models/nsfwjs", "models/nsfwjs/model.json"))
    assert folder == file == ScoreNsfwPicture("models/nsfwjs")
    assert NsfwPicture("model.json").scorer() == ScoreNsfwPicture(".")


def photos(count):
    paths = [
        *sorted((DATA / "pairs" / "openstax").rglob("*.jpg")),
        *sorted((DATA / "pairs" / "recipes").rglob("*.jp*g")),
    ]
    return [decode(path.read_bytes()) for path in paths[:: len(paths) // count]]


def probabilities(scorer, pictures):
    views = [None if p is None else scorer.prepare(p) for p in pictures]
    found = scorer.score(Batch(pa.table({"key": pa.nulls(len(views))}), views))
    assert list(found) == [f"nsfw_{name}_probability" for name in CLASSES]
    return list(zip(*(values.to_pylist() for values in found.values()), strict=True))


@needs_weights
def test_photos_are_neutral_and_probabilities_sum_to_one():
    found = np.array(probabilities(ScoreNsfwPicture(str(WEIGHTS)), photos(40)))
    assert len(found) >= 40
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-5
    assert (found[:, CLASSES.index("neutral")] > 0.5).mean() > 0.9
    assert (found[:, CLASSES.index("porn")] <= 0.85).all()


@needs_weights
def test_a_picture_gets_the_same_alone_and_among_others():
    scorer = ScoreNsfwPicture(str(WEIGHTS))
    pictures = [None, *photos(18), np.zeros((1, 1, 3), np.uint8), np.zeros((1, 900, 3), np.uint8)]
    together = probabilities(scorer, pictures)
    for place in (1, 17, len(pictures) - 1):
        (alone,) = probabilities(scorer, [pictures[place]])
        assert alone == pytest.approx(together[place], abs=1e-5)
    assert together[0] == (None,) * 5


@needs_weights
def test_a_folder_that_is_no_such_model_is_told_before_the_run(tmp_path):
    scorer = ScoreNsfwPicture(str(WEIGHTS))
    scorer.require()
    for name in ("model.json", "group1-shard1of1"):
        (tmp_path / name).write_bytes((WEIGHTS / name).read_bytes())
    copy = ScoreNsfwPicture(str(tmp_path))
    assert copy.identity() == scorer.identity()
    data = (tmp_path / "group1-shard1of1").read_bytes()
    (tmp_path / "group1-shard1of1").write_bytes(data[:-1])
    assert copy.identity() != scorer.identity()
    with pytest.raises(ConfigError, match="is not there as float32"):
        copy.require()
    (tmp_path / "group1-shard1of1").unlink()
    with pytest.raises(ConfigError, match=r"\[filters.nsfw_picture\] weights = .*group1-shard1of1' cannot be read"):
        copy.identity()
    with pytest.raises(ConfigError, match=r"give the folder of a TensorFlow\.js layers model"):
        ScoreNsfwPicture(str(tmp_path / "none")).identity()
