"""Tokenizers that only count: how many tokens a text comes to, for the budgets of a hand-over.

Special tokens (start, end, a chat template's) are not counted, for each trainer adds its own. A tokenizer is opened
once per process; `tokenizer.json` is read by the Rust library alone (5 microseconds a word), a folder without one by
transformers, without code from the folder. Nothing is fetched.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from curate.errors import ConfigError
from curate.models.model_files import content_digest

__all__ = ["Count", "TokenizerSettings", "open_tokenizer"]

Count: TypeAlias = Callable[[str], int]
"""The number of tokens of a text."""

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "added_tokens.json",
    "special_tokens_map.json",
)
"""What a folder's tokenizer may consist of."""
TOY_WORD = re.compile(r"[^\W_]+")
"""What `curate.models.toy_words` takes for a word."""


@dataclass(frozen=True)
class TokenizerSettings:
    """A `[tokenizers.NAME]` table.

    `path` is a `tokenizer.json`, or a folder as transformers saves tokenizers. Without one, `kind` is built in:
    "words" counts what stands between white space, "open_clip" is CLIP's byte pairs (open_clip's SimpleTokenizer),
    "toy" the words of the toy models.
    """

    path: str = ""
    kind: Literal["", "words", "open_clip", "toy"] = ""

    def __post_init__(self) -> None:
        if bool(self.path) == bool(self.kind):
            raise ValueError('needs either path = "FOLDER" or kind = "words", "open_clip" or "toy"')

    def digest(self) -> str:
        """16 hex digits for the files, wherever they lie; the kind where it is built in. Raises ConfigError."""
        if not self.path:
            return self.kind
        found = [[path.name, content_digest(path)] for path in self._files()]
        return hashlib.sha256(repr(found).encode()).hexdigest()[:16]

    def located(self) -> TokenizerSettings:
        """The same with an absolute path: workers have working directories of their own."""
        return replace(self, path=os.path.abspath(self.path)) if self.path else self

    def _files(self) -> list[Path]:
        place = Path(self.path)
        files = [place / name for name in FILES if (place / name).is_file()] if place.is_dir() else [place]
        if not files or not files[0].is_file():
            raise ConfigError(f"{self.path} holds no tokenizer: a tokenizer.json, or a folder with one; check path")
        return files


def open_tokenizer(settings: TokenizerSettings) -> Count:
    """The tokenizer, opened once per process. Raises ConfigError where its files are none."""
    return _opened(settings, settings.digest(), os.getpid())


@lru_cache(maxsize=16)
def _opened(settings: TokenizerSettings, digest: str, process: int) -> Count:
    if settings.kind == "words":
        return lambda text: len(text.split())
    if settings.kind == "toy":
        return lambda text: len(TOY_WORD.findall(text))
    try:
        return _open_clip() if settings.kind else _from_files(Path(settings.path))
    except ImportError as error:
        raise ConfigError(f"tokenizer {settings.kind or settings.path} needs `{error.name}`: {error}") from error


def _open_clip() -> Count:
    from open_clip.tokenizer import SimpleTokenizer

    encode = SimpleTokenizer().encode
    return lambda text: len(encode(text))


def _from_files(place: Path) -> Count:
    file = place / "tokenizer.json" if place.is_dir() else place
    try:
        return _fast(file) if file.is_file() else _slow(place)
    except ImportError:
        raise
    except Exception as error:  # the libraries raise bare exceptions
        raise ConfigError(f"{place} is no tokenizer that can be opened: {error}") from error


def _fast(file: Path) -> Count:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _slow(folder: Path) -> Count:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    return lambda text: len(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])
