"""One reading of URLs: what is mended, what is refused, and that no string at all does harm."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.fetch.url import join_url, parse_url

URLLISTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "web" / "urllists"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a.test/b.jpg", "http://a.test/b.jpg"),
        ("https://a.test", "https://a.test/"),
        ("HTTP://A.Test/B.jpg", "http://a.test/B.jpg"),
        ("http://a.test:80/b", "http://a.test/b"),
        ("https://a.test:80/b", "https://a.test:80/b"),
        ("http://a.test:/b", "http://a.test/b"),
        ("http://a.test./b", "http://a.test/b"),
        ("http://a.test/b#part", "http://a.test/b"),
        ("http://a.test?x=1", "http://a.test/?x=1"),
        ("  http://a.test/b \n", "http://a.test/b"),
        ("http://a.test/b\n\tc", "http://a.test/bc"),
        ("http://a.test/b c.jpg", "http://a.test/b%20c.jpg"),
        ("http://a.test/b%20c%2f.jpg?x=%zz", "http://a.test/b%20c%2f.jpg?x=%zz"),
        ("http://a.test/ü.jpg?q=ü", "http://a.test/%C3%BC.jpg?q=%C3%BC"),
        ('http://a.test/"<x>"', "http://a.test/%22%3Cx%3E%22"),
        ("http://a.test\\b\\c.jpg", "http://a.test/b/c.jpg"),
        ("http:\\\\a.test/b", "http://a.test/b"),
        ("http://a.test\\@b.test/", "http://a.test/@b.test/"),
        ("http://a.test/x/../b/./c", "http://a.test/b/c"),
        ("http://a.test/x/%2e%2E/b", "http://a.test/b"),
        ("http://a.test/../../b/..", "http://a.test/"),
        ("http://a.test/private/..?x=/../", "http://a.test/?x=/../"),
        ("http://a.test/b/.?x", "http://a.test/b/?x"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
        ("http://a_b.test/", "http://a_b.test/"),
        ("http://%61.test/", "http://a.test/"),
        ("http://[2001:4860::8888]:8080/b", "http://[2001:4860::8888]:8080/b"),
        ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("http://0177.0.0.1/", "http://127.0.0.1/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("http://１２７.0.0.1/", "http://127.0.0.1/"),
    ],
)
def test_readable_urls_come_out_in_normal_form(text: str, url: str) -> None:
    assert parse_url(text).url == url
    assert parse_url(url).url == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no URL"),
        (" \n", "no URL"),
        ("a.test/b.jpg", "no scheme"),
        ("//a.test/b.jpg", "no scheme"),
        ("/b.jpg", "no scheme"),
        ("javascript:alert(1)", "not http or https"),
        ("data:image/png;base64,AAAA", "not http or https"),
        ("file:///etc/passwd", "not http or https"),
        ("ftp://a.test/b", "not http or https"),
        ("http:b.jpg", "no host"),
        ("http:/b.jpg", "no host"),
        ("http://", "no host"),
        ("http:///b.jpg", "no host"),
        ("http://:80/", "no host"),
        ("http://a.test:0/", "port"),
        ("http://a.test:65536/", "port"),
        ("http://a.test:99999999999999999999/", "port"),
        ("http://a.test:b/", "cannot be told apart"),
        ("http://a.test:80:80/", "cannot be told apart"),
        ("http://user@a.test/", "user name"),
        ("http://user:word@a.test/", "user name"),
        ("http://a b.test/", "not a host name"),
        ("http://a..test/", "not a host name"),
        ("http://-\x00.test/", "not a host name"),
        ("http://a%00.test/", "not a host name"),
        ("http://" + "a" * 64 + ".test/", "not a host name"),
        ("http://" + "a." * 130 + "test/", "253"),
        ("http://1.2.3.256/", "not an address"),
        ("http://1.2.3.4.5/", "not an address"),
        ("http://[::1/", None),
        ("http://[::1]x/", None),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://[not]/", None),
        ("http://a.test/" + "b" * 10_000, "longer"),
        ("http://\ud800.test/", None),
        ("http://a.test/\ud800", None),
    ],
)
def test_the_others_are_refused_with_a_reason(text: str, reason: str | None) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_url(text)


def test_a_url_of_the_longest_length_is_still_read() -> None:
    text = "http://a.test/" + "b" * (8_192 - 14)
    assert parse_url(text).url == text
    with pytest.raises(ValueError, match="longer"):
        parse_url(text + "b")


def test_origin_and_address() -> None:
    assert parse_url("https://a.test:8443/b").origin == "https://a.test:8443"
    assert parse_url("http://[2001:db8::1]/b").origin == "http://[2001:db8::1]"
    assert parse_url("http://3232235777/").is_address
    assert not parse_url("http://a1.test/").is_address


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/c.jpg", "http://a.test/c.jpg"),
        ("c.jpg", "http://a.test/x/c.jpg"),
        ("?y=2", "http://a.test/x/b.jpg?y=2"),
        ("//b.test/c", "http://b.test/c"),
        ("https://b.test/c d", "https://b.test/c%20d"),
        ("\\\\b.test\\c", "http://b.test/c"),
    ],
)
def test_a_redirect_is_read_relative_to_its_page(location: str, url: str) -> None:
    assert join_url(parse_url("http://a.test/x/b.jpg"), location).url == url


@given(st.text(max_size=80) | st.text(max_size=60).map("http://".__add__))
def test_any_text_is_a_plain_url_or_a_value_error(text: str) -> None:
    try:
        target = parse_url(text)
    except ValueError:
        return
    assert re.fullmatch(r"https?://[a-z0-9_.:\[\]-]+/[!-~]*", target.url)
    assert parse_url(target.url) == target
    assert 1 <= target.port <= 65_535


def test_eleven_thousand_real_urls_are_read() -> None:
    lists = sorted(URLLISTS.rglob("test_1*000.txt"))
    if not lists:
        pytest.skip("the shared data with real URL lists is not beside this checkout")
    urls = [line for path in lists for line in path.read_text("utf-8").splitlines() if line]
    refused = []
    for url in urls:
        try:
            assert parse_url(url).url.isascii()
        except ValueError as error:
            refused.append((url, str(error)))
    assert len(urls) >= 11_000
    assert len(refused) < len(urls) / 1_000, refused[:5]
