"""What a run of a hand-over tells at its end: what each source came to, the stages, and what is unwise."""

from __future__ import annotations

from typing import Any

from curate.handover.manifest import read_manifest
from curate.storage import Storage

__all__ = ["handover_summary"]


def handover_summary(storage: Storage) -> dict[str, Any]:
    """`handed_over`: a row a source; `dataset_id`, `stages` and `manifest_warnings`. Raises ShardError where there is
    no manifest."""
    manifest = read_manifest(storage)
    rows = []
    for name, source in manifest.sources.items():
        own = manifest.totals.get("by_source", {}).get(name, {})
        tokens = {
            f"{tokenizer}_tokens": own.get("text_tokens", {}).get(tokenizer, 0) for tokenizer in manifest.tokenizers
        }
        counts = {count: own.get(count, 0) for count in ("shards", "samples", "images")}
        left_out = sum(source.left_out.values())
        row = {"source": name, "kind": source.kind, **counts, **tokens, "left_out": left_out}
        rows.append({**row, "licence": source.licence or None})
    answer: dict[str, Any] = {"handed_over": rows, "dataset_id": manifest.dataset_id}
    if manifest.stages:
        answer["stages"] = list(manifest.stages.names)
    return answer | ({"manifest_warnings": list(manifest.warnings)} if manifest.warnings else {})
