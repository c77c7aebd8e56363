"""Bytes to text by one rule: who is believed, on both sides of each condition, and what is recorded."""

import codecs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.document.charset import MIN_MULTI_BYTES, READABLE, decode
from curate.document.charset import _codec as codec_of

RUSSIAN = "Привет, это обычная страница о погоде в Москве и о людях, которые там живут."
JAPANESE = "これは日本語のページです。今日の天気は晴れで、東京は暖かいです。"
CHINESE = "这是一个中文网页,今天天气很好,北京很暖和。我们去公园散步。"
GERMAN = "Größe über Straße, schöne Grüße aus München – “ja”"


def page(text: str, codec: str = "utf-8", head: str = "") -> bytes:
    return f"<html><head>{head}<title>x</title></head><body><p>{text}</p></body></html>".encode(codec)


def meta(charset: str) -> str:
    return f'<meta charset="{charset}">'


@pytest.mark.parametrize(
    ("body", "content_type", "charset", "rule", "text"),
    [
        # A byte order mark wins over everything.
        (codecs.BOM_UTF8 + page(GERMAN, head=meta("koi8-r")), "text/html; charset=big5", "utf-8", "bom", GERMAN),
        (codecs.BOM_UTF16_LE + page(GERMAN, "utf-16-le"), None, "utf-16-le", "bom", GERMAN),
        (codecs.BOM_UTF16_BE + page(GERMAN, "utf-16-be"), None, "utf-16-be", "bom", GERMAN),
        # The header, then the page itself.
        (page(RUSSIAN, "cp1251"), "text/html; charset=windows-1251", "windows-1251", "http", RUSSIAN),
        (page(RUSSIAN, "cp1251"), "text/html;CHARSET='Windows-1251'; x=y", "windows-1251", "http", RUSSIAN),
        (page(JAPANESE, "cp932"), 'text/html; charset="Shift_JIS"', "shift_jis", "http", JAPANESE),
        (page(RUSSIAN, "koi8-r", meta("windows-1251")), "text/html; charset=koi8-r", "koi8-r", "http", RUSSIAN),
        (page(RUSSIAN, "koi8-r", meta("koi8-r")), "text/html; charset=nonsense", "koi8-r", "meta", RUSSIAN),
        (page(RUSSIAN, "koi8-r", meta("koi8-r")), "text/html", "koi8-r", "meta", RUSSIAN),
        (page(RUSSIAN, "cp1251", "<meta http-equiv=Content-Type content='text/html; charset=windows-1251'>"),
         None, "windows-1251", "meta", RUSSIAN),
        (b"<?xml version='1.0' encoding='koi8-r'?>" + page(RUSSIAN, "koi8-r"), None, "koi8-r", "meta", RUSSIAN),
        (page(RUSSIAN, "koi8-r", "<!-- <meta charset=big5> -->" + meta("koi8-r")), None, "koi8-r", "meta", RUSSIAN),
        (page(RUSSIAN, "koi8-r", "<meta name=d content='our charset=big5'>" + meta("koi8-r")),
         None, "koi8-r", "meta", RUSSIAN),
        (page(RUSSIAN, "koi8-r", " " * 4_000 + meta("koi8-r")), None, "koi8-r", "meta", RUSSIAN),
        (page(RUSSIAN, "koi8-r", " " * 4_096 + meta("big5")), None, "koi8-r", "detector", RUSSIAN),
        # UTF-16 in the page itself cannot be meant, in the header only with NUL bytes.
        (page(GERMAN, head=meta("utf-16")), None, "utf-8", "meta", GERMAN),
        (page(GERMAN), "text/html; charset=utf-16", "utf-8", "utf8", GERMAN),
        (page(GERMAN, "utf-16-le"), "text/html; charset=utf-16", "utf-16-le", "http", GERMAN),
        # A legacy charset against valid UTF-8.
        (page(GERMAN), "text/html; charset=iso-8859-1", "utf-8", "utf8", GERMAN),
        (page("caf\xe9", "latin-1"), "text/html; charset=iso-8859-1", "windows-1252", "http", "caf\xe9"),
        (page("cafe"), "text/html; charset=iso-8859-1", "windows-1252", "http", "cafe"),
        (page("中" * 3, head=meta("gb2312")), None, "utf-8", "utf8", "中" * 3),
        (page("中" * 2, head=meta("gb2312")), None, "gb18030", "meta", "涓"),
        (page(CHINESE, "gb18030", meta("gb2312")), None, "gb18030", "meta", CHINESE),
        # A declared UTF-8 that is not, and one that nearly is.
        (page(GERMAN, "cp1252", meta("utf-8")), None, "windows-1252", "detector", GERMAN),
        (page(RUSSIAN, "cp1251", meta("windows-1251")), "text/html; charset=utf-8", "windows-1251", "meta", RUSSIAN),
        (page(GERMAN, head=meta("utf-8")) + b"\xff", None, "utf-8", "meta", GERMAN),
        (page(GERMAN, head=meta("utf-8"))[:-20] + "é".encode()[:1], None, "utf-8", "meta", "Größe"),
        # Nothing is declared.
        (page(GERMAN), None, "utf-8", "utf8", GERMAN),
        (page("plain"), None, "utf-8", "utf8", "plain"),
        (page(JAPANESE, "iso2022_jp"), None, "iso-2022-jp", "detector", JAPANESE),
        (b"<p>caf\xe9", None, "iso-8859-2", "detector", "caf\xe9"),
        (b"<p>\x81", None, "windows-1252", "default", "\ufffd"),
        (b"", None, "utf-8", "utf8", ""),
    ],
)  # fmt: skip
def test_who_is_believed(body: bytes, content_type: str | None, charset: str, rule: str, text: str) -> None:
    found = decode(body, content_type)
    assert (found.charset, found.rule) == (charset, rule)
    assert text in found.text


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1251", RUSSIAN),
        ("koi8-r", RUSSIAN),
        ("cp932", JAPANESE),
        ("euc_jp", JAPANESE),
        ("iso2022_jp", JAPANESE),
        ("gb18030", CHINESE),
        ("big5", "這是一個中文網頁,今天天氣很好,臺北很暖和。我們去公園散步。"),
        ("cp949", "이것은 한국어 페이지입니다. 오늘 날씨는 맑고 서울은 따뜻합니다."),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy. Dnes je v Praze hezky."),
        ("cp1252", GERMAN),
        ("cp1253", "Καλημέρα, αυτή είναι μια σελίδα για τον καιρό στην Αθήνα."),
        ("cp1254", "Bugün İstanbul’da hava güzel, şehir çok kalabalık ve ağaçlar yeşil."),
        ("cp1255", "שלום, זה דף רגיל על מזג האוויר בתל אביב."),
        ("cp1256", "مرحبا، هذه صفحة عادية عن الطقس في القاهرة."),
        ("cp874", "สวัสดี นี่คือหน้าเว็บธรรมดาเกี่ยวกับสภาพอากาศในกรุงเทพ"),
    ],
)
def test_undeclared_text_is_recognised(codec: str, text: str) -> None:
    found = decode(page(text, codec))
    assert text in found.text
    assert found.rule == "detector"


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("latin1", "cp1252"), ("ISO-8859-1", "cp1252"), ("us-ascii", "cp1252"), ("x-user-defined", "cp1252"),
        ("iso-8859-9", "cp1254"), ("tis-620", "cp874"), ("gb2312", "gb18030"), ("GBK", "gb18030"),
        ("shift_jis", "cp932"), ("x-sjis", "cp932"), ("euc-kr", "cp949"), ("ks_c_5601-1987", "cp949"),
        ("big5", "big5hkscs"), ("utf8", "utf-8"), ("UTF-16", "utf-16-le"), ("x-cp1251", "cp1251"),
        ("iso-8859-8-i", "iso8859-8"), ("iso-8859-15", "iso8859-15"), (" koi8-r ", "koi8-r"),
        # Not for a page to choose: slow, or no charset at all.
        ("utf-7", None), ("unicode_escape", None), ("idna", None), ("punycode", None), ("zlib", None), ("rot13", None),
        ("", None), ("no such thing", None), ("\0", None), ("utf-8\0", None),
    ],
)  # fmt: skip
def test_labels_mean_what_browsers_take_them_for(label: str, codec: str | None) -> None:
    assert codec_of(label) == codec


def test_multi_byte_charsets_need_more_evidence() -> None:
    enough = "é" * (MIN_MULTI_BYTES // 2)
    assert decode(page(enough, head=meta("big5"))).rule == "utf8"
    assert decode(page(enough[1:], head=meta("big5"))).rule == "meta"


@given(
    st.binary(max_size=300), st.one_of(st.none(), st.sampled_from(sorted(READABLE)).map("text/html; charset={}".format))
)
@example(b"\xef\xbb\xbf\xff\0", None)
@example(b"<meta charset=", "charset")
@example(b"<meta charset=\xff", "charset=\xff\ud800")
@example(b"<?xml encoding", 'charset="')
def test_no_bytes_raise(body: bytes, content_type: str | None) -> None:
    found = decode(body, content_type)
    found.text.encode()
    assert found.rule in ("bom", "http", "meta", "utf8", "detector", "default")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x1b"), max_size=200))
def test_utf8_comes_back(text: str) -> None:
    """Whatever is not declared and valid is read as it was written, but for a byte order mark."""
    found = decode(text.encode())
    assert (found.text, found.charset) == (text.removeprefix("\ufeff"), "utf-8")


def test_every_readable_codec_reads() -> None:
    for codec in READABLE:
        assert b"abc".decode(codec, "replace")
