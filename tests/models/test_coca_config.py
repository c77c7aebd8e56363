"""Models that are no CoCa, or none that is decoded here: told before anything is computed, with what to change."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from coca_folders import change_config, make_coca, settings
from tiny_clip import make

from curate.errors import ConfigError
from curate.models.coca import captioner_digest, open_captioner, require_captioner
from curate.models.coca_config import CocaConfig, coca_config
from curate.models.open_captioner import captioner_digest as any_digest
from curate.models.settings import ModelSettings


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_coca(tmp_path_factory.mktemp("coca"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    for file in whole.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_a_whole_model_passes(folder: Path) -> None:
    require_captioner(settings(folder))
    assert coca_config(ModelSettings(weights=str(folder))) == CocaConfig(24, 0)


def test_a_folder_with_open_clips_config_is_taken_for_a_coca(folder: Path) -> None:
    assert any_digest(settings(folder)) == captioner_digest(settings(folder))


@pytest.mark.parametrize(("architecture", "places"), [("coca_ViT-B-32", 76), ("coca_ViT-L-14", 76), ("coca_base", 76)])
def test_architectures_of_open_clip(folder: Path, architecture: str, places: int) -> None:
    own = ModelSettings(architecture=architecture, weights=str(folder / "open_clip_model.safetensors"))
    assert coca_config(own) == CocaConfig(places, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"multimodal_cfg": None}, "is no CoCa: its config has no multimodal_cfg"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "a text tower of transformers"),
        ({"text_cfg": {"hf_tokenizer_name": "bert"}}, "a vocabulary of its own"),
        ({"text_cfg": {"no_causal_mask": True}}, "both directions"),
        ({"text_cfg": {"qk_norm": True}}, "another kind of attention"),
        ({"text_cfg": {"block_type": "custom"}}, "another kind of attention"),
        ({"text_cfg": {"embed_cls": False}}, "embed_cls"),
        ({"vision_cfg": {"output_tokens": False}}, "output_tokens"),
        ({"vision_cfg": {"attentional_pool": False}}, "texts of width 32, pictures of width 64 and a decoder of width"),
        ({"vision_cfg": {"attentional_pool": "parallel"}}, "pictures of width 64"),
        ({"text_cfg": {"width": 64}}, "texts of width 64, pictures of width 32 and a decoder of width 32"),
        ({"multimodal_cfg": {"width": 64}}, "a decoder of width 64"),
        ({"multimodal_cfg": {"width": "wide"}}, "what is no number"),
        ({"vision_cfg": {"layers": [1, 1, 1, 1]}}, "a picture tower without tokens"),
        ({"vision_cfg": {"timm_model_name": "vit_tiny"}}, "a picture tower without tokens"),
        ({"text_cfg": {"layers": 10**9}}, "1000000000 layers"),
        ({"multimodal_cfg": {"layers": 3_000}}, "3000 layers"),
        ({"vision_cfg": {"layers": "two"}}, "what is no number"),
        ({"text_cfg": {"context_length": 1}}, "1 places"),
        ({"text_cfg": {"context_length": 10**7}, "multimodal_cfg": {"context_length": 10**7}}, "10000000 places"),
        ({"text_cfg": {"context_length": "many"}}, "what is no number"),
        ({"multimodal_cfg": {"vocab_size": 1_000}}, "1000 words"),
        ({"text_cfg": {"pad_id": 49407}}, "the padding 49407"),
        ({"text_cfg": {"pad_id": [1]}}, "what is no number"),
    ],
)
def test_other_architectures(folder: Path, changes: dict[str, Any], words: str) -> None:
    own = settings(change_config(folder, **changes))
    for asked in (require_captioner, open_captioner):
        with pytest.raises(ConfigError, match=words):
            asked(own)


def test_architectures_that_read_texts_otherwise(folder: Path) -> None:
    file = folder / "open_clip_model.safetensors"
    with pytest.raises(ConfigError, match="a text tower of transformers"):
        require_captioner(settings(file, architecture="coca_roberta-ViT-B-32"))
    with pytest.raises(ConfigError, match="ViT-B-32 is no CoCa"):
        require_captioner(settings(file, architecture="ViT-B-32"))
    with pytest.raises(ConfigError, match="did you mean 'coca_ViT-L-14'"):
        require_captioner(settings(file, architecture="coca_ViT-L-41"))


def test_a_clip_is_no_coca(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a CLIP writes no captions"):
        require_captioner(settings(make(tmp_path, "clip")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"boxes": True}, "boxes = false"),
        ({"revision": "main"}, "remove it"),
        ({"max_tokens": 25}, "24 places, of which start and prompt take 1; write max_tokens = 24 or less"),
        ({"max_tokens": 10, "prompt": "a dog " * 8}, "take 17; write max_tokens = 8 or less"),
        ({"max_tokens": 1, "prompt": "a dog " * 30}, "take 24; shorten the prompt"),
        ({"prompt": '!"$'}, "write it without '!'"),
        ({"prompt": "a <end_of_text> dog"}, "has marks of the model in it"),
        ({"prompt": "<start_of_text>a dog"}, "has marks of the model in it"),
    ],
)
def test_settings_that_a_coca_cannot_do(folder: Path, changes: dict[str, Any], words: str) -> None:
    own = settings(folder, **changes)
    for asked in (require_captioner, open_captioner):
        with pytest.raises(ConfigError, match=words):
            asked(own)


def test_the_longest_that_has_a_place(folder: Path) -> None:
    require_captioner(settings(folder, max_tokens=24))
    require_captioner(settings(folder, max_tokens=8, prompt="a dog " * 8))


def broken(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "open_clip_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "open_clip_model.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("text_decoder.text_projection"), "lacks 1 tensors"),
        (lambda t: t.update(more=torch.ones(1)), "has 1 tensors"),
        (lambda t: t.update({"text_decoder.text_projection": torch.ones(32, 5)}), "should be"),
        (lambda t: t["text_decoder.ln_final.weight"].fill_(float("nan")), "is broken"),
    ],
)
def test_tensors_that_do_not_fit(folder: Path, change: Any, words: str) -> None:
    broken(folder, change)
    with pytest.raises(ConfigError, match=words):
        require_captioner(settings(folder))
    with pytest.raises(ConfigError, match=words):
        open_captioner(settings(folder))


def test_folders_that_are_not_whole(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="needs open_clip_config"):
        require_captioner(settings(folder))
    with pytest.raises(ConfigError, match="needs open_clip_config"):
        captioner_digest(settings(folder))


@pytest.mark.parametrize(
    "told",
    [
        "{",
        "[]",
        '{"model_cfg": ' + "[" * 100_000,
        '{"model_cfg": 3}',
        '{"model_cfg": {"embed_dim": "x"}}',
        '"' + "x" * 2_000_000,
    ],
)
def test_configs_that_are_none(folder: Path, told: str) -> None:
    (folder / "open_clip_config.json").write_text(told)
    with pytest.raises(ConfigError, match="open_clip_config"):
        require_captioner(settings(folder))


def test_tables_that_are_none(folder: Path) -> None:
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": {"embed_dim": 32, "text_cfg": 1, "vision_cfg": {}, "multimodal_cfg": {}}}))
    with pytest.raises(ConfigError, match="has no text_cfg"):
        require_captioner(settings(folder))
