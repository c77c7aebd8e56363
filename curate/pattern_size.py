"""How large a regular expression is when its repetitions are written out: what each letter of a text may cost.

DuckDB asks a whole batch of rows before it looks at the clock. Patterns such as `(a{1,30}){1,30}b` give up RE2's
automaton, and then each byte of a text is held against every piece of the pattern: 10 to 25 ns a byte and piece. So the
size of a pattern tells in advance how many bytes can be asked at a time.
"""

from __future__ import annotations

import re

__all__ = ["pattern_size"]

PIECE = re.compile(
    r"\\[pPx]\{[^}]{1,40}\} | \\. | \[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*(?:\]|\Z) | \{(\d+)(,?)(\d*)\} | .",
    re.VERBOSE | re.DOTALL,
)
SIGNS = frozenset("*+?|^$")


def pattern_size(pattern: str) -> int:
    """Letters and classes of a pattern, each as often as `{n,m}` repeats it; 1 at least."""
    groups, last = [0], 0
    for found in PIECE.finditer(pattern):
        piece, (least, comma, most) = found[0], found.groups()
        if least:
            last *= max(int(least[:9]) + (comma == "," and not most), int(most[:9] or 0), 1)
        elif piece == ")" and len(groups) > 1:
            last += groups.pop()
        elif piece not in SIGNS:
            groups[-1] += last
            last = 0 if piece == "(" else 1
            groups += [0] if piece == "(" else []
    return max(sum(groups) + last, 1)
