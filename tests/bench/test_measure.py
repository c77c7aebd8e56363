"""The bench's account of CPU and memory is complete: also for what was detached, killed, or never waited for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BURN = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
DETACHED = (
    "import subprocess, sys, time\n"
    f"child = subprocess.Popen([sys.executable, '-c', {BURN!r} + 'time.sleep(600)'], start_new_session=True)\n"
    "time.sleep(1.5)\n"
    "child.kill()\n"
    "import os; os._exit(0)\n"
)
LEFT_ALONE = (
    "import subprocess, sys\n"
    f"subprocess.Popen([sys.executable, '-c', {BURN!r}], start_new_session=True)\n"
    "import os; os._exit(7)\n"
)
LARGE_CHILD = (
    "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-c', 'import time; b = bytearray(300 << 20); time.sleep(0.5)'])\n"
)


def usage(tmp_path: Path, script: str) -> dict[str, float]:
    result = tmp_path / "usage.json"
    command = [sys.executable, "-m", "bench.measure", str(result), sys.executable, "-c", script]
    subprocess.run(command, cwd=ROOT, check=True)
    found: dict[str, float] = json.loads(result.read_text())
    return found


@pytest.mark.parametrize(
    ("script", "exit_code"), [(BURN, 0), (DETACHED, 0), (LEFT_ALONE, 7)], ids=["itself", "killed", "left alone"]
)
def test_cpu_of_all_descendants_is_counted(tmp_path: Path, script: str, exit_code: int) -> None:
    found = usage(tmp_path, script)
    assert found["cpu_s"] >= 0.4
    assert found["exit_code"] == exit_code


def test_memory_of_a_worker_is_its_own(tmp_path: Path) -> None:
    found = usage(tmp_path, LARGE_CHILD)
    assert 300 <= found["worker_mb"] < 400
    assert found["root_mb"] < 100
    assert found["tree_mb"] >= found["worker_mb"]
