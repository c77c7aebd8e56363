"""Languages, hosts, licences, formats, concepts: how often each value of a column occurs, and what is made for it.

What a source brought along may be of any length, so it is cut; a URL is its host, a caption its lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from curate.balance.matching import CONCEPTS
from curate.report.counting.reading import Reduce
from curate.report.counting.tally import Tally
from curate.report.facts import Counted

__all__ = ["HOST", "LONG", "SIDES", "VALUES", "Values", "cut", "shapes"]

HOST, ORIENTATION = "host of the URL", "orientation of the picture"
"""Columns that are made here; no file has them."""
VALUES: Mapping[str, str] = {
    "source": "sources",
    "kind": "kinds",
    "document_status": "documents",
    "language": "languages",
    "text_language": "languages of the text",
    "html_language": "languages that pages say",
    "license": "licences",
    "licence": "licences",
    "LICENSE": "licences",
    "NSFW": "NSFW labels",
    "content_type": "content types",
    "http_status": "HTTP statuses",
    "image_format": "formats",
    ORIENTATION: "orientation",
    "charset": "character sets",
    "block": "elements",
    "region": "regions of the page",
    "found_in": "where pictures were found",
    CONCEPTS: "concepts, by number",
}
"""Columns whose values are counted, with the titles they get. Hosts are counted by `Hosts`."""
CUT = 200
"""Letters of a value."""
SIDES = (("original_width", "original_height"), ("width", "height"))
URL_HOST = r"^\s*[A-Za-z][A-Za-z0-9+.-]*:/*(?:[^/?#\\]*@)?(?P<host>\[[^\]/]*\]|[^/?#\\:\s]+)"
"""As the filter `cap` has it."""


def _host(urls: pa.Array) -> Mapping[str, pa.Array]:
    hosts = pc.struct_field(pc.extract_regex(urls, URL_HOST), "host")
    plain = pc.utf8_slice_codeunits(pc.utf8_lower(pc.utf8_rtrim(hosts, ".")), 0, CUT)
    return {HOST: pc.if_else(pc.equal(plain, ""), None, plain)}


def _lengths(captions: pa.Array) -> Mapping[str, pa.Array]:
    """Letters, and words between white space."""
    inked = pc.utf8_trim_whitespace(captions)
    words = pc.list_value_length(pc.utf8_split_whitespace(inked))
    words = pc.if_else(pc.equal(inked, ""), 0, words)
    return {"caption_chars": pc.utf8_length(captions).cast(pa.int32()), "caption_words": words.cast(pa.int32())}


LONG: Mapping[str, Reduce] = {"url": _host, "caption": _lengths}
"""What is made of columns of long texts."""


def cut(column: str) -> Reduce:
    """Values as they are told, at most 200 letters."""
    return lambda values: {column: pc.utf8_slice_codeunits(values, 0, CUT)}


def shapes(columns: pa.Table) -> pa.Table:
    """With what pictures look like, where a table has their sides: `aspect_ratio`, width by height, float64, null where
    a side is not known or 0; and how they lie."""
    sides = next((own for own in SIDES if {*own} <= {*columns.column_names}), None)
    if sides is None or not all(
        pt.is_integer(columns[name].type) or pt.is_floating(columns[name].type) for name in sides
    ):
        return columns
    width, height = (columns[name].cast(pa.float64()) for name in sides)
    ratio = pc.divide(width, pc.if_else(pc.greater(height, 0), height, None))
    ratio = pc.if_else(pc.greater(ratio, 0), ratio, None)
    lies = pc.if_else(pc.greater(ratio, 1), "landscape", pc.if_else(pc.less(ratio, 1), "portrait", "square"))
    return columns.append_column("aspect_ratio", ratio).append_column(ORIENTATION, lies)


@dataclass
class Values:
    """The tallies of a unit's columns, by title."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    def add(self, columns: pa.Table, keep: npt.NDArray[np.bool_]) -> None:
        """Count a shard."""
        for name in (own for own in VALUES if own in columns.column_names):
            values, kept = columns[name].combine_chunks(), keep
            if pt.is_list(values.type):
                kept = np.repeat(keep, np.asarray(pc.fill_null(pc.list_value_length(values), 0)))
                values = values.flatten()
            if pt.is_nested(values.type):
                continue
            if name == "content_type":
                values = pc.utf8_trim_whitespace(pc.replace_substring_regex(values.cast(pa.string()), ";.*", ""))
            self.tallies.setdefault(VALUES[name], Tally()).add(values, kept)

    def counted(self) -> tuple[Counted, ...]:
        """Those that have a value, in the order of VALUES."""
        told = (tally.counted(title) for title in dict.fromkeys(VALUES.values()) if (tally := self.tallies.get(title)))
        return tuple(one for one in told if one is not None)
