"""The wheel: three packages and nothing else, and it works in an environment that holds nothing else."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


def test_the_core_needs_at_most_twelve_distributions() -> None:
    assert len(PROJECT["dependencies"]) <= 12
    assert set(PROJECT["optional-dependencies"]) >= {
        "models",
        "web",
        "dedup",
        "report",
        "s3",
        "img2dataset",
        "test",
        "bench",
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_holds_three_typed_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {n.split("/")[0] for n in names if ".dist-info" not in n}
    assert tops == {"curate", "filters", "pipelines"}
    assert {f"{top}/py.typed" for top in tops} <= set(names)
    own = {p for top in tops for p in (ROOT / top).rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {p.relative_to(ROOT).as_posix() for p in own} <= set(names)
    assert not [n for n in names if "test" in n.split("/")[0] or n.endswith((".jpg", ".bin", ".ftz"))]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_empty_environment_runs_a_job_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    call(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    pip = (tmp_path / "env/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check")
    call(*pip, "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path, PYTHONPATH="")
    curate = tmp_path / "env/bin/curate"
    assert "run" in call(curate, "--help", cwd=tmp_path, PYTHONPATH="")
    config = tmp_path / "tiny.toml"
    config.write_text(
        'pipeline = "image_text_pairs"\n[source]\nkind = "toy_web"\nsamples = 24\n'
        "[shards]\nsamples = 12\n[fetch]\nleast_rate_window_s = 1.0\nmost_bytes = 8_000_000\n"
        "[filters.caption_words]\nmin = 3\n"
    )
    result = json.loads(call(curate, "run", config, "--out", tmp_path / "set", cwd=tmp_path, PYTHONPATH=""))
    assert result["written_to"] == str(tmp_path / "set")
    assert (tmp_path / "set/00001.tar").exists()
    listed = json.loads(call(curate, "filters", cwd=tmp_path, PYTHONPATH=""))
    assert "language" in {row["filter"] for row in listed["filters"]}
