"""The toy web as a source: one part, a steady schema, rows that do not depend on how many are asked for."""

import urllib.request
from itertools import islice

import pytest

from curate.config import build
from curate.errors import ConfigError
from curate.source.toy_web import ToyWeb
from curate.toyweb.caption import parse
from curate.toyweb.defects import DEFECTS


def table(web):
    return [row for part in web.parts() for batch in part for row in batch.to_pylist()]


def test_columns_and_truth():
    rows = table(ToyWeb(samples=700))
    assert len(rows) == 700
    assert list(rows[0]) == ["url", "caption", "toy_defect", "toy_scene", "toy_picture"]
    for row in rows:
        assert row["toy_defect"] in DEFECTS
        assert (row["toy_scene"] is None) == (not DEFECTS[row["toy_defect"]].scene)
        assert row["toy_scene"] is None or parse(row["toy_scene"]) is not None
    clean = [row for row in rows if row["toy_defect"] == "clean"]
    assert all(parse(row["caption"]) == parse(row["toy_scene"]) for row in clean)


def test_fewer_rows_are_the_first_of_more():
    more = table(ToyWeb(samples=2500, seed=3))
    assert table(ToyWeb(samples=40, seed=3)) == more[:40]
    assert table(ToyWeb(samples=1001, seed=3)) == more[:1001]
    assert table(ToyWeb(samples=40, seed=4)) != more[:40]


def test_a_huge_web_is_read_as_a_stream():
    (batches,) = ToyWeb(samples=10**12).parts()
    assert sum(batch.num_rows for batch in islice(batches, 2)) == 2000


def test_identity_covers_what_changes_rows():
    found = [ToyWeb().identity(), ToyWeb(samples=9).identity(), ToyWeb(seed=1).identity()]
    found.append(ToyWeb(shares={"icon": 0.1}).identity())
    assert all(one != other for n, one in enumerate(found) for other in found[:n])
    assert ToyWeb().identity() == ToyWeb().identity()


def test_serving_answers_for_every_host():
    web = ToyWeb(samples=5)
    row = next(row for row in table(ToyWeb()) if row["toy_defect"] == "clean")
    with web.serve() as addresses:
        assert list(addresses) == ["*"]
        host, path = row["url"].removeprefix("http://").split("/", 1)
        request = urllib.request.Request(f"http://{addresses['*']}/{path}", headers={"Host": host})
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.status == 200
            assert int(reply.headers["Content-Length"]) == len(reply.read())


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"samples": 0}, "at least 1"),
        ({"shares": {"icons": 0.1}}, "no label 'icons'"),
        ({"shares": {"icon": 2}}, "from 0 to 1"),
        ({"sample": 10}, "samples"),
    ],
)
def test_wrong_settings_are_one_clear_line(section, words):
    with pytest.raises(ConfigError, match=words):
        build(ToyWeb, section, "source")
