"""How often a paragraph occurs on the pages of one domain: menus, notices and calls to subscribe come on all of them.

OBELICS (Laurençon et al. 2023) removes paragraphs that occur more than twice in a domain. It takes the URL's `netloc`
for the domain, so that `www.` and each language's subdomain are counted apart, and compares strings as they are. By
default the domain here is what its owner registered (`bbc.co.uk`), by the Public Suffix List that tldextract brings
along, without asking the network; the private part of the list is not used, so all blogs of one host are one domain,
with one set of menus. And a paragraph is compared without regard to white space and case.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.dedup.digest import Digests, digest_strings, join_digests
from curate.dedup.frequency import PartFrequency
from curate.dedup.groups import Rows
from curate.dedup.population import Population
from curate.document.columns import TEXT, part_names
from curate.fetch.url import parse_url
from curate.shard import Shard
from curate.text import SPACE

if TYPE_CHECKING:
    from tldextract import TLDExtract

__all__ = ["ParagraphFrequency", "netlocs", "normal_texts", "registered_domain"]

_NETLOC = r"^[\x00-\x20]*(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?P<netloc>[^/?#]*)"
_OTHER_SPACE = SPACE.replace(r"\x1c-\x20", r"\x1c-\x1f")
_UNTIDY = f"[{_OTHER_SPACE}]|  |^ | $"
"""White space other than one space between words. Most paragraphs have none, and a search is 10 times as fast as a
replacement."""


@dataclass(frozen=True)
class ParagraphFrequency(PartFrequency):
    """Writes `part.paragraph_count` (int64): blocks of text of this domain that equal this one, repetitions in one
    document included; and `part.paragraph_documents` (int64): documents of the domain that have one. Null for
    pictures, and in documents without a URL.

    `domain`: "registered", or "netloc" as OBELICS has it (user, host and port as written). `text`: "normal" compares
    without regard to white space and case, "exact" byte by byte as OBELICS does.
    """

    domain: Literal["registered", "netloc"] = "registered"
    text: Literal["normal", "exact"] = "normal"

    name: ClassVar[str] = "paragraph_frequency"

    @property
    def population(self) -> Population:
        return Population(self.documents_round, self.parts_round, self.distinct_urls, TEXT)

    @property
    def reads(self) -> tuple[str, ...]:
        return ("url", *self.population.reads, *part_names(["key", "text"]))

    @property
    def counted(self) -> tuple[str, str]:
        return "paragraph_count", "paragraph_documents"

    def digests(self, shard: Shard) -> tuple[int, Rows, Rows, Digests]:
        total, rows, blocks = self.population.parts(shard, "text")
        documents = np.asarray(blocks["document"], np.int64)
        known, domains = self._domains(shard.columns(["url"])["url"])
        chosen = known[documents]
        texts = blocks["text"].filter(pa.array(chosen))
        rows, documents = rows[chosen], documents[chosen]
        digests = digest_strings(texts if self.text == "exact" else normal_texts(texts))
        return total, rows, documents, join_digests(domains[documents], digests)

    def _domains(self, urls: pa.ChunkedArray) -> tuple[npt.NDArray[np.bool_], Digests]:
        """Which documents have a domain, and its digest; each name is looked up once a shard."""
        found = netlocs(urls).dictionary_encode()
        names = found.dictionary.to_pylist()
        if self.domain == "registered":
            names = [registered_domain(name) for name in names]
        known = np.asarray(found.is_valid(), dtype=bool)
        digests = digest_strings(pa.array([*names, ""], pa.string()))
        return known, digests[np.asarray(found.indices.fill_null(len(names)), np.int64)]


def netlocs(urls: pa.ChunkedArray) -> pa.StringArray:
    """User, host and port of each URL as written, as `urllib.parse.urlsplit` finds them; null where there is none."""
    found = pc.struct_field(pc.extract_regex(urls.combine_chunks(), _NETLOC), "netloc")
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found)


def registered_domain(netloc: str) -> str:
    """`WWW.News.BBC.co.uk:80 -> bbc.co.uk`; the host in lower case where nothing is registered: an address, a suffix.

    The Public Suffix List is the one in the installed tldextract; only its ICANN part counts.
    """
    host = netloc.rpartition("@")[2]
    try:
        host = parse_url(f"http://{host}/").host
    except ValueError:
        return host.lower()
    return _suffixes().extract_str(host).top_domain_under_public_suffix or host


def normal_texts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts in lower case with one space between words, none around, whatever white space was there."""
    return pa.chunked_array([_normal(chunk) for chunk in texts.chunks], pa.string())


def _normal(texts: pa.StringArray) -> pa.StringArray:
    untidy = pc.match_substring_regex(texts, _UNTIDY)
    spaced = pc.replace_substring_regex(texts.filter(untidy), f"[{SPACE}]+", " ")
    tidy = pc.replace_with_mask(texts, untidy, pc.utf8_trim(spaced, " "))
    beyond_ascii = pc.invert(pc.string_is_ascii(tidy))
    return pc.replace_with_mask(pc.ascii_lower(tidy), beyond_ascii, pc.utf8_lower(tidy.filter(beyond_ascii)))


@cache
def _suffixes() -> TLDExtract:
    from tldextract import TLDExtract

    return TLDExtract(suffix_list_urls=(), cache_dir=None)
