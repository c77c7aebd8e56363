"""Words of strangers in Markdown, HTML, YAML and JSON: they are shown, and never act.

A card quotes what others wrote: licences, names of columns, what is said of a source. Each of them becomes one line
without control characters and without marks that turn the writing direction; what Markdown or HTML would read is
written as an entity or behind a backslash. So a licence `</table><script>` is those letters in a cell, and no more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["amount", "cleaned", "code", "escaped", "table", "yaml_lines"]

MOST_CHARS = 400
"""Of a stranger's words in a card."""
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]+"
)
"""Controls, ends of lines, marks of direction, what has no width, halves of a character."""
_MARKUP = re.compile(r"[\\`*_\[\]!~$#^{}]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "@": "&#64;"}
_LINK = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp)(:)|\b(www)(\.)")
_START = re.compile(r"^([-+=]|\d{1,9}(?=[.)]))")
_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_./:=,+ -]{0,199}")
_WORD = re.compile(r"[a-z_][0-9a-z_-]*")


def cleaned(text: object, most: int = MOST_CHARS) -> str:
    """The text as one line, without what is not seen; at most `most` characters, then " ..."."""
    words = " ".join(_INVISIBLE.sub(" ", str(text)).split())
    return words if len(words) <= most else f"{words[: most - 4]} ..."


def escaped(text: object, most: int = MOST_CHARS) -> str:
    """The text as words in a line or a table's cell of Markdown: no markup, no HTML, no link."""
    words = "".join(_ENTITIES.get(letter, letter) for letter in _MARKUP.sub(r"\\\g<0>", cleaned(text, most)))
    words = _LINK.sub(lambda found: f"{found[1] or found[3]}&#{ord(found[2] or found[4])};", words)
    return _START.sub(lambda found: f"&#{ord(found[1][0])};{found[1][1:]}", words)


def code(name: object) -> str:
    """A name as code where it is of plain letters, else as words."""
    text = str(name)
    return f"`{text}`" if _NAME.fullmatch(text) and not text.endswith(" ") else escaped(text)


def amount(number: float) -> str:
    """A count with commas; a score with up to four digits."""
    return f"{number:,}" if isinstance(number, int) else f"{number:.4g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> list[str]:
    """Lines of a Markdown table; cells are escaped already. The last `numbers` columns stand to the right."""
    rules = ["---"] * (len(head) - numbers) + ["--:"] * numbers
    return [f"| {' | '.join(own)} |" for own in (head, rules, *rows)] + [""]


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """A record, a list or a word as lines of YAML that every version reads the same: text is quoted unless it is a
    plain word of small letters, so `no`, `1.0` and dates stay text."""
    if isinstance(value, Mapping):
        for name, own in value.items():
            yield from _entry(f"{indent}{_scalar(name)}:", own, indent)
    elif isinstance(value, list):
        for own in value:
            lines = list(yaml_lines(own, f"{indent}  "))
            yield f"{indent}- {lines[0].removeprefix(f'{indent}  ')}"
            yield from lines[1:]
    else:
        yield f"{indent}{_scalar(value)}"


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping | list) and value:
        yield head
        yield from yaml_lines(value, indent if isinstance(value, list) else f"{indent}  ")
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: Any) -> str:
    """One word. YAML of version 1.1 takes these for something else: yes, no, on, off, y, n, true, false, null."""
    if isinstance(value, str) and _WORD.fullmatch(value) and value not in _TAKEN:
        return value
    return _PAIR.sub(_whole, json.dumps(value))


def _whole(found: re.Match[str]) -> str:
    """One escape for a character that JSON writes as two halves, which YAML would not put together."""
    return f"\\U{0x10000 + ((int(found[1], 16) - 0xD800) << 10) + int(found[2], 16) - 0xDC00:08x}"


_TAKEN = {"yes", "no", "on", "off", "y", "n", "true", "false", "null"}
_PAIR = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")
