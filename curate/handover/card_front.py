"""The head of a dataset card: what the hub of Hugging Face and `datasets.load_dataset` read of it.

A config for each source names its tars, so that `load_dataset(DIR, "web")` reads that source. Its features are told
too: left to itself, `datasets` takes them from the first five examples, refuses pages whose numbers of pictures differ,
and stops at the first text in a column where it saw none. What the JSON of an example has beyond its features is left
out there; who wants all of it reads the tars.

https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from curate.export._captions import ORIGINS
from curate.handover.card_facts import Facts, SourceFacts, shard_globs
from curate.handover.card_licences import card_licence
from curate.handover.card_words import cleaned, yaml_lines
from curate.handover.compose_stage import HANDOVER_COLUMNS
from curate.handover.layout import Kind
from curate.shard import IMAGE_EXTENSIONS

__all__ = ["MOST_PICTURES", "front_matter", "pictures_of_source"]

TASKS: dict[Kind, tuple[str, ...]] = {
    "pairs": ("image-to-text", "text-to-image"),
    "interleaved": ("image-text-to-text",),
    "chat": ("visual-question-answering",),
    "text": ("text-generation",),
}
SIZES = (1_000, 10_000, 100_000, 10**6, 10**7, 10**8, 10**9, 10**10, 10**11, 10**12)
SIGNS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
MOST_PICTURES = 64
"""Columns of pictures in a config: a column for each place that a picture has in an example, and kind of file."""
TEXT = {"dtype": "string"}
NUMBERS = {"double": "float64", "float": "float32", "halffloat": "float16"}
"""Arrow's names of numbers where `datasets` has others."""
TURNS = {
    "list": [
        {"name": "role", **TEXT},
        {"name": "content", "list": [{"name": name, **TEXT} for name in ("type", "text", "image", "status")]},
    ]
}
LAYOUT: dict[Kind, dict[str, Any]] = {
    "pairs": {},
    "interleaved": {"texts": {"list": "string"}, "images": {"list": "string"}, "url": TEXT},
    "chat": {"messages": TURNS},
    "text": {"text": TEXT},
}
"""What the JSON of every example of a kind has."""


def front_matter(facts: Facts, title: str) -> list[str]:
    """The lines between `---` and `---`."""
    kinds = _kinds(facts)
    languages = sorted({language for own in facts.sources.values() for language in own.languages})
    told = {"text" if kind == "chat" and not images else kind for kind, images in kinds.items()}
    tasks = [task for kind, own in TASKS.items() if kind in told for task in own]
    record: dict[str, Any] = {
        "pretty_name": cleaned(title, 100),
        **card_licence(facts.manifest.sources[name].licence for name in facts.sources),
        **({"language": languages} if languages else {}),
        "size_categories": [_size(facts.samples)],
        "task_categories": tasks,
        "tags": ["webdataset", "vision-language", *sorted(kinds)],
        "configs": [_config(name, own) for name, own in facts.sources.items()],
        "dataset_info": [
            {"config_name": name, "features": list(_features(facts.manifest.sources[name].kind, own))}
            for name, own in facts.sources.items()
        ],
    }
    return ["---", *yaml_lines({name: value for name, value in record.items() if value}), "---"]


def pictures_of_source(kind: Kind, own: SourceFacts) -> list[str]:
    """The columns of pictures that a config has: `jpg`, or `1.jpg`, `3.jpg`, ...; none where there are too many."""
    found = [name for name in own.extensions if name.rpartition(".")[2] in IMAGE_EXTENSIONS]
    found.sort(key=lambda name: (int(name.partition(".")[0]) if name[0].isdigit() else -1, name))
    return found if kind == "pairs" or len(found) <= MOST_PICTURES else []


def _kinds(facts: Facts) -> dict[Kind, int]:
    """The pictures of each kind that is there."""
    found: dict[Kind, int] = {}
    for name, own in facts.sources.items():
        kind = facts.manifest.sources[name].kind
        found[kind] = found.get(kind, 0) + own.contents["images"]
    return found


def _config(name: str, own: SourceFacts) -> dict[str, Any]:
    files = [f"{glob}.tar" for glob in shard_globs(own.shards)]
    return {"config_name": name, "data_files": [{"split": "train", "path": files}]}


def _features(kind: Kind, own: SourceFacts) -> Iterator[dict[str, Any]]:
    yield {"name": "__key__", **TEXT}
    yield from ({"name": name, "dtype": "image"} for name in pictures_of_source(kind, own))
    if "txt" in own.extensions:
        yield {"name": "txt", **TEXT}
    entries = dict(LAYOUT[kind])
    if kind == "pairs":
        told = [field for field in own.schema if field.name not in HANDOVER_COLUMNS]
        entries |= {field.name: feature for field in told if (feature := _feature(field.type)) is not None}
        if ORIGINS in own.schema.names:
            entries |= {f"caption_{origin}": TEXT for origin in own.contents.get("captions", ())}
    if entries and "json" in own.extensions:
        yield {"name": "json", "struct": [{"name": name, **entry} for name, entry in entries.items()]}


def _feature(kind: pa.DataType) -> dict[str, Any] | None:
    """The feature of a column as JSON has its values; None for one that JSON has no form for."""
    if pt.is_list(kind) or pt.is_large_list(kind):
        inner = _feature(kind.value_type) or {}
        return {"list": inner["dtype"]} if "dtype" in inner else None
    if pt.is_struct(kind):
        found = {field.name: _feature(field.type) for field in kind}
        fields = [{"name": name, **own} for name, own in found.items() if own is not None]
        return {"struct": fields} if fields else None
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_null(kind):
        return TEXT
    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind):
        return {"dtype": NUMBERS.get(str(kind), str(kind))}
    return None


def _size(samples: int) -> str:
    """The hub's name for so many examples."""
    place = sum(samples >= size for size in SIZES)
    if place == 0:
        return "n<1K"
    return "n>1T" if place == len(SIZES) else f"{SIGNS[place - 1]}<n<{SIGNS[place]}"
