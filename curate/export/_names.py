"""Keys and names of sources as names of files, on any file system and in any shell.

A key is what its source says: it may have slashes, blanks, dots that go up, or 10,000 letters.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["safe_name"]

UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
MOST_CHARS = 80


def safe_name(key: str) -> str:
    """The key where it is letters, digits, `-` and `_`; where others had to go, a digest keeps it unique.

    `"a/b" -> "a_b-c14cddc033f6"`; at most 93 characters.
    """
    if key and len(key) <= MOST_CHARS and not UNSAFE.search(key):
        return key
    digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{UNSAFE.sub('_', key)[:MOST_CHARS]}-{digest}"
