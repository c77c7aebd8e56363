"""The look that report, browser and comparison share: templates, one style sheet, and how strangers' words are shown.

Everything a page tells was written by anybody, so the environment and not each template is what makes it safe: every
value is stripped of control characters and marks that turn the writing direction, then escaped; an undefined name is
an error; a page's policy forbids every request and every script or style that is not named by its digest. No
front-end framework and no font is loaded: the whole look is one style sheet of some 10 kB.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from curate.balance.extras import require_modules
from curate.document.render import plain

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["asset", "environment", "policy"]


def environment(*packages: str) -> Environment:
    """Jinja's environment for pages. Own templates are `base.html` and `macros.html`; those of a further package, such
    as `curate.browse`, lie in its folder `templates` and have its last name before them: `browse/rows.html`.

    Raises ConfigError where jinja2 is not installed.
    """
    require_modules("a page", "report", "jinja2")
    from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined

    from curate.report.page import words

    further = PrefixLoader({name.rpartition(".")[2]: PackageLoader(name) for name in packages})
    made = Environment(
        loader=ChoiceLoader([PackageLoader(__name__), further]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"number": words.number, "brief": words.brief, "size": words.size, "duration": words.duration}
    made.filters |= {"price": words.price, "told": words.told}
    made.filters |= {"web_url": words.web_url, "data_uri": words.data_uri, "cell": words.cell, "name": words.breakable}
    made.tests["numeric"] = words.is_numeric
    made.globals |= {"share": words.share, "policy": policy, "style": asset("style.css")}
    return made


def policy(scripts: Iterable[str] = (), images: str = "data:", forms: str = "'none'") -> str:
    """A Content-Security-Policy: no request but for `images` and `forms`, no style but the style sheet, no script but
    these texts, each named by its digest. (`frame-ancestors` works in a header only.)"""
    allowed = " ".join(_digest(text) for text in scripts) or "'none'"
    return (
        f"default-src 'none'; img-src {images}; style-src {_digest(asset('style.css'))}; script-src {allowed}; "
        f"base-uri 'none'; form-action {forms}"
    )


@cache
def asset(name: str) -> Any:
    """The text of a file of this package, as markup: it is ours and goes into a page as it is."""
    from markupsafe import Markup

    return Markup((files(__name__) / name).read_text(encoding="utf-8"))  # noqa: S704 (our own file)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _shown(value: Any) -> Any:
    """What a template's expression comes to: text cleaned, markup and all else as it is."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
