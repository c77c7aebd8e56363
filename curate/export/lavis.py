"""LAVIS' captions: one JSON array with a record for each caption and pictures in a folder; or tars for its readers of
tars.

    json   SOURCE.json        [{"image": name, "caption": text, "image_id": id}, ...]
    wds    SOURCE/00000.tar   KEY.jpg KEY.json {"caption": text, "captions": [texts]}
           sizes.json         {"SOURCE/00000.tar": pairs}

With a view, or from a hand-over, a picture has a record for each of its captions, all with its id, as COCO's have: the
trainer numbers pictures by `image_id` and its retrieval loss knows by that which captions are of one picture. Readers
of tars take the members `jpg` and `json` and pass over a sample without one of them, so every picture is a JPEG there
(salesforce/LAVIS, lavis/datasets/datasets: base_dataset.py, caption_datasets.py, retrieval_datasets.py,
laion_dataset.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from curate.errors import ConfigError
from curate.export._annotations import AnnotationFormat, Entry, export_annotations
from curate.export._documents import open_tar, with_options
from curate.export._interleave import readable
from curate.export._names import safe_name
from curate.export._talk import Rules, Talk, clean, talk_of
from curate.export._write_examples import ExampleFormat, ExampleWriter, Made, Output, export_examples
from curate.fetch.members import strict_json
from curate.handover.layout import Example
from curate.manifest import Attempt
from curate.plan import Job
from curate.registry import nearest
from curate.sample import Picture
from curate.storage import Storage
from curate.tar import TarWriter

__all__ = ["Lavis", "LavisTars", "export"]

Form = Literal["json", "wds"]


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of Lavis, and `form`. Raises ConfigError."""
    form = options.pop("form", "json")
    if form not in get_args(Form):
        raise ConfigError(f"--form {form} is unknown; {nearest(form, list(get_args(Form)))}")
    if form == "wds":
        return export_examples(LavisTars, source, shard_samples, seed if shuffle else None, options)
    return export_annotations(with_options(Lavis, options), source, shard_samples, shuffle, seed)


@dataclass(frozen=True)
class Lavis(AnnotationFormat):
    """No settings but those of all annotations."""

    name: ClassVar[str] = "lavis"
    takes: ClassVar[tuple[str, ...]] = ("pairs",)

    def records(self, entry: Entry) -> Sequence[Mapping[str, Any]]:
        texts = _captions(entry.talk, entry.example)
        return [{"image": entry.images[0], "caption": text, "image_id": entry.id} for text in texts]


@dataclass(frozen=True)
class LavisTars(ExampleFormat):
    """No settings."""

    name: ClassVar[str] = "lavis"
    takes: ClassVar[tuple[str, ...]] = ("pairs",)

    @contextmanager
    def writer(self, output: Output, attempt: Attempt) -> Iterator[ExampleWriter]:
        with open_tar(attempt, _tar(output)) as tar:
            yield _Writer(tar, attempt.counts)

    def finish(self, source: Storage, target: Storage, made: Sequence[Made]) -> dict[str, Any]:
        sizes = {_tar(own.output): own.counts["kept"] for own in made}
        target.write("sizes.json", json.dumps(sizes, indent=1).encode())
        return {}


@dataclass
class _Writer:
    tar: TarWriter
    counts: Counter[str]

    def add(self, example: Example) -> str | None:
        talk = talk_of(example, "pairs", Rules("plain", ()), self.counts)
        if isinstance(talk, str):
            return talk
        [shown] = talk.pictures
        picture = readable(Picture("", shown.data, shown.extension), ("jpg",))
        if picture.image is None:
            return "picture_missing"
        texts, key = _captions(talk, example), safe_name(example.key)
        self.tar.add(f"{key}.jpg", picture.image)
        self.tar.add(f"{key}.json", strict_json({"caption": texts[0], "captions": texts}))
        return None


def _tar(output: Output) -> str:
    return f"{output.folder}/{output.shard}.tar"


def _captions(talk: Talk, example: Example) -> list[str]:
    """All texts of a view without repetitions, the first one first; else the one caption."""
    told = example.columns.get("captions")
    texts = [text for text in told if isinstance(text, str) and text.strip()] if isinstance(told, list) else []
    first = talk.turns[-1].value(lambda _: "")
    return list(dict.fromkeys([first, *(clean(text, (), Counter()) for text in texts)]))
