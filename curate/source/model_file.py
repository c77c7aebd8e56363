"""A model file that is fetched once and never trusted unseen: its SHA-256 stands here.

The file is written under a name of its own and renamed when its digest is right, so that processes that want it at
the same moment do not meet, and a broken download is never found by the next run.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curate.errors import ConfigError, SourceError

__all__ = ["KNOWN_MODELS", "ModelFile", "config_digest", "file_digest"]

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ModelFile:
    """A file on the web by its SHA-256 (hex). `most_bytes` bounds what is read."""

    name: str
    url: str
    sha256: str
    most_bytes: int = 1 << 30

    def local(self, folder: Path | None = None) -> Path:
        """The file on this machine, fetched into `folder` (`~/.cache/curate`) if it is not there.

        Raises SourceError when it cannot be had or is another file than the digest says.
        """
        target = (folder or Path.home() / ".cache" / "curate") / f"{self.sha256[:16]}-{self.name}"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(target)
        return target

    def _fetch(self, target: Path) -> None:
        hint = f"fetch it by hand and give its path as `model` instead of {self.name!r}"
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            path = Path(scratch) / self.name
            try:
                self._download(path)
            except OSError as error:
                raise SourceError(f"cannot fetch {self.url}: {error}; {hint}") from error
            if file_digest(path) != self.sha256:
                raise SourceError(f"{self.url} is not the file with SHA-256 {self.sha256}; {hint}")
            os.replace(path, target)

    def _download(self, path: Path) -> None:
        with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as body, open(path, "wb") as out:  # noqa: S310
            while chunk := body.read(CHUNK_BYTES):
                if out.tell() + len(chunk) > self.most_bytes:
                    raise OSError(f"more than {self.most_bytes} bytes")
                out.write(chunk)


def file_digest(path: Path) -> str:
    """SHA-256 of a local file, hex. Raises OSError."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def config_digest(path: str, option: str) -> str:
    """SHA-256 of a file that a config names under `option`. Raises ConfigError."""
    try:
        return file_digest(Path(path))
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        cause = getattr(error, "strerror", None) or error
        raise ConfigError(f"{option} = {path!r} cannot be read: {cause}; give the path of the file") from None


_FASTTEXT = "https://dl.fbaipublicfiles.com/fasttext/supervised-models/"

KNOWN_MODELS: Mapping[str, ModelFile] = {
    model.name: model
    for model in (
        ModelFile(
            "lid.176.bin",
            _FASTTEXT + "lid.176.bin",
            "7e69ec5451bc261cc7844e49e4792a85d7f09c06789ec800fc4a44aec362764e",
        ),
        ModelFile(
            "lid.176.ftz",
            _FASTTEXT + "lid.176.ftz",
            "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
        ),
    )
}
"""fastText's language identification (CC BY-SA 3.0), 126 MB, and the same compressed to 0.9 MB."""
