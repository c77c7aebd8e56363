"""LLaMA-Factory's annotations, loaded by `datasets` as it loads them, and read by its rules (hiyouga/LLaMA-Factory,
src/llamafactory/data: parser.py, loader.py, converter.py, mm_plugin.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
from example_sets import every_kind, page, run_export
from handover_sets import make_handover
from PIL import Image

from curate.storage import Storage

TEXTS = [page("x", "a text", "of two paragraphs"), page("y", "another")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("factory")
    sources = {**every_kind(), "books": TEXTS}
    source = Storage(str(make_handover(folder / "handover", sources, shard_samples=3)))
    run_export("llama_factory", source, Storage(str(folder / "out")))
    return folder / "out"


def loaded(folder: Path, about: dict[str, Any], cache: Path) -> list[dict[str, Any]]:
    """The examples of an entry of dataset_info.json, by load_dataset."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    files = str(folder / about["file_name"])
    return list(datasets.load_dataset("json", data_files=[files], split="train", cache_dir=str(cache)))


def converted(example: dict[str, Any], about: dict[str, Any]) -> tuple[str, list[dict[str, str]], list[str]]:
    """System text, messages and pictures of a conversation in the form "sharegpt"."""
    tags, columns = about["tags"], about["columns"]
    told = [(m[tags["role_tag"]], m[tags["content_tag"]]) for m in example[columns["messages"]]]
    system = told.pop(0)[1] if told[0][0] == tags["system_tag"] else ""
    assert [role for role, _ in told] == [tags["user_tag"], tags["assistant_tag"]] * (len(told) // 2)
    return system, [{"role": role, "content": text} for role, text in told], example[columns["images"]]


def test_conversations_are_read(written: Path, tmp_path: Path) -> None:
    known = json.loads((written / "dataset_info.json").read_text())
    assert list(known) == ["web", "chat set", "pages", "books"]
    talks = []
    for name in ("web", "chat set", "pages"):
        assert known[name]["formatting"] == "sharegpt"
        talks += [converted(example, known[name]) for example in loaded(written, known[name], tmp_path)]
    assert len(talks) == 9
    for _, said, pictures in talks:
        assert sum(message["content"].count("<image>") for message in said) == len(pictures)
        for name in pictures:
            Image.open(written / name).load()
    assert [system for system, _, _ in talks] == [""] * 6 + ["be short"] + [""] * 2
    assert [len(pictures) for _, _, pictures in talks] == [1, 1, 1, 1, 1, 1, 2, 0, 3]


def test_texts_are_for_pretraining(written: Path, tmp_path: Path) -> None:
    about = json.loads((written / "dataset_info.json").read_text())["books"]
    assert about.get("formatting", "alpaca") == "alpaca"
    column = about["columns"]["prompt"]
    read = [example[column] for example in loaded(written, about, tmp_path)]
    assert read == ["a text\n\nof two paragraphs", "another"]
