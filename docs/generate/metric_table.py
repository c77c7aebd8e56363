"""The table of metrics in docs/cluster.md, from what the exporter serves."""

from __future__ import annotations

from curate.run.metrics import METRICS
from docs.generate.markdown import code, table

__all__ = ["metrics"]


def metrics() -> str:
    """A row for each metric: name, labels, what it says."""
    rows = [[code(m.name), ", ".join(map(code, m.labels)), m.about] for m in METRICS]
    return table(["metric", "labels", "what it says"], rows)
