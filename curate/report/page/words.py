"""How a page tells numbers, and what strangers wrote: cut, cleaned, and never more than text.

A caption may have 100,000 letters, turn the writing direction or hold half a character; a URL may be a script. So a
text is cut to a stated length before it reaches a template, a link is only made of http and https, and a picture only
of bytes that begin as one. Numbers are told the same way everywhere: thousands separators, three or four digits that
matter, a unit.
"""

from __future__ import annotations

import base64
import math
import re

from markupsafe import Markup, escape

from curate.document.render import plain

__all__ = [
    "LETTERS",
    "breakable",
    "brief",
    "cell",
    "data_uri",
    "duration",
    "is_numeric",
    "number",
    "price",
    "share",
    "size",
    "told",
    "web_url",
]

LETTERS = 300
"""Letters of a stranger's text that are shown."""
URL_LETTERS = 2000
"""Of an address that is made a link; longer ones are text."""

_WEB = re.compile(r"https?://[^\s<>\"'`\\\x00-\x20\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+", re.IGNORECASE)
_BREAKS = re.compile(r"_(?=\w)|\.(?=[^\W\d])")
_MAGIC = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"))
_TIMES = ((86_400, "d"), (3_600, "h"), (60, "min"))
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def number(value: float | None) -> str:
    """`1,329`, `0.283`, `12.4`, `1.2e-05`; `none` for None."""
    if value is None:
        return "none"
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("infinity" if value > 0 else "-infinity")
    if abs(value) < 1e-3 or abs(value) >= 1e15:
        return f"{value:.2g}"
    digits = max(0, min(4, 3 - math.floor(math.log10(abs(value)))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def brief(value: float) -> str:
    """A number whose size matters and not its digits: `12,300`, `4.56`, three digits."""
    return number(float(f"{value:.3g}"))


def price(value: float) -> str:
    """An amount of money, without a currency: `<0.0001`, `0.0042`, `3.10`, `1,204.00`."""
    if 0 < value < 0.0001:
        return "<0.0001"
    return f"{value:,.2f}" if value >= 0.995 or value == 0 else f"{value:.2g}"


def share(part: float, whole: float) -> str:
    """`66.4%`; `0%` of nothing. Neither 0% nor 100% is said of what is not exactly that: `<0.1%`, `>99.9%`."""
    if whole <= 0 or part <= 0:
        return "0%"
    percent = 100 * part / whole
    if percent < 0.05:
        return "<0.1%"
    if part < whole and percent >= 99.95:
        return ">99.9%"
    return f"{percent:.1f}%".replace(".0%", "%")


def size(count: float) -> str:
    """Bytes in decimal units: `512 B`, `3.42 MB`."""
    unit = 0
    while abs(count) >= 999.5 and unit < len(_SIZES) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {_SIZES[unit]}" if unit else f"{count:.0f} B"


def duration(seconds: float) -> str:
    """`0.42 s`, `12.5 s`, `3 min 20 s`, `2 h 5 min`, `1 d 3 h`: two units at most."""
    if seconds < 59.95:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s".replace(".0 s", " s")
    left = round(seconds) if seconds < 3_600 else round(seconds / 60) * 60
    place = next(i for i, (length, _) in enumerate(_TIMES) if left >= length)
    length, unit = _TIMES[place]
    smaller, name = _TIMES[place + 1] if place + 1 < len(_TIMES) else (1, "s")
    rest = left % length // smaller
    return f"{left // length} {unit}" + (f" {rest} {name}" if rest else "")


def told(text: object, letters: int = LETTERS) -> str:
    """A stranger's text of at most `letters` letters; one that is cut says how long it was."""
    whole = str(text)
    return whole if len(whole) <= letters else f"{whole[:letters]}\N{HORIZONTAL ELLIPSIS} ({len(whole):,} letters)"


def is_numeric(value: object) -> bool:
    """Whether a table sets it to the right: numbers, and shares such as `66.4%`."""
    if isinstance(value, str):
        return len(value) < 8 and value.endswith("%")
    return isinstance(value, int | float) and not isinstance(value, bool)


def breakable(text: object, letters: int = 60) -> Markup:
    """A name, cut, as markup that may break after underscores and dots, though not within a number: `too_few_words` on
    two lines of a phone."""
    return Markup(_BREAKS.sub(r"\g<0><wbr>", str(escape(plain(told(text, letters))))))  # noqa: S704 (escaped)


def cell(value: object) -> object:
    """What a table shows of a value: numbers with separators, nothing for None, a text cut."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    return value if hasattr(value, "__html__") else breakable(value, LETTERS)


def web_url(text: object) -> str:
    """The address if it is one of http or https that can be followed, else empty."""
    address = str(text)
    return address if len(address) <= URL_LETTERS and _WEB.fullmatch(address) else ""


def data_uri(picture: bytes) -> str:
    """Encoded bytes of a picture as a data: URI; empty for what does not begin as WebP, JPEG, PNG or GIF."""
    media = next((name for magic, name in _MAGIC if picture.startswith(magic)), "")
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        media = "webp"
    return f"data:image/{media};base64,{base64.b64encode(picture).decode()}" if media else ""
