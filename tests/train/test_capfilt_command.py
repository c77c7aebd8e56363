"""The three commands, from the command line: what they print is a config that finds the models."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
from pair_shards import toy_pairs, write_shard

from curate.cli import main
from curate.errors import ConfigError
from curate.models.settings import build_models
from curate.run.ray_train import Workers, train_together

CONFIG = """
start = "new"
device = "cpu"

[clean]
shards = ["{clean}"]
"""
TRAINING = "steps = 3\nbatch = 8\nthreads = 1\n"


@pytest.fixture
def clean(tmp_path):
    return write_shard(tmp_path / "clean", "00000", toy_pairs(12))


def asked(capsys, *words):
    assert main([*words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_model_is_trained_and_named_in_a_config(clean, tmp_path, capsys):
    models = {}
    for kind, name in (("captioner", "synthetic"), ("matcher", "itm")):
        config = tmp_path / f"{kind}.toml"
        config.write_text(CONFIG.format(clean=clean) + f"\n[training]\n{TRAINING}")
        shown = asked(capsys, "train", kind, str(config), "--out", str(tmp_path / kind))
        assert (shown["pairs"], shown["steps"]) == (12, 3)
        models |= tomllib.loads(shown["config"])["models"]
        assert Path(models[name]["weights"]) == tmp_path / kind
    assert {name: settings.kind for name, settings in build_models(models).items()} == {
        "synthetic": "captioner",
        "itm": "matcher",
    }
    assert main(["train", "matcher", str(config), "--out", str(tmp_path / "matcher")]) != 0
    assert "is there already; choose another --out" in capsys.readouterr().err


def test_the_loop_is_run_and_its_yields_are_shown(clean, tmp_path, capsys):
    web = write_shard(tmp_path / "web", "00000", toy_pairs(6, seed=3))
    config = tmp_path / "loop.toml"
    tables = f'\n[web]\nshards = ["{web}"]\n[captioner]\n{TRAINING}\n[matcher]\n{TRAINING}queue = 8\n'
    config.write_text(CONFIG.format(clean=clean) + tables)
    shown = asked(capsys, "train", "capfilt", str(config), "--out", str(tmp_path / "loop"))
    (line,) = shown["rounds"]
    assert (line["round"], line["rows"], line["synthetic_in"]) == (1, 6, 6)
    models = build_models(tomllib.loads(shown["config"])["models"])
    assert models["itm"].captions == ("synthetic",)
    assert Path(models["synthetic"].weights) == tmp_path / "loop/round-1/captioner"


def test_a_number_of_workers_that_trains_nothing_is_told(clean, tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text(CONFIG.format(clean=clean))
    words = ["train", "captioner", str(config), "--out", str(tmp_path / "o"), "--on", "ray", "--workers", "0"]
    assert main(words) != 0
    assert "--workers 0 trains nothing" in capsys.readouterr().err
    assert main([*words[:5], "--gpus"]) != 0
    assert "--gpus is for --on ray" in capsys.readouterr().err


def test_a_ray_without_ray_train_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(ConfigError, match=r"needs Ray Train, which is not installed .* pip install 'ray\[train\]'"):
        train_together(print, None, Workers(2, gpus=False), tmp_path)
