"""The same promises on a real Ray cluster of several nodes, one of which is killed in the middle."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu_stages import Where, all_done, committed, notes, overlap, unit
from ray_clusters import cluster, environment
from test_scheduler import products, run
from toy_stages import Rows, Share, Sum, Times, job

from curate.errors import ConfigError
from curate.run import make_engine
from curate.run.ledger import Ledger, Vocabulary
from curate.run.progress import Event
from curate.run.ray import GpuWorker, RayEngine, _threads
from curate.run.scheduler import RunSettings, run_job
from curate.run.unit import Done
from curate.stage import Runtime
from curate.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

QUICK_DEATH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 20_000,
    "health_check_failure_threshold": 3,
}
"""A node that is gone refuses at once and is missed after 1.5 s; one on a busy machine has time to answer."""


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    with environment(PYTHONPATH=str(Path(__file__).parent)):
        yield


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Any]:
    """A head without CPUs, as on Kubernetes, a node with two CPUs and a logical GPU, and one with more CPUs."""
    head = {"num_cpus": 0, "_system_config": QUICK_DEATH}
    with cluster(head, {"num_cpus": 2, "num_gpus": 1}, {"num_cpus": 3}) as made:
        yield made


def test_a_cluster_is_started_when_there_is_none_and_only_when_there_is_work(tmp_path: Path) -> None:
    import ray

    work = job(Rows(), Times(3, fails=("00001",), gpus=1.0), Sum(), Share())
    engine = RayEngine(cpus=2)
    outcome = run(work, tmp_path, engine, RunSettings(attempts=2, max_failed_ratio=0.5))
    assert (engine._gpus, engine._actors) == (0, {}), "without a GPU a unit that asks for one is a task"
    assert list(outcome.failed) == ["00001"]
    assert "no good: 00001" in outcome.failed["00001"]
    assert products(tmp_path, "00002") == [24, 27, 30, 33]
    assert not ray.is_initialized(), "what we started we stopped"
    again = run(job(Rows(), shards=4), tmp_path, RayEngine(cpus=2))
    assert (again.made, again.skipped) == (0, 4)


@pytest.mark.parametrize(
    ("settings", "cpus"),
    [(RunSettings(), None), (RunSettings(workers=3, threads=2), 6), (RunSettings(workers=2, threads=1), 2)],
)
def test_a_cluster_of_our_own_has_a_cpu_for_each_thread(settings: RunSettings, cpus: int | None) -> None:
    engine = make_engine("ray", settings)
    assert isinstance(engine, RayEngine)
    assert engine._cpus == cpus


def test_one_cpu_beside_the_gpu_is_not_booked_by_the_actor(tmp_path: Path) -> None:
    """Else the units behind it, which want a CPU, would never run. And a GPU that goes leaves plain work."""
    import ray

    (tmp_path / "notes").mkdir()
    ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False)
    engine = RayEngine()
    try:
        for gpus in (1.0, 0.0, 1.0):
            shard = f"{int(gpus)}{len(notes(tmp_path / 'notes'))}"
            assert all_done(engine, [unit(tmp_path, shard, Where(str(tmp_path / "notes"), gpus))]) == []
        engine.close()
        engine._gpus, engine._waiting = (
            0,
            type(engine._waiting)([unit(tmp_path, "gone", Where(str(tmp_path / "notes"), 1.0))]),
        )
        engine._hand_out()
        (done,) = [done for _ in range(60) for done in engine.wait_any(1.0)][:1]
        assert done.failure is None
    finally:
        engine.close()
        ray.shutdown()


def test_a_gpu_has_one_actor_that_keeps_its_models_and_stands_in_nobodys_way(tmp_path: Path, three_nodes: Any) -> None:
    """All CPUs taken by units that want one each, before and after: neither they nor the actor wait for ever."""
    (tmp_path / "notes").mkdir()
    plain, on_gpu = Where(str(tmp_path / "notes"), sleep_s=0.2), Where(str(tmp_path / "notes"), 1.0, sleep_s=0.1)
    engine = RayEngine(three_nodes.address)
    units = [unit(tmp_path, f"{number:05d}", plain) for number in range(10)]
    units[5:5] = [unit(tmp_path, f"{number:05d}", on_gpu) for number in range(6)]
    try:
        assert all_done(engine, units) == []
        assert (engine.slots, engine._gpus, len(engine._actors)) == (5, 1, 1)
        killed = Where(str(tmp_path / "notes"), 1.0, kills=("20000",))
        assert all_done(engine, [unit(tmp_path, f"2000{number}", killed) for number in range(3)]) == ["lost 20000"]
        assert len(engine._actors) == 1
    finally:
        engine.close()
    told = notes(tmp_path / "notes")
    own = [note for note in told if note["wanted"]]
    assert len({note["pid"] for note in own[:6]}) == 1
    assert not overlap(own)
    assert {(note["gpu"], note["threads"]) for note in own} == {(0, 2)}
    assert len({note["pid"] for note in own[6:]}) == 1
    assert own[6]["pid"] != own[0]["pid"]
    assert not {note["pid"] for note in own} & {note["pid"] for note in told if not note["wanted"]}
    assert committed(tmp_path) == 19
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{note['pid']}").exists() for note in own) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [note for note in own if Path(f"/proc/{note['pid']}").exists()], "no actor outlives the run"


def test_more_threads_than_any_node_has_are_not_waited_for(tmp_path: Path, three_nodes: Any) -> None:
    engine = RayEngine(three_nodes.address)
    try:
        work = job(Rows(), Times(3), shards=2)
        outcome = run_job(work, Storage(str(tmp_path)), engine, runtime=Runtime(threads=64))
    finally:
        engine.close()
    assert outcome.made == 4


def test_a_killed_worker_loses_one_unit_on_ray_too(tmp_path: Path, three_nodes: Any) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    work = job(Rows(), Times(kills=("00000",), notes=str(notes), misbehaves=1), shards=3)
    ledger, engine = Ledger(), RayEngine(three_nodes.address)
    try:
        outcome = run_job(work, Storage(str(tmp_path / "out")), engine, progress=ledger.tell)
    finally:
        engine.close()
    assert (outcome.failed, outcome.made) == ({}, 6)
    assert (ledger.lost, ledger.retried, ledger.failed) == (1, 1, 0), (
        "what a worker had is told as lost, and as tried again"
    )


def test_of_three_nodes_one_is_killed_in_the_middle(tmp_path: Path, three_nodes: Any) -> None:
    import ray

    notes = tmp_path / "notes"
    notes.mkdir()
    shards = 12
    (doomed,) = [node for node in three_nodes.worker_nodes if not node.get_resource_and_label_spec().num_gpus]
    killed: list[float] = []
    ledger = Ledger(Vocabulary(("rows", "times", "sum")))

    def kill_after_three(event: Event) -> None:
        ledger.tell(event)
        if not killed and len(list(notes.iterdir())) >= 4:
            killed.append(time.monotonic())
            three_nodes.remove_node(doomed, allow_graceful=False)

    engine = RayEngine(three_nodes.address)
    work = job(Rows(), Times(notes=str(notes), sleep_s=0.5), Sum(), shards=shards)
    try:
        storage = Storage(str(tmp_path / "out"))
        outcome = run_job(work, storage, engine, RunSettings(), progress=kill_after_three)
        assert killed
        while sum(node["Alive"] for node in ray.nodes()) > 2:
            time.sleep(0.1)  # work that was lost with it may be done before the node itself is missed
    finally:
        engine.close()
    assert outcome.failed == {}
    assert outcome.made == 2 * shards + 1
    assert [(step.done, step.planned) for step in ledger.steps()] == [(shards, shards), (shards, shards), (1, 1)]
    assert (ledger.in_flight, ledger.failed) == (0, 0)
    assert ledger.lost == ledger.retried, "a unit that was committed before its node was missed is not lost"
    told = {entry.counts["workers"] for entry in outcome.manifest.of("times")}
    assert 5 in told, "units are told how many run beside them on the whole cluster, to share a host's limits"
    assert (tmp_path / "out/sum.txt").read_text() == str(2 * sum(range(4 * shards)))


class Remote:
    """A function or class as `ray.remote` makes it; a call gives a reference of which only the kind is known."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.run = self

    def options(self, **_: Any) -> Any:
        return self

    def remote(self, *_: Any) -> Any:
        return Remote(self.kind)


class NodeGone:
    """What RayEngine asks of Ray, in a cluster that loses the node of its GPU with the first unit there. Tasks end;
    the call of an actor never does, for there is no place for one any more."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def __init__(self) -> None:
        self.gpus, self.waits = 1, 0

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, "GPU": self.gpus}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": self.cluster_resources()}]

    def wait(self, references: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        self.waits += 1
        if self.waits == 1:
            return references[:1], references[1:]
        done = [reference for reference in references if reference.kind == "task"]
        return done, [reference for reference in references if reference.kind != "task"]

    def get(self, reference: Any) -> Done:
        if reference.kind == "task":
            return Done(unit(Path(), "any", Where("")))
        self.gpus = 0
        raise self.exceptions.RayError("its node died")


def test_units_for_a_gpu_that_is_gone_do_not_wait_for_it() -> None:
    """The one that was there is lost, and those behind it become tasks: no actor is made for a GPU of the past."""
    engine = RayEngine()
    engine._ray, engine._remote, engine._actor = NodeGone(), Remote("task"), Remote("actor")
    for number in range(3):
        engine.submit(unit(Path(), str(number), Where("", 1.0)))
    ended = [done for _ in range(5) for done in engine.wait_any(0)]
    assert [(done.unit.shard, done.failure and done.failure.kind) for done in ended] == [
        ("0", "lost"), ("1", None), ("2", None),
    ]  # fmt: skip


def test_what_ray_raises_of_a_machine_that_is_too_busy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def busy(**_: Any) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen")

    monkeypatch.setattr(ray, "init", busy)
    with pytest.raises(ConfigError, match=r"cannot start Ray on this machine: The current node timed out .* --on ray"):
        RayEngine().submit(unit(Path(), "0", Where("")))


@pytest.mark.parametrize(
    ("nodes", "threads"),
    [
        ([], 1),
        ([{"CPU": 64.0}], 1),
        ([{"CPU": 16.0, "GPU": 1.0}, {"CPU": 64.0}], 16),
        ([{"CPU": 16.0, "GPU": 8.0}], 2),
        ([{"CPU": 4.0, "GPU": 8.0}], 1),
        ([{"GPU": 1.0}], 1),
        ([{"CPU": 96.0, "GPU": 8.0}, {"CPU": 4.0, "GPU": 1.0}], 4),
        ([{"CPU": 8.0, "GPU": 0.0}, {"CPU": 8.0, "GPU": 0.5}], 1),
    ],
)
def test_threads_of_an_actor_are_its_nodes_share(nodes: list[dict[str, float]], threads: int) -> None:
    alive = [{"Alive": True, "Resources": resources} for resources in nodes]
    assert _threads([*alive, {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}}]) == threads


def test_an_actor_gives_a_unit_its_threads_or_what_the_unit_asks_for(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for shard, threads in (("a", 1), ("b", 9)):
        assert GpuWorker(4).run(unit(tmp_path, shard, Where(str(tmp_path / "notes"), 1.0), threads)).failure is None
    assert [note["threads"] for note in notes(tmp_path / "notes")] == [4, 9]
