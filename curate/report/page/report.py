"""The report: all facts of a data set as one HTML file that needs nothing else.

The page is drawn once and measured. Where it is too large, the same share of every gallery's tiles is left out until it
is not, and the page says how many; so the file is under 5 MB whatever the facts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.balance.extras import require_modules
from curate.report.page import asset, environment

if TYPE_CHECKING:
    from jinja2 import Template

    from curate.report.facts import Facts
    from curate.report.page.view import View

__all__ = ["MOST_BYTES", "render"]

MOST_BYTES = 4_950_000
"""Of a page, encoded as UTF-8."""


def render(facts: Facts) -> str:
    """The page, always under 5,000,000 bytes as UTF-8; the same facts give the same bytes.

    Raises ConfigError where jinja2 or matplotlib is not installed.
    """
    require_modules("a report", "report", "jinja2", "matplotlib")
    from curate.report.page.bounded import bounded, largest_share, pictures_left_out, tiles_of
    from curate.report.page.view import view

    small = bounded(facts)
    seen = view(small)
    template = _template()
    without = (pictures_left_out(facts), tiles_of(facts))
    share = largest_share(small, MOST_BYTES)
    while True:
        page = _drawn(template, small, seen, share, without)
        size = len(page.encode())
        if size <= MOST_BYTES or share <= 0:
            return page
        share = 0 if share < 1e-4 else share * min(0.9, MOST_BYTES / size)


def _template() -> Template:
    from curate.report.page.toml import toml_lines
    from curate.report.page.view import rate, sizes

    made = environment()
    made.globals |= {"script": asset("page.js"), "toml_lines": toml_lines, "rate": rate, "sizes": sizes}
    return made.get_template("report.html")


def _drawn(template: Template, facts: Facts, seen: View, share: float, without: tuple[int, int]) -> str:
    from curate.report.page.bounded import thinned, tiles_of

    shown = thinned(facts, share)
    too_large, tiles = without
    return template.render(facts=shown, view=seen, too_large=too_large, left_out=tiles - tiles_of(shown), tiles=tiles)
