"""What is told of a loaded model, what its log says, and that a tokenizer does not grow for ever."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from tiny_clip import KINDS, TRIMS, VISION, make

import curate.models.towers
from curate.models.settings import ModelSettings
from curate.models.towers import Towers, open_towers, require_towers
from curate.models.weights import CONFIG


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("towers"))


@pytest.fixture(scope="module")
def towers(folder: Path) -> Towers:
    return open_towers(ModelSettings(weights=str(folder)))


def test_a_loaded_model_is_ready_to_embed(towers: Towers, folder: Path) -> None:
    assert (towers.name, towers.size, towers.trims) == (folder.name, 32, True)
    assert not towers.module.training
    assert {str(p.dtype) for p in towers.module.parameters()} == {"torch.float32"}
    tokens = towers.tokenize(["a dog", ""])
    assert tokens.shape == (2, 24)
    assert str(tokens.dtype) == "torch.int64"
    assert (tokens != 0).sum(1).tolist() == [4, 2]


def test_a_text_without_its_padding_is_the_same_to_float_precision(towers: Towers) -> None:
    import torch

    tokens = towers.tokenize(["a dog", "b", "a cat on a mat"])
    longest = int((tokens != 0).sum(1).max())
    with torch.no_grad():
        whole = towers.encode_text(tokens).numpy()
        for length in range(longest, tokens.shape[1]):
            assert np.abs(towers.encode_text(tokens[:, :length]).numpy() - whole).max() < 1e-5


@pytest.mark.parametrize("kind", sorted(set(KINDS) - TRIMS))
def test_where_padding_counts_a_shorter_text_would_be_another(tmp_path: Path, kind: str) -> None:
    """Or could not be read at all: these are not trimmed."""
    import torch

    towers = open_towers(ModelSettings(weights=str(make(tmp_path, kind))))
    assert not towers.trims
    tokens = towers.tokenize(["a dog"])
    with torch.no_grad():
        whole = towers.encode_text(tokens)
        try:
            cut = towers.encode_text(tokens[:, :4])
        except RuntimeError:
            return
    assert kind == "coca" or not torch.allclose(whole, cut, atol=1e-3)


def test_no_word_of_random_weights_and_other_words_as_before(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """open_clip warns of what we are about to mend; its logger's filters are as they were."""
    logging.getLogger().filters.clear()
    open_towers(ModelSettings(weights=str(folder)))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert logging.getLogger().filters == []


def test_the_tokenizer_forgets_words_when_there_are_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And still knows its marks, which it keeps among them."""
    import open_clip

    made = []
    get = open_clip.get_tokenizer
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: made.append(get(name)) or made[-1])
    monkeypatch.setattr(curate.models.towers, "KEPT_WORDS", 50)
    tokenize = open_towers(ModelSettings(weights=str(folder))).tokenize
    (theirs,) = made
    first = tokenize(["<start_of_text> dog0 <end_of_text>"])
    for number in range(400):
        tokenize([f"dog{number:x} cow{'abcdefghij'[number % 10]}{'klmnopqrst'[number // 10 % 10]}x"])
        assert len(theirs.cache) <= 60
    assert (tokenize(["<start_of_text> dog0 <end_of_text>"]) == first).all()


def test_a_text_tower_of_hugging_face(tmp_path: Path) -> None:
    """Its folder has a tokenizer and no weights of its own to start from: they are not asked for, they are replaced."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), "dog"]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertConfig(vocab_size=len(words), max_position_embeddings=64, **sizes).save_pretrained(tmp_path)
    text = {"hf_model_name": str(tmp_path), "hf_tokenizer_name": str(tmp_path), "context_length": 24}
    text |= {"hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
    model = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": text, "custom_text": True}
    (tmp_path / CONFIG).write_text(json.dumps({"model_cfg": model}))
    theirs = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False, pretrained_text=False).eval()
    save_file(dict(theirs.state_dict()), tmp_path / "open_clip_model.safetensors")
    require_towers(ModelSettings(weights=str(tmp_path)))
    towers = open_towers(ModelSettings(weights=str(tmp_path)))
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(["a dog", "a dog " * 40, ""])
    assert not towers.trims
    assert (towers.tokenize(["a dog", "a dog " * 40, ""]) == tokens).all()
    with torch.no_grad():
        assert torch.equal(towers.encode_text(tokens), theirs.encode_text(tokens))
