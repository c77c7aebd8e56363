"""Tokenizers count what the model's own tokenizer gives, without special tokens, and are opened once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_language_model import save_tokenizer

from curate.errors import ConfigError
from curate.models.tokenizers import TokenizerSettings, open_tokenizer

TEXTS = ["", "w1 w2", "a red circle, above w7!", "Größe 三つ\n\n w3", "w1 " * 3_000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(place)
    return place


@pytest.mark.parametrize("file", ["", "tokenizer.json"])
def test_a_folder_or_its_file_counts_as_transformers_does(folder: Path, file: str) -> None:
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(str(folder))
    count = open_tokenizer(TokenizerSettings(path=str(folder / file)))
    expected = [len(own(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    assert [count(text) for text in TEXTS] == expected
    assert expected[:2] == [0, 2]


def test_truncation_that_a_file_asks_for_is_not_done(folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    count = open_tokenizer(TokenizerSettings(path=str(tmp_path)))
    assert [count("w1"), count("w1 " * 9)] == [1, 9]


def test_a_folder_without_the_file_is_opened_by_transformers(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "c"]))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink(missing_ok=True)
    count = open_tokenizer(TokenizerSettings(path=str(tmp_path)))
    assert [count("ab c"), count(""), count("a " * 600)] == [3, 0, 600]


def test_open_clip_counts_as_its_tokenizer_does() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    count = open_tokenizer(TokenizerSettings(kind="open_clip"))
    text = "Two red circles, above a blue square"
    row = SimpleTokenizer()([text])[0]
    assert count(text) == int((row != 0).sum()) - 2 == 8
    assert count("circle " * 200) == 200


def test_toy_counts_the_words_of_the_toy_models() -> None:
    from curate.models.toy_words import START, tokenize

    count = open_tokenizer(TokenizerSettings(kind="toy"))
    for text in ("a red circle", "", "two blue-green stars, at the top_left 3", "Straße 三つ"):
        row = tokenize([text])[0]
        assert count(text) == int((row != 0).sum()) - 1
        assert int(row[0]) == START


@pytest.mark.parametrize(("text", "words"), [("", 0), (" \n", 0), ("a", 1), (" a\tb \u3000c\n", 3)])
def test_words(text: str, words: int) -> None:
    assert open_tokenizer(TokenizerSettings(kind="words"))(text) == words


def test_the_digest_is_of_the_files_and_not_of_their_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    here, there = TokenizerSettings(path=str(folder)), TokenizerSettings(path=str(tmp_path / "copy"))
    assert here.digest() == there.digest()
    monkeypatch.chdir(tmp_path)
    assert TokenizerSettings(path="copy").located() == there
    file = tmp_path / "copy" / "tokenizer.json"
    file.write_text(file.read_text().replace('"w7"', '"w7x"'))
    assert here.digest() != there.digest()
    assert open_tokenizer(here) is open_tokenizer(TokenizerSettings(path=str(folder)))
    assert open_tokenizer(there) is not open_tokenizer(here)


@pytest.mark.parametrize("table", [{}, {"path": "x", "kind": "words"}])
def test_either_a_path_or_a_kind(table: Any) -> None:
    with pytest.raises(ValueError, match="needs either path"):
        TokenizerSettings(**table)


@pytest.mark.parametrize(("name", "data"), [("", b""), ("tokenizer.json", b"{}"), ("vocab.json", b"{}")])
def test_what_is_no_tokenizer_is_told(tmp_path: Path, name: str, data: bytes) -> None:
    if name:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match="no tokenizer"):
        open_tokenizer(TokenizerSettings(path=str(tmp_path)))
