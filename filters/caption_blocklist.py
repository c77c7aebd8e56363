"""Drops captions that are no words about a picture: stock phrases, dates, file names, addresses.

A caption is dropped when it *is* such a thing as a whole, not when it holds one: "Eiffel Tower, 4 May 2011" stays and
"4 May 2011" goes. The one exception are the openings that search engines and social networks put before their own
guess ("Image result for ..."). The patterns are RE2's, which takes time linear in the text whatever the text is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from curate.filter import Filter, Verdict, verdict

EDGE = r"[^\pL\pN]*"
"""Quotes, brackets and dashes around the words; not RE2's `\\W`, which takes every letter beyond ASCII for a sign."""

THING = (
    r"(?:(?:product|featured|hero|stock|main|cover|header|background|article|post|related|default|sample|test|blank|"
    r"site|company|website|profile|user|author) )?(?:image|img|photo|photograph|photography|picture|pic|thumbnail|"
    r"thumb|avatar|logo|icon|banner|header|cover|gallery|slide|slideshow|screenshot|figure|illustration|graphic|"
    r"artwork|portrait)s?"
)
MISSING = r"(?:(?:not )?(?:yet )?(?:available|found)|unavailable|coming soon|missing|loading|here|placeholder|removed)"
CONTROL = (
    r"(?:(?:click|tap|press) (?:here|(?:to|for|on) [a-z ]{1,30})|"
    r"(?:read|learn|see|show|view|load) (?:more|all|larger|full size|details)[a-z ]{0,15}|"
    r"(?:share|follow|like|find|pin|tweet|join)(?: (?:this|us|me|it))? (?:on|via) [a-z]+|"
    r"download(?: (?:now|free|pdf|image|here))?|add to (?:cart|basket|wish ?list|favou?rites)|buy now|shop now|"
    r"sign (?:in|up)|log ?in|subscribe(?: now)?|skip to (?:main )?(?:content|navigation)|(?:back|go) to (?:the )?top|"
    r"share|close|open|menu|search|home|next|previous|prev|back|play(?: video)?|pause|loading|print|e-?mail|facebook|"
    r"twitter|instagram|pinterest|youtube|linkedin|whatsapp|tumblr|rss)"
)
EMPTY = (
    r"(?:untitled|no (?:alt|alt text|caption|title|description|name)|alt(?: text)?|caption|title|description|null|none|"
    r"n/?a|undefined|blank|empty|spacer|pixel|tracking pixel|placeholder|default|test|todo|tbd|lorem ipsum.*|"
    r"advertisement|advert|ads?|sponsored|(?:images? )?(?:may be )?(?:subject to )?copyright|all rights reserved|"
    r"\d[^\pL]*)"
)
DAY = r"\d{1,2}(?:st|nd|rd|th)?\.?"
MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]{0,6}\.?"
DATE = (
    r"(?:(?:posted|published|updated|taken|uploaded)? ?(?:on |in )?(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6},? )?"
    rf"(?:\d{{1,4}}[-./ ]\d{{1,2}}[-./ ]\d{{1,4}}|(?:{DAY} (?:of )?)?{MONTH} (?:{DAY},? )?\d{{4}}|{MONTH} {DAY}|"
    rf"{DAY} (?:of )?{MONTH})"
    r"(?:[ ,T]+(?:at )?\d{1,2}[:.h]\d{2}(?:[:.]\d{2})?(?: ?[ap]\.?m\.?)?Z?)?)"
)
NUMBER = r"(?: ?(?:no\.?|nr\.?|#|\(|-)? ?\d+\)?(?: ?(?:of|/) ?\d+)?)?"
BOILERPLATE = (
    rf"(?i)^{EDGE}(?:(?:no |the |an? )?{THING}(?: {THING}){{0,2}}{NUMBER}(?: (?:is )?{MISSING})?|{CONTROL}|{EMPTY}|"
    rf"{DATE}){EDGE}$|"
    rf"^{EDGE}(?:image|photo|picture) (?:result )?(?:for|may contain)\b|^{EDGE}may be an? (?:image|graphic|photo)\b"
)

SUFFIX = r"\.(?:jpe?g|jfif|png|gif|webp|bmp|tiff?|svg|avif|hei[cf]|ico|psd|eps|pdf|cr2|nef)"
CAMERA = r"(?:img|image|dsc[nf]?|pict?|p|sam|mvi|pxl|gopr|vlcsnap|wp|screen ?shot|scan|photo|foto|untitled|unnamed)"
SLUG = r"[\pL\pN%.]+"
FILE_NAME = (
    rf"(?i)^\s*[^\n]*[^\s]{SUFFIX}(?:[?#]\S*)?\s*$|^\s*_?{CAMERA}[-_ ]?\d[-_ .\d()a-f]{{2,}}\s*$|"
    rf"^\s*[0-9a-f]{{8,}}[-_0-9a-f]{{4,}}\s*$|^\s*{SLUG}(?:[-_+]{SLUG}){{3,}}\s*$|^\s*{SLUG}(?:_{SLUG})+\s*$"
)
URL = (
    rf"(?i)^{EDGE}(?:(?:https?|ftp)://\S*|www\.\S+|[\pL\pN-]+(?:\.[\pL\pN-]+)*\.(?:com|net|org|info|biz|edu|gov|io|co|"
    rf"tv|me|eu|us|uk|de|fr|it|es|nl|be|ch|at|no|se|dk|fi|pl|cz|ru|jp|cn|in|br|au|ca|nz)(?:/\S*)?){EDGE}$"
)


@dataclass(frozen=True)
class CaptionBlocklist(Filter):
    """Keeps captions that are none of these, nor one of `phrases` (compared whole, letter case aside)."""

    phrases: tuple[str, ...] = ()

    reads: ClassVar[tuple[str, ...]] = ("caption",)
    reasons: ClassVar[Mapping[str, str]] = {
        "caption_is_boilerplate": "the caption is a stock phrase or a date",
        "caption_is_file_name": "the caption is a file name",
        "caption_is_url": "the caption is a web address",
    }

    def judge(self, columns: pa.Table) -> Verdict:
        captions = columns["caption"]
        own = pa.array([phrase.strip().lower() for phrase in self.phrases], pa.string())
        return verdict(
            len(captions),
            ("caption_is_url", pc.match_substring_regex(captions, URL)),
            ("caption_is_file_name", pc.match_substring_regex(captions, FILE_NAME)),
            ("caption_is_boilerplate", pc.match_substring_regex(captions, BOILERPLATE)),
            ("caption_is_boilerplate", pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(captions)), value_set=own)),
        )
