"""The key of an endpoint: how it is read, and how it is kept out of whatever a server sends back.

A server may repeat a key in an error or an answer, and that goes into columns, journals and messages. It is taken out
of the whole body before anything is cut from it, for the beginning of a long key (a JWT has a thousand characters) is a
secret too, and in each form that JSON has for it: some servers write `/` as `\\/`. A word of fewer than 8 characters is
no secret but what servers without keys are given ("none", "EMPTY"); it stays, since "none" in a caption is a word.
"""

from __future__ import annotations

import re

from curate.errors import ConfigError

__all__ = ["key_pattern", "read_key", "without_key"]

KEY_BYTES = 8_192
SECRET_CHARS = 8
HIDDEN = b"[key]"


def read_key(path: str) -> str:
    """The key in a file, its only line; "" where no file is named. Raises ConfigError, which never holds what was read.

    Its permissions are not looked at: containers mount secrets so that everybody may read them.
    """
    if not path:
        return ""
    try:
        with open(path, "rb") as handle:
            found = handle.read(KEY_BYTES + 1).strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"api_key_file = {path!r} cannot be read: {why}; name a file with the key") from None
    if not found or len(found) > KEY_BYTES or not all(0x21 <= byte <= 0x7E for byte in found):
        raise ConfigError(f"api_key_file = {path!r} must hold one line, the key, of printable ASCII without spaces")
    return found.decode("ascii")


def key_pattern(key: str) -> re.Pattern[bytes] | None:
    """What finds a key in a body, plain or as JSON escapes it; None for a key that is no secret."""
    if len(key) < SECRET_CHARS:
        return None
    return re.compile(b"".join(_forms(letter) for letter in key))


def without_key(body: bytes, pattern: re.Pattern[bytes] | None) -> bytes:
    """A body with `[key]` in each place of the key."""
    return pattern.sub(HIDDEN, body) if pattern is not None else body


def _forms(letter: str) -> bytes:
    """A letter as it is, behind a backslash, and by its number."""
    digits = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(letter):04x}")
    return f"(?:\\\\?{re.escape(letter)}|\\\\u{digits})".encode("ascii")
