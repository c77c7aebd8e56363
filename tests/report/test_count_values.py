"""How often each value occurs, in bounded memory, whatever strangers wrote; and what became of fetches."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from curate.fetch.status import FetchStatus
from curate.report.counting.downloads import CLASSES, Downloads, class_of
from curate.report.counting.survey import Survey, plain_numbers
from curate.report.counting.tally import Tally, by_value
from curate.report.counting.values import HOST, LONG, ORIENTATION, Values, cut, shapes

KEEP = np.array([True, False, True, True, False])


def test_values_by_rows_and_by_name() -> None:
    tally = Tally()
    tally.add(pa.array(["b", "a", "b", None, ""]), KEEP)
    tally.add(pa.array(["a", "c"]).dictionary_encode(), np.array([True, False]))
    told = tally.counted("letters")
    assert told is not None
    assert told.values == (("a", 2, 1), ("b", 2, 2), ("c", 1, 0))
    assert (told.others, told.without, told.least) == ((0, 0), 2, 0)


def test_thirty_are_told_and_the_rest_added_up() -> None:
    tally = Tally()
    tally.add(pa.array([f"v{n:02d}" for n in range(40)]), np.arange(40) % 2 == 0)
    told = tally.counted("many")
    assert told is not None
    assert len(told.values) == 30
    assert told.others == (10, 5)


def test_nobody_is_too_low_by_more_than_is_told() -> None:
    dice, tally, truth = np.random.default_rng(5), Tally(most=40), Counter[str]()
    for _ in range(30):
        words = [f"h{n}" for n in dice.zipf(1.3, 200) % 5_000]
        truth.update(words)
        tally.add(pa.array(words), np.ones(len(words), bool))
        assert len(tally.counts) <= 40
    told = tally.counted("hosts")
    assert told is not None
    assert told.least > 0
    for value, rows, _ in told.values:
        assert rows <= truth[value] <= rows + told.least
    assert all(rows <= told.least for host, rows in truth.items() if host not in tally.counts)
    assert sum(rows for _, rows, _ in told.values) + told.others[0] == sum(truth.values())


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://A.Example.ORG:80/x", "a.example.org"),
        ("https://user:pass@h.test./", "h.test"),
        ("http://[::1]:8/", "[::1]"),
        ("//no.scheme/", None),
        ("http:///", None),
        ("nonsense", None),
        ("", None),
        (None, None),
        ("http://<script>alert(1)</script>/", "<script>alert(1)<"),
        ("http://" + "a" * 100_000 + "/", "a" * 200),
        ("http://x\u202egro.test/", "x\u202egro.test"),
    ],
)
def test_the_host_of_a_url(url: str | None, host: str | None) -> None:
    assert LONG["url"](pa.array([url], pa.large_string()))[HOST].to_pylist() == [host]


@pytest.mark.parametrize(
    ("caption", "chars", "words"),
    [
        (" a  b\tc\n", 8, 3),
        ("", 0, 0),
        ("  ", 2, 0),
        (None, None, None),
        ("é\u00a0ü", 3, 2),
        ("x" * 100_000, 100_000, 1),
    ],
)
def test_lengths_of_captions(caption: str | None, chars: int | None, words: int | None) -> None:
    made = LONG["caption"](pa.array([caption], pa.large_string()))
    assert (made["caption_chars"].to_pylist(), made["caption_words"].to_pylist()) == ([chars], [words])


def test_values_are_cut() -> None:
    told = cut("license")(pa.array(["a" * 500, None], pa.large_string()))
    assert told["license"].to_pylist() == ["a" * 200, None]


def test_broken_utf8_is_told_as_text() -> None:
    raw = pa.array([b"ok", b"\xff\xfe"]).dictionary_encode()
    broken = pa.DictionaryArray.from_arrays(raw.indices, raw.dictionary.view(pa.string()))
    assert by_value(broken, np.array([True, True])) == (["ok", "\ufffd\ufffd"], [1, 1], [1, 1])


def test_shapes_of_pictures() -> None:
    sides = {"width": [4, 2, 3, 0, None, 5], "height": [2, 4, 3, 4, 4, 0]}
    told = shapes(pa.table(sides))
    assert told["aspect_ratio"].to_pylist() == [2, 0.5, 1, None, None, None]
    assert told[ORIENTATION].to_pylist() == ["landscape", "portrait", "square", None, None, None]
    original = {"original_width": [9] * 6, "original_height": [3] * 6}
    assert shapes(pa.table(sides | original))["aspect_ratio"].to_pylist() == [3] * 6
    assert shapes(pa.table({"width": ["a"], "height": ["b"]})).column_names == ["width", "height"]


def test_columns_by_title() -> None:
    table = pa.table(
        {
            "language": ["en", "de", "en", None, "en"],
            "content_type": ["image/png; q=1", "image/png", "text/html;charset=utf-8", None, " image/png "],
            "http_status": pa.array([200, 404, 200, None, 200], pa.int16()),
            "concepts": pa.array([[1, 2], [], [2], None, [2]], pa.list_(pa.uint32())),
            "licence": [{"a": 1}] * 5,
            "LICENSE": ["?", None, "cc0", "?", "?"],
            "NSFW": ["UNLIKELY", "NSFW", "NSFW", None, "UNSURE"],
        }
    )
    values = Values()
    values.add(table, KEEP)
    told = {own.title: own for own in values.counted()}
    assert told["languages"].values == (("en", 3, 2), ("de", 1, 0))
    assert told["content types"].values == (("image/png", 3, 1), ("text/html", 1, 1))
    assert told["HTTP statuses"].values == (("200", 3, 2), ("404", 1, 0))
    assert told["concepts, by number"].values == (("2", 3, 2), ("1", 1, 1))
    assert told["licences"].values == (("?", 3, 2), ("cc0", 1, 1))
    assert told["NSFW labels"].values == (("NSFW", 2, 1), ("UNLIKELY", 1, 1), ("UNSURE", 1, 0))
    titles = ["languages", "licences", "NSFW labels", "content types", "HTTP statuses", "concepts, by number"]
    assert list(told) == titles


def test_every_status_has_one_class() -> None:
    every = [status for own in CLASSES.values() for status in own]
    assert sorted(every) == sorted(FetchStatus)
    assert [class_of(one) for one in ("success", "ok", "not_found", "<b>")] == ["success", "success", "http", "other"]


def test_downloads_by_class_and_host() -> None:
    hosts = pa.array(["a", "b", "a", None, "a"])
    status = pa.array(["success", "timeout", "not_found", "gone", "not_found"])
    downloads = Downloads()
    downloads.add(pa.table({HOST: hosts, "fetch_status": status}), KEEP)
    told, counted = downloads.download(), downloads.counted()
    assert told is not None
    assert counted is not None
    expected = {("success", "success", 1), ("network", "timeout", 1), ("http", "not_found", 2), ("http", "gone", 1)}
    assert {*told.statuses} == expected
    assert told.hosts == (("a", 3, 1, "not_found"), ("b", 1, 0, "timeout"))
    assert (counted.values, counted.without) == ((("a", 3, 2), ("b", 1, 0)), 1)


def test_hosts_that_were_never_asked_are_no_downloads() -> None:
    parts, pages = Downloads(), Downloads()
    status = pa.array([None, None, None, "success", "gone"])
    parts.add(pa.table({HOST: ["ads", "ads", "stories", "cdn", "cdn"], "fetch_status": status}), KEEP)
    pages.add(pa.table({HOST: ["stories"] * 3, "page_status": ["ok", "ok", "timeout"]}), KEEP[:3])
    told, counted = parts.download(pages), parts.counted()
    assert told is not None
    assert counted is not None
    assert told.hosts == (("stories", 3, 2, "timeout"), ("cdn", 2, 1, "gone"))
    assert ("pages: success", "ok", 2) in told.statuses
    assert [name for name, _, _ in counted.values] == ["ads", "cdn", "stories"]


def test_downloads_of_others_are_told_by_their_errors() -> None:
    errors = pa.array([None, "HTTP Error 404: Not Found", None], pa.string())
    status = ["success", "failed_to_download", "failed_to_resize"]
    downloads = Downloads()
    downloads.add(pa.table({"status": status, "error_message": errors}), KEEP[:3])
    told = downloads.download()
    assert told is not None
    assert {*told.statuses} == {
        ("success", "success", 1),
        ("other", "HTTP Error 404: Not Found", 1),
        ("other", "failed_to_resize", 1),
    }


def test_hosts_are_forgotten_and_say_so() -> None:
    downloads = Downloads(most=10)
    for start in range(0, 100, 5):
        names = [f"h{n}" for n in range(start, start + 5)] + ["big"] * 5
        downloads.add(pa.table({HOST: names, "fetch_status": ["success"] * 10}), np.ones(10, bool))
    told = downloads.counted()
    assert told is not None
    assert told.values[0] == ("big", 100, 100)
    assert told.least >= 1
    assert len(downloads.hosts) <= 10
    assert sum(rows for _, rows, _ in told.values) + told.others[0] == 200


def test_nothing_fetched_is_nothing_told() -> None:
    downloads = Downloads()
    downloads.add(pa.table({"a": [1, 2, 3, 4, 5]}), KEEP)
    assert downloads.download() is None
    assert downloads.counted() is None


def test_numbers_that_are_worth_a_histogram() -> None:
    names = {"similarity", "punsafe", "AESTHETIC_SCORE", "clip_similarity_vitb32", "blur_variance", "width", "chars"}
    kinds = {name: pa.float32() for name in (*names, "SAMPLE_ID", "clip_similarity_rank", "pdq")} | {
        "b_score": pa.string()
    }
    assert {*plain_numbers(Survey({}, kinds))} == names
