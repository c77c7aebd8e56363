"""What an audit looks at: each picture once, some at a time, and past those that a model cannot take."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from curate.caption.audit import Audit, audit_of
from curate.caption.estimate import audit_says
from curate.errors import ConfigError, ShardError
from curate.manifest import Attempt
from curate.models import opened
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.models.captioner import Generated
from curate.models.kept_models import OpenModels
from curate.shard import Shard
from curate.stage import Part, Runtime
from curate.storage import Storage

Says = Callable[[int], list[str | None]]


def number(picture: Any) -> int:
    return int(picture[0, 0, 0]) + 256 * int(picture[0, 0, 1])


class Models:
    """A captioner that says what it is told to of a picture's number, and a matcher that reads a text's number."""

    name = "double"

    def __init__(self, says: Says, refused: Sequence[int] = ()) -> None:
        self.says, self.refused, self.most = says, refused, 0

    def prepare(self, pixels: Any) -> Any:
        return pixels

    def generate(self, images: Sequence[Any], n: int, sampling: Any, seeds: Sequence[int]) -> list[list[Generated]]:
        self.most = max(self.most, len(images))
        return [[Generated(text, -1.0, 3, "stop") for text in self.says(number(one))] for one in images]  # type: ignore[arg-type]

    def match(self, images: Sequence[Any], texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
        if any(number(one) in self.refused for one in images):
            raise RuntimeError("this picture again")
        right = [
            [text.split()[1:2] == [str(number(one))] for text in own] for one, own in zip(images, texts, strict=True)
        ]
        return [np.array(own, np.float32) for own in right]


def pictures(folder: Path, numbers: Sequence[int], texts: int = 1) -> Path:
    """A tar of pictures of one colour, each as often as it has texts; with none, once and without a text."""
    folder.mkdir()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for own in numbers:
            data = io.BytesIO()
            Image.new("RGB", (8, 8), (own % 256, own // 256, 0)).save(data, "png")
            for text in range(max(1, texts)):
                members = {"png": data.getvalue()} | ({"txt": f"number {own} {'so' * text}".encode()} if texts else {})
                for kind, content in members.items():
                    info = tarfile.TarInfo(f"{own:04d}{text}.{kind}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return folder


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def measured(models: Models, clean: Path, web: Path, rows: int = 500) -> dict[str, Any]:
        monkeypatch.setattr(opened, "_captioners", OpenModels(lambda settings: "", lambda settings: models))
        monkeypatch.setattr(opened, "_matchers", OpenModels(lambda settings: "", lambda settings: models))
        step, _ = Audit((str(clean),), rows=rows).steps({"synthetic": CaptionerSettings(), "itm": MatcherSettings()})
        storage = Storage(str(web))
        attempt = Attempt(storage, "audit", "p00000", "aaaa")
        step.run(Part(0, 1), [Shard(storage, "00000")], attempt, Runtime())
        attempt.commit()
        return audit_of(storage) or {}

    return measured


def echo(own: int) -> list[str | None]:
    return [f"number {own}"]


def test_a_picture_counts_once_and_its_other_captions_are_not_wrong(measure: Any, tmp_path: Path) -> None:
    clean, web = pictures(tmp_path / "clean", range(12), texts=4), pictures(tmp_path / "web", range(5))
    found = measure(Models(echo), clean, web)
    assert found["clean_pairs"] == 12
    assert (found["accepts_right"], found["accepts_wrong"]) == (1.0, 0.0)


def test_a_picture_that_a_model_cannot_take_is_left_out(measure: Any, tmp_path: Path) -> None:
    clean, web = pictures(tmp_path / "clean", range(12)), pictures(tmp_path / "web", range(5))
    found = measure(Models(echo, refused=[3]), clean, web)
    assert (found["clean_pairs"], found["web_rows"]) == (11, 4)
    with pytest.raises(ShardError, match="fewer than 2 pictures can be read and judged; RuntimeError: this picture"):
        measure(Models(echo, refused=range(12)), clean, web)
    with pytest.raises(ShardError, match="no caption of the run could be judged: RuntimeError: this picture"):
        measure(Models(echo, refused=range(100, 105)), clean, pictures(tmp_path / "other", range(100, 105)))


def test_pictures_are_held_some_at_a_time(measure: Any, tmp_path: Path) -> None:
    models = Models(echo)
    found = measure(models, pictures(tmp_path / "clean", range(300)), pictures(tmp_path / "web", range(300)))
    assert (found["clean_pairs"], found["web_rows"]) == (300, 300)
    assert 1 < models.most <= 256


@pytest.mark.parametrize("said", [[], [None], [""]])
def test_nothing_said_is_nothing_right(measure: Any, tmp_path: Path, said: list[str | None]) -> None:
    found = measure(
        Models(lambda own: said), pictures(tmp_path / "clean", range(5)), pictures(tmp_path / "web", range(5))
    )
    assert (found["accepts_synthetic"], found["synthetic_right"], found["worse"]) == (0.0, 0.0, True)


def test_a_web_without_captions_cannot_be_better(measure: Any, tmp_path: Path) -> None:
    found = measure(Models(echo), pictures(tmp_path / "clean", range(5)), pictures(tmp_path / "web", range(5), texts=0))
    assert (found["web_rows"], found["web_right"], found["worse"]) == (0, None, False)
    assert audit_says(found) == "the run has no captions of the web that could be worse or better"


def test_clean_pairs_that_are_not_there_are_told(measure: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^\[audit\] pairs: no tar file"):
        measure(Models(echo), tmp_path / "none", pictures(tmp_path / "web", range(5)))
