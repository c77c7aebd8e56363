"""Checkpoints as strangers write them: wrapped, cut, too much or too little in them, dangerous."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_clip import TEXT, make

from curate.cli import main
from curate.errors import ConfigError
from curate.models import weights
from curate.models.clip import Clip, clip_fingerprint
from curate.models.pair_scores import ScorePairs
from curate.models.settings import TOY, ModelSettings
from curate.models.towers import open_towers
from curate.models.weights import embedding_length, is_local, read_tensors, told_by_tag, weights_digest, weights_file

NAME = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def state(whole: Path) -> dict[str, Any]:
    return read_tensors(whole / NAME)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A folder with the config and no weights yet."""
    shutil.copy(whole / weights.CONFIG, tmp_path)
    return tmp_path


def of(path: Path | str, **more: Any) -> ModelSettings:
    return ModelSettings(weights=str(path), precision="fp32", device="cpu", **more)


def opened(folder: Path, tensors: Any, name: str = "open_clip_pytorch_model.bin") -> Clip:
    import torch

    torch.save(tensors, folder / name)
    return Clip(of(folder))


def require(path: Path | str, **more: Any) -> None:
    """As a run does before it starts."""
    ScorePairs("m", of(path, **more)).require()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"state_dict": state},
        lambda state: {"state_dict": {f"module.{name}": t for name, t in state.items()}, "epoch": 3, "name": "b32"},
        lambda state: {f"module.{name}": t for name, t in state.items()},
        lambda state: {name: t.half() for name, t in state.items()},
        lambda state: state | {"logit_scale": state["logit_scale"].reshape(1)},
        lambda state: state | {"text.transformer.embeddings.position_ids": state["logit_scale"]},
    ],
    ids=["plain", "wrapped", "trainer", "module", "half", "scale", "position_ids"],
)
def test_the_ways_in_which_a_checkpoint_is_saved(whole: Path, state: Any, folder: Path, wrapped: Any) -> None:
    found, expected = opened(folder, wrapped(state)), Clip(of(whole))
    require(folder)
    texts = ["a dog", "two cats"]
    assert abs(found.texts(texts) - expected.texts(texts)).max() < 1e-3


def test_a_tower_of_text_apart_takes_a_checkpoint_from_before_there_was_one(state: Any, tmp_path: Path) -> None:
    apart = make(tmp_path, "custom_text")
    (apart / NAME).unlink()
    assert opened(apart, state).texts(["a dog"]).shape == (1, 32)


class Payload:
    """Unpickled as code would be: it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("form", "suffix"), [("zip", ".pt"), ("zip", ".bin"), ("old", ".pth"), ("bare", ".bin")])
def test_a_pickle_with_more_than_weights_is_refused_and_not_run(state, tmp_path: Path, form: str, suffix: str) -> None:
    import pickle

    import torch

    marker, path = tmp_path / "ran", tmp_path / f"evil{suffix}"
    evil = {**dict(list(state.items())[:2]), "x": Payload(marker)}
    if form == "bare":
        path.write_bytes(pickle.dumps(evil))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ConfigError, match=r"is refused.*save the model's state_dict as .safetensors") as told:
        read_tensors(path)
    assert not marker.exists()
    assert "\n" not in str(told.value)
    assert "likely succeed" not in str(told.value), "torch tells how to run it"
    assert "weights_only" not in str(told.value)
    assert form == "bare" or "it names posix.system" in str(told.value)
    with pytest.raises(ConfigError, match="is refused"):
        require(path, architecture="ViT-B-32")


@pytest.mark.parametrize("data", [b"", b"hello", b"root:x:0:0:root:/root:/bin/sh\n", b"\x80", b"{}", b"\x89PNG\r\n"])
def test_a_file_of_something_else_is_told_in_words(tmp_path: Path, data: bytes) -> None:
    """torch raises bare numbers and places of a list."""
    (tmp_path / "w.pt").write_bytes(data)
    with pytest.raises(ConfigError, match=r"a pickle with more than weights in it \(no pickle of tensors\); save the"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:'torch.load' received")
def test_a_program_is_refused(tmp_path: Path) -> None:
    """A TorchScript archive, as OpenAI published CLIP, has code in it."""
    import torch

    path = tmp_path / "ViT-B-32.pt"
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path)
    with pytest.raises(ConfigError, match="is refused"):
        read_tensors(path)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
@pytest.mark.parametrize("name", [NAME, "open_clip_pytorch_model.bin"])
def test_a_file_that_was_cut_is_refused(state: Any, folder: Path, whole: Path, name: str, kept: int) -> None:
    import torch

    if name == NAME:
        shutil.copy(whole / NAME, folder)
    else:
        torch.save(state, folder / name)
    (folder / name).write_bytes((folder / name).read_bytes()[:kept])
    for ask in (open_towers, lambda settings: require(settings.weights)):
        with pytest.raises(ConfigError, match=f"{name} is refused"):
            ask(of(folder))


def test_no_memory_to_read_a_file_is_not_the_files_fault(state: Any, folder: Path, monkeypatch) -> None:
    import torch

    torch.save(state, folder / "w.pt")

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(MemoryError):
        read_tensors(folder / "w.pt")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (lambda f: of(f / "none.safetensors", architecture="ViT-B-32"), "no weights at .*none.safetensors"),
        (lambda f: of(f / "none"), "no weights at .*none"),
        (lambda f: of("none.pt", architecture="ViT-B-32"), "no weights at none.pt"),
        (lambda f: of(f), "needs open_clip_config.json and one of"),
        (lambda f: of(_file(f / NAME).parent), "needs open_clip_config.json and one of"),
        (lambda f: of(_file(f / weights.CONFIG).parent), "needs open_clip_config.json and one of"),
        (lambda f: of(_file(f / "a.zip"), architecture="ViT-B-32"), r"a.zip is not one of .safetensors, .pt"),
        (lambda f: of(_file(f / "a.pt")), "no `architecture`"),
        (lambda f: of(_file(f / "a.pt"), architecture="ViT-B-23"), "no architecture 'ViT-B-23' in.*did you mean"),
        (lambda f: of(_file(f / "a.pt"), architecture="../x"), "no architecture '../x' in open_clip"),
        (lambda f: of("openai"), "no `architecture`"),
    ],
)  # fmt: skip
def test_a_plan_says_what_is_not_there(tmp_path: Path, settings: Any, words: str) -> None:
    """`embedding_length` is asked when a config is read, so that no run begins."""
    with pytest.raises(ConfigError, match=words):
        embedding_length(settings(tmp_path))


def _file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", "does not say embed_dim"),
        ("[]", "does not say embed_dim"),
        ('{"model_cfg": {}}', "does not say embed_dim"),
        ('{"model_cfg": {"embed_dim": "many"}}', "does not say embed_dim"),
        ('{"model_cfg": {"embed_dim": 0}}', "0 is out of range"),
        ('{"model_cfg": {"embed_dim": -1}}', "-1 is out of range"),
        ('{"model_cfg": {"embed_dim": 1e9}}', "out of range"),
    ],
)
def test_a_folders_config_that_says_nothing_usable(whole: Path, tmp_path: Path, config: str, words: str) -> None:
    shutil.copy(whole / NAME, tmp_path)
    (tmp_path / weights.CONFIG).write_text(config)
    with pytest.raises(ConfigError, match=words):
        embedding_length(of(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"vision_cfg": None},
        {"vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 0}},
        {"text_cfg": {"hf_model_name": "nobody/nothing"}},
        {"text_cfg": {"heads": 7, "width": 32}},
        {"text_cfg": TEXT | {"hf_tokenizer_name": "nobody/nothing"}},
    ],
)
def test_an_architecture_that_cannot_be_built_is_a_clear_error(whole: Path, tmp_path: Path, change: Any) -> None:
    shutil.copy(whole / NAME, tmp_path)
    about = json.loads((whole / weights.CONFIG).read_text())
    (tmp_path / weights.CONFIG).write_text(json.dumps({"model_cfg": about["model_cfg"] | change}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ConfigError, match="open_clip cannot"):
            open_towers(of(tmp_path))


def test_a_folder_may_say_a_size_that_its_tower_does_not_take_and_leave_numbers_out(
    whole: Path, tmp_path: Path
) -> None:
    """open_clip goes by the tower, and by its defaults."""
    shutil.copy(whole / NAME, tmp_path)
    about = json.loads((whole / weights.CONFIG).read_text())
    about["preprocess_cfg"] = {"size": [224, 224], "mean": None, "std": 0.5, "own": 1}
    (tmp_path / weights.CONFIG).write_text(json.dumps(about))
    towers = open_towers(of(tmp_path))
    assert (towers.size, towers.std) == (32, (0.5,) * 3)
    assert towers.mean == open_towers(of(whole)).mean


def test_another_file_under_the_same_name_is_another_model(whole: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    assert weights_digest(of(copy)) == weights_digest(of(whole))
    before = clip_fingerprint(of(copy))
    data = bytearray((copy / NAME).read_bytes())
    data[-1] ^= 1
    (copy / NAME).write_bytes(bytes(data))
    os.utime(copy / NAME, ns=(1, 1))
    changed = clip_fingerprint(of(copy))
    assert changed != before
    (copy / weights.CONFIG).write_text((copy / weights.CONFIG).read_text() + "\n")
    os.utime(copy / weights.CONFIG, ns=(1, 1))
    assert clip_fingerprint(of(copy)) not in (before, changed)
    assert clip_fingerprint(ModelSettings(weights=str(copy), precision="bf16")) != clip_fingerprint(of(copy))
    assert clip_fingerprint(of(copy, batch=7)) == clip_fingerprint(of(copy)), "how fast, not what"


def test_a_file_of_the_hubs_cache_has_its_digest_for_a_name(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    link = tmp_path / "model.safetensors"
    link.symlink_to(blob)
    assert weights_digest(of(link, architecture="ViT-B-32")) == "ab" * 32
    short = blob.with_name("ab" * 20)
    blob.rename(short)
    link.unlink()
    link.symlink_to(short)
    assert len(weights_digest(of(link, architecture="ViT-B-32"))) == 64, "git's digest is not of the bytes alone"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The hub cannot be reached and has been asked for nothing; which calls were made."""
    import huggingface_hub
    import open_clip

    asked: list[str] = []

    class Session:
        def head(self, url: str, timeout: float) -> None:
            asked.append(url)
            raise OSError("Name or service not known\nand more")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: None)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda source: asked.append("download"))
    weights._by_tag.cache_clear()
    yield asked
    weights._by_tag.cache_clear()


def test_a_tag_without_a_network_is_told_at_once(no_network: list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot download weights 'openai' of 'ViT-B-32': Name or service not known; "
    ):
        weights_digest(of("openai", architecture="ViT-B-32"))
    assert no_network == ["https://huggingface.co"], "and not 12 times"


def test_a_tag_that_is_on_this_machine_asks_nobody(no_network: list[str], monkeypatch, tmp_path: Path) -> None:
    import huggingface_hub

    wanted = tmp_path / "open_clip_pytorch_model.bin"
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda where, name: str(wanted) if name == wanted.name else None
    )
    assert weights_file(of("openai", architecture="ViT-B-32")) == wanted
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", None)
    assert weights_file(of("openai", architecture="ViT-B-32")) == wanted, "known by now"
    assert no_network == []


@pytest.mark.parametrize(
    ("architecture", "words"), [("ViT-B-32", "its tags are openai"), ("RN51", "has no weights for it")]
)
def test_a_tag_that_does_not_exist(no_network: list[str], architecture: str, words: str) -> None:
    for ask in (weights_file, told_by_tag, open_towers):
        with pytest.raises(ConfigError, match=f"no weights 'nonsense' for architecture '{architecture}': .*{words}"):
            ask(of("nonsense", architecture=architecture))
    assert no_network == []


def test_one_file_as_a_tag_and_as_a_path_are_two_models_where_the_tag_tells_more(
    no_network, monkeypatch, tmp_path
) -> None:
    """The tag says OpenAI's activation, or SigLIP's mean; a file says neither."""
    import huggingface_hub

    path = tmp_path / "w.safetensors"
    path.write_bytes(b"x")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: str(path))
    for architecture, tag in (("ViT-B-32", "openai"), ("ViT-B-16-SigLIP", "webli")):
        by_tag, by_path = of(tag, architecture=architecture), of(path, architecture=architecture)
        assert weights_digest(by_tag) == weights_digest(by_path)
        assert clip_fingerprint(by_tag) != clip_fingerprint(by_path)
    assert told_by_tag(of("openai", architecture="ViT-B-32"))["quick_gelu"] is True
    assert told_by_tag(of("webli", architecture="ViT-B-16-SigLIP"))["resize_mode"] == "squash"
    assert told_by_tag(of(path, architecture="ViT-B-32")) == {}


def test_a_tag_brings_its_activation_and_its_preprocessing(whole, state, no_network, monkeypatch, tmp_path) -> None:
    """A tiny architecture under open_clip's name, so that a tag of it can be loaded here."""
    import huggingface_hub
    import open_clip
    import torch

    model = json.loads((whole / weights.CONFIG).read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", model)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: str(whole / NAME))
    tagged, plain = (open_towers(of(w, architecture="ViT-B-32")) for w in ("openai", whole / NAME))
    reference = open_clip.create_model("ViT-B-32", load_weights=False, force_quick_gelu=True).eval()
    reference.load_state_dict(state)
    tokens = tagged.tokenize(["a dog"])
    with torch.no_grad():
        assert torch.allclose(tagged.encode_text(tokens), reference.encode_text(tokens), atol=1e-6)
        assert not torch.allclose(plain.encode_text(tokens), reference.encode_text(tokens), atol=1e-4)
    sig = open_clip.get_pretrained_cfg("ViT-B-16-SigLIP", "webli") | {"size": 999}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *names: sig)
    squashed = open_towers(of("openai", architecture="ViT-B-32"))
    assert (squashed.mean, squashed.prepare.resize_mode) == ((0.5,) * 3, "squash")
    assert squashed.size == 32, "open_clip goes by the tower"


def test_what_is_local() -> None:
    told = [TOY, "openai", "laion2b_s34b_b79k", "a.pt", "./a", "/a", "a/b", "a.safetensors"]
    found = [is_local(ModelSettings(weights=name)) for name in told]
    assert found == [False, False, False, True, True, True, True, True]


CONFIG = """
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = 4
[models.clip]
{model}
"""


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ('weights = "none.safetensors"\narchitecture = "ViT-B-32"', "no weights at none.safetensors"),
        ('weights = "./none"', "no weights at none"),
        ('weights = "openai"\narchitecture = "ViT-B-33"', "no architecture 'ViT-B-33'"),
    ],
)
def test_the_command_line_tells_it_in_one_line(tmp_path: Path, monkeypatch, capfd, model: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(CONFIG.format(model=model))
    assert main(["plan", "c.toml", "--out", "out"]) == 2
    told = capfd.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert words in line
