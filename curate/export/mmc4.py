"""MMC4's JSON lines, with the pictures in tars beside them.

    00000.jsonl   url, text_list, image_info, similarity_matrix, could_have_url_duplicate
    00000.tar     the pictures, called as `image_name` says

Pictures are placed by similarity, as MMC4 does, where the parts have embeddings, else in the order of the page. With
`missing = "slot"` a picture that is not here leaves its name and URL in `image_info`, for a reader to download.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, ClassVar

from curate.config import require_range
from curate.document.placement import MIN_SIMILARITY
from curate.export._documents import DocumentWriter, Format, export_documents, open_tar, with_options
from curate.export._mmc4 import Mmc4Document, PlacementRule, choose_placement, match
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Document, Picture
from curate.storage import Storage, plain_errors
from curate.tar import TarWriter

__all__ = ["Mmc4", "export", "record"]


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Mmc4. Raises ConfigError."""
    options["placement"] = choose_placement(source, options.get("placement"))
    return export_documents(with_options(Mmc4, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class Mmc4(Format):
    """`placement` and, where it is by similarity, the cosine below which a picture is left out."""

    placement: PlacementRule = "document"
    min_similarity: float = MIN_SIMILARITY

    name: ClassVar[str] = "mmc4"

    def __post_init__(self) -> None:
        require_range("--min-similarity", self.min_similarity, -1, 1)
        super().__post_init__()

    @contextmanager
    def writer(self, shard: str, attempt: Attempt) -> Iterator[DocumentWriter]:
        path = attempt.path(f"{shard}.jsonl")
        with open_tar(attempt, f"{shard}.tar") as tar, plain_errors(f"write {path}"), open(path, "wb") as lines:
            yield _Writer(self, lines, tar, attempt.counts)

    def finish(self, target: Storage, counts: dict[str, dict[str, int]]) -> None:
        """Nothing: the names of the files say all."""


@dataclass
class _Writer:
    format: Mmc4
    lines: IO[bytes]
    tar: TarWriter
    counts: Counter[str]

    def add(self, document: Document) -> str | None:
        found = match(document, self.format.placement, self.format.min_similarity)
        if isinstance(found, str):
            return found
        slots = sum(isinstance(part, Picture) for part in document.parts)
        self.counts["left_out.no_similar_sentence"] += slots - len(found.pictures)
        line = record(document, found)
        for about, picture in zip(line["image_info"], found.pictures, strict=True):
            if picture.image is not None:
                self.tar.add(about["image_name"], picture.image)
        self.lines.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        return None


def record(document: Document, found: Mmc4Document) -> dict[str, Any]:
    """One line. `face_detections` is null: nobody looked. A picture without bytes is called .jpg."""
    pictures = zip(found.pictures, found.places, found.similarities, strict=True)
    return {
        "url": document.columns.get("url"),
        "text_list": found.sentences,
        "image_info": [
            {
                "image_name": f"{document.key}_{number}.{picture.extension or 'jpg'}",
                "raw_url": picture.url,
                "matched_text_index": place,
                "matched_sim": similarity,
                "face_detections": None,
            }
            for number, (picture, place, similarity) in enumerate(pictures)
        ],
        "similarity_matrix": found.matrix.tolist(),
        "could_have_url_duplicate": int(bool(document.columns.get("url_repeats"))),
    }
