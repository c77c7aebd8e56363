"""How often the URL of a picture occurs in the data set: logos, buttons and counters are on every page.

OBELICS (Laurençon et al. 2023) removes pictures whose URL occurs more than 10 times. Its published code
finds these URLs and then stores the counter of all URLs in their place, which would remove every picture; here the
count is what the paper says. A picture that one page shows eleven times is no logo: `image_url_documents` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curate.dedup.digest import Digests, digest_strings
from curate.dedup.frequency import PartFrequency
from curate.dedup.groups import Rows
from curate.dedup.population import Population
from curate.document.columns import IMAGE, part_names
from curate.shard import Shard

__all__ = ["ImageUrlFrequency"]


@dataclass(frozen=True)
class ImageUrlFrequency(PartFrequency):
    """Writes `part.image_url_count` (int64): slots that have exactly this URL, in all shards, repetitions in one
    document included; and `part.image_url_documents` (int64): documents that have it. Null for text."""

    name: ClassVar[str] = "image_url_frequency"

    @property
    def population(self) -> Population:
        return Population(self.documents_round, self.parts_round, self.distinct_urls, IMAGE)

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.population.reads, *part_names(["key", "url"]))

    @property
    def counted(self) -> tuple[str, str]:
        return "image_url_count", "image_url_documents"

    def digests(self, shard: Shard) -> tuple[int, Rows, Rows, Digests]:
        total, rows, slots = self.population.parts(shard, "url")
        return total, rows, np.asarray(slots["document"], np.int64), digest_strings(slots["url"])
