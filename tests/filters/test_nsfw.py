"""NSFW probabilities come from the embeddings of the named model; what is unknown is not safe."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from curate.errors import ConfigError
from curate.filter import Batch
from curate.models.embeddings import embedding_column
from filters.nsfw import Nsfw

HEADS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "models" / "clip_nsfw_heads"


@pytest.fixture
def head(tmp_path):
    path = tmp_path / "head.pth"
    tensors = {"norm.mean": torch.zeros(2), "norm.variance": torch.ones(2)}
    torch.save(tensors | {"linear_1.weight": torch.tensor([[4.0, 0]]), "linear_1.bias": torch.tensor([-2.0])}, path)
    return str(path)


@pytest.mark.parametrize(
    ("probability", "reason"),
    [
        (0.1, None),
        (0.1001, "not_safe_for_work"),
        (0.0, None),
        (1.0, "not_safe_for_work"),
        (math.nan, "nsfw_unknown"),
        (None, "nsfw_unknown"),
    ],
)
def test_the_bound_is_included(reasons, probability, reason):
    assert reasons(Nsfw(head="h.zip"), nsfw_probability=[probability]) == [reason]


def test_scores_of_the_named_model(head):
    scorer = Nsfw(head=head, model="b32").scorer()
    column = embedding_column(np.array([[1, 0], [0, 1], [0.5, 1]]), np.array([True, False, True]))
    found = scorer.score(Batch(pa.table({"b32_image_embedding": column})))["nsfw_probability"].to_pylist()
    assert found == [pytest.approx(1 / (1 + math.exp(-2))), None, 0.5]


def test_the_head_is_told_by_its_bytes(head, tmp_path):
    scorer = Nsfw(head=head).scorer()
    before = scorer.identity()
    moved = tmp_path / "moved.pth"
    moved.write_bytes(Path(head).read_bytes())
    assert Nsfw(head=str(moved), max=0.5).scorer().identity() == before
    moved.write_bytes(b"changed")
    assert Nsfw(head=str(moved)).scorer().identity() != before
    with pytest.raises(ConfigError, match=r"moved\.pth is refused"):
        Nsfw(head=str(moved)).scorer().require()


@pytest.mark.skipif(not HEADS.is_dir(), reason="the heads of shared/data are not here")
def test_a_published_head_refuses_the_embeddings_of_the_other_model():
    scorer = Nsfw(head=str(HEADS / "clip_autokeras_binary_nsfw.zip")).scorer()
    scorer.require()
    with pytest.raises(ConfigError, match="768 numbers, and clip_image_embedding has 512"):
        scorer.score(Batch(pa.table({"clip_image_embedding": pa.nulls(1, pa.list_(pa.float16(), 512))})))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs a value for 'head'"),
        ({"head": "a.zip", "max": 1.5}, "max = 1.5 is out of range"),
        ({"head": "a.zip", "model": ""}, "model = ''"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Nsfw(**settings)
