"""Drops texts that a KenLM model of good prose finds unlikely: word salad, code, lists of keywords.

The measure of CCNet (Wenzek et al. 2020) as OBELICS takes it from `edugp/kenlm`, whose English models are of Wikipedia
and OSCAR: each line becomes SentencePiece's pieces, and perplexity is 10 to the mean negative log10 probability of a
piece, ends of lines counted. OBELICS keeps documents of at most 1,500; see them sorted before you believe a bound.

Neither model comes with this project, and `pip install kenlm sentencepiece` is yours to run. About 0.1 ms a paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import pyarrow as pa

from curate.errors import ConfigError
from curate.filter import Batch, Bounded, Scorer, check_bounds
from curate.gauge import Gauge
from curate.source.model_file import file_digest

CONTROLS = "[\x00-\x1f\x7f-\x9f]"
SPACES = r"[^\S\n]|\ufffc"
PUNCTUATION = {
    mark: plain
    for plain, marks in {
        '"': "„”“«»「」《》１",
        "'": "´’",
        ",": "，、",
        ".": "。",
        ". ": "．",
        "...": "…",
        ":": "∶：",
        ";": "；",
        "?": "？",
        "!": "！",
        "(": "（",
        ")": "）",
        "-": "–━►",
        " - ": "—",
        "~": "～",
        "<": "〈",
        ">": "〉",
        "[": "【",
        "]": "】",
        "%": "％",
    }.items()
    for mark in marks
}
"""CCNet's plain marks, with which its models were trained; a fullwidth 1 is a quotation mark there, and so here."""

Lines = Literal["apart", "glued"]


class LanguageModel(Protocol):
    """What is asked of `kenlm.Model`."""

    def score(self, sentence: str) -> float:
        """log10 of the probability of pieces with spaces between, with its beginning and end."""
        ...


Pieces = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class MeasurePerplexity(Scorer):
    """Perplexity per text, 1 and up, to one decimal; infinite where it is too large for a number; null for no text.

    A text with no piece in it is scored too: what is left is the end of its line.
    """

    model: Path
    pieces: Path | None = None
    lines: Lines = "apart"

    name: ClassVar[str] = "text_perplexity"
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {"text_perplexity": pa.float64()}

    def identity(self) -> Any:
        digests = [None if path is None else _digest(path) for path in (self.model, self.pieces)]
        return {"scorer": self.name, "version": self.version, "models": digests, "lines": self.lines}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        model, pieces = load_model(self.model), load_pieces(self.pieces)
        texts = batch.columns["text"].to_pylist()
        found = [None if text is None else perplexity(text, model, pieces, self.lines) for text in texts]
        return {"text_perplexity": pa.array(found, pa.float64())}


@dataclass(frozen=True)
class TextPerplexity(Bounded):
    """Keeps texts whose perplexity is at most `max`, included, by the KenLM file `model`. What has no text is kept.

    `pieces` is the SentencePiece file that the model was trained with; without it words are pieces. `lines = "glued"`
    is OBELICS, which takes line breaks out before it scores, and with them the space between two words.
    """

    model: str = field(metadata={"runtime": True})
    pieces: str = field(default="", metadata={"runtime": True})
    max: float = 1500.0
    lines: Lines = "apart"

    reads: ClassVar[tuple[str, ...]] = ("text_perplexity",)
    reasons: ClassVar[Mapping[str, str]] = {"perplexity_too_high": "the text is too unlike the prose of the model"}

    def __post_init__(self) -> None:
        check_bounds(None, self.max, least=1)
        for name, path in (("model", self.model), ("pieces", self.pieces)):
            if (path or name == "model") and not Path(path).is_file():
                raise ValueError(f"{name} = {path!r} is no file here")

    def scorer(self) -> Scorer:
        package("kenlm")
        if self.pieces:
            package("sentencepiece")
        return MeasurePerplexity(Path(self.model), Path(self.pieces) if self.pieces else None, self.lines)

    @property
    def gauge(self) -> Gauge:
        return Gauge("text_perplexity", self.reads, max=self.max, too_high="perplexity_too_high")


def perplexity(text: str, model: LanguageModel, pieces: Pieces, lines: Lines = "apart") -> float:
    """Perplexity of a text; without lines that is of an empty one."""
    kept = [text] if lines == "glued" else [line for line in text.split("\n") if line.strip()] or [""]
    log10, length = 0.0, 0
    for line in kept:
        found = pieces(normal_line(line))
        log10 += model.score(" ".join(found))
        length += len(found) + 1
    exponent = -log10 / length
    return round(10.0**exponent, 1) if exponent < 300 else float("inf")


def normal_line(line: str) -> str:
    """As the models were trained: no controls, plain spaces, 0 for each digit, plain punctuation. Letter case stays."""
    line = re.sub(CONTROLS, "", line).strip()
    line = re.sub(r"\d", "0", re.sub(SPACES, " ", line))
    return "".join([PUNCTUATION.get(character, character) for character in line])


@lru_cache(maxsize=1)
def load_model(path: Path) -> LanguageModel:
    """The KenLM model, once per process. Raises ConfigError."""
    kenlm = package("kenlm")
    try:
        return kenlm.Model(str(path))  # type: ignore[no-any-return]
    except OSError as error:
        raise ConfigError(f"{path} is no KenLM model: {error}") from None


@lru_cache(maxsize=1)
def load_pieces(path: Path | None) -> Pieces:
    """What cuts a line into pieces, once per process; `str.split` without a model. Raises ConfigError."""
    if path is None:
        return str.split
    sentencepiece = package("sentencepiece")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path)).encode_as_pieces  # type: ignore[no-any-return]
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path} is no SentencePiece model: {error}") from None


def package(name: str) -> Any:
    """The imported package, which is none of this project's own needs. Raises ConfigError."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"text_perplexity needs the package {name} ({error}); run `pip install {name}`") from None


@lru_cache(maxsize=2)
def _digest(path: Path) -> str:
    return file_digest(path)
