"""Lists are read in all their forms; a line that is no entry is told without being repeated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tombstone_sets import listing

from curate.decontamination.lists import Listed, plain_url, read_lists
from curate.errors import ConfigError

BAD = ["rubbish", "sha256:12", "md5:" + "g" * 32, "f" * 33, "host:", "host:a b", "\ufeffx", "pdq:" + "0" * 63]
BAD += [
    "url:no url",
    "url:ftp://a.test/x",
    "http:",
    "uid:xyz",
    "uid:" + "a" * 31,
    "host:a.test/x",
    "host:u@a.test",
    'url:""',
]


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_is_no_entry_is_told_by_its_number_alone(tmp_path, line):
    with pytest.raises(ConfigError, match=r"^line 4 of .*list.txt is no entry; write e.g. host:example.com") as error:
        listing(tmp_path, "host:a.test", line)
    assert line not in str(error.value).replace("host:example.com", "").replace("list.txt", "")


def test_kinds_that_are_not_taken_here_are_told(tmp_path):
    (tmp_path / "l").write_text("host:a.test")
    with pytest.raises(ConfigError, match=r"line 1 of .* is a host; only md5, sha1 are taken here"):
        read_lists([str(tmp_path / "l")], "paths", ("md5", "sha1"))


def test_lists_are_read_together_and_anew_when_they_change(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(b"\xef\xbb\xbfhost:\xc3\xa9.test\r\n# x\r\nkey: a b ")
    paths[1].write_text("A" * 32 + "\nhttps://u:p@A.test/%41?q#f\n//b.test/c")
    with pytest.raises(ConfigError, match="line 3 of"):
        read_lists([*map(str, paths)], "x")
    paths[1].write_text("A" * 32 + "\nhttps://u:p@A.test/%41?q#f\nurl://b.test/c")
    found = read_lists([*map(str, paths)], "x")
    assert found.kinds == ("url", "host", "key", "md5")
    assert (found.hosts, found.keys) == ({"xn--9ca.test"}, {"a b"})
    assert found.urls == {"//a.test/A?q", "//b.test/c"}
    paths[0].write_text("")
    assert read_lists([str(paths[0])], "x").kinds == ()
    assert Listed().kinds == ()
    assert found.digest != read_lists([str(paths[1])], "x").digest


@pytest.mark.parametrize(
    ("line", "kind", "entry"),
    [
        ("url:https://a.test/1 # asked for on Monday", "urls", "//a.test/1"),
        ("https://a.test/1\t# note", "urls", "//a.test/1"),
        ('url,"https://a.test/1"', "urls", "//a.test/1"),
        ('"https://a.test/1" # note', "urls", "//a.test/1"),
        ("https://a.test/1#place", "urls", "//a.test/1"),
        ("key:a # x", "keys", "a"),
        ("key:a#x", "keys", "a#x"),
        (f"uid:{'AB' * 16} # x", "uids", "ab" * 16),
        ("host:https://Ex.test/", "hosts", "ex.test"),
        ("host:.ex.test. # and below", "hosts", "ex.test"),
    ],
)
def test_notes_and_other_spellings_are_no_part_of_an_entry(tmp_path, line, kind, entry):
    assert getattr(listing(tmp_path, line), kind) == {entry}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.test", "https://A.test/"),
        ("http://a.test:80/x", "//a.test/x"),
        ("http://a.test:443/x", "https://a.test/x"),
        ("http://a.test/x y", "http://a.test/x%20y"),
        ("http://a.test/%2f%c3%a4", "http://a.test/%2Fä"),
        ("http://a.test/?q=%c3%a4", "http://a.test/?q=ä"),
        ("http://a.test/~%61'|(1)", "http://a.test/%7Ea%27%7c%281%29"),
        ("http://a.test/x?", "http://a.test/x"),
        ("http://a.test/100%", "http://a.test/100%25"),
        ("http://a.test/%2e%2e/x", "http://a.test/x"),
        ("http://a.test?" + "x" * 9_000, "http://a.test/?" + "x" * 9_000),
        ("http://a.test/" + "x" * 9_000, "HTTPS://u:p@A.test:443/" + "%78" * 9_000 + "#top"),
    ],
)
def test_urls_that_are_one(one, other):
    assert plain_url(one) == plain_url(other)
    assert plain_url(one)[1] == "a.test"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.test/x/y", "http://a.test/x%2Fy"),
        ("http://a.test/x?y", "http://a.test/x%3Fy"),
        ("http://a.test/?a+b", "http://a.test/?a%2Bb"),
        ("http://a.test/%2541", "http://a.test/A"),
        ("http://a.test:8080/", "http://a.test/"),
        ("http://a.test/x", "http://a.test/X"),
    ],
)
def test_urls_that_are_two(one, other):
    assert plain_url(one) != plain_url(other)


@pytest.mark.parametrize("text", ["", "no url", "ftp://" + "x" * 9_000, "http://[/" + "x" * 9_000, "http://\ud800/"])
def test_what_is_no_url_has_no_host(text):
    assert plain_url(text)[1] == ""


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("%2fF/?#'~")))
def test_the_form_of_a_url_is_its_own_form(tail):
    url, host = plain_url(f"http://a.test/{tail}")
    assert plain_url(url) == (url, host)
