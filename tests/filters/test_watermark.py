"""The bound on watermarks is data-juicer's; the scorer hands pictures to the network in its form and its order."""

import math

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.filter import Batch
from filters import watermark
from filters.watermark import Watermark


@pytest.mark.parametrize(
    ("probability", "reason"),
    [(0.8, None), (0.801, "watermarked"), (0.0, None), (None, "watermark_unknown"), (math.nan, "watermark_unknown")],
)
def test_the_bound_is_included(reasons, probability, reason):
    assert reasons(Watermark("w.pt"), watermark_probability=[probability]) == [reason]


def test_pictures_go_to_the_network_as_squares_and_come_back_in_their_rows(monkeypatch, tmp_path):
    """The network is a double that reads the top left pixel; its own test is of models."""

    def double(weights, digest, views):
        assert all(view.shape == (256, 256, 3) for view in views)
        return np.array([view[0, 0, 0] / 200 if view[0, 0, 0] else np.nan for view in views], np.float32)

    monkeypatch.setattr(watermark, "watermark_probabilities", double)
    (tmp_path / "w.pt").write_bytes(b"weights")
    scorer = Watermark(str(tmp_path / "w.pt")).scorer()
    pictures = [np.full((30, 50, 3), value, np.uint8) for value in (100, 0, 50)]
    views = [scorer.prepare(pictures[0]), None, *map(scorer.prepare, pictures[1:])]
    found = scorer.score(Batch(pa.table({"key": pa.nulls(4)}), views))["watermark_probability"].to_pylist()
    assert found == [0.5, None, None, 0.25]
    assert scorer.score(Batch(pa.table({"key": pa.nulls(1)}), [None]))["watermark_probability"].to_pylist() == [None]


def test_the_weights_are_told_by_their_bytes_and_checked_before_the_run(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(b"weights")
    scorer = Watermark(str(path)).scorer()
    before = scorer.identity()
    path.write_bytes(b"other weights")
    assert scorer.identity() != before
    with pytest.raises(ConfigError, match=r"w\.pt is refused"):
        scorer.require()
    path.unlink()
    with pytest.raises(ConfigError, match=r"\[filters.watermark\] weights = .*w.pt' cannot be read"):
        scorer.require()


@pytest.mark.parametrize(
    ("settings", "words"), [({}, "LAION-5B-WatermarkDetection"), ({"weights": "w", "max": -0.1}, "max = -0.1")]
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Watermark(**settings)
