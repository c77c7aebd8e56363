"""`curate export --verify DIR`: is every file of a hand-over what its manifest says?"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

from curate.cli._output import show

__all__ = ["verify_handover"]


def verify_handover(folder: str, form: str) -> int:
    """Show what is wrong with the hand-over in a folder; 1 where anything is."""
    from tqdm import tqdm

    from curate.handover.verify import verify
    from curate.storage import Storage

    threads = max(8, os.cpu_count() or 1)
    with tqdm(unit="B", unit_scale=True, desc="verify", leave=False, disable=not sys.stderr.isatty()) as bar:
        found = verify(Storage(folder.rstrip("/")), threads, bar.update)
    problems = [asdict(problem) for problem in found.problems]
    answer = {"dataset_id": found.dataset_id, "files": found.files, "bytes": found.bytes}
    show({**answer, "verified": not problems, **({"problems": problems} if problems else {})}, form)
    return 1 if problems else 0
