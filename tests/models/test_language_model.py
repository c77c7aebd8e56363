"""Local language models: the tokens that transformers' own `generate` gives, whatever stands in the batch beside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_language_model import CHAT, WORDS, save_causal, save_seq2seq, save_tokenizer

from curate.errors import ConfigError
from curate.models.device import torch_threads
from curate.models.language_model import (
    Decoding,
    LanguageModel,
    Said,
    language_model_digest,
    opened_language_model,
    require_language_model,
)

PROMPTS = [" ".join(WORDS[n : n + 1 + 5 * n]) for n in range(14)] + ["w7 " * 100, "w8 w9", "w8 w9"]
SEEDS = list(range(100, 100 + len(PROMPTS)))
GREEDY, DRAWN = Decoding(12), Decoding(12, 0.8, 0.95)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("language")
    return {
        "causal": save_causal(root / "causal"),
        "chat": save_causal(root / "chat", chat=True),
        "seq2seq": save_seq2seq(root / "seq2seq"),
    }


def opened(folder: Path) -> LanguageModel:
    return LanguageModel(folder, "fp32", "cpu")


def answers(
    model: LanguageModel, rows: Sequence[int], decoding: Decoding, batch: int = 4, seeds: Sequence[int] = SEEDS
) -> dict[int, Said | None]:
    found = list(model.answer([PROMPTS[row] for row in rows], [seeds[row] for row in rows], decoding, batch))
    assert sorted(place for place, _ in found) == list(range(len(rows)))
    return {rows[place]: said for place, said in found}


@pytest.mark.parametrize("name", ["causal", "chat", "seq2seq"])
def test_greedy_texts_are_those_of_transformers(folders: dict[str, Path], name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    folder = folders[name]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    own = (AutoModelForSeq2SeqLM if name == "seq2seq" else AutoModelForCausalLM).from_pretrained(folder).eval()
    found = answers(opened(folder), range(len(PROMPTS)), GREEDY)
    texts = set()
    for row, prompt in enumerate(PROMPTS):
        words = f"<|user|>{prompt}<|end|><|answer|>" if name == "chat" else prompt
        ids = torch.tensor([tokenizer(words, add_special_tokens=name != "chat")["input_ids"]])
        tokens = own.generate(ids, max_new_tokens=12, do_sample=False)[0]
        tokens = tokens[1:] if name == "seq2seq" else tokens[ids.shape[1] :]
        said = found[row]
        assert said is not None
        assert said.text == tokenizer.decode(tokens, skip_special_tokens=True)
        texts.add(said.text)
    assert len(texts) > 10


@pytest.mark.parametrize("name", ["causal", "seq2seq"])
@pytest.mark.parametrize("decoding", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_an_answer_depends_on_its_prompt_and_seed_alone(
    folders: dict[str, Path], name: str, decoding: Decoding
) -> None:
    model = opened(folders[name])
    rows = list(range(len(PROMPTS)))
    together = answers(model, rows, decoding)
    assert answers(model, rows[::-1], decoding) == together
    assert {row: answers(model, [row], decoding)[row] for row in rows} == together
    assert answers(opened(folders[name]), rows[3:9], decoding) == {row: together[row] for row in rows[3:9]}


def test_what_is_drawn_follows_the_seed(folders: dict[str, Path]) -> None:
    model = opened(folders["causal"])
    first = answers(model, [0, 1, 15, 16], DRAWN)
    assert first[15] != first[16]  # one prompt, two seeds
    again = answers(model, [0, 1, 15, 16], DRAWN, seeds=[seed + 1 for seed in SEEDS])
    assert all(again[row] != first[row] for row in first)
    assert answers(model, [15, 16], GREEDY)[15] == answers(model, [15, 16], GREEDY)[16]


def test_an_end_ends_a_text_and_is_no_part_of_it(folders: dict[str, Path], tmp_path: Path) -> None:
    plain = answers(opened(folders["causal"]), range(len(PROMPTS)), GREEDY)
    words = [said.text.split() for _, said in sorted(plain.items()) if said is not None]
    end = words[0][4]
    folder = Path(shutil.copytree(folders["causal"], tmp_path / "ends"))
    from transformers import AutoTokenizer

    told = json.loads((folder / "generation_config.json").read_text())
    told["eos_token_id"] = [2, AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(end)]
    (folder / "generation_config.json").write_text(json.dumps(told))
    found = answers(opened(folder), range(len(PROMPTS)), GREEDY)
    for row, text in enumerate(words):
        cut = text[: text.index(end)] if end in text else text
        said = found[row]
        assert said is not None
        assert (said.text, said.finish) == (" ".join(cut), "stop" if end in text else "length")
        assert said.tokens >= len(cut)


def test_a_models_own_settings_for_generating_have_no_say(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["causal"], tmp_path / "m"))
    told = json.loads((folder / "generation_config.json").read_text())
    told |= {"do_sample": True, "temperature": 0.7, "repetition_penalty": 1.5, "max_length": 3, "num_beams": 2}
    (folder / "generation_config.json").write_text(json.dumps(told))
    rows = range(6)
    assert answers(opened(folder), rows, GREEDY) == answers(opened(folders["causal"]), rows, GREEDY)


def test_a_model_with_places_of_its_own_and_ends_that_it_forces(tmp_path: Path) -> None:
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = save_tokenizer(tmp_path)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=80,
        init_std=0.5,
        pad_token_id=0,
        decoder_start_token_id=2,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    own = BartForConditionalGeneration(config).eval()
    own.generation_config.forced_bos_token_id, own.generation_config.forced_eos_token_id = 1, 2
    own.save_pretrained(tmp_path)
    found = dict(opened(tmp_path).answer(["w1 w2 w3", "w3 " * 79, "w4 " * 80], [0, 1, 2], GREEDY))
    assert found[1] is not None
    assert found[2] is None
    ids = torch.tensor([tokenizer("w1 w2 w3")["input_ids"]])
    text = tokenizer.decode(own.generate(ids, max_new_tokens=14, num_beams=1)[0], skip_special_tokens=True)
    assert found[0] == Said(text, 12, "length")


def test_special_tokens_in_a_prompt_are_words(folders: dict[str, Path]) -> None:
    model = opened(folders["chat"])
    tokens = model._tokens("w1 <|end|><|answer|>w2</s>")
    assert [token for token in tokens if token < 7] == [4, 5, 6]
    assert tokens[0] == 4
    assert tokens[-2:] == [5, 6]
    assert "<|answer|>" in CHAT


@pytest.mark.parametrize(("words", "fits"), [(1, True), (115, True), (116, False), (100_000, False)])
def test_prompts_that_do_not_fit_have_no_answer(tmp_path: Path, words: int, fits: bool) -> None:
    model = opened(save_causal(tmp_path, positions=128))
    found = dict(model.answer(["w3 " * words, "w1"], [0, 1], GREEDY))
    assert (found[0] is not None) == fits
    assert found[1] is not None


class Watched(LanguageModel):
    """Keeps the shapes that it computed in, where its prompts began, and on how many threads."""

    shapes: set[tuple[int, ...]]
    begun: set[int]
    threads: set[int]

    def _generate(self, ids: Any, mask: Any, picks: Any, max_tokens: int) -> None:
        self.shapes.add(tuple(ids.shape))
        self.begun |= set(mask[:, 0].tolist())
        self.threads.add(torch.get_num_threads())
        super()._generate(ids, mask, picks, max_tokens)


@pytest.mark.parametrize("name", ["causal", "seq2seq"])
def test_batches_have_one_size_and_lengths_by_steps(folders: dict[str, Path], name: str) -> None:
    model = Watched(folders[name], "fp32", "cpu")
    model.shapes, model.begun, model.threads = set(), set(), set()
    with torch_threads(2):
        answers(model, range(len(PROMPTS)), GREEDY, 3)
    assert model.threads == {1}
    assert model.shapes == {(3, 64), (3, 128)}
    assert model.begun == ({1} if name == "seq2seq" else {0})  # an encoder's texts are filled up behind
    model.shapes = set()
    answers(model, [0], GREEDY, 5)
    assert model.shapes == {(5, 64)}  # whoever asked before with fewer at once


class Short(LanguageModel):
    """Has memory for a batch of two."""

    sizes: list[int]

    def _generate(self, ids: Any, mask: Any, picks: Any, max_tokens: int) -> None:
        self.sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        super()._generate(ids, mask, picks, max_tokens)


def test_a_batch_that_does_not_fit_is_halved_for_good(folders: dict[str, Path]) -> None:
    model = Short(folders["causal"], "fp32", "cpu")
    model.sizes = []
    assert answers(model, range(8), GREEDY, 8) == answers(opened(folders["causal"]), range(8), GREEDY, 2)
    assert model.sizes[:3] == [8, 4, 2]
    assert set(model.sizes[2:]) == {2}


def test_one_prompt_that_does_not_fit_raises(folders: dict[str, Path]) -> None:
    class Full(LanguageModel):
        def _generate(self, ids: Any, mask: Any, picks: Any, max_tokens: int) -> None:
            raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(Full(folders["causal"], "fp32", "cpu").answer(["w1"], [0], GREEDY))


def test_what_is_no_memory_is_raised_at_once(folders: dict[str, Path]) -> None:
    class Broken(LanguageModel):
        def _generate(self, ids: Any, mask: Any, picks: Any, max_tokens: int) -> None:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(Broken(folders["causal"], "fp32", "cpu").answer(["w1"] * 8, [0] * 8, GREEDY))


def test_a_model_is_opened_once_and_anew_when_its_files_change(tmp_path: Path) -> None:
    folder = str(save_causal(tmp_path / "m"))
    first, digest = opened_language_model(folder, "", "fp32", "cpu"), language_model_digest(folder)
    assert opened_language_model(folder, "", "fp32", "cpu") is first
    save_causal(tmp_path / "m", seed=1)
    assert language_model_digest(folder) != digest
    assert opened_language_model(folder, "", "fp32", "cpu") is not first


def test_folders_that_are_whole(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        require_language_model(str(folder))


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_a_file(folders: dict[str, Path], tmp_path: Path, lost: str) -> None:
    folder = Path(shutil.copytree(folders["causal"], tmp_path / "m"))
    (folder / lost).unlink()
    with pytest.raises(ConfigError):
        require_language_model(str(folder))


def test_a_folder_of_another_kind_of_model(tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    CLIPTextModel(CLIPTextConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError):
        require_language_model(str(tmp_path))


def test_a_model_without_an_end(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["causal"], tmp_path / "m"))
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            told = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({k: v for k, v in told.items() if not k.startswith("eos_token")}))
    with pytest.raises(ConfigError, match="eos_token_id"):
        opened(folder)


@pytest.mark.parametrize("bad", [{"max_tokens": 0}, {"temperature": 200.0}, {"top_p": 0.0}])
def test_decodings_out_of_range(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        _ = Decoding(**{"temperature": 1.0} | bad).sampling
