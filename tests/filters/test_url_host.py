"""A listed host blocks what is below it, however the URL is dressed, and nothing else."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curate.errors import ConfigError
from filters.url_host import UrlHost, is_listed, normal_host

URLS = [
    ("http://example.com/a.jpg", True),
    ("https://a.example.com/a.jpg", True),
    ("https://a.b.EXAMPLE.com:8080/a.jpg?x=1", True),
    ("https://example.com.", True),
    ("https://example.com\u3002/a.jpg", True),
    ("https://user:pw@example.com/a.jpg", True),
    ("https://other.org@example.com/", True),
    ("https://example.com", True),
    ("https://example.com?u=1", True),
    ("https://bücher.example/a.jpg", True),
    ("https://xn--bcher-kva.example/a.jpg", True),
    ("https://notexample.com/a.jpg", False),
    ("https://example.com.evil.org/", False),
    ("https://example.org/example.com", False),
    ("https://example.org?example.com", False),
    ("https://example.org#@example.com", False),
    ("https://example.org\\@example.com", False),
    ("https://com/", False),
    ("http://[::1]:80/a", False),
    ("not a url", False),
    ("", False),
    (None, False),
]


@pytest.fixture
def blocklist(tmp_path):
    path = tmp_path / "hosts.txt"
    path.write_text("# hosts that we do not take\n.Example.COM.\n\nxn--bcher-kva.example # books\n")
    return path


def test_urls(reasons, blocklist):
    verdicts = reasons(UrlHost(blocklist=str(blocklist)), url=[url for url, _ in URLS])
    assert [v == "host_blocked" for v in verdicts] == [blocked for _, blocked in URLS]


def test_hosts_may_stand_in_the_config(reasons):
    assert reasons(UrlHost(hosts=("Example.com",)), url=["http://a.example.com"]) == ["host_blocked"]


def test_the_digest_of_the_list_is_part_of_the_identity(blocklist, tmp_path):
    before = UrlHost(blocklist=str(blocklist)).identity()
    moved = tmp_path / "moved.txt"
    moved.write_bytes(blocklist.read_bytes())
    assert UrlHost(blocklist=str(moved)).identity() == before
    blocklist.write_text("other.org\n")
    assert UrlHost(blocklist=str(blocklist)).identity() != before
    assert UrlHost(blocklist=str(moved), hosts=("a.b",)).identity() != before


def test_a_changed_list_is_read_again(reasons, blocklist):
    rule = UrlHost(blocklist=str(blocklist))
    assert reasons(rule, url=["http://other.org"]) == [None]
    blocklist.write_text("other.org\n")
    assert reasons(rule, url=["http://other.org"]) == ["host_blocked"]


@pytest.mark.parametrize("settings", [{}, {"blocklist": "no/such/file.txt"}])
def test_a_filter_that_could_drop_nothing_is_refused(settings):
    with pytest.raises(ValueError, match="blocklist"):
        UrlHost(**settings)


@pytest.mark.parametrize("line", ["0.0.0.0 ads.example.com", "https://example.com/", "*.example.com", "."])
def test_what_is_no_host_alone_is_refused_instead_of_blocking_nothing(reasons, tmp_path, line):
    with pytest.raises(ValueError, match=r"hosts has .*; write a host alone"):
        UrlHost(hosts=("a.org", line))
    path = tmp_path / "hosts.txt"
    path.write_text(f"a.org\n{line} # ads\n")
    with pytest.raises(ConfigError, match=r"line 2: .* is not a host alone"):
        reasons(UrlHost(blocklist=str(path)), url=["http://a.org"])


@given(st.text(max_size=30))
@example("0 .")
@example("\xfc\u3002")
def test_any_host_can_be_asked_about(host):
    assert isinstance(is_listed(host, {"example.com"}), bool)
    assert normal_host(normal_host(host)) == normal_host(host)
