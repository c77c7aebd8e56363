"""How many GPUs a process may use, by device files and by what a cluster leaves it."""

from pathlib import Path

import pytest

from curate.run import gpus, make_engine
from curate.run.scheduler import RunSettings


@pytest.fixture
def devices(tmp_path: Path) -> str:
    """Three GPUs, and files beside them that are none."""
    for name in ("nvidia0", "nvidia1", "nvidia5", "nvidiactl", "nvidia-uvm", "nvidia", "xnvidia2", "null"):
        (tmp_path / name).touch()
    return str(tmp_path)


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 3), ("0,1,2", 3), ("2", 1), ("1, 0", 2), ("", 0), ("-1", 0), ("0,-1,1", 1), ("0,3,1", 1), ("3", 0),
        ("none", 0), ("0,0", 0), ("GPU-8932f937-d72c,GPU-1", 2), ("GPU-8932,1", 2), ("MIG-GPU-89/1/0,MIG-b", 1),
        ("NoDevFiles", 0), ("0,1,", 2),
    ],
)  # fmt: skip
def test_as_many_as_cuda_sees(devices: str, visible: str | None, count: int) -> None:
    assert gpus(visible, devices) == count


@pytest.mark.parametrize("visible", [None, "", "0,1", "GPU-89", "MIG-89"])
def test_without_device_files_there_is_none(tmp_path: Path, visible: str | None) -> None:
    assert gpus(visible, str(tmp_path)) == gpus(visible, str(tmp_path / "gone")) == 0


def test_the_local_engine_has_a_worker_more_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.run.gpus", lambda visible: {None: 4, "2": 1}[visible])
    for visible, count in ((None, 4), ("2", 1)):
        engine = make_engine("local", RunSettings(workers=2), None, visible)
        assert engine.slots == 2 + count
        engine.close()
