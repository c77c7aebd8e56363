"""Which source a config means, and what is said when it means none."""

import pytest

from curate.errors import ConfigError
from curate.source.kinds import build_source, source_kinds
from curate.source.url_table import UrlTable


def test_a_source_is_named_after_its_file():
    assert {"url_table", "archives", "record_table", "html_files", "page_table", "wat", "wet"} <= set(source_kinds())
    assert build_source({"kind": "url_table", "path": "urls.parquet"}) == UrlTable("urls.parquet")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"path": "a.csv"}, r"\[source\] does not say which; add `kind = \.\.\.`, one of archives, "),
        ({"kind": "archive"}, r"kind = 'archive' is not one of them; did you mean 'archives'\?"),
        ({"kind": 7}, "kind = 7 is not one of them"),
        ({"kind": "archives", "pth": "x"}, r"\[source\] has no key 'pth'; did you mean 'path'\?"),
    ],
)
def test_what_is_no_source_is_said(table, words):
    with pytest.raises(ConfigError, match=words):
        build_source(table)
