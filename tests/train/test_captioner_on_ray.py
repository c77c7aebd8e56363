"""Two workers train as one does: gradients added, features gathered, the same weights on both, states that go over."""

import os
from pathlib import Path

import numpy as np
import pytest
import ray_clusters
import torch
from pair_shards import toy_pairs, write_shard
from safetensors.torch import load_file
from two_processes import by_two

from curate.errors import ConfigError
from curate.run.ray_train import Workers, train_together
from curate.train.caption_training import shown
from curate.train.captioner import CaptionerCourse, CaptionerOrder, train_captioner
from curate.train.matcher import MatcherCourse, MatcherOrder, train_matcher
from curate.train.pairs import PairSource
from curate.train.spread_training import SharedTraining, carry_out, peers_of_process

pytestmark = pytest.mark.slow
HERE = Path(__file__).resolve().parent
PATHS = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent, HERE)))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_shard(tmp_path_factory.mktemp("clean"), "00000", toy_pairs(40))


@pytest.fixture(scope="module")
def cluster():
    """A real Ray on this machine with two CPUs."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.train.torch", reason="Ray Train is not installed")
    with ray_clusters.environment(PYTHONPATH=PATHS), ray_clusters.cluster({"num_cpus": 2}) as made:
        ray.init(made.address, logging_level="ERROR", log_to_driver=False)
        yield ray


def silent(text):
    pass


def captioner(clean, **training):
    chosen = {"steps": 30, "batch": 16, "threads": 1, **training}
    return CaptionerOrder(PairSource((clean,)), precision="fp32", device="cpu", training=CaptionerCourse(**chosen))


def matcher(clean, **training):
    chosen = {"steps": 12, "batch": 16, "threads": 1, "queue": 24, **training}
    return MatcherOrder(PairSource((clean,)), precision="fp32", device="cpu", training=MatcherCourse(**chosen))


def together(settings, out, count=2, work=carry_out):
    train_together(work, SharedTraining(settings, out, None, silent), Workers(count, gpus=False), Path(f"{out}.ray"))


def apart(one, other):
    """The largest difference of two folders' weights."""
    ours, theirs = (load_file(Path(folder) / "model.safetensors") for folder in (one, other))
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def trains_and_fails(training, gpu):
    carry_out(training, gpu)
    raise ConfigError(f"worker {torch.distributed.get_rank()} of 2 has trained")


def test_the_loss_falls_a_worker_alone_does_the_same_and_what_is_raised_is_raised_here(cluster, clean, tmp_path):
    with pytest.raises(ConfigError, match=r"worker \d of 2 has trained"):
        together(captioner(clean), tmp_path / "two", work=trains_and_fails)
    told = shown(tmp_path / "two")
    assert told["workers"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two"]
    assert told["last_lm_loss"] < told["first_lm_loss"] - 0.5
    alone = train_captioner(captioner(clean), tmp_path / "one")
    assert told["first_lm_loss"] == pytest.approx(alone["first_lm_loss"], rel=1e-5)
    assert told["last_lm_loss"] == pytest.approx(alone["last_lm_loss"], rel=1e-2)


def digests(training, gpu):
    """Trains, and writes down what this worker's own model came to."""
    from curate.train import caption_training

    kept = []
    write = caption_training.Course

    class Watched(write):
        def run(self, batches_from):
            found = super().run(batches_from)
            kept.append([float(p.detach().double().sum()) for p in self.task.module.parameters()])
            kept.append(self.task.state().get("queue.numbers", torch.zeros(0)).tolist())
            return found

    caption_training.Course = Watched
    carry_out(training, gpu)
    rank = torch.distributed.get_rank()
    Path(f"{training.out}.worker{rank}").write_text(repr(kept))


class Killed(Exception):
    pass


def kill(text):
    if "state written" in text:
        raise Killed


def test_two_workers_go_on_with_a_state_of_one_and_end_with_equal_weights(cluster, clean, tmp_path, monkeypatch):
    """By paths that begin at the folder where the command was given."""
    monkeypatch.chdir(Path(clean).parent)
    train_matcher(matcher(Path(clean).name), tmp_path / "one")
    with pytest.raises(Killed):
        train_matcher(matcher(Path(clean).name, checkpoint_steps=3), tmp_path / "half", kill)
    together(matcher(Path(clean).name), tmp_path / "half", work=digests)
    told = [Path(f"{tmp_path / 'half'}.worker{rank}").read_text() for rank in (0, 1)]
    assert told[0] == told[1]
    assert len(told[0]) > 1_000
    assert apart(tmp_path / "half", tmp_path / "one") < 1e-3


@pytest.mark.parametrize(("workers", "words"), [(Workers(3, False), "3 CPUs, and the cluster has 2"),
    (Workers(1, True), "want a GPU each, and the cluster has 0")])  # fmt: skip
def test_more_workers_than_there_is_room_for_are_refused(cluster, clean, tmp_path, workers, words):
    with pytest.raises(ConfigError, match=words):
        train_together(carry_out, SharedTraining(captioner(clean), tmp_path / "out", None, silent), workers, tmp_path)


def test_gathered_features_are_of_all_and_gradients_come_back(tmp_path):
    """Two processes of gloo, without Ray."""
    by_two(gathers, tmp_path / "meeting")


def gathers():
    peers = peers_of_process()
    rank = peers.rank
    own = torch.tensor([[1.0 + rank], [3.0 + rank]], requires_grad=True)
    every = peers.gather(own)
    assert every.tolist() == [[1.0], [3.0], [2.0], [4.0]]
    weights = torch.tensor([[1.0], [10.0], [100.0], [1000.0]]) * (rank + 1)
    (every * weights).sum().backward()
    assert own.grad.flatten().tolist() == ([3.0, 30.0] if rank == 0 else [300.0, 3000.0])
    parts = [torch.full((2,), float(rank)), torch.tensor([[5.0]])]
    peers.add(parts)
    assert parts[0].tolist() == [1.0, 1.0]
    assert np.isclose(parts[1].item(), 10.0)
