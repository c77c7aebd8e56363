"""robots.txt by protego, with bounds of our own around it, because the file comes from a stranger.

protego reads what real sites write, misspellings included. Its cost is agents times rules, however, so 500 KiB of
`User-agent` lines followed by as many rules would take hours and gigabytes. Groups that cannot speak to us are
therefore given one common name first, which makes parsing linear, and the answers for our own agent stay the same
(held by a test over 408 real files). What the answer to the request for the file means is RFC 9309, section 2.3.1.
"""

from __future__ import annotations

import re

from protego import Protego

__all__ = ["MOST_ROBOTS_BYTES", "ROBOTS_PATH", "RobotsRules"]

ROBOTS_PATH = "/robots.txt"
MOST_ROBOTS_BYTES = 500 * 1024  # RFC 9309: a crawler must read at least that much
MOST_LINE_CHARS = 4_096
_AGENT_LINE = re.compile(r"\s*user[ \t-]*agent\b[\s:]*([^#]*)", re.IGNORECASE)
_OTHER = "User-agent: -"


class RobotsRules:
    """What one robots.txt says to one agent. An empty body, HTML or noise has no rules and allows everything."""

    def __init__(self, body: bytes, agent_token: str) -> None:
        self._agent = agent_token
        text = body[:MOST_ROBOTS_BYTES].decode("utf-8-sig", "replace")
        lines = [_bounded(line, agent_token) for line in text.splitlines()]
        self._rules = Protego.parse("\n".join(line for line in lines if line)) if any(lines) else None

    def allows(self, url: str) -> bool:
        return self._rules is None or self._rules.can_fetch(url, self._agent)

    @property
    def delay_s(self) -> float:
        """Seconds between two requests that the site asks for, by crawl delay or request rate; 0 if it does not."""
        if self._rules is None:
            return 0.0
        rate = self._rules.request_rate(self._agent)
        return max(self._rules.crawl_delay(self._agent) or 0.0, rate.seconds / rate.requests if rate else 0.0)


def _bounded(line: str, agent_token: str) -> str:
    """The line as protego gets it: other agents under one name; a line no site needs is left out."""
    if len(line) > MOST_LINE_CHARS:
        return ""
    match = _AGENT_LINE.match(line)
    if match is None:
        return line
    name = match[1].strip().lower()
    name = name if name == "*" else name.replace("*", "")
    return f"User-agent: {name}" if name == "*" or (name and name in agent_token) else _OTHER
