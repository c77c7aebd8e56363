"""`[models.NAME]` tables: what is taken, what is refused and with which words, what changes a fingerprint."""

import subprocess
import sys
from typing import Any

import pytest

from curate.errors import ConfigError
from curate.models.settings import ModelSettings, build_models
from curate.stage import settings_of

START = "import sys\n"
BLOCK = """
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ray", "torch", "open_clip", "transformers", "torchvision", "timm", "faiss"}:
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"weights": "toy"},
        {"architecture": "ViT-B-32", "weights": "openai", "precision": "fp32"},
        {"weights": "folder/", "npz": True, "batch": 64, "device": "cpu"},
        {"batch": 65_536},
    ],
)
def test_a_table_becomes_settings(table: dict[str, Any]) -> None:
    assert build_models({"clip": table})["clip"] == ModelSettings(**table)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"weights": ""}, r"\[models.clip\] weights = \"\" is no model"),
        ({"architecture": "ViT-B-32"}, "is a model of its own, not 'ViT-B-32'"),
        ({"kind": "blip"}, "kind = 'blip' is not one of them"),
        ({"kind": ["clip"]}, "is not one of them"),
        ({"precision": "fp8"}, "precision"),
        ({"device": "tpu"}, "device"),
        ({"npz": True, "embeddings": False}, "npz = true needs embeddings = true"),
        ({"npz": True, "kind": "matcher"}, "has no key 'npz'"),
        ({"captions": ["synthetic"], "embeddings": False}, "`captions` needs embeddings = true"),
        ({"captions": ["synthetic"]}, r"no \[models.synthetic\] with kind = .captioner"),
        ({"kind": "matcher", "captions": ["clip"]}, r"no \[models.clip\] with kind = .captioner"),
        ({"kind": "matcher", "revision": "abc"}, "takes no revision"),
        ({"kind": "matcher", "weights": "x/y", "head": "vqa", "question": "Is it?"}, "needs {text}"),
        ({"kind": "captioner", "method": "greedy", "captions": 2}, "gives one caption a picture"),
        ({"kind": "captioner", "method": "beam", "captions": 4}, "captions = 4 is above beams = 3"),
        ({"kind": "captioner", "method": "top_k"}, "needs top_k = 1 or more"),
        ({"kind": "captioner", "top_p": 0}, "top_p = 0.0 is out of range"),
        ({"kind": "captioner", "min_tokens": 21}, "min_tokens = 21 is out of range: from 0 to 20"),
        ({"kind": "captioner", "captions": 257}, "captions = 257 is out of range"),
        ({"kind": "captioner", "engine": "vllm"}, "takes no architecture, revision, engine"),
        ({"kind": "captioner", "weights": ""}, "is no model"),
        ({"batch": -1}, "batch = -1 is out of range"),
        ({"batch": 65_537}, "batch = 65537 is out of range"),
        ({"batch": True}, "batch"),
        ({"weight": "toy"}, "has no key 'weight'; did you mean 'weights'"),
        ({"weights": 7}, "weights"),
    ],
)
def test_what_does_not_go_together_is_told(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_models({"clip": table})


@pytest.mark.parametrize("name", ["l14", "clip", "a", "b_32", "a" * 31])
def test_names_that_can_head_a_column(name: str) -> None:
    assert list(build_models({name: {}})) == [name]


@pytest.mark.parametrize("name", ["", "14l", "_a", "L14", "a-b", "a.b", "a/b", "..", "é", "a" * 32, "a\n"])
def test_names_that_cannot(name: str) -> None:
    with pytest.raises(ConfigError, match="a model's name is of small letters"):
        build_models({name: {}})


@pytest.mark.parametrize("table", [7, "toy", [{}], None])
def test_a_model_is_a_table(table: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[models\] clip must be a table; write \[models.clip\]"):
        build_models({"clip": table})


def test_models_stand_side_by_side_in_their_order() -> None:
    assert list(build_models({"b": {}, "a": {"precision": "fp32"}})) == ["b", "a"]


def test_only_how_fast_is_no_part_of_what_is_computed() -> None:
    told = settings_of(ModelSettings(batch=3, device="cpu"))
    assert told == settings_of(ModelSettings())
    for change in ({"precision": "fp16"}, {"embeddings": False}, {"weights": "x.pt"}):
        assert settings_of(ModelSettings(**change)) != told


@pytest.mark.parametrize(
    ("blocked", "code"),
    [
        (True, "import curate.models, curate.models.settings, curate.models.scorers, curate.signals, curate.score"),
        (True, "from curate.models.settings import build_models; build_models({'a': {'weights': 'x.pt'}})"),
        (True, "import curate.cli; curate.cli.main(['filters'])"),
        (False, "import curate.models, curate.models.scorers, curate.signals; import curate.cli; "
         "assert not {'torch', 'ray', 'open_clip', 'transformers', 'torchvision'} & set(sys.modules)"),
    ],
    ids=["import", "settings", "cli", "nothing heavy"],
)  # fmt: skip
def test_reading_a_config_needs_no_model_library(blocked: bool, code: str) -> None:
    code = START + (BLOCK if blocked else "") + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_library_the_extra_is_named() -> None:
    code = START + BLOCK + (
        "import importlib.util; from curate.models.weights import embedding_length\n"
        "from curate.models.settings import ModelSettings\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'open_clip' else find(name)\n"
        "embedding_length(ModelSettings(weights='openai', architecture='ViT-B-32'))"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "ConfigError: models need open_clip; install the extra: pip install 'curate-vl[models]'" in done.stderr
