"""BLIP's captions where memory runs out, and by way of a GPU's buffers: played on a CPU."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_blip
import torch

from curate.models import blip
from curate.models.blip import BlipCaptioner
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Sampling

PICTURES = [tiny_blip.picture(seed, 40 + seed % 5, 36) for seed in range(20)]
NUCLEUS = Sampling("nucleus", max_tokens=6, min_tokens=1, prompt="a picture of")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_blip.write_blip(tmp_path_factory.mktemp("blip"), "caption", seed=3)


@pytest.fixture
def captioner(folder: Path) -> BlipCaptioner:
    return blip.open_captioner(CaptionerSettings(weights=str(folder), precision="fp32", device="cpu"))


def texts(captioner: BlipCaptioner, seeds: Sequence[int] = range(20)) -> list[list[str]]:
    """Two captions of each picture."""
    found = captioner.generate([captioner.prepare(picture) for picture in PICTURES], 2, NUCLEUS, list(seeds))
    return [[text.text for text in row] for row in found]


@pytest.mark.parametrize("place", ["lay_out", "look_at", "fill_up", "start", "step"])
@pytest.mark.parametrize("call", [0, 1, 3])
def test_wherever_memory_runs_out_nothing_is_lost_or_made_twice(
    captioner: BlipCaptioner, monkeypatch: pytest.MonkeyPatch, place: str, call: int
) -> None:
    """Once, at the first call or later; a text of an earlier unit stays, and the memory was given back before."""
    whole, calls, told = getattr(captioner._decoder, place), [], []
    expected = texts(captioner)
    captioner._decoder.free()
    give_back, tell = captioner._give_back, captioner._told

    def short(*given: Any) -> Any:
        calls.append(captioner.unit)
        if len(calls) - 1 == call:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(*given)

    def given_back() -> None:
        give_back()
        assert captioner._decoder._room is None
        calls.append(0)

    monkeypatch.setattr(captioner._decoder, place, short)
    monkeypatch.setattr(captioner, "_give_back", given_back)
    monkeypatch.setattr(captioner, "_told", lambda found: told.extend(found) or tell(found))
    assert texts(captioner) == expected
    failed = calls.count(0)
    assert failed == (len(calls) > call)
    assert captioner.unit == blip.CPU_UNIT // 2**failed
    assert len(told) == len(PICTURES)


def test_a_copy_that_is_under_way_ends_before_its_memory_is_given_back(
    captioner: BlipCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And captions by way of a GPU's buffers are those of a CPU."""
    events: list[str] = []

    class Sent:
        def __init__(self, *_: Any) -> None:
            events.append("buffers")

        def __call__(self, views: Any) -> torch.Tensor:
            return torch.from_numpy(np.stack(views))

        def wait(self) -> None:
            pass

        free = wait

    monkeypatch.setattr(blip, "SentPictures", Sent)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: events.append("waited"))
    expected, captioner._sent = texts(captioner), Sent()
    assert texts(captioner) == expected
    free, start = captioner._decoder.free, captioner._decoder.start
    monkeypatch.setattr(captioner._decoder, "free", lambda: events.append("free") or free())

    def short(prompt: torch.Tensor) -> torch.Tensor:
        if len(prompt) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return start(prompt)

    monkeypatch.setattr(captioner._decoder, "start", short)
    texts(captioner)
    assert events[1:4] == ["waited", "buffers", "free"]


@pytest.mark.parametrize(
    ("size", "unit", "pieces"), [(384, 114, 29), (224, 128, 32), (512, 128, 32), (32, 128, 32), (2048, 8, 8)]
)
def test_what_a_scorer_hands_over_is_whole_units(size: int, unit: int, pieces: int) -> None:
    from curate.score import BATCH_BYTES

    assert blip.gpu_unit(size) == unit
    assert blip.even(unit, 32) == pieces
    handed = min(256, -(-BATCH_BYTES // (3 * size * size)))
    assert -handed % unit <= handed // unit
