"""From texts to numbers and back: the toy's 46 words, plain bytes, or the tokenizer of a local folder.

Bytes, because then any text can be trained on with no file at all: 259 rows of 96 numbers, four to five times as many
tokens as words. A picture is no token: its places are filled by the projector, so no vocabulary is ever resized.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from curate.errors import ConfigError
from curate.models.toy_captioner import CAPTION_WORDS, END, caption_text
from curate.models.toy_words import PADDING, START, UNKNOWN

__all__ = ["BYTES", "TOY_WORDS", "Words", "open_words"]

TOY_WORDS, BYTES = "toy", "bytes"
_NUMBERS = {word: number for number, word in enumerate(CAPTION_WORDS)}


class Words(Protocol):
    """A vocabulary of `size` numbers. `start` begins an example, `end` ends what is learned; `padding` fills up, and
    may be one of both."""

    size: int
    padding: int
    start: int
    end: int

    def encode(self, text: str) -> list[int]:
        """The numbers of a text, with neither start nor end."""

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of numbers, up to the first end."""


class ToyWords:
    """Words and comma of the toy captioner, in small letters; any other word is unknown."""

    size = len(CAPTION_WORDS)
    padding, start, end = PADDING, START, END

    def encode(self, text: str) -> list[int]:
        return [_NUMBERS.get(word, UNKNOWN) for word in re.findall(r"[^\W_]+|,", text.lower())]

    def decode(self, numbers: Sequence[int]) -> str:
        return caption_text(numbers)


class Bytes:
    """UTF-8, a number a byte."""

    size = 259
    padding, start, end = 256, 257, 258

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", "replace"))

    def decode(self, numbers: Sequence[int]) -> str:
        said = _until(numbers, self.end)
        return bytes(number for number in said if number < 256).decode("utf-8", "replace")


class FolderWords:
    """The tokenizer of a folder, which must know an end of text."""

    def __init__(self, folder: Path) -> None:
        from curate.models.hf_folder import load_tokenizer

        self._inner: Any = load_tokenizer(folder)
        if self._inner.eos_token_id is None:
            raise ConfigError(f"the tokenizer in {folder} has no eos_token, and texts would never end; name another")
        self.size = len(self._inner)
        self.end: int = self._inner.eos_token_id
        self.start = self.end if self._inner.bos_token_id is None else int(self._inner.bos_token_id)
        self.padding = self.end if self._inner.pad_token_id is None else int(self._inner.pad_token_id)

    def encode(self, text: str) -> list[int]:
        found: list[int] = self._inner.encode(text, add_special_tokens=False)
        return found

    def decode(self, numbers: Sequence[int]) -> str:
        found: str = self._inner.decode(_until(numbers, self.end), skip_special_tokens=True)
        return found


def open_words(tokenizer: str, language_model: str) -> Words:
    """The vocabulary that a stages.toml names: "toy", "bytes" or a folder; empty: the language model's own, the toy's
    for the tiny one. Raises ConfigError."""
    named = tokenizer or (TOY_WORDS if language_model == "tiny" else language_model)
    if named == TOY_WORDS:
        return ToyWords()
    if named == BYTES:
        return Bytes()
    if not Path(named).is_dir():
        raise ConfigError(f'tokenizer = {named!r} is no folder here; name one, or write "toy" or "bytes"')
    return FolderWords(Path(named))


def _until(numbers: Sequence[int], end: int) -> list[int]:
    found = list(numbers)
    return found[: found.index(end)] if end in found else found
