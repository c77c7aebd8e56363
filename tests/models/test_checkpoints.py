"""Checkpoints that do not fit their architecture: told before a run starts, and by a worker that meets one later."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_clip import KINDS, make

from curate.cli import main
from curate.errors import ConfigError
from curate.models.caption_settings import MatcherSettings
from curate.models.clip import Clip
from curate.models.match_scores import ScoreMatches
from curate.models.pair_scores import ScorePairs
from curate.models.settings import TOY, ModelSettings
from curate.models.weights import CONFIG as ABOUT
from curate.models.weights import read_tensors

LAST = "ln_final.bias"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def state(whole: Path) -> dict[str, Any]:
    return read_tensors(whole / "open_clip_model.safetensors")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A folder with the config and no weights yet."""
    shutil.copy(whole / ABOUT, tmp_path)
    return tmp_path


def of(path: Path | str) -> ModelSettings:
    return ModelSettings(weights=str(path), precision="fp32", device="cpu")


def opened(folder: Path, tensors: Any) -> Clip:
    import torch

    torch.save(tensors, folder / "open_clip_pytorch_model.bin")
    return Clip(of(folder))


def require(path: Path | str) -> None:
    """As a run does before it starts."""
    ScorePairs("m", of(path)).require()


def spoilt(tensor: Any, value: str) -> Any:
    changed = tensor.clone()
    changed.reshape(-1)[-1] = float(value)
    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {k: t for k, t in s.items() if k != "ln_final.bias"}, r"it lacks 1 tensors \(ln_final.bias\)"),
        (lambda s: {k: t for k, t in s.items() if k[:6] != "visual"}, r"it lacks \d+ tensors \(visual.*, \.\.\.\)"),
        (lambda s: s | {"head.weight": s["logit_scale"]}, r"it has 1 tensors \(head.weight\) besides"),
        (lambda s: {"x": s["logit_scale"]}, r"lacks \d+ tensors .* and has 1 tensors \(x\) besides"),
        (lambda s: s | {"text_projection": s["text_projection"][:, :5]}, r"is \(32, 5\) and should be \(32, 32\)"),
        (lambda s: s | {"positional_embedding": s["positional_embedding"][:9]}, r"positional_embedding is \(9, 32\)"),
        (lambda s: s | {"logit_scale": s["text_projection"]}, "logit_scale is"),
        (lambda s: s | {LAST: s[LAST].char()}, r"ln_final.bias is of torch.int8 and should be of torch.float32"),
        (lambda s: s | {LAST: s[LAST].bool()}, r"ln_final.bias is of torch.bool and should be of torch.float32"),
        (lambda s: s | {LAST: s[LAST].to("meta")}, "ln_final.bias is not a plain tensor with values"),
        (lambda s: s | {LAST: s[LAST].to_sparse()}, "ln_final.bias is not a plain tensor with values"),
        (lambda s: s | {LAST: spoilt(s[LAST], "nan")}, r"1 tensors \(ln_final.bias\) with values that are not finite"),
        (lambda s: s | {"logit_scale": spoilt(s["logit_scale"], "inf")}, r"is broken: 1 tensors \(logit_scale\)"),
        (lambda s: {k: spoilt(t.half(), "-inf") for k, t in s.items()}, r"is broken: 62 tensors .* not finite"),
        (lambda s: {}, "holds no named tensors"),
        (lambda s: [1, 2], "holds no named tensors"),
        (lambda s: {"model": s}, "holds no named tensors"),
        (lambda s: {"state_dict": {}}, "holds no named tensors"),
        (lambda s: {0: s["logit_scale"]}, "holds no named tensors"),
        (lambda s: s["logit_scale"], "holds no named tensors"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_refused(state: Any, folder: Path, change: Any, words: str) -> None:
    """Before a run starts, and by a worker that finds another file than the run did."""
    with pytest.raises(ConfigError, match=words):
        opened(folder, change(dict(state)))
    with pytest.raises(ConfigError, match=words):
        require(folder)


def test_floats_of_8_bits_are_numbers_too(state: Any, folder: Path) -> None:
    import torch

    small = {name: t.to(torch.float8_e4m3fn) if t.ndim == 2 else t for name, t in state.items()}
    assert opened(folder, small).texts(["a dog"]).shape == (1, 32)
    small["text_projection"] = spoilt(state["text_projection"], "nan").to(torch.float8_e4m3fn)
    with pytest.raises(ConfigError, match=r"1 tensors \(text_projection\) with values that are not finite"):
        opened(folder, small)


@pytest.mark.parametrize("kind", KINDS)
def test_before_a_run_a_checkpoint_is_looked_at_without_making_a_model_of_it(tmp_path, kind: str, monkeypatch) -> None:
    import open_clip

    folder, create, devices = make(tmp_path, kind), open_clip.create_model, []
    monkeypatch.setattr(
        open_clip, "create_model", lambda name, **more: (devices.append(more["device"]), create(name, **more))[1]
    )
    require(folder)
    ScorePairs("again", of(folder)).require()
    assert devices == ["meta"], "and once"


def test_an_architecture_that_cannot_be_built_without_values(folder: Path, whole: Path, state, monkeypatch) -> None:
    import open_clip
    import torch

    create = open_clip.create_model

    def numbers_only(name: str, device: str, **more: Any) -> Any:
        if device == "meta":
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return create(name, **more)

    monkeypatch.setattr(open_clip, "create_model", numbers_only)
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    require(folder)
    torch.save({"x": state["logit_scale"]}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ConfigError, match="does not fit the architecture"):
        require(folder)


@pytest.mark.parametrize("cards", [False, True])
def test_a_gpu_that_is_demanded_must_be_there_before_a_run_starts(whole: Path, monkeypatch, cards: bool) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards)
    for kind, path in (("clip", str(whole)), ("clip", TOY), ("matcher", TOY)):
        scorer = ScorePairs if kind == "clip" else ScoreMatches
        for where in ("auto", "cpu", "cuda"):
            wanted = scorer("m", ModelSettings(kind, weights=path, device=where))
            if where == "cuda" and not cards:
                with pytest.raises(ConfigError, match='device = "cuda" and torch sees no GPU'):
                    wanted.require()
            else:
                wanted.require()


CONFIG = """
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = 4
[models.clip]
weights = "{folder}"
[filters.clip_similarity]
model = "clip"
min = 0.0
"""


def test_a_run_with_a_checkpoint_that_does_not_fit_does_not_start(tmp_path, state: Any, folder: Path, capfd) -> None:
    """Nothing is fetched, and no shard set aside."""
    import torch

    short = {name: tensor for name, tensor in state.items() if name != "ln_final.bias"}
    torch.save(short, folder / "open_clip_pytorch_model.bin")
    config = tmp_path / "c.toml"
    config.write_text(CONFIG.format(folder=folder))
    assert main(["run", str(config), "--out", str(tmp_path / "out")]) == 2
    assert "it lacks 1 tensors (ln_final.bias)" in capfd.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "out").rglob("*.tar"))


def test_a_matcher_asks_for_a_gpu_unless_it_is_to_stay_on_the_cpu() -> None:
    assert ScoreMatches("m", MatcherSettings()).gpus == 1.0
    assert ScoreMatches("m", MatcherSettings(device="cpu")).gpus == 0.0
