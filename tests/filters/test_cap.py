"""What goes beyond a cap, hosts of URLs, and what a config may say."""

import math

import pyarrow as pa
import pytest

from curate.config import build, build_filters
from curate.errors import ConfigError
from curate.filter import Batch
from curate.signals import signal_steps
from filters.cap import Cap, ExtractHost


def judged(rule: Cap, **columns) -> list[str | None]:
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    return rule.judge(table.select(rule.columns)).to_pylist()


def test_both_sides_of_the_bound():
    hosts, places = ["a", "a", "a", "b", None, "a"], [1, 2, 3, 0, None, None]
    expected = [None, None, "over_cap", None, "cap_value_unknown", None]
    assert judged(Cap(max=3), host=hosts, host_place=places) == expected
    assert judged(Cap(max=0), host=["a"], host_place=[0]) == ["over_cap"]


def test_a_score_that_is_not_known():
    rule = Cap(max=1, by="language", prefer="score")
    found = judged(
        rule, language=["en"] * 5, language_place=[0, 1, None, None, None], score=[1.0, 0.5, None, math.nan, 2]
    )
    assert found == [None, "over_cap", "cap_score_unknown", "cap_score_unknown", None]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.COM/a.jpg", "example.com"),
        ("https://user:secret@a.test:8080/x", "a.test"),
        ("https://a.test", "a.test"),
        ("https://a.test.?q", "a.test"),
        ("https://a.test#part", "a.test"),
        ("  https://www.a.test/x", "www.a.test"),
        ("http://[::1]:80/x", "[::1]"),
        ("http://ÄB.test/", "äb.test"),
        ("https:////a.test/x", "a.test"),
        ("http://", None),
        ("http://./x", None),
        ("/x.jpg", None),
        ("data:", None),
        ("", None),
        (None, None),
    ],
)
def test_hosts(url, host):
    scorer = ExtractHost()
    answer = scorer.score(Batch(pa.table({"url": pa.array([url], pa.string())})))
    assert answer["host"].type == scorer.writes["host"]
    assert answer["host"].to_pylist() == [host]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max": -1}, "max = -1 is out of range"),
        ({"seed": -1}, "seed = -1 is out of range"),
        ({"by": ""}, "must be a column"),
        ({"by": "score", "prefer": "score"}, "by and prefer are both 'score'"),
        ({"among": "some"}, "among = 'some'"),
    ],
)
def test_what_a_config_may_not_say(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(Cap, settings, "filters.cap")


def test_caps_stand_side_by_side():
    rules = build_filters(
        {
            "language": {},
            "cap-host": {"max": 5},
            "cap-language": {"by": "language", "max": 9, "prefer": "caption_chars", "among": "all"},
            "caption_chars": {},
        }
    )
    steps = {step.label: step for step in signal_steps(rules, {}, {"url", "caption"})}
    assert {"score_host", "place_host", "place_language", "score_language"} <= set(steps)
    assert "language" in steps["place_host"].reads
    assert set(steps["place_language"].reads) == {"language", "caption_chars", "url", "sha256"}
    assert set(rules["cap-language"].reasons) >= {"over_cap_language"}


def test_another_number_keeps_the_places():
    (first,), (second,) = Cap(max=5).steps(()), Cap(max=6).steps(())
    assert first.identity() == second.identity()
    assert Cap(max=5).identity() != Cap(max=6).identity()
