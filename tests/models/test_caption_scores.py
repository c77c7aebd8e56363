"""What becomes of odd captions in columns, of a captioner that fails for one picture, and of many captions at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from recaption_sets import toy_set

from curate.errors import ConfigError, StageError
from curate.filter import Batch
from curate.manifest import Attempt
from curate.models import opened, text_scores
from curate.models.caption_scores import WriteCaptions
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated
from curate.models.kept_models import OpenModels
from curate.models.open_captioner import captioner_digest
from curate.models.settings import ModelSettings, build_models
from curate.models.text_scores import CompareTexts
from curate.score import Score
from curate.shard import Shard
from curate.source.webdataset import Adopt
from curate.stage import Runtime
from curate.storage import Storage

Says = Callable[[int], list[Generated]]


class Sayer:
    """A captioner that says what it is told to of the picture with this number, and notes how many it was given."""

    name = "double"

    def __init__(self, says: Says) -> None:
        self.says, self.asked = says, []

    def prepare(self, pixels: Any) -> Any:
        return pixels

    def generate(self, images: Sequence[Any], n: int, sampling: Any, seeds: Sequence[int]) -> list[list[Generated]]:
        self.asked.append(len(images))
        return [self.says(int(image.sum() % 1_000_003)) for image in images]


def sayer(monkeypatch: pytest.MonkeyPatch, says: Says) -> Sayer:
    double = Sayer(says)
    monkeypatch.setattr(opened, "_captioners", OpenModels(captioner_digest, lambda settings: double))
    return double


def said(text: Any, log_probability: float = -1.0) -> Generated:
    return Generated(text, log_probability, 2, "stop")


def test_odd_captions_become_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [said("a\0b\n", math.nan), said("\ud83d half", -math.inf), said(None), said("x" * 10_000_000)]
    sayer(monkeypatch, lambda number: own[: 4 - number])
    columns = pa.table({"sha256": [None, "a" * 64, None], "key": ["0", "1", "2"]})
    views = [np.zeros((1, 1, 3), np.uint8), None, np.array([[[1, 0, 0]]], np.uint8)]
    found = WriteCaptions("synthetic", CaptionerSettings(captions=4)).score(Batch(columns, views))
    texts = found["synthetic_captions"].to_pylist()
    assert [len(text) for text in texts[0]] == [4, 6, 0, 10_000_000]
    assert texts[0][:3] == ["a\0b\n", "? half", ""]
    assert texts[1] is None
    assert len(texts[2]) == 3
    assert found["synthetic_log_probability"].to_pylist()[0] == [None, None, -1.0, -1.0]


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    """Eight pictures of the toy web, adopted."""
    folder = toy_set(tmp_path / "web", 1, 8)
    storage = Storage(str(tmp_path / "out"))
    attempt = Attempt(storage, "adopt", "00000", "aaaa")
    tar = folder / "00000.tar"
    source = {"tar": [str(tar)], "bytes": [tar.stat().st_size], "mark": ["x"]}
    attempt.write_table("source/00000.parquet", pa.table(source))
    attempt.commit()
    attempt = Attempt(storage, "adopt", "00000", "bbbb")
    Adopt().run(Shard(storage, "00000"), attempt, Runtime())
    attempt.commit()
    return Shard(storage, "00000")


def scored(shard: Shard, mark: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    attempt = Attempt(shard.storage, "score_synthetic", "00000", mark)
    Score(WriteCaptions("synthetic", CaptionerSettings())).run(shard, attempt, Runtime())
    attempt.commit()
    return Shard(shard.storage, "00000").columns(["key", "synthetic_captions"]).to_pylist(), dict(attempt.counts)


@pytest.mark.parametrize("error", [RuntimeError("no"), torch.OutOfMemoryError("no"), MemoryError(), StopIteration()])
def test_one_picture_that_a_captioner_cannot_take_is_null(
    shard: Shard, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    seen: list[int] = []
    sayer(
        monkeypatch, lambda number: [said("a dog")] if seen.append(number) is None and number != bad else _raise(error)
    )
    bad = -1
    rows, _ = scored(shard, "cccc")
    assert [row["synthetic_captions"] for row in rows] == [["a dog"]] * 8
    bad = seen[5]
    rows, counts = scored(shard, "dddd")
    assert [row["synthetic_captions"] for row in rows].count(None) == 1
    assert (counts["scored"], counts["score_failed"]) == (7, 1)


def _raise(error: Exception) -> Any:
    raise error


def test_a_captioner_that_always_fails_says_so(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    sayer(monkeypatch, lambda number: _raise(RuntimeError("the wrong shape")))
    with pytest.raises(StageError, match="synthetic failed on all 8 rows of 00000: RuntimeError: the wrong shape"):
        scored(shard, "eeee")


def test_captions_are_compared_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = [["a red circle"] * 3, None, [], ["two blue stars", "", None, "a dog"], ["x"], ["a red circle"]]
    width = open_model().texts(["a dog"]).shape[1]
    pictures = [[1.0] + [0.0] * (width - 1)] * 5 + [None]
    table = pa.table({"clip_image_embedding": pictures, "a_captions": captions})
    scorer = CompareTexts("clip", ModelSettings(captions=("a",)), "a")
    whole = scorer.score(Batch(table))["clip_a_similarity"].to_pylist()
    assert [own and [value is not None for value in own] for own in whole] == [
        [True] * 3, None, None, [True, False, False, True], [True], None
    ]  # fmt: skip
    asked: list[int] = []
    model = type(open_model())
    texts = model.texts
    monkeypatch.setattr(model, "texts", lambda self, given: asked.append(len(given)) or texts(self, given))
    monkeypatch.setattr(text_scores, "MOST_TEXTS", 4)
    parts = scorer.score(Batch(table))["clip_a_similarity"].to_pylist()
    assert asked == [1, 2, 1]
    assert [own is None for own in parts] == [own is None for own in whole]
    for one, other in zip(parts, whole, strict=True):
        assert one == other or [v or 0 for v in one] == pytest.approx([v or 0 for v in other], abs=1e-5)
    assert scorer.score(Batch(table.slice(0, 0)))["clip_a_similarity"].to_pylist() == []


def open_model() -> Any:
    from curate.models.clip import open_clip_model

    return open_clip_model(ModelSettings(captions=("a",)))


@pytest.mark.parametrize("kind", ["matcher", "clip"])
def test_a_captioner_that_is_named_twice_is_told(kind: str) -> None:
    build_models({"a": {"kind": "captioner"}, "m": {"kind": kind, "captions": ["a"]}})
    with pytest.raises(ConfigError, match="names 'a' twice"):
        build_models({"a": {"kind": "captioner"}, "m": {"kind": kind, "captions": ["a", "a"]}})
