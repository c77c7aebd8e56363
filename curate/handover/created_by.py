"""Which code and which config made a hand-over: what somebody needs to make it again."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from curate.handover.lineage import without_secrets
from curate.manifest import fingerprint
from curate.registry import DISTRIBUTION

__all__ = ["code_commit", "created_by", "told_config"]

HEX = set("0123456789abcdef")


def created_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entry `created_by` for a config that is ready to be told."""
    return {
        "package": DISTRIBUTION,
        "version": importlib.metadata.version(DISTRIBUTION),
        "commit": code_commit(Path(__file__).resolve().parents[2]),
        "config_digest": fingerprint(config),
        "config": dict(config),
    }


def told_config(table: Mapping[str, Any]) -> dict[str, Any]:
    """A config as a manifest tells it: without secrets, and without `[run]`, which says how fast and not what."""
    told: dict[str, Any] = without_secrets(_plain({name: own for name, own in table.items() if name != "run"}))
    return told


def code_commit(checkout: Path) -> str | None:
    """The commit that a git checkout is at, 40 hex digits; None where this is none, such as an installed package.

    Read from git's own files, so git need not be there. Changes that were not committed are not seen.
    """
    git = checkout / ".git"
    try:
        head = (git / "HEAD").read_text("utf-8").strip()
        name = head.removeprefix("ref: ")
        if name == head:
            return _commit(head)
        loose = git / name
        if loose.is_file():
            return _commit(loose.read_text("utf-8").strip())
        packed = (git / "packed-refs").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((_commit(line.partition(" ")[0]) for line in packed if line.endswith(f" {name}")), None)


def _commit(text: str) -> str | None:
    return text if len(text) == 40 and set(text) <= HEX else None


def _plain(value: Any) -> Any:
    """JSON-like: TOML's dates and times as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if value is None or (isinstance(value, str | int | float | bool) and not isinstance(value, date)):
        return value
    return str(value)
