"""Drops image slots whose URL says that there is no content behind it: logo, button, icon.

OBELICS looks for `logo button icon plugin widget porn xxx sex` anywhere, host included, in lower case only, and so
loses all of `www.essex.ac.uk`, `silicon.co.uk`, every `/catalogo/` and WordPress' `/plugins/`, while `LOGO.png` passes.
That is `mode = "substring"`; MMC4 and MINT-1T have other words for it. By default a word has to be a whole run of
letters behind the host, in any case: `/img/site-logo_2x.png` has `logo`, `/catalogo/` and `lexicon.org` have none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, verdict

HOST = r"^[A-Za-z][A-Za-z0-9+.-]*:/*[^/?#]*"
APART = r"(?:^|[^\pL%]|%[0-9a-f]{2}|%)"
"""What may stand before a word: anything but a letter, and a percent-encoded byte, whose second digit may be one."""


@dataclass(frozen=True)
class SlotUrlWords(Filter):
    """Keeps slots whose URL has none of `words`."""

    words: tuple[str, ...] = (
        *("logo", "logos", "button", "buttons", "icon", "icons", "favicon", "avatar", "gravatar", "emoji", "smiley"),
        *("spacer", "blank", "pixel", "sprite", "spinner", "placeholder", "badge", "widget", "porn", "xxx", "sex"),
    )
    mode: Literal["token", "substring"] = "token"

    reads: ClassVar[tuple[str, ...]] = ("url",)
    reasons: ClassVar[Mapping[str, str]] = {"url_word_blocked": "the picture's URL has a word of what is no content"}

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("words = [] would drop nothing; name at least one, such as logo")
        for word in self.words:
            if not word or (self.mode == "token" and not word.isalpha()):
                raise ValueError(f"words has {word!r}, which can never be a whole run of letters")

    def judge(self, columns: pa.Table) -> Verdict:
        anyone = "|".join(map(re.escape, self.words))
        if self.mode == "substring":
            return verdict(len(columns), ("url_word_blocked", pc.match_substring_regex(columns["url"], anyone)))
        path = pc.replace_substring_regex(columns["url"], pattern=HOST, replacement="")
        found = pc.match_substring_regex(path, rf"(?i){APART}(?:{anyone})(?:$|\PL)")
        return verdict(len(columns), ("url_word_blocked", found))
