"""What a server says in its headers, or in one file, about the use of its pictures for training.

Three signals: `X-Robots-Tag` (several headers, comma lists, and parts that speak to one agent only), the header
`tdm-reservation: 1` of the TDM Reservation Protocol, and its file `/.well-known/tdmrep.json`. The headers are read
before the body, and a match ends the transfer there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from curate.fetch.robots import RobotsRules

__all__ = ["TDMREP_PATH", "TdmRules", "robots_tag_refusal", "tdm_header_refusal"]

TDMREP_PATH = "/.well-known/tdmrep.json"
MOST_TDM_RULES = 1_000

_AGENT = re.compile(r"\s*(\*|[A-Za-z][A-Za-z0-9_./-]*)\s*:(.*)", re.DOTALL)
_LOCATION = re.compile(r"/[^\s#\ud800-\udfff]*")  # JSON may hold half characters, which no URL has
_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_IMPLIED = {"none": "noindex"}


def robots_tag_refusal(headers: Sequence[str], agent_token: str, directives: Sequence[str]) -> str | None:
    """The first directive of all X-Robots-Tag headers that speaks to us and is listed, such as `noai`, or None.

    `otherbot: noai, noindex` speaks to that agent up to the end of its header or the next agent; `none` is `noindex`.
    `agent_token` is our product in lower case. Google's description of the header is the reference.
    """
    refused = {directive.lower() for directive in directives}
    for header in headers:
        speaks_to_us = True
        for part in header.split(","):
            match = _AGENT.fullmatch(part)
            if match and match[1].lower() not in _WITH_VALUE:
                speaks_to_us = match[1] == "*" or _is_us(match[1], agent_token)
                part = match[2]
            directive = part.strip().lower()
            if speaks_to_us and (directive in refused or _IMPLIED.get(directive) in refused):
                return directive
    return None


def tdm_header_refusal(headers: Sequence[str]) -> str | None:
    """`tdm-reservation: 1` if a header says so, else None (0, absent and malformed reserve nothing)."""
    return "tdm-reservation: 1" if any(header.strip() == "1" for header in headers) else None


class TdmRules:
    """The rules of one `tdmrep.json`: where on the site rights are reserved.

    Each rule has a `location`, a pattern as in robots.txt (`*` anything, `$` the end, the longest that matches
    decides), and a `tdm-reservation` of 1 or 0; so the robots.txt reader decides here too. A body that is not a list
    of such rules reserves nothing; of a long one the first 1,000 count.
    """

    def __init__(self, body: bytes = b"") -> None:
        try:
            entries = json.loads(body) if body else []
        except (ValueError, RecursionError):
            entries = []
        rules = [_rule(entry) for entry in entries[:MOST_TDM_RULES]] if isinstance(entries, list) else []
        self._rules = RobotsRules("\n".join(["User-agent: *", *filter(None, rules)]).encode(), "*")

    def refusal(self, url: str) -> str | None:
        """`tdmrep.json` if the rights to this URL are reserved, else None."""
        return None if self._rules.allows(url) else "tdmrep.json"


def _is_us(name: str, agent_token: str) -> bool:
    return name.partition("/")[0].lower() == agent_token


def _rule(entry: object) -> str | None:
    """One entry as a line of robots.txt, or None if it is not a rule."""
    if not isinstance(entry, dict):
        return None
    location, reservation = entry.get("location"), entry.get("tdm-reservation")
    if not isinstance(location, str) or not _LOCATION.fullmatch(location):
        return None
    return {"1": "Disallow: ", "0": "Allow: "}[str(reservation)] + location if str(reservation) in ("0", "1") else None
