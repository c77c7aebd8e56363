"""What holds for every file in filters/."""

import importlib
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from wordnet_files import write_wordnet

from curate.config import build
from curate.document.select import COUNTS
from curate.registry import filter_class, filter_names
from curate.shard import IMAGE_EXTENSIONS

FOLDER = Path(__file__).resolve().parents[2] / "filters"
NAMES = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem != "__init__")
LIST = {"file": str(FOLDER / "text_stop_words.txt")}
WORDNET = tempfile.TemporaryDirectory()
write_wordnet(Path(WORDNET.name))
LAYERS = tempfile.TemporaryDirectory()
(Path(LAYERS.name) / "model.json").write_text('{"modelTopology": {}, "weightsManifest": []}')
ENCODER = tempfile.TemporaryDirectory()
for file in ("config.json", "model.safetensors"):
    (Path(ENCODER.name) / file).write_text("{}")
TARGETS = tempfile.TemporaryDirectory()
np.save(Path(TARGETS.name) / "targets.npy", np.eye(4, dtype=np.float16))
(Path(TARGETS.name) / "hashes.txt").write_text("0" * 40)
NEEDS = {
    "metaclip_balance": {"metadata": str(FOLDER / "text_stop_words.txt"), "cap": 20_000},
    "condition": {"sql": "score > 0.5"},
    "soft_cap": {"score": "score", "fraction": 1.0},
    "cluster_balance": {"fraction": 0.5},
    "frequency_sampling": {"by": "cluster", "fraction": 0.5},
    "evaluation_overlap": {"sets": [LIST["file"]], "by": ["caption"]},
    "hash_list": {"paths": [str(Path(TARGETS.name) / "hashes.txt")]},
    "clip_similarity": {"min": 0.3},
    "masked_similarity": {"min": 0.3},
    "match_probability": {"min": 0.5},
    "vqa_score": {"min": 0.5},
    "neg_clip_loss": {"min": -0.1},
    "norm_sim": {"targets": str(Path(TARGETS.name) / "targets.npy"), "min": 0.2},
    "sieve": {"encoder": ENCODER.name, "min": 0.3},
    "aesthetic": {"head": LIST["file"], "min": 5},
    "nsfw": {"head": LIST["file"]},
    "nsfw_picture": {"weights": LAYERS.name},
    "watermark": {"weights": LIST["file"]},
    "faces": {"weights": LIST["file"]},
    "text_in_image": {"max_area_ratio": 0.2},
    "text_synset": {"wordnet": WORDNET.name, "synsets": str(Path(WORDNET.name) / "ids.txt")},
    "url_host": {"hosts": ["example.com"]},
    "image_cluster": {"targets": "targets.npy"},
    "imported": {"column": "score", "min": 0.5},
    "text_flagged_words": LIST,
    "text_common_words": LIST,
    "text_perplexity": {"model": LIST["file"]},
}


@pytest.fixture(params=NAMES)
def rule(request):
    return build(filter_class(request.param), NEEDS.get(request.param, {}), request.param)


def test_the_folder_is_the_list():
    assert set(NAMES) <= set(filter_names())


def test_each_file_has_its_test():
    missing = [n for n in NAMES if not (Path(__file__).parent / f"test_{n}.py").is_file()]
    assert not missing


def test_no_two_filters_share_a_reason():
    reasons = Counter(reason for name in NAMES for reason in filter_class(name).reasons)
    assert [r for r, n in reasons.items() if n > 1] == []


def test_reasons_are_names_with_words(rule):
    for reason, words in rule.reasons.items():
        assert reason == reason.lower().replace(" ", "_")
        assert words
        assert not words.endswith(".")


def test_columns_are_declared(rule):
    assert set(rule.columns) <= set(rule.reads)


def test_a_scorer_is_named_like_a_filter_and_writes_what_the_filter_reads(rule, monkeypatch):
    monkeypatch.setitem(sys.modules, "kenlm", ModuleType("kenlm"))
    scorer = rule.scorer()
    if scorer is None:
        return
    assert f"{scorer.name}.py" in {p.name for p in FOLDER.glob("*.py")}
    assert set(rule.reads) - set(COUNTS) <= set(scorer.writes)
    assert scorer.name not in {"fetch", "select", "index", "fetch_log", *IMAGE_EXTENSIONS}
    assert scorer.identity() == scorer.identity()


def test_the_docstring_says_what_is_dropped(rule):
    module = importlib.import_module(type(rule).__module__)
    assert module.__doc__.startswith("Drops ")
