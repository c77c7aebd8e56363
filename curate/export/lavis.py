"""LAVIS' annotations of captions: one JSON array with a record for each caption, and pictures in a folder.

    SOURCE.json   [{"image": name, "caption": text, "image_id": id}, ...]

With a view, or from a hand-over, a picture has a record for each of its captions, all with its id, as COCO's have: the
trainer numbers pictures by `image_id` and its retrieval loss knows by that which captions are of one picture
(salesforce/LAVIS, lavis/datasets/datasets: base_dataset.py, caption_datasets.py, retrieval_datasets.py). For its
readers of tars, such as laion_dataset.py (`jpg`, and `caption` in `json`), `--to webdataset` writes what they read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from curate.export._annotations import AnnotationFormat, Entry, export_annotations
from curate.export._documents import with_options
from curate.export._talk import clean
from curate.plan import Job
from curate.storage import Storage

__all__ = ["Lavis", "export"]


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Lavis. Raises ConfigError."""
    return export_annotations(with_options(Lavis, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class Lavis(AnnotationFormat):
    """No settings but those of all annotations."""

    name: ClassVar[str] = "lavis"
    takes: ClassVar[tuple[str, ...]] = ("pairs",)

    def records(self, entry: Entry) -> Sequence[Mapping[str, Any]]:
        return [{"image": entry.images[0], "caption": text, "image_id": entry.id} for text in _captions(entry)]


def _captions(entry: Entry) -> list[str]:
    """All texts of a view without repetitions, the first one first; else the one caption."""
    told = entry.example.columns.get("captions")
    texts = [text for text in told if isinstance(text, str) and text.strip()] if isinstance(told, list) else []
    first = entry.talk.turns[-1].value(lambda _: "")
    return list(dict.fromkeys([first, *(clean(text, (), Counter()) for text in texts)]))
