"""The files that presets name can lie where the filters say that they lie: no preset fails on its own path."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wordnet_files import write_wordnet

from curate.config import build_filters, read_toml
from curate.filter import Filter
from curate.models.settings import build_models
from curate.stage import Barrier, Runtime, Stage

FOLDER = Path(__file__).resolve().parents[2] / "configs"
CONFIGS = sorted(FOLDER.glob("*.toml"))
SUFFIXES = (".json", ".npy", ".txt", ".pt", ".pth", ".zip", ".onnx", ".safetensors", ".parquet", ".arpa", ".model")
LENGTH = 768
"""Of embeddings by ViT-L/14, which the presets with targets use."""


def embeddings(path: Path) -> None:
    np.save(path, np.eye(3, LENGTH, dtype=np.float16))


def layers_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text('{"modelTopology": {}, "weightsManifest": [{"paths": ["group1-shard1of1"]}]}')
    (folder / "group1-shard1of1").write_bytes(b"weights")


LAYOUT: dict[tuple[str, str], Callable[[Path], Any]] = {
    ("nsfw_picture", "weights"): layers_model,
    ("norm_sim", "targets"): embeddings,
    ("image_cluster", "targets"): embeddings,
    ("image_cluster", "centroids"): embeddings,
    ("metaclip_balance", "metadata"): lambda path: path.write_text("red star\n"),
    ("text_synset", "wordnet"): write_wordnet,
    ("text_synset", "synsets"): lambda path: path.write_text("n00000001\n"),
}
"""What lies under the path that a setting gives, as the filter's docstring describes it."""


def tables(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Section, name and settings of every filter of a preset."""
    for section, found in read_toml(path).items():
        if section.endswith("filters"):
            yield from ((section, name, settings) for name, settings in found.items())


def checked(rule: Filter, models: dict[str, Any]) -> None:
    """What a run asks of the filter's files before it starts, but for the network of nsfwjs."""
    for scorer in rule.scorers(models):
        assert scorer.identity()
        if scorer.name != "nsfw_picture":
            scorer.require()
    for step in rule.steps(()):
        assert step.identity()
        if isinstance(step, Barrier | Stage):
            step.require(Runtime())


def lay(path: Path, write: Callable[[Path], Any]) -> None:
    """Put what a filter describes under `path`; a file of the folder of presets is that file and must be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parts[0] == FOLDER.name:
        shutil.copy(FOLDER.parent / path, path)
    elif not path.exists():
        write(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_files_of_a_preset_are_found_where_they_are_documented(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models = build_models(read_toml(path).get("models", {}))
    for section, name, settings in tables(path):
        mine = {key: write for (rule, key), write in LAYOUT.items() if rule == name and settings.get(key)}
        for key, write in mine.items():
            lay(Path(settings[key]), write)
        if mine:
            checked(build_filters({name: settings}, section)[name], models)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_layout_above_knows_every_path_of_a_preset(path):
    for _, name, settings in tables(path):
        given = {key for key, value in settings.items() if isinstance(value, str) and named_file(value)}
        assert {(name, key) for key in given} <= LAYOUT.keys()


def named_file(value: str) -> bool:
    return "/" in value or value.endswith(SUFFIXES)
