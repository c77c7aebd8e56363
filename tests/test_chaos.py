"""Kill -9 at twenty random moments: the end result is that of an undisturbed run, byte for byte."""

import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray_clusters import cluster

from curate.run_record import RUN_RECORD
from curate.shard import list_shards
from curate.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CURATE = Path(sys.executable).parent / "curate"
KILLS = 20
SAMPLES = 160
CONFIG = f"""
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = {SAMPLES}
seed = 3
[shards]
samples = 8
[fetch]
per_host_rate = 0
per_host_concurrency = 32
least_rate_window_s = 1.0
most_bytes = 8_000_000
backoff_s = 0.1
[filters.image_size]
min_side_px = 150
[filters.single_color]
[filters.caption_words]
min = 3
[filters.language]
languages = ["en"]
[subset]
[run]
workers = 2
"""
CLOCKS = ("fetch_log.parquet", "_stats.json")


def digests(folder: Path) -> dict[str, str]:
    """Every file of the data set that holds no clock: name to digest. A `.tmp` of a killed writer is no file of it: no
    reader lists it, and a run removes it an hour later. The record of the run counts without the commit that the code
    is at, for somebody may commit to the checkout in the minutes that the kills take."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.endswith((*CLOCKS, ".tmp"))]
    named = {p.relative_to(folder).as_posix(): p for p in files}
    own = {n: p for n, p in named.items() if not n.startswith(("commits/", "_attempts/", "failed/"))}
    return {n: hashlib.sha256(contents(p)).hexdigest() for n, p in own.items()}


def contents(path: Path) -> bytes:
    return (
        re.sub(rb'"commit": "[0-9a-f]{40}"', b"", path.read_bytes()) if path.name == RUN_RECORD else path.read_bytes()
    )


def start(config: Path, out: Path, engine: str, **environment: str) -> subprocess.Popen[bytes]:
    command = [str(CURATE), "run", str(config), "--out", str(out), "--on", engine]
    log = open(out.with_suffix(".log"), "ab")  # noqa: SIM115
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True)


def session_members(session: int) -> dict[int, int]:
    """Living processes of a session: pid to parent."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(stat.parent.name)] = int(fields[1])
    return found


def hurt(process: subprocess.Popen[bytes], dice: random.Random) -> bool:
    """Kill the driver (three times of four) or a process that it started; False when it had ended already."""
    if process.poll() is not None:
        return False
    others = [pid for pid in session_members(process.pid) if pid != process.pid]
    if others and dice.random() < 0.25:
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(others), signal.SIGKILL)
        return True
    process.kill()
    process.wait()
    return True


def all_gone(session: int, within_s: float = 120.0) -> bool:
    deadline = time.monotonic() + within_s
    while session_members(session):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The config, and what an undisturbed run of it writes."""
    folder = tmp_path_factory.mktemp("calm")
    config = folder / "job.toml"
    config.write_text(CONFIG)
    assert start(config, folder / "out", "local").wait(300) == 0, (folder / "out.log").read_text()[-3000:]
    return config, digests(folder / "out")


def disturb(config: Path, out: Path, engine: str, dice: random.Random, most: int, **environment: str) -> int:
    """Start and hurt, again and again, until the job is done; answers how often it was hurt."""
    hurts = 0
    process = start(config, out, engine, **environment)
    while hurts < most:
        time.sleep(dice.uniform(0.3, 2.4) if engine == "local" else dice.uniform(1.5, 4.5))
        if not hurt(process, dice):
            break
        hurts += 1
        if process.poll() is not None:
            assert engine == "ray" or all_gone(process.pid), "workers outlive their driver"
            process = start(config, out, engine, **environment)
    assert process.wait(300) == 0, out.with_suffix(".log").read_text()[-3000:]
    return hurts


def twenty_kills(config: Path, folder: Path, engine: str, expected: dict[str, str], **environment: str) -> None:
    """As many jobs as it takes for twenty kills, each brought to its end and compared."""
    dice, hurts = random.Random(5), 0
    for job in range(3 * KILLS):
        out = folder / f"job-{job}"
        hurts += disturb(config, out, engine, dice, KILLS - hurts, **environment)
        check(out, expected)
        if hurts == KILLS:
            return
    raise AssertionError("most jobs are over before they are killed")


def check(out: Path, expected: dict[str, str]) -> None:
    found = digests(out)
    assert sorted(found) == sorted(expected)
    assert [n for n in found if found[n] != expected[n]] == []
    keys = [k for shard in list_shards(Storage(str(out))) for k in shard.table("", ["key"])["key"].to_pylist()]
    assert len(keys) == len(set(keys)) == SAMPLES


def test_killed_on_local_processes(calm: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    twenty_kills(calm[0], tmp_path, "local", calm[1])


def test_killed_on_ray(calm: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    with cluster({"num_cpus": 1}, {"num_cpus": 1}) as nodes:
        twenty_kills(calm[0], tmp_path, "ray", calm[1], RAY_ADDRESS=nodes.address)
