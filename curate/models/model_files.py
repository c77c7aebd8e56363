"""Which bytes a model's files have, told by their digest, and not computed again while they have not changed.

A scorer's fingerprint is asked for once per shard, and its model must be loaded once per process: both by digest, so
that a file exchanged under the same name is another model. 48 MB (LAION's watermark detector) take 30 ms to digest, the
second time a `stat`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from curate.errors import ConfigError
from curate.source.model_file import config_digest, file_digest

__all__ = ["content_digest", "digest_of"]


def digest_of(path: str, option: str, parts: Sequence[str] = ()) -> str:
    """SHA-256 (hex) of the file that a config names under `option`; of a folder, one over those of its files `parts`.

    Raises ConfigError when a file cannot be read.
    """
    if not parts or not os.path.isdir(path):
        return _cached(path, option)
    every = [_cached(str(Path(path) / part), option) for part in parts]
    return hashlib.sha256("\n".join(every).encode()).hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of a file of a model, computed once while it does not change; one in the cache of the Hugging Face
    hub is named by it. Raises ConfigError."""
    try:
        real = path.resolve()
        if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name):
            return real.name
        about = real.stat()
        return _digest_of(real, about.st_size, about.st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


@lru_cache(maxsize=1_024)
def _digest_of(path: Path, size: int, changed_ns: int) -> str:
    return file_digest(path)


def _cached(path: str, option: str) -> str:
    try:
        about = os.stat(path)
    except OSError:
        return config_digest(path, option)
    return _digest(path, option, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, option: str, size: int, changed_ns: int) -> str:
    return config_digest(path, option)
