"""torchvision beside the torch that is installed here, whoever asks for what first."""

import subprocess
import sys
from pathlib import Path

import pytest

FORKSERVER = """
import multiprocessing as mp
def work():
    import open_clip
    assert open_clip.list_models()
    assert callable(__import__("torchvision").transforms.Compose)
if __name__ == "__main__":
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["curate.score"])
    child = context.Process(target=work)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


def python(code: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import sys\n" + code],
        capture_output=True, text=True, timeout=120, check=False, **more,
    )  # fmt: skip


def test_torch_first_and_the_libraries_that_ask_for_it() -> None:
    done = python("import torch, curate.models, open_clip, timm; from torchvision.transforms import functional")
    assert done.returncode == 0, done.stderr


def test_in_a_worker_that_is_forked_from_a_server(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\n" + FORKSERVER)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_note_is_there_once_and_gone_after_its_work() -> None:
    done = python(
        "import importlib, curate.models, curate.models._torchvision as own\n"
        "own.prepare_torchvision(); importlib.reload(curate.models)\n"
        "assert sum(type(f).__name__ == '_Waiting' for f in sys.meta_path) == 1\n"
        "assert 'torch' not in sys.modules\n"
        "import torchvision.ops, torch\n"
        "torchvision.transforms.Resize(8)(torch.zeros(3, 9, 9))\n"
        "assert not any(type(f).__name__ == '_Waiting' for f in sys.meta_path)\n"
        "own.prepare_torchvision()\n"
        "assert not any(type(f).__name__ == '_Waiting' for f in sys.meta_path)"
    )
    assert done.returncode == 0, done.stderr


FAKE = """
import torch
loaded = []
def load(path):
    loaded.append(path)
    if {loads}:
        made = torch.library.Library("torchvision", "FRAGMENT")
        made.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        loaded.append(made)
    else:
        raise OSError("libcudart.so.13: cannot open shared object file")
torch.ops.load_library = load
import curate.models, torchvision
assert loaded[0].endswith("_C.so"), loaded
assert hasattr(torch.ops.torchvision, "nms")
from curate.models._torchvision import _kept
assert len(_kept) == {declared}
"""


@pytest.mark.parametrize("loads", [True, False])
def test_a_build_whose_library_loads_declares_its_operators_itself(tmp_path: Path, loads: bool) -> None:
    """Twice declared ends the process, so whether it loads is tried: torchvision for the CPU alone is such a build."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_C.so").write_bytes(b"")
    done = python(f"sys.path.insert(0, {str(tmp_path)!r})\n" + FAKE.format(loads=loads, declared=int(not loads)))
    assert done.returncode == 0, done.stderr


def test_no_torchvision_at_all(tmp_path: Path) -> None:
    done = python(
        "import curate.models\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torchvision': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(1, Gone())\n"
        "try:\n    import torchvision\nexcept ModuleNotFoundError:\n    print('told')"
    )
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
