"""Bytes to text by one rule that is written down for every page and does not depend on what is installed.

In this order; the first that decides is recorded:

    bom       a byte order mark
    http      `charset=` of the Content-Type header
    meta      `<meta charset>`, `<meta http-equiv>` or an XML declaration in the first 4 KB
    utf8      nothing is declared and the bytes are valid UTF-8 with at least one character beyond ASCII
    detector  nothing is declared: charset-normalizer's choice among thirteen legacy charsets
    default   nothing is declared and all bytes are ASCII: UTF-8

A declared single-byte charset (`http` or `meta`) that the bytes contradict, being valid UTF-8 with characters beyond
ASCII, gives way to UTF-8 (`utf8`): text in a legacy charset is valid UTF-8 by accident with a probability of some 2^-n
for n such letters. A declared UTF-8 that is not valid gives way to the other declaration, then to the detector. Labels
mean what they mean to a browser (WHATWG): latin-1 is windows-1252, gb2312 is gb18030.
"""

from __future__ import annotations

import codecs
from typing import NamedTuple

__all__ = ["Decoded", "decode"]

HEAD_BYTES = 4_096
SAMPLE_BYTES = 8_192

_LABELS = {
    "ascii": "cp1252", "us-ascii": "cp1252", "iso-8859-1": "cp1252", "iso8859-1": "cp1252", "latin1": "cp1252",
    "latin-1": "cp1252", "l1": "cp1252", "windows-1252": "cp1252", "x-cp1252": "cp1252", "ansi": "cp1252",
    "iso-8859-9": "cp1254", "latin5": "cp1254", "iso-8859-11": "cp874", "tis-620": "cp874", "windows-874": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "chinese": "gb18030", "gb_2312-80": "gb18030",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932", "windows-31j": "cp932",
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "korean": "cp949", "windows-949": "cp949", "big5": "big5hkscs",
    "big5-hkscs": "big5hkscs", "x-x-big5": "big5hkscs", "x-euc-jp": "euc_jp", "utf8": "utf-8",
    "x-user-defined": "cp1252", "koi8-r": "koi8_r", "koi": "koi8_r", "koi8": "koi8_r", "koi8-u": "koi8_u",
    "x-mac-cyrillic": "mac_cyrillic", "macintosh": "mac_roman", "iso-8859-8-i": "iso8859_8", "logical": "iso8859_8",
}  # fmt: skip
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CANDIDATES = {
    "cp1252": "cp1252", "cp1250": "cp1250", "cp1251": "cp1251", "koi8_r": "koi8_r", "cp1253": "cp1253",
    "cp1254": "cp1254", "cp1255": "cp1255", "cp1256": "cp1256", "cp932": "cp932", "euc_jp": "euc_jp",
    "gb18030": "gb18030", "big5hkscs": "big5hkscs", "cp949": "cp949",
}  # fmt: skip
"""What the detector may answer: charsets that pages without a declaration are really in."""
_MULTI_BYTE = frozenset(("cp932", "euc_jp", "gb18030", "big5hkscs", "cp949", "iso2022_jp", "utf-8", "big5", "johab"))


class Decoded(NamedTuple):
    """Text, the Python name of its charset, and the rule that decided. Bytes that mean nothing are U+FFFD, NUL too."""

    text: str
    charset: str
    rule: str


def decode(body: bytes, content_type: str | None = None) -> Decoded:
    """The text of a page."""
    for mark, charset in _BOMS:
        if body.startswith(mark):
            return Decoded(_text(body[len(mark) :], charset), charset, "bom")
    declared = [(_codec(label), rule) for label, rule in ((_of_header(content_type), "http"), (_of_meta(body), "meta"))]
    known = [(charset, rule) for charset, rule in declared if charset]
    if body.isascii() and all(charset not in ("utf-16-le", "utf-16-be", "iso2022_jp") for charset, _ in known):
        return Decoded(_text(body, "utf-8"), "utf-8", known[0][1] if known else "default")
    charset, rule = _choose(body, known)
    return Decoded(_text(body, charset), charset, rule)


def _choose(body: bytes, known: list[tuple[str, str]]) -> tuple[str, str]:
    valid = _is_utf8(body)
    for charset, rule in known:
        if charset == "utf-8" and not valid:
            continue
        return ("utf-8", "utf8") if valid and charset not in _MULTI_BYTE else (charset, rule)
    return ("utf-8", "utf8") if valid else (_detect(body), "detector")


def _text(body: bytes, charset: str) -> str:
    return body.decode(charset, "replace").replace("\0", "\ufffd")


def _codec(label: str) -> str | None:
    """Python's name of a label's charset; None where nobody knows it."""
    label = label.strip(" \t\r\n\f\"'").lower()
    if label in ("utf-16", "utf-16le", "utf-16be"):
        return "utf-8"  # a page whose declaration could be read is not UTF-16, says the HTML standard
    try:
        name = codecs.lookup(_LABELS.get(label, label))
    except (LookupError, ValueError):
        return None
    return {"iso8859-1": "cp1252"}.get(name.name, name.name) if name._is_text_encoding else None


def _of_header(content_type: str | None) -> str:
    _, found, rest = (content_type or "").lower().partition("charset=")
    return rest.partition(";")[0] if found else ""


def _of_meta(body: bytes) -> str:
    """The label in the head of the page: what follows `charset=` in a meta tag, or an XML declaration's encoding."""
    head = body[:HEAD_BYTES].decode("latin-1").lower()
    if head.startswith("<?xml") and "encoding=" in head[: head.find("?>")]:
        return _value(head, head.index("encoding=") + 9)
    place = head.find("<meta")
    while place >= 0:
        end = head.find(">", place)
        tag = head[place : end if end >= 0 else len(head)]
        if "charset" in tag:
            after = tag.partition("charset")[2].lstrip()
            if after.startswith("="):
                return _value(after, 1)
        place = head.find("<meta", place + 5)
    return ""


def _value(text: str, start: int) -> str:
    """The word that begins at `start`, quoted or not."""
    rest = text[start : start + 60].lstrip(" \t\r\n\"'")
    end = next((i for i, letter in enumerate(rest) if letter in " \t\r\n\"';/>?"), len(rest))
    return rest[:end]


def _is_utf8(body: bytes) -> bool:
    """Whether the bytes are UTF-8; one that was cut at its end still is, and so is one whose letters
    beyond ASCII are good but for one in 100."""
    try:
        body.decode("utf-8")
        return True
    except UnicodeDecodeError as error:
        if error.start >= len(body) - 4:
            return True
    text = body[: 32 * SAMPLE_BYTES].decode("utf-8", "replace")
    bad = text.count("\ufffd")
    return bad * 100 <= len(text) - bad - len(text.encode("ascii", "ignore"))


def _detect(body: bytes) -> str:
    """The charset that reads most like text, by charset-normalizer: it knows how letters of a language sit together.

    It is shown bytes around those beyond ASCII, which tell charsets apart, and takes some 10 ms; windows-1252 if it
    cannot say.
    """
    from charset_normalizer import from_bytes

    first = next((i for i in range(len(body)) if body[i] >= 0x80), 0)
    sample = body[max(0, first - 200) : first + SAMPLE_BYTES]
    best = from_bytes(sample, cp_isolation=list(_CANDIDATES), enable_fallback=False, preemptive_behaviour=False).best()
    found = _CANDIDATES.get(best.encoding, best.encoding) if best else "cp1252"
    return "cp1252" if sample.decode(found, "replace") == sample.decode("cp1252", "replace") else found
