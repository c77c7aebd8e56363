"""Documents with the same pictures: one page under two addresses, whose text differs in a date or a counter.

OBELICS (Laurençon et al. 2023) keeps the latest of the documents with one set of picture URLs; it removed 17.7 of 158.9
million. It joins the sorted URLs without a mark between them, so that two sets can give one string; here a set is the
hash of its members' digests, all of one length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curate.dedup.copies import CANDIDATE, Copies
from curate.dedup.digest import Digests, digest_sets, digest_strings
from curate.dedup.groups import Rows
from curate.dedup.population import Population
from curate.document.columns import IMAGE, part_names
from curate.shard import Shard

__all__ = ["ImageSets"]


@dataclass(frozen=True)
class ImageSets(Copies):
    """Writes `image_set_duplicate_of`: the key of the document kept, of those with this set of picture URLs; null for
    that one, for one that is alone, and for those that do not take part: without pictures, dropped in round
    `documents_round`, or (with `distinct_urls`) copies by URL. The set is of the slots that `parts_round` keeps, each
    URL once."""

    parts_round: str = "unique"
    distinct_urls: bool = True

    name: ClassVar[str] = "image_sets"

    @property
    def column(self) -> str:
        return "image_set_duplicate_of"

    @property
    def population(self) -> Population:
        """The slots that make up the sets."""
        return Population(self.documents_round, self.parts_round, self.distinct_urls, IMAGE)

    @property
    def reads(self) -> tuple[str, ...]:
        return (*CANDIDATE, *self.population.reads, *part_names(["url"]))

    def digests(self, shard: Shard) -> tuple[Rows, Digests]:
        _, _, slots = self.population.parts(shard, "url")
        return digest_sets(np.asarray(slots["document"], np.int64), digest_strings(slots["url"]))
