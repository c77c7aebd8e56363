"""`ray job submit` on a real head with its job server, and the shape of the file for Kubernetes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_clusters import cluster, environment

from curate.cli import main
from curate.shard import list_shards
from curate.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SAMPLES = 24
CONFIG = f"""
pipeline = "image_text_pairs"
[source]
kind = "toy_web"
samples = {SAMPLES}
[shards]
samples = 8
[fetch]
per_host_rate = 0
least_rate_window_s = 1.0
most_bytes = 8_000_000
[filters.caption_words]
min = 3
"""


def test_the_file_for_kubernetes_is_a_ray_job_that_goes_on_after_a_failure() -> None:
    import yaml

    job = yaml.safe_load((ROOT / "configs/cluster/rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert set(spec) == {
        "entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
        "rayClusterSpec",
    }  # fmt: skip
    assert spec["submissionMode"] in {"K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"}
    assert spec["backoffLimit"] > 0
    assert spec["entrypoint"].startswith("curate run /config/")
    assert spec["entrypoint"].endswith(" --on ray")


@pytest.fixture
def head() -> Iterator[tuple[Any, dict[str, str]]]:
    """A head without CPUs and with a job server on the loopback; what its clients need in their environment."""
    serving = {"num_cpus": 0, "include_dashboard": True, "dashboard_host": "127.0.0.1"}
    with environment(PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}"), cluster(serving) as made:
        yield made, {**os.environ, "RAY_API_SERVER_ADDRESS": f"http://{made.webui_url}"}


def submit(config: Path, out: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [BIN / "ray", "job", "submit", "--working-dir", config.parent, "--"]
    command += ["curate", "run", config.name, "--out", out, "--on", "ray"]
    pipe = subprocess.PIPE
    return subprocess.Popen([*map(str, command)], env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def end(job: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and what was printed."""
    told, _ = job.communicate(timeout=240)
    return job.returncode, told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_submitted_job_makes_the_data_set_and_tells_when_it_cannot(
    head: tuple[Any, dict[str, str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nodes, environment = head
    config, out = tmp_path / "job" / "tiny.toml", tmp_path / "out"
    config.parent.mkdir()
    config.write_text(CONFIG)
    job, patience = submit(config, out, environment), time.monotonic() + 120
    while not (out / "source" / "00000.parquet").exists():
        if job.poll() is not None:
            told = end(job)[1]
            assert "submitted successfully" not in told, told  # a head takes jobs some seconds after it answers
            assert time.monotonic() < patience, told
            job = submit(config, out, environment)
        time.sleep(0.1)
    time.sleep(2)
    assert job.poll() is None, end(job)
    assert not (out / "commits").exists(), "there is no CPU for a unit yet"
    nodes.add_node(num_cpus=2, object_store_memory=80 << 20)
    code, told = end(job)
    assert code == 0, told[-3000:]
    assert '"work": "9 commits made, 0 were there"' in told
    shards = list_shards(Storage(str(out)))
    assert [shard.rows() for shard in shards] == [8, 8, 8]
    assert all(set(shard.column_files) >= {"keep", "fetch_status", "caption_words"} for shard in shards)

    assert main(["run", str(config), "--out", str(out), "--on", "inline"]) == 0
    assert '"work": "0 commits made, 9 were there"' in capfd.readouterr().out, "also elsewhere, from another folder"

    config.write_text(CONFIG.replace("min = 3", "least = 3"))
    code, told = end(submit(config, tmp_path / "other", environment))
    assert code != 0
    assert "least" in told
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("127.0.0.1:{port}", "Connection refused"),
        ("127.0.0.1:99999999999999999999", "too large"),
        ("http://127.0.0.1:{port}", "HTTP address"),
        ("nonsense", "nonsense"),
    ],
)
def test_no_cluster_at_the_address_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], address: str, cause: str
) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    with socket.socket() as silent:  # as long as it is bound and does not listen, nobody answers there
        silent.bind(("127.0.0.1", 0))
        address = address.format(port=silent.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert main(["run", str(config), "--out", str(tmp_path / "out"), "--on", "ray"]) == 2
    told = capfd.readouterr().err
    last = told.splitlines()[-1]
    assert last.startswith(f"curate: cannot use Ray at {address}: ")
    assert cause in last
    assert "Traceback" not in told
