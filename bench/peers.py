"""The peers' own environment, `.venv-peers`, made once and reused.

img2dataset 1.47.0 pins pandas below 3, webdataset below 0.3 and OpenCV below 5, so it cannot share ours without pulling
them down. `peers.txt` names the exact version of everything it runs with: two machines measure the same programs.
Making it takes half a minute and 780 MB; delete the folder to make it anew.

    python -m bench.peers        makes the environment and prints its interpreter
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["PEERS_PYTHON", "environment"]

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "bench" / "peers.txt"
FOLDER = ROOT / ".venv-peers"
PEERS_PYTHON = FOLDER / "bin" / "python"


def environment() -> Path:
    """The interpreter of an environment that holds exactly `peers.txt`; made when it is absent or out of date."""
    stamp = FOLDER / "peers.txt"
    if not stamp.is_file() or stamp.read_text() != PINS.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
        subprocess.run([str(PEERS_PYTHON), "-m", "pip", "install", "--quiet", "-r", str(PINS)], check=True)
        stamp.write_text(PINS.read_text())
    return PEERS_PYTHON


if __name__ == "__main__":
    print(environment())
