"""robots.txt: protego's answers for our agent, at a cost that no file can drive up."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego

from curate.fetch.robots import MOST_ROBOTS_BYTES, RobotsRules

ROBOTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "robots"
PATHS = ["/", "/a/b.jpg", "/images/x.png?size=1", "/wp-content/a.jpg", "/admin/", "/search?q=1", "/tmp/", "/*.jpg$"]
TWO_GROUPS = b"User-agent: *\nDisallow: /\nAllow: /open/\n\nUser-agent: curate-vl\nDisallow: /closed\nCrawl-delay: 3\n"


@pytest.mark.parametrize(
    ("body", "path", "allowed"),
    [
        (b"", "/a", True),
        (b"<!DOCTYPE html><p>User-agent: nobody</p>", "/a", True),
        (bytes(range(256)) * 20, "/a", True),
        (TWO_GROUPS, "/a", True),
        (TWO_GROUPS, "/closed/a", False),
        (b"User-agent: *\nDisallow: /\nAllow: /open/", "/open/a", True),
        (b"User-agent: *\nDisallow: /\nAllow: /open/", "/a", False),
        (b"User-agent: otherbot\nDisallow: /", "/a", True),
        (b"User-agent: otherbot\nUser-agent: Curate-VL\nDisallow: /", "/a", False),
        (b"User-agent: otherbot\nDisallow: /\nUser-agent: *\nDisallow: /b", "/a", True),
        (b"\xef\xbb\xbfUser-agent: *\nDisallow: /", "/a", False),
        (b"User-agent: *\nDisallow: /*.jpg$", "/a.jpg", False),
        (b"User-agent: *\nDisallow: /*.jpg$", "/a.jpg?x", True),
    ],
)
def test_examples(body: bytes, path: str, allowed: bool) -> None:
    assert RobotsRules(body, "curate-vl").allows("http://a.test" + path) is allowed


@pytest.mark.parametrize(
    ("body", "delay_s"),
    [
        (b"User-agent: *\nCrawl-delay: 2.5", 2.5),
        (b"User-agent: *\nRequest-rate: 1/10", 10.0),
        (b"User-agent: *\nRequest-rate: 1/10\nCrawl-delay: 20", 20.0),
        (b"User-agent: otherbot\nCrawl-delay: 9", 0.0),
        (b"User-agent: *\nCrawl-delay: soon", 0.0),
        (TWO_GROUPS, 3.0),
        (b"", 0.0),
    ],
)
def test_delays(body: bytes, delay_s: float) -> None:
    assert RobotsRules(body, "curate-vl").delay_s == delay_s


def test_408_real_files_give_protegos_answers() -> None:
    files = [path for path in sorted(ROBOTS.rglob("test_data/*")) if path.is_file()]
    if not files:
        pytest.skip("the shared data with real robots.txt files is not beside this checkout")
    assert len(files) >= 408
    for path in files:
        body = path.read_bytes()
        text = body.decode("utf-8-sig", "replace")
        rules = [line.partition(":")[2].strip() for line in text.splitlines() if "allow" in line.lower()]
        urls = ["http://a.test" + rule.replace("*", "x") for rule in [*PATHS, *rules[:60]] if rule.startswith("/")]
        for agent in ("curate-vl", "googlebot"):
            ours, theirs = RobotsRules(body, agent), Protego.parse(text)
            assert [ours.allows(url) for url in urls] == [theirs.can_fetch(url, agent) for url in urls], path.name
            assert ours.delay_s >= (theirs.crawl_delay(agent) or 0.0), path.name


@pytest.mark.parametrize(
    "body",
    [
        # agents times rules: protego alone needs hours and gigabytes for each of the first three
        b"".join(b"User-agent: a%d\n" % i for i in range(15_000)) + b"Disallow: /x\n" * 15_000,
        b"".join(b"user agent a%d\n" % i for i in range(15_000)) + b"Disallow: /x\n" * 15_000,
        b"".join(b"User-agent: curate-vl%s\n" % (b"*" * (i % 50)) for i in range(15_000)) + b"Disallow: /x\n" * 15_000,
        b"User-agent: *\nDisallow: /" + b"*a" * 200_000,
        b"User-agent: *\n" + (b"Disallow: /" + b"*a" * 40 + b"x\n") * 5_000,
        b"User-agent: *" + b"\n" * MOST_ROBOTS_BYTES,
    ],
    ids=["agents", "agents without colon", "our name with stars", "one long rule", "many stars", "blank lines"],
)
def test_a_hostile_file_costs_little(body: bytes) -> None:
    rules = RobotsRules(body, "curate-vl")
    for _ in range(3):
        rules.allows("http://a.test/" + "a" * 8_000)


def test_what_lies_beyond_500_kib_is_not_read() -> None:
    padding = b"# " + b"x" * 998 + b"\n"
    body = b"User-agent: *\nDisallow: /a\n" + padding * 512
    assert len(body) > MOST_ROBOTS_BYTES
    rules = RobotsRules(body + b"Disallow: /b\n", "curate-vl")
    assert not rules.allows("http://a.test/a")
    assert rules.allows("http://a.test/b")


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode), st.text(max_size=30))
def test_no_file_and_no_path_raises(body: bytes, path: str) -> None:
    rules = RobotsRules(b"User-agent: *\nDisallow: /" + body, "curate-vl")
    rules.allows("http://a.test/" + path)
    assert rules.delay_s >= 0
