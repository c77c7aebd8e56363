"""Aesthetic scores come from the embeddings of the named model by the named head, and are cut like any score."""

import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from curate.errors import ConfigError
from curate.filter import Batch
from curate.models.embeddings import embedding_column
from curate.models.settings import ModelSettings
from curate.models.weights import TOY_DIMENSIONS
from filters.aesthetic import Aesthetic


@pytest.fixture
def head(tmp_path):
    path = tmp_path / "head.pth"
    torch.save({"weight": torch.tensor([[2.0, -1.0]]), "bias": torch.tensor([5.0])}, path)
    return str(path)


def batch(column="clip_image_embedding"):
    rows = np.array([[1, 0], [0, 1], [0.5, 0.25], [0, 0]])
    return Batch(pa.table({column: embedding_column(rows, np.array([True, True, True, False]))}))


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (4.5, None),
        (4.49, "aesthetic_too_low"),
        (7.0, None),
        (7.01, "aesthetic_too_high"),
        (math.nan, "aesthetic_unknown"),
        (None, "aesthetic_unknown"),
    ],
)
def test_bounds_are_included(reasons, score, reason):
    assert reasons(Aesthetic(min=4.5, max=7, head="h.pth"), aesthetic_score=[score]) == [reason]


def test_scores_of_the_named_model(head):
    scorer = Aesthetic(min=1, head=head, model="l14").scorer()
    assert scorer.reads == ("l14_image_embedding",)
    assert scorer.score(batch("l14_image_embedding"))["aesthetic_score"].to_pylist() == [7, 4, 5.75, None]


def test_another_head_is_another_score(head, tmp_path):
    scorer = Aesthetic(min=1, head=head).scorer()
    before = scorer.identity()
    moved = tmp_path / "moved.pth"
    moved.write_bytes(Path(head).read_bytes())
    assert Aesthetic(min=2, head=str(moved)).scorer().identity() == before
    assert Aesthetic(min=1, head=head, model="l14").scorer().identity() != before
    assert scorer.score(batch())["aesthetic_score"].to_pylist()[0] == 7
    torch.save({"weight": torch.tensor([[3.0, -1.0]]), "bias": torch.tensor([5.0])}, head)
    os.utime(head, ns=(1, 1))  # a file system's clock may stand still for 10 ms
    assert scorer.identity() != before
    assert scorer.score(batch())["aesthetic_score"].to_pylist()[0] == 8


def test_a_missing_or_odd_head_is_told_before_the_run(head, tmp_path):
    Aesthetic(min=1, head=head).scorer().require()
    with pytest.raises(ConfigError, match=r"\[filters.aesthetic\] head = .*none.pth' cannot be read: No such file"):
        Aesthetic(min=1, head=str(tmp_path / "none.pth")).scorer().require()
    torch.save({"other": torch.zeros(1)}, head)
    with pytest.raises(ConfigError, match="has also other"):
        Aesthetic(min=1, head=head).scorer().require()


def test_a_head_of_another_model_is_told_before_the_run(head):
    (scorer,) = Aesthetic(min=1, head=head).scorers({"clip": ModelSettings()})
    with pytest.raises(ConfigError, match=rf"embeddings of 2 numbers, and \[models.clip\] has {TOY_DIMENSIONS}"):
        scorer.require()
    with pytest.raises(ConfigError, match=r"the config has no \[models.l14\]"):
        Aesthetic(min=1, head=head, model="l14").scorers({"clip": ModelSettings()})
    assert scorer.identity() == Aesthetic(min=1, head=head).scorer().identity()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min": 5}, "needs a value for 'head'"),
        ({"head": "a.pth"}, "has no bound"),
        ({"head": "a.pth", "min": 5, "model": "ViT-L"}, "model = 'ViT-L'"),
        ({"head": "a.pth", "fraction": 1.5}, "fraction = 1.5 is out of range"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Aesthetic(**settings)
