"""What became of one URL: a code from a small set, so that causes can be counted, and which of them may heal.

img2dataset keeps exception strings, host names inside, and cannot say how many timeouts there were. Ours is a code;
the words of the moment go to a second column, `fetch_detail`.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FetchStatus"]


class FetchStatus(StrEnum):
    """Status of a row after fetching and decoding. The values are what the column `fetch_status` holds."""

    SUCCESS = "success"
    # refused by us, before or while asking
    INVALID_URL = "invalid_url"
    ADDRESS_REFUSED = "address_refused"
    ROBOTS_DISALLOWED = "robots_disallowed"
    ROBOTS_UNREACHABLE = "robots_unreachable"
    OPTED_OUT = "opted_out"
    HOST_SUSPENDED = "host_suspended"
    # the network
    DNS_ERROR = "dns_error"
    CONNECT_ERROR = "connect_error"
    TLS_ERROR = "tls_error"
    TIMEOUT = "timeout"
    TOO_SLOW = "too_slow"
    CONNECTION_LOST = "connection_lost"
    # the server's answer
    NOT_FOUND = "not_found"
    GONE = "gone"
    RATE_LIMITED = "rate_limited"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"
    BAD_REDIRECT = "bad_redirect"
    TOO_MANY_BYTES = "too_many_bytes"
    EMPTY_BODY = "empty_body"
    # the page
    NOT_HTML = "not_html"
    # the picture
    NOT_AN_IMAGE = "not_an_image"
    IMAGE_TRUNCATED = "image_truncated"
    IMAGE_BROKEN = "image_broken"
    IMAGE_UNSUPPORTED = "image_unsupported"
    IMAGE_TOO_SMALL = "image_too_small"
    IMAGE_TOO_LARGE = "image_too_large"
    ASPECT_RATIO_TOO_LARGE = "aspect_ratio_too_large"
    HASH_MISMATCH = "hash_mismatch"
    # a picture that is asked for by its caption
    NO_CAPTION = "no_caption"
    GENERATION_REFUSED = "generation_refused"

    @property
    def heals(self) -> bool:
        """Whether asking again may help: inside a run after a wait, or later with `retry = "failed"`."""
        return self in _HEALS

    @property
    def downloaded(self) -> bool:
        """Whether the body arrived, so that what failed is the picture (img2dataset's failed_to_resize)."""
        return self is FetchStatus.SUCCESS or self in _PICTURE


_HEALS = frozenset(
    {
        FetchStatus.ROBOTS_UNREACHABLE,
        FetchStatus.HOST_SUSPENDED,
        FetchStatus.DNS_ERROR,
        FetchStatus.CONNECT_ERROR,
        FetchStatus.TIMEOUT,
        FetchStatus.TOO_SLOW,
        FetchStatus.CONNECTION_LOST,
        FetchStatus.RATE_LIMITED,
        FetchStatus.SERVER_ERROR,
        FetchStatus.EMPTY_BODY,
    }
)
_PICTURE = frozenset(
    {
        FetchStatus.NOT_AN_IMAGE,
        FetchStatus.IMAGE_TRUNCATED,
        FetchStatus.IMAGE_BROKEN,
        FetchStatus.IMAGE_UNSUPPORTED,
        FetchStatus.IMAGE_TOO_SMALL,
        FetchStatus.IMAGE_TOO_LARGE,
        FetchStatus.ASPECT_RATIO_TOO_LARGE,
    }
)
