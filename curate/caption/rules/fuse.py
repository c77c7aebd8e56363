"""`rule = "fuse"`: one text, made by a language model of the web's and a synthetic one (CapsFusion, KALE).

    [views.fused]
    rule = "fuse"
    base_url = "http://127.0.0.1:8000/v1"
    model = "Qwen/Qwen2.5-7B-Instruct"
    otherwise = "web"

Where the model gave no sound text, for some rows in a hundred, `otherwise` decides: no row is lost to a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from curate.caption.fuse import Fuse as FuseStage
from curate.caption.fuse import FuseSettings, fused_columns
from curate.caption.rule import WEB, Choice, Rule
from curate.caption.rules._candidates import Candidates
from curate.caption.rules._required import check_names, require_captioner
from curate.caption.rules._sources import Mask, Numbers, Source, web, written_by
from curate.stage import Work

__all__ = ["Fuse"]

TAKEN = ("caption", "key", "url", "image", "source", "keep")
FUSED, NOT_FUSED, NOT_FIRST = "text_is_fused", "text_not_fused", "text_not_the_first_sound_one"
"""Reasons: there is a fused text in its place; there is none, and `otherwise` wants another text or none; the captioner
has a sound text before this one."""


@dataclass(frozen=True)
class Fuse(FuseSettings, Rule):
    """The fused text where there is one, else by `otherwise`: the `web`'s, the first sound `synthetic` one, or `none`.

    `column` heads the columns that the language model's answers are written to: two views with different settings
    need two names. It is the origin of a fused text. Other settings as `curate.caption.fuse.FuseSettings`.
    """

    otherwise: Literal["web", "synthetic", "none"] = "web"
    column: str = "fused"

    source: ClassVar[str] = "CapsFusion (Yu et al. 2023), BLIP3-KALE (Awadalla et al. 2024)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(captioner=self.captioner, column=self.column)
        if self.column in (*TAKEN, self.captioner) or self.column.startswith(f"{self.captioner}_"):
            raise ValueError(f"column = {self.column!r} is what another column is called; choose another word")

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(name for source in self._sources for name in source.columns)

    def require(self, models: Mapping[str, Any]) -> None:
        require_captioner(models, self.captioner)

    def steps(self, name: str) -> tuple[Work, ...]:
        settings = {field.name: getattr(self, field.name) for field in fields(FuseSettings)}
        return (FuseStage(self.column, FuseSettings(**settings)),)

    @property
    def _sources(self) -> tuple[Source, ...]:
        return Source(self.column, fused_columns(self.column)[0]), web(), written_by(self.captioner)

    def choose(self, columns: pa.Table) -> Choice:
        texts = Candidates(columns, self._sources)
        fused, written = texts.of(self.column), texts.of(self.captioner)
        texts.refuse(_after_first(texts.row, np.flatnonzero(texts.left & written)), NOT_FIRST)
        texts.refuse(np.isin(texts.row, texts.row[fused & texts.left]) & ~fused, FUSED)
        wanted = {"web": texts.of(WEB), "synthetic": written, "none": fused}[self.otherwise]
        texts.refuse(~fused & ~wanted, NOT_FUSED)
        return texts.choice(texts.in_order())


def _after_first(row: Numbers, places: Numbers) -> Mask:
    """Of the places, which ascend, all but the first of each row; bool over all texts."""
    found = np.zeros(len(row), bool)
    found[places[1:]] = row[places[1:]] == row[places[:-1]]
    return found
