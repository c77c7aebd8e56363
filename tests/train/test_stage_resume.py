"""A training that was killed goes on as if it had not been: the same batches and the same weights, by one worker or
by two."""

import json
import shutil

import pytest
from handover_sets import make_handover, page, pair
from stage_tables import source, stage, stages
from two_processes import by_two

from curate.errors import ConfigError
from curate.train.spread_training import peers_of_process
from curate.train.stages.ordered_sum import require_units
from curate.train.stages.run import StagesOrder, carry_out, train_stages

pytestmark = pytest.mark.slow


class Killed(Exception):
    pass


def kill(text):
    if "state written" in text:
        raise Killed


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    examples = {"pairs": [pair(n) for n in range(24)], "docs": [page(n, 1 + n % 2, 3) for n in range(12)]}
    return make_handover(tmp_path_factory.mktemp("data") / "handover", examples, 8)


def table():
    """Contrastive and next-token losses, by which last layers and adapters learn."""
    return stages(
        stage(
            "only",
            [source("pairs"), source("docs", image_mask="last_image")],
            objectives={"contrastive": 1.0, "lm": 1.0, "lm_interleaved": 1.0},
            steps=100,
            trainable={"vision": "last_1", "projector": "full", "language_model": {"rank": 2}},
            warmup_steps=5,
        ),
        tokenizer="toy",
        layers=1,
        places=128,
    )


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """What a training leaves that is killed behind step 37, where its state was written."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.raises(Killed):
        train_stages(StagesOrder(table(), str(data), out, checkpoint_steps=37, say=kill))
    return out.with_name("out.training")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    train_stages(StagesOrder(table(), str(data), out))
    return out


@pytest.fixture
def half(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "out.training")
    (tmp_path / "out.training" / "state.safetensors.1.part").write_bytes(b"half of a state")
    with open(tmp_path / "out.training" / "losses.jsonl", "a") as lines:
        lines.write('{"step": 38, "half of a li')
    return tmp_path / "out"


def told(out):
    lines = (out / "only" / "losses.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], (out / "only" / "model.safetensors").read_bytes()


def test_100_steps_are_37_then_37_more_and_the_rest_by_two_workers(data, whole, half):
    """Killed twice: what one worker began it goes on with, and two end it, with the same bits."""
    with pytest.raises(Killed):
        train_stages(StagesOrder(table(), str(data), half, checkpoint_steps=37, say=kill))
    by_two(end, half.with_name("meeting"), str(data), half)
    lines, weights = told(half)
    assert len(lines) == 100
    assert (lines, weights) == told(whole)
    assert len({line["batch"] for line in lines}) > 90
    assert [path.name for path in half.parent.iterdir() if path.name != "meeting"] == ["out"]
    report = json.loads((half / "only" / "stage.json").read_text())
    assert report["workers"] == 2
    assert report["counts"]["examples"] == 400


def end(data, out):
    assert peers_of_process().world == 2
    carry_out(StagesOrder(table(), data, out), 0)


def test_another_training_does_not_take_up_a_state(data, half):
    other = stages(stage("only", [source("pairs")], steps=100))
    with pytest.raises(ConfigError, match="begun with other settings"):
        train_stages(StagesOrder(other, str(data), half))


@pytest.mark.parametrize(
    ("units", "world", "fits"), [(4, 1, True), (4, 2, True), (4, 4, True), (4, 8, False), (4, 3, False)]
)
def test_workers_that_cannot_share_the_units_are_refused(units, world, fits):
    if fits:
        require_units(units, world)
    else:
        with pytest.raises(ConfigError, match="power of two"):
            require_units(units, world)
