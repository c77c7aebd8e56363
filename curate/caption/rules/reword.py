"""`rule = "reword"`: the caption, and variants of it that a language model words anew (LaCLIP).

    [views.laclip]
    rule = "reword"
    variants = 4
    base_url = "http://127.0.0.1:8000/v1"
    model = "Qwen/Qwen2.5-7B-Instruct"

All texts of a row have the same weight, as in LaCLIP. A variant with a fault, or that is a text which is there already,
is left out; a row of which none is sound keeps what it had, so that no row is lost to a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.caption.reword import Reword as RewordStage
from curate.caption.reword import RewordSettings
from curate.caption.rule import WEB, Choice, Rule
from curate.caption.rules._candidates import Candidates
from curate.caption.rules._required import check_names, require_captioner
from curate.caption.rules._sources import Source, web, written_by
from curate.errors import ConfigError
from curate.stage import Work

__all__ = ["Reword"]

REWORDED = "text_is_reworded"
"""The reason against a text in whose place its variants stand."""


@dataclass(frozen=True)
class Reword(RewordSettings, Rule):
    """`include_original`: the text that was reworded stands before its variants; else only where none of them is
    sound. `column` heads the columns of the new texts, and is their origin: two views with different settings need two
    names. Other settings as `curate.caption.reword.RewordSettings`."""

    include_original: bool = True
    column: str = "reworded"

    source: ClassVar[str] = "LaCLIP (Fan et al. 2023)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(column=self.column)
        if self.of != WEB:
            check_names(of=self.of)
        if self.column == self.of:
            raise ValueError(f"column = {self.column!r} is the captioner whose texts are reworded; choose another word")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for source in self._sources for name in source.columns)

    def require(self, models: Mapping[str, Any]) -> None:
        if self.of != WEB:
            require_captioner(models, self.of)
        if self.column in models:
            raise ConfigError(f"column = {self.column!r} is what [models.{self.column}] is called; choose another word")

    def steps(self, name: str) -> tuple[Work, ...]:
        settings = {field.name: getattr(self, field.name) for field in fields(RewordSettings)}
        return (RewordStage(self.column, RewordSettings(**settings)),)

    @property
    def _sources(self) -> tuple[Source, Source]:
        return web() if self.of == WEB else written_by(self.of), written_by(self.column)

    def choose(self, columns: pa.Table) -> Choice:
        texts = Candidates(columns, self._sources)
        texts.refuse_repeated()
        if not self.include_original:
            anew = texts.of(self.column) & texts.left
            texts.refuse(np.isin(texts.row, texts.row[anew]) & ~texts.of(self.column), REWORDED)
        return texts.choice(texts.in_order())
