"""When to ask again: how long a failed row waits, and what a server's Retry-After means."""

from __future__ import annotations

import math
import zlib
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["backoff_s", "retry_after_s"]


def backoff_s(url: str, attempt: int, first_s: float, most_s: float) -> float:
    """Seconds to wait after attempt number `attempt` (from 1): doubled each time, times 0.5 to 1.5.

    The jitter comes from the URL, so rows that failed together do not return together, and a run can be repeated.
    """
    jitter = 0.5 + zlib.crc32(f"{attempt} {url}".encode("utf-8", "replace")) / 2**32
    return min(most_s, first_s * 2.0 ** min(attempt - 1, 30) * jitter)


def retry_after_s(header: str | None, now_unix_s: float) -> float | None:
    """Seconds a Retry-After header asks for (a number or an HTTP date), 0 if that is past; None if it says nothing."""
    text = (header or "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until(text, now_unix_s)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str, now_unix_s: float) -> float | None:
    try:
        when = parsedate_to_datetime(date)
        when = when.replace(tzinfo=when.tzinfo or UTC)
        return max(0.0, when.timestamp() - now_unix_s)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
