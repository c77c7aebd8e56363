"""The filters that drop copies: what they share is an order of preference, and who takes part.

The steps behind them answer with columns, so what is dropped can be changed without looking for copies again.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from curate.config import require_range
from curate.dedup.clusters import Clusters, Likeness
from curate.dedup.earlier import MOST
from curate.dedup.prefer import parse_order
from curate.dedup.scatter import SHARDS_PER_PART
from curate.filter import Filter, Rules, Verdict, above, verdict
from curate.stage import Work

__all__ = ["Duplicates", "PictureDuplicates"]


@dataclass(frozen=True)
class Duplicates(Filter):
    """Keeps one row of each cluster of copies.

    `prefer`: which one, such as `["highest clip_similarity", "largest picture", "latest crawl_date", "host a.org"]`;
    the first difference decides. `among`: only rows that the `earlier` filters of the config keep are compared, so
    that what is kept is never dropped by one of them; or `all` rows. `against`: folders or URLs of earlier data sets
    in which the same filter ran, the first one first; a copy of what was kept there is dropped. `shards_per_part`: how
    many shards one task takes.
    """

    prefer: tuple[str, ...] = ()
    among: Literal["earlier", "all"] = "earlier"
    against: tuple[str, ...] = ()
    shards_per_part: int = SHARDS_PER_PART

    copy: ClassVar[str]
    """The reason of a row that is not the one kept."""

    def __post_init__(self) -> None:
        parse_order(self.prefer)
        require_range("shards_per_part", self.shards_per_part, 1, 1_000_000)
        if len(self.against) > MOST:
            raise ValueError(f"against names {len(self.against)} data sets, and {MOST} is the most")

    @property
    @abstractmethod
    def likeness(self) -> Likeness:
        """When two rows are copies."""

    @property
    def counted(self) -> tuple[str, ...]:
        """Of which values of a cluster the different ones are counted."""
        return ()

    @property
    def bounds(self) -> tuple[int | None, ...]:
        """What else the filter drops by, which an earlier data set must share."""
        return ()

    def clusters(self, earlier: Rules) -> Clusters:
        """The steps' settings."""
        rules = earlier if self.among == "earlier" else ()
        return Clusters(
            self.likeness, self.prefer, rules, self.counted, self.against, self.shards_per_part, self.bounds
        )

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        return self.clusters(earlier).steps()

    def judge(self, columns: pa.Table) -> Verdict:
        return verdict(len(columns), (self.copy, pc.is_valid(columns[self.reads[0]])))


@dataclass(frozen=True)
class PictureDuplicates(Duplicates):
    """The same for pictures, and none is kept of a picture that stands for others: "no image available", a logo.

    Such a placeholder is told by its cluster: it has more than `max_captions` different captions, or comes from more
    than `max_hosts` hosts; None is no bound. 10 captions is the bound that COYO-700M sets the other way round, for a
    text beside many pictures; a photograph of a news agency may well come from many hosts.
    """

    max_captions: int | None = 10
    max_hosts: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("max_captions", self.max_captions, 1)
        require_range("max_hosts", self.max_hosts, 1)

    @property
    def counted(self) -> tuple[str, ...]:
        return ("caption", "host")

    @property
    def bounds(self) -> tuple[int | None, ...]:
        return (self.max_captions, self.max_hosts)

    @property
    def columns(self) -> tuple[str, ...]:
        name = self.likeness.name
        return (f"{name}_duplicate_of", f"{name}_captions", f"{name}_hosts")

    def judge(self, columns: pa.Table) -> Verdict:
        name = self.likeness.name
        placeholder = f"placeholder_by_{name}"
        return verdict(
            len(columns),
            (placeholder, above(columns[f"{name}_captions"], self.max_captions)),
            (placeholder, above(columns[f"{name}_hosts"], self.max_hosts)),
            (self.copy, pc.is_valid(columns[f"{name}_duplicate_of"])),
        )
