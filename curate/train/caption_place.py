"""Where a training works: a folder that is there only when the model is whole, and one beside it until then.

A training is killed sooner or later. `OUT.training` holds its state under a name that the next start finds, and says by
a fingerprint whose it is, so that a state is never taken for that of other settings or other pairs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import ConfigError
from curate.storage import plain_errors
from curate.train.spread_training import Peers

__all__ = ["Place", "require_free", "write_owner"]

OWNER = "training_of.json"


@dataclass(frozen=True)
class Place:
    """Where a training works: `out`, which is there only when the model is whole, and a folder beside it until then.

    `training` says by a fingerprint which training it is.
    """

    out: Path
    training: str

    @property
    def folder(self) -> Path:
        """The folder with the state."""
        return self.out.parent / f"{self.out.name}.training"

    def open(self, peers: Peers) -> None:
        """Make the folder, or find the one of the same training. Raises ConfigError for another's."""
        require_free(self.out)
        owner = self.folder / OWNER
        if owner.is_file():
            if _told(owner) != self.training:
                raise ConfigError(
                    f"{self.folder} holds a training that was begun with other settings or other pairs; delete it to "
                    "begin anew, or choose another --out"
                )
            return
        if peers.rank == 0:
            write_owner(owner, {"training": self.training})

    @contextmanager
    def unless_begun(self, peers: Peers) -> Iterator[None]:
        """Where an order cannot be carried out and nothing was begun, the folder goes: the mended order is another
        training, which would be refused."""
        try:
            yield
        except ConfigError:
            if not peers.rank and [path.name for path in self.folder.iterdir()] == [OWNER]:
                self.clear()
            raise

    def finish(self, write: Callable[[Path], None]) -> None:
        """Have the model written, give it its name, and delete the state."""
        model = self.folder / "model"
        with plain_errors(f"write {self.out}"):
            shutil.rmtree(model, ignore_errors=True)
            model.mkdir()
            write(model)
            model.rename(self.out)
        self.clear()

    def clear(self) -> None:
        """Delete the state, which is of no use beside a model; nothing where there is none."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write_owner(owner: Path, told: dict[str, Any]) -> None:
    """Say in a new folder whose it is, as JSON. Beside and renamed: other workers look for it at the same time."""
    beside = owner.with_suffix(".part")
    with plain_errors(f"write {owner.parent}"):
        owner.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        beside.replace(owner)


def require_free(out: Path) -> None:
    """Raise ConfigError for a folder that holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; choose another --out, or delete it")


def _told(owner: Path) -> str | None:
    try:
        found = json.loads(owner.read_text("utf-8"))["training"]
        return found if isinstance(found, str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
