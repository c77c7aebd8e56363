"""What is not installed is told before a run starts."""

import sys

import pytest

from curate.balance.clusters import ShareByComplexity
from curate.balance.matching import MatchConcepts
from curate.balance.metaclip import BalanceConcepts
from curate.balance.soft_cap import DrawBySoftCap
from curate.errors import ConfigError
from curate.stage import Runtime


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text("dog\n")
    return str(tmp_path / "words.txt")


def test_without_the_compiler(monkeypatch, words):
    steps = [BalanceConcepts(words, 5.0), DrawBySoftCap("score", 5)]
    for step in steps:
        step.require(Runtime())
    MatchConcepts(words).require()
    monkeypatch.setitem(sys.modules, "numba", None)
    for step in steps:
        with pytest.raises(ConfigError, match=r"\[filters\..*\] needs numba; .* pip install 'curate-vl\[dedup\]'"):
            step.require(Runtime())
    with pytest.raises(ConfigError, match=r"\[filters.metaclip_balance\] needs numba"):
        MatchConcepts(words).require()


def test_without_what_clusters(monkeypatch):
    ShareByComplexity("clip", 5).require(Runtime())
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"\[filters.cluster_balance\] needs faiss; .*'curate-vl\[models\]'"):
        ShareByComplexity("clip", 5).require(Runtime())


def test_without_the_list(words):
    with pytest.raises(ConfigError, match="metadata = 'nowhere' cannot be read"):
        BalanceConcepts("nowhere", 5.0).require(Runtime())
