"""What people have to know of a hand-over beside its numbers: policies that a config tells, and what is unwise.

A warning is a sentence, never an error: a source may have no licence and still be one's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from curate.errors import ConfigError
from curate.handover.lineage import Lineage
from curate.handover.lineage_columns import decided
from curate.registry import nearest

__all__ = ["Policy", "warnings_of"]

WORKERS = 8
"""Loader workers of a small training: webdataset and open_clip give each of them a shard of its own."""


@dataclass(frozen=True)
class Policy:
    """The `[policy]` table. `licence_policy`: in words, which licences were let in. `opt_out_date`: of the newest
    opt-outs that were honoured, YYYY-MM-DD. `decontamination`: evaluations that sources were cleaned of outside of our
    runs, in words. `human_captions`: sources whose captions people wrote for them."""

    licence_policy: str = ""
    opt_out_date: str | date = ""
    decontamination: tuple[str, ...] = ()
    human_captions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.opt_out_date:
            try:
                date.fromisoformat(str(self.opt_out_date))
            except ValueError:
                raise ValueError(f"opt_out_date = {str(self.opt_out_date)!r} is no date; write YYYY-MM-DD") from None

    @property
    def opted_out(self) -> str | None:
        """The date as text, None where none is told."""
        return str(self.opt_out_date) or None

    def require_sources(self, names: list[str]) -> None:
        """Raise ConfigError for a name that is no source."""
        for name in self.human_captions:
            if name not in names:
                raise ConfigError(f"[policy] human_captions: no source {name!r}; {nearest(name, names)}")


def warnings_of(
    sources: Mapping[str, Mapping[str, Any]],
    lineages: Mapping[str, Lineage],
    shards: Mapping[str, int],
    policy: Policy,
    decontaminated: bool,
) -> Iterator[str]:
    """Sentences on what is unwise or untold; `shards` by source, of those that have an example."""
    for name, source in sources.items():
        if not source["licence"]:
            yield f"source {name} has no licence; write licence = ... into [sources.{name}]"
        if not shards.get(name):
            yield f"source {name} has no example that could be used: each was left out, left_out/ tells why"
    for name, lineage in lineages.items():
        if not decided(lineage):
            yield f"no filter has decided on source {name}: all that it has is handed over"
        elif sources[name]["settings"].get("kept_only") is False:
            yield f"source {name} has what its filters dropped too (kept_only = false)"
        if not lineage.finished:
            yield f"the last run of source {name} did not end; its lineage is not known"
    few = [f"{name} has {n}" for name, n in shards.items() if 0 < n < WORKERS]
    if few:
        yield (
            f"{WORKERS} loader workers want {WORKERS} shards of a source in webdataset and open_clip: "
            f"{', '.join(few)}; lower samples in [shards]"
        )
    if not policy.opted_out:
        yield "opt_out_date of [policy] is not told: which opt-outs were honoured is not known"
    if not decontaminated:
        yield "no source was compared with evaluations, and [policy] names none"
