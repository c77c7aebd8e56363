"""The same promises on a real Ray cluster of two nodes, one of which is killed in the middle."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_scheduler import products, run
from toy_stages import Rows, Share, Sum, Times, job

from curate.run.ray import RayEngine
from curate.run.scheduler import Progress, RunSettings, run_job
from curate.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

QUICK_DEATH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    before = dict(os.environ)
    here = str(Path(__file__).parent)
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", PYTHONPATH=here)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False, "_system_config": QUICK_DEATH}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=2, object_store_memory=80 << 20)
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_cluster_is_started_when_there_is_none_and_only_when_there_is_work(tmp_path: Path) -> None:
    import ray

    work = job(Rows(), Times(3, fails=("00001",)), Sum(), Share())
    engine = RayEngine(cpus=2)
    outcome = run(work, tmp_path, engine, RunSettings(attempts=2, max_failed_ratio=0.5))
    assert list(outcome.failed) == ["00001"]
    assert "no good: 00001" in outcome.failed["00001"]
    assert products(tmp_path, "00002") == [24, 27, 30, 33]
    assert not ray.is_initialized(), "what we started we stopped"
    again = run(job(Rows(), shards=4), tmp_path, RayEngine(cpus=2))
    assert (again.made, again.skipped) == (0, 4)


def test_two_nodes_and_one_is_killed_in_the_middle(tmp_path: Path, cluster: Any) -> None:
    import ray

    notes = tmp_path / "notes"
    notes.mkdir()
    shards = 12
    killed: list[float] = []

    def kill_after_three(rows: int, commits: object) -> None:
        if not killed and len(list(notes.iterdir())) >= 4:
            killed.append(time.monotonic())
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    engine = RayEngine(cluster.address)
    work = job(Rows(), Times(notes=str(notes), sleep_s=0.5), Sum(), shards=shards)
    try:
        storage = Storage(str(tmp_path / "out"))
        outcome = run_job(work, storage, engine, RunSettings(), progress=Progress(advance=kill_after_three))
        assert killed
        assert sum(node["Alive"] for node in ray.nodes()) == 1
    finally:
        engine.close()
    assert outcome.failed == {}
    assert outcome.made == 2 * shards + 1
    told = {entry.counts["workers"] for entry in outcome.manifest.of("times")}
    assert 3 in told, "units are told how many run beside them on the whole cluster, to share a host's limits"
    assert (tmp_path / "out/sum.txt").read_text() == str(2 * sum(range(4 * shards)))


def test_a_killed_worker_loses_one_unit_on_ray_too(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    work = job(Rows(), Times(kills=("00000",), notes=str(notes), misbehaves=1), shards=3)
    outcome = run(work, tmp_path / "out", RayEngine(cpus=2))
    assert (outcome.failed, outcome.made) == ({}, 6)
