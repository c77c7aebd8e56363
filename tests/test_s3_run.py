"""A whole run into a bucket: the same bytes as on a disk, nothing done twice, and two drivers at once do no harm."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from curate.cli import main
from curate.job import load_job
from curate.manifest import CommitLog
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.run_record import RUN_RECORD
from curate.shard import list_shards
from curate.stage import Runtime
from curate.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CURATE = Path(sys.executable).parent / "curate"
SAMPLES, SHARDS = 32, 4
STEPS = ("fetch", "score_caption_words", "select", "subset")
CONFIG = f"""
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = {SAMPLES}
seed = 4
[shards]
samples = {SAMPLES // SHARDS}
[fetch]
per_host_rate = 0
per_host_concurrency = 32
least_rate_window_s = 1.0
most_bytes = 8_000_000
backoff_s = 0.1
[filters.image_size]
min_side_px = 150
[filters.caption_words]
min = 3
[subset]
[run]
workers = 2
"""
CLOCKS = ("fetch_log.parquet", "_stats.json")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def expected(config: Path) -> dict[str, str]:
    """What an undisturbed run on a disk writes."""
    out = config.parent / "calm"
    call("run", config, "--out", out, "--on", "inline")
    return digests(Storage(str(out)))


def start(config: Path, out: str) -> subprocess.Popen[str]:
    return started("run", config, "--out", out)


def started(*arguments: object) -> subprocess.Popen[str]:
    """A command in a process of its own: its workers have the environment in which the bucket is found, and not that in
    which an earlier test began to have workers."""
    command = [str(CURATE), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> Any:
    """What a run answers, once it has ended well."""
    answer, told = process.communicate(timeout=300)
    assert process.returncode == 0, told[-3000:]
    assert "Traceback" not in told
    return json.loads(answer)


def call(*arguments: object) -> Any:
    """What a command without workers answers, in this process."""
    with redirect_stdout(StringIO()) as said:
        assert main([str(argument) for argument in arguments]) == 0
    return json.loads(said.getvalue())


def digests(storage: Storage) -> dict[str, str]:
    """Every file of the data set that holds no clock: name to digest."""
    folders = [f for f in storage.folders() if f not in ("commits", "_attempts", "failed")]
    names = [name for folder in ("", *folders) for name in storage.files(folder)]
    return {n: sha256(contents(storage, n)).hexdigest() for n in names if not n.endswith(CLOCKS)}


def contents(storage: Storage, name: str) -> bytes:
    """A file without the commit that the code is at, for somebody may commit to the checkout meanwhile."""
    data = storage.read(name)
    return re.sub(rb'"commit": "[0-9a-f]{40}"', b"", data) if name == RUN_RECORD else data


def require_same(storage: Storage, expected: dict[str, str]) -> None:
    found = digests(storage)
    assert sorted(found) == sorted(expected)
    assert [n for n in found if found[n] != expected[n]] == []
    assert storage.folders("_attempts") == [], "nothing is left behind"
    for step, count in zip(STEPS, (SHARDS, SHARDS, SHARDS, 1), strict=True):
        assert [len(marks) for marks in CommitLog(storage).names(step).values()] == [1] * count
    for commit in CommitLog(storage).fold(STEPS):
        for record in commit.files:
            assert sha256(storage.read(record.name)).hexdigest() == record.sha256, record.name


@contextmanager
def requests_seen() -> Iterator[list[str]]:
    """Requests that the S3 server answers, as `METHOD path`, from its own access log."""
    seen: list[str] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found = re.search(r"\b(GET|HEAD|PUT|POST|DELETE) \S+", record.getMessage())
            if found:
                seen.append(found[0])

    log, reader = logging.getLogger("werkzeug"), Reader()
    before = log.level, log.propagate
    log.addHandler(reader)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield seen
    finally:
        log.removeHandler(reader)
        log.level, log.propagate = before


def test_a_bucket_holds_what_a_disk_would_and_every_verb_reads_it(
    config: Path, expected: dict[str, str], s3: Storage, tmp_path: Path
) -> None:
    first = finish(start(config, s3.root))
    require_same(s3, expected)
    steps = call("plan", config, "--out", s3.root)["plan"]
    assert [(row["done"], row["to_run"]) for row in steps] == [(SHARDS, 0)] * 3 + [(1, 0)]

    again = call("run", config, "--out", s3.root)
    assert again["work"].startswith("0 commits made")
    assert again["funnel"] == first["funnel"]
    require_no_shard_is_asked_for(config, s3)

    shown = call("show", f"{s3.root}/00000.tar")
    assert shown["rows"] == SAMPLES // SHARDS
    key = next(iter(list_shards(s3)[0].samples())).key
    picture = tmp_path / "picture"
    assert call("show", f"{s3.root}/00000", key, "--image", picture)["key"] == key
    assert picture.stat().st_size

    packed = finish(started("export", s3.root, "--to", "webdataset", "--shard-samples", 10))
    assert packed["written_to"] == f"{s3.root}-webdataset"
    target = Storage(packed["written_to"])
    sizes = json.loads(target.read("sizes.json"))
    assert sum(sizes.values()) == packed["samples"] > 10
    local = tmp_path / "packed"
    call("export", config.parent / "calm", "--to", "webdataset", "--shard-samples", 10, "--out", local)
    assert digests(target) == digests(Storage(str(local)))


def require_no_shard_is_asked_for(config: Path, finished: Storage) -> None:
    with requests_seen() as seen:
        outcome = run_job(
            load_job(config).job, finished, InlineEngine(), runtime=Runtime(addresses={"*": "127.0.0.1:9"})
        )
    assert (outcome.made, outcome.failed) == (0, {})
    assert [r for r in seen if "/0000" in r or r.startswith(("PUT", "POST", "DELETE"))] == []
    assert 0 < len(seen) <= 2 * len(STEPS) + 10, seen


def test_a_driver_killed_in_the_middle_goes_on(config: Path, expected: dict[str, str], s3: Storage) -> None:
    process = start(config, s3.root)
    while len(s3.files("commits/fetch")) < SHARDS // 2 and process.poll() is None:
        time.sleep(0.1)
    assert process.poll() is None, process.communicate()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    answer = finish(start(config, s3.root))
    assert not answer["work"].startswith(("0 ", f"{3 * SHARDS + 1} "))
    CommitLog(s3).sweep(older_than_s=0)  # a kill during an upload leaves what nobody committed; a run waits an hour
    require_same(s3, expected)


@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_two_drivers_at_once_end_with_one_data_set(
    config: Path, expected: dict[str, str], s3: Storage, tmp_path: Path, where: str
) -> None:
    storage = s3 if where == "bucket" else Storage(str(tmp_path / "set"))
    both = [start(config, storage.root) for _ in range(2)]
    answers = [finish(process) for process in both]
    assert answers[0]["funnel"] == answers[1]["funnel"]
    require_same(storage, expected)
