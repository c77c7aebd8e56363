"""The verdict on each kind of row, and what a config may say."""

import pyarrow as pa
import pytest

from curate.balance.clusters import CLUSTER, PLACE, TARGET
from curate.config import build
from curate.errors import ConfigError
from curate.models.settings import build_models
from filters.cluster_balance import ClusterBalance


def test_reasons_of_rows():
    rule = ClusterBalance(count=5)
    rows = pa.table(
        {
            CLUSTER: pa.array([0, 0, 0, 1, 1, None], pa.int32()),
            PLACE: pa.array([0, 1, 2, 0, None, None], pa.int64()),
            TARGET: pa.array([2, 2, 2, 0, None, None], pa.int64()),
        }
    )
    over = "cluster_over_target"
    assert rule.judge(rows).to_pylist() == [None, None, over, over, None, "balance_cluster_unknown"]
    assert rule.judge(rows.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "needs one of count and fraction"),
        ({"count": 5, "fraction": 0.5}, "needs one of count and fraction"),
        ({"count": -1}, "count = -1 is out of range"),
        ({"fraction": 1.1}, "fraction = 1.1 is out of range"),
        ({"count": 5, "clusters": 0}, "clusters = 0 is out of range"),
        ({"count": 5, "iterations": 0}, "iterations = 0 is out of range"),
        ({"count": 5, "temperature": 0.0}, "temperature = 0.0 is out of range"),
        ({"count": 5, "min_per_cluster": -1}, "min_per_cluster = -1 is out of range"),
        ({"count": 5, "seed": 1 << 31}, "seed = 2147483648 is out of range"),
    ],
)
def test_what_a_config_may_not_say(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(ClusterBalance, settings, "filters.cluster_balance")


@pytest.mark.parametrize("settings", [{"count": 0}, {"fraction": 0}, {"fraction": 1.0, "min_per_cluster": 0}])
def test_what_it_may_say(settings):
    build(ClusterBalance, settings, "filters.cluster_balance")


def test_whose_embeddings():
    (own,) = ClusterBalance(count=5).steps(())
    (other,) = ClusterBalance(count=5, embedding="dino", among="all").steps(())
    assert (own.column, own.rules, other.column, other.rules) == ("clip_image_embedding", (), "dino", None)
    with pytest.raises(ConfigError, match=r"the config has no \[models.clip\]"):
        ClusterBalance(count=5).scorers({})
    with pytest.raises(ConfigError, match="needs its embeddings"):
        ClusterBalance(count=5).scorers(build_models({"clip": {"kind": "clip", "embeddings": False}}))
    assert ClusterBalance(count=5, embedding="dino").scorers({}) == ()
