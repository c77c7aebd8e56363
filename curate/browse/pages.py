"""Which page an address is, and what goes wrong in words: the site behind `curate browse`, as a function.

A path is never the name of a file. A shard must be one of the catalogue's, a key is looked up as a value, and all that
is asked for besides stands in the query, so that every page can be kept as a bookmark and works without a script.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from threading import Lock
from time import monotonic
from typing import Any

from curate.browse.answer import STYLE_SHEET, Answer, Asked, content_policy
from curate.browse.document_page import document_context
from curate.browse.find import Finder
from curate.browse.list_page import list_context, read_question
from curate.browse.overview_page import overview_context
from curate.browse.picture_shelf import NotShown, PictureShelf
from curate.browse.recent import Recent
from curate.browse.sample_page import sample_context
from curate.browse.selection import selection_config
from curate.errors import ConfigError, CurateError, ShardError
from curate.report.page import environment

__all__ = ["Pages"]

THUMBNAIL_PX, LARGE_PX = 256, 1_600
"""The longer side of a picture in a list, and on a page of its own."""
MOST_PARTS = 1_000_000
NO_PAGE = "This is no page of the data set. A page is reached from the overview or the list."
UNOPENED = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 160" width="160" height="160">
<title>This picture cannot be opened</title><rect width="160" height="160" fill="#5c625e"/>
<text x="80" y="76" text-anchor="middle" font-family="sans-serif" font-size="13" fill="#fff">cannot be</text>
<text x="80" y="94" text-anchor="middle" font-family="sans-serif" font-size="13" fill="#fff">opened</text></svg>"""
"""Instead of bytes that are no picture, broken or too large."""
HEADINGS = {400: "This cannot be asked", 403: "Not shown", 404: "Not there", 500: "This could not be read"}


class Pages:
    """The pages of the data set that `finder` answers about. `name` is its heading, usually its folder's. What a run
    has written since is seen by the overview and the lists within a minute of `clock`."""

    def __init__(self, finder: Finder, name: str, clock: Callable[[], float] = monotonic) -> None:
        self.finder, self.name = finder, name
        self._listing = Recent(1, finder.storage.files, clock)
        self._seen, self._lock = self._listing.get(""), Lock()
        self.shelf = PictureShelf(finder.storage)
        self._templates = environment("curate.browse")
        self._style = (files("curate.browse") / "browse.css").read_bytes()

    def answer(self, asked: Asked) -> Answer:
        """The page that is asked for; one in words, with its status, where there is none."""
        try:
            return self._page(asked)
        except NotShown as error:
            return self._words(error.status, str(error))
        except ConfigError as error:
            return self._words(400, str(error))
        except ShardError as error:
            return self._words(404, str(error))
        except CurateError as error:
            return self._words(500, str(error))

    def _page(self, asked: Asked) -> Answer:
        match asked.path:
            case ():
                self._look_again()
                return self._render("overview", "overview", **overview_context(self.finder))
            case ("samples",):
                self._look_again()
                question = read_question(asked.query, self.finder.catalog)
                return self._render("list", question.unit, **list_context(self.finder, self.shelf, question))
            case ("sample", shard, key):
                return self._sample(shard, key, asked.query.get("unit", ""))
            case ("document", shard, key):
                return self._document(shard, key, asked)
            case ("picture", shard, key):
                side = LARGE_PX if asked.query.get("size") == "large" else THUMBNAIL_PX
                found = self.shelf.read(self._shard(shard), key, side)
                return Answer(found, media="image/webp") if found else Answer(UNOPENED, media="image/svg+xml")
            case ("selection" | "selection.toml" as path,):
                return self._selection(asked, path == "selection.toml")
            case (path,) if path == STYLE_SHEET:
                return Answer(self._style, media="text/css; charset=utf-8")
        raise NotShown(404, NO_PAGE)

    def _look_again(self) -> None:
        """Open the data set anew where its files are others than they were."""
        with self._lock:
            found = self._listing.get("")
            if found != self._seen:
                self.finder, self._seen = self.finder.anew(), found

    def _sample(self, shard: str, key: str, unit: str) -> Answer:
        units = self.finder.catalog.units()
        unit = unit or next(one for one in units if one != "documents")
        if unit not in units or unit == "documents":
            raise NotShown(404, NO_PAGE)
        context = self._shown(shard, key, lambda: sample_context(self.finder, self.shelf, unit, shard, key))
        return self._render("sample", unit, **context)

    def _document(self, shard: str, key: str, asked: Asked) -> Answer:
        start = asked.query.get("from") or "0"
        if "documents" not in self.finder.catalog.units() or not (start.isascii() and start.isdigit()):
            raise NotShown(404, NO_PAGE)
        first, every = min(int(start[:9]), MOST_PARTS), asked.query.get("parts") == "all"
        context = self._shown(
            shard,
            key,
            lambda: document_context(self.finder, self.shelf, (shard, key), first, every),
        )
        return self._render("document", "documents", **context)

    def _selection(self, asked: Asked, download: bool) -> Answer:
        question = read_question(asked.query, self.finder.catalog)
        config = selection_config(self.finder.storage, question.unit, question.where)
        if download:
            attached = ("Content-Disposition", 'attachment; filename="selection.toml"')
            return Answer(config.encode(), media="text/plain; charset=utf-8", headers=(attached,))
        here: dict[str, Any] = {
            "config": config,
            "download": question.address("/selection.toml"),
            "back": question.address(),
        }
        return self._render("selection", question.unit, **here)

    def _shown(self, shard: str, key: str, read: Any) -> dict[str, Any]:
        """A row's context; a row that is hidden is 403 and not 404."""
        self._shard(shard)
        try:
            context: dict[str, Any] = read()
        except ShardError:
            flagged = self.shelf.why_not(shard, key)
            if flagged:
                raise NotShown(403, f"Row {key} is not shown: {flagged}.") from None
            raise
        return context

    def _shard(self, shard: str) -> str:
        """The id, if it is one of the catalogue's. Raises NotShown."""
        if shard not in self.finder.catalog.shards():
            raise NotShown(404, f"There is no shard {shard[:80]!r} in this data set.")
        return shard

    def _words(self, status: int, words: str) -> Answer:
        heading = HEADINGS.get(status, "This could not be shown")
        return self._render("words", "", status, heading=heading, words=words)

    def _render(self, template: str, here: str, status: int = 200, **context: Any) -> Answer:
        shared = {"name": self.name, "units": self.finder.catalog.units(), "here": here}
        shared["browse_policy"] = content_policy()
        page = self._templates.get_template(f"browse/{template}.html").render(**shared, **context)
        return Answer(page.encode("utf-8", "replace"), status)
