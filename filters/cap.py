"""Drops what goes beyond a number of rows per host, per language, or per value of any column.

    [filters.cap-host]                         [filters.cap-language]
    by = "host"                                by = "language"
    max = 10_000                               max = 50_000_000

Which of them stay is drawn by what the rows are, or the best by a score do (`prefer`): the same rows whatever the order
and the number of shards (`curate.balance.caps`). Another `max` costs a decision only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from curate.balance.caps import PlaceInGroup, place_column
from curate.config import require_range
from curate.filter import Batch, Filter, Rules, Scorer, Verdict, verdict
from curate.stage import Work

HOST = "host"
PATTERN = r"^\s*[A-Za-z][A-Za-z0-9+.-]*:/*(?:[^/?#\\]*@)?(?P<host>\[[^\]/]*\]|[^/?#\\:\s]+)"
"""What stands for the host in a URL, without user and port."""


@dataclass(frozen=True)
class ExtractHost(Scorer):
    """The host of each URL in lower case, without a final dot; null where there is none."""

    name: ClassVar[str] = HOST
    reads: ClassVar[tuple[str, ...]] = ("url",)
    writes: ClassVar[Mapping[str, pa.DataType]] = {HOST: pa.string()}

    def score(self, batch: Batch) -> Mapping[str, pa.Array]:
        hosts = pc.struct_field(pc.extract_regex(batch.columns["url"], PATTERN), "host")
        plain = pc.utf8_lower(pc.utf8_rtrim(hosts, "."))
        return {HOST: pc.if_else(pc.equal(plain, ""), pa.scalar(None, pa.string()), plain)}


@dataclass(frozen=True)
class Cap(Filter):
    """Keeps `max` rows (included) of each value of `by`: `host` (of the URL), `language`, or any column.

    `prefer`: the column of a score whose highest stay; "" draws them by `seed`. `among`: rows that the `earlier`
    filters of the config keep are counted, or `all`. What writes another column than `host` is named elsewhere in the
    config. A row without a value, or without the score that is preferred, is dropped: it cannot be counted.
    """

    max: int = 10_000
    by: str = HOST
    prefer: str = ""
    among: Literal["earlier", "all"] = "earlier"
    seed: int = 0

    reads: ClassVar[tuple[str, ...]] = (HOST, place_column(HOST))
    reasons: ClassVar[Mapping[str, str]] = {
        "cap_value_unknown": "what is counted for a cap is not known, such as the host of the URL",
        "cap_score_unknown": "the score that a cap prefers by is not known",
        "over_cap": "there are enough rows of its kind, such as of its host",
    }

    def __post_init__(self) -> None:
        require_range("max", self.max, 0, 2**62)
        require_range("seed", self.seed, 0, (1 << 63) - 1)
        if not self.by:
            raise ValueError('by = "" must be a column, such as "host"')
        if self.by == self.prefer:
            raise ValueError(f"by and prefer are both {self.by!r}; prefer by a score")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.by, place_column(self.by), *((self.prefer,) if self.prefer else ()))

    def identity(self) -> Any:
        """What the verdict depends on; the order counts in the step that makes it."""
        settings = {"max": self.max, "by": self.by, "prefer": self.prefer}
        return {"filter": type(self).__name__, "version": self.version, "settings": settings}

    def scorers(self, models: Mapping[str, Any]) -> tuple[Scorer, ...]:
        return (ExtractHost(),) if self.by == HOST else ()

    def steps(self, earlier: Rules) -> tuple[Work, ...]:
        rules = earlier if self.among == "earlier" else None
        return (PlaceInGroup(self.by, self.prefer, rules, self.seed),)

    def judge(self, columns: pa.Table) -> Verdict:
        rules = [("cap_value_unknown", pc.is_null(columns[self.by]))]
        if self.prefer:
            rules.append(("cap_score_unknown", pc.is_null(columns[self.prefer], nan_is_null=True)))
        rules.append(("over_cap", pc.greater_equal(columns[place_column(self.by)], self.max)))
        return verdict(len(columns), *rules)
