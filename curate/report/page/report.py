"""The report: all facts of a data set as one HTML file that needs nothing else.

The page is drawn once and measured. Where it is too large, the same share of every gallery's tiles is left out until it
is not, and the page says how many; where that does not do, all lists are cut to a half, a quarter and so on. So the
file is under 5 MB whatever the facts are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    from curate.report.page.bounded import bounded, largest_share
    from curate.report.page.view import view

    template, lists = _template(), 1
    while True:
        small = bounded(facts, 1 / lists)
        draw = partial(_drawn, template, facts, small, view(small), lists)
        page = _fitting(draw, largest_share(small, MOST_BYTES))
        if page is not None:
            return page
        lists *= 2


def _fitting(draw: Callable[[float], str], share: float) -> str | None:
    """The page with this share of the tiles, or with the largest one that fits; None where even none does."""
    page = draw(share)
    if len(page.encode()) <= MOST_BYTES:
        return page
    least = draw(0)
    base = len(least.encode())
    while base <= MOST_BYTES:
        size = len(page.encode())
        if size <= MOST_BYTES:
            return page
        share *= 0.95 * (MOST_BYTES - base) / max(1, size - base)
        page = draw(share) if share > 1e-4 else least
    return None


def _template() -> Template:
    from curate.report.page.toml import toml_lines
    from curate.report.page.view import glances, rate, sizes

    made = environment()
    made.globals |= {"script": asset("page.js"), "toml_lines": toml_lines}
    made.globals |= {"rate": rate, "sizes": sizes, "glances": glances}
    return made.get_template("report.html")


def _drawn(template: Template, facts: Facts, small: Facts, seen: View, lists: int, share: float) -> str:
    """The page with a share of the tiles; of the longest lists 1 in `lists` entries is there."""
    from curate.report.page.bounded import pictures_left_out, thinned, tiles_of

    shown, tiles = thinned(small, share), tiles_of(facts)
    cut = {"too_large": pictures_left_out(facts), "tiles": tiles, "left_out": tiles - tiles_of(shown), "lists": lists}
    return template.render(facts=shown, view=seen, cut=cut)
