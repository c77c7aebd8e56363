"""Pictures in a folder and a file of annotations beside it: the frame of the formats that fine-tuning programs read.

    images/00000/KEY.jpg      the pictures of output shard 00000; of several in one conversation KEY.0.jpg, KEY.1.jpg
    annotations/00000.jsonl   its records, one a line
    SOURCE.json, .jsonl       the records of one source, as the format wants them: joined as a stream
    export.json               what was written and what was left out, by reason, in all and per shard

A record is written once it was checked (`curate.export._talk`), and no list of records is ever in memory: peers that
hold one need 830 GB for a 3 GB file. A format adds the form of its records and the small files that name the others.
An output shard of 10,000 pairs is 10,000 files, and the commit that lists them has 1.6 MB: the driver holds 330 bytes a
picture while it runs, 200 MB for LLaVA's 558,000. On an object store each picture is three requests.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from curate.config import require_range
from curate.errors import ConfigError
from curate.export._documents import counts_of
from curate.export._epochs import Epochs, epochs_of
from curate.export._examples import WITHOUT_TEXT, Wanted, plan_examples, read_examples
from curate.export._mixture import lacking
from curate.export._names import safe_name
from curate.export._talk import CONTROL, ESCAPED, IMAGE, Rules, Shown, Talk, talk_of
from curate.fetch.members import strict_json
from curate.handover.layout import Example
from curate.manifest import Attempt, CommitLog
from curate.plan import Job
from curate.shard import Shard
from curate.slices import SlicePlan, known_slices, read_plan
from curate.stage import Barrier, Runtime, Stage
from curate.storage import Storage, plain_errors

__all__ = [
    "AnnotationFormat",
    "ConversationFormat",
    "Entry",
    "Joined",
    "export_annotations",
    "from_and_value",
    "llava_record",
]

SUMMARY = "export.json"
SMALL = ("export", "llava", "internvl", "qwen", "dataset_info")
"""Names of the files that are not a source's, without their ends."""


@dataclass(frozen=True)
class Entry:
    """What a format makes its records of. `id` is unique in the export: output shard and key. `images` are the names
    of its pictures' files below the export's folder, in the order of their places."""

    id: str
    talk: Talk
    images: tuple[str, ...]
    example: Example


@dataclass(frozen=True)
class Joined:
    """The file with all records of a source; `records` may be 0."""

    source: str
    kind: str
    file: str
    records: int

    @property
    def called(self) -> str:
        """Its name for programs that take several names with commas between, and shares of them by `%`."""
        return safe_name(self.source) if {",", "%"} & set(self.source) else self.source

    def path(self, target: Storage) -> str:
        """Where it lies, for programs that look for it from somewhere else."""
        return f"{target.root}/{self.file}"


@dataclass(frozen=True)
class AnnotationFormat(ABC):
    """A consumer's format and its settings.

    `captions`: the view whose texts leave, of a data set of pairs. `sources`: those of a hand-over that leave, with
    commas between.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]]

    captions: str = ""
    sources: str = ""

    @property
    def rules(self) -> Rules:
        """What it asks of a conversation."""
        return Rules("plain", ())

    def fault(self, talk: Talk) -> str | None:
        """The reason why a conversation must stay out, of those that only this format has."""
        return None

    @property
    def is_array(self) -> bool:
        """Whether the joined file is one JSON array; else it has a record a line."""
        return True

    @abstractmethod
    def records(self, entry: Entry) -> Sequence[Mapping[str, Any]]:
        """The records of one example; JSON-like."""

    def finish(self, target: Storage, joined: Sequence[Joined], epochs: Epochs) -> None:
        """Write the small files that name the others; `joined` has the sources with at least one record, `epochs` what
        each stage of a hand-over takes of them."""
        return None

    def file_of(self, source: str) -> str:
        """The name of a source's joined file; never that of a small file."""
        name = safe_name(source)
        return f"{name}{'-records' * (name in SMALL)}.{'json' if self.is_array else 'jsonl'}"


@dataclass(frozen=True)
class ConversationFormat(AnnotationFormat):
    """A format of conversations. `prompt`: what the user says of a picture with a caption, as in Rules. `max_images`: a
    conversation with more pictures stays out; 0 for no bound.

    `marks` are what its readers take for a picture's place or the end of a turn.
    """

    takes: ClassVar[tuple[str, ...]] = ("pairs", "chat", "interleaved")
    marks: ClassVar[tuple[str, ...]] = (IMAGE, *CONTROL)
    system: ClassVar[bool] = False

    prompt: str = "describe"
    max_images: int = 0

    def __post_init__(self) -> None:
        require_range("--max-images", self.max_images, 0)
        mark = next((mark for mark in self.marks if mark in self.prompt), None)
        if mark or not self.prompt.strip():
            raise ConfigError(
                f"--prompt {self.prompt!r}: say describe, plain or a text{f' without {mark}' * bool(mark)}"
            )

    @property
    def rules(self) -> Rules:
        return Rules(self.prompt, self.marks, self.system)

    def fault(self, talk: Talk) -> str | None:
        return "too_many_pictures" if 0 < self.max_images < len(talk.pictures) else None


def from_and_value(talk: Talk, place: Callable[[Shown], str] = lambda _: IMAGE) -> list[dict[str, str]]:
    """The turns as LLaVA has them and most others took over: {"from": "human" or "gpt", "value": ...}."""
    names = {"user": "human", "assistant": "gpt"}
    return [{"from": names.get(turn.role, turn.role), "value": turn.value(place)} for turn in talk.turns]


def llava_record(entry: Entry) -> dict[str, Any]:
    """A conversation as LLaVA has it: `id`, `image` (a name, or of several a list; absent where there is none) and
    `conversations`."""
    names = list(entry.images)
    image = {"image": names[0] if len(names) == 1 else names} if names else {}
    return {"id": entry.id, **image, "conversations": from_and_value(entry.talk)}


def export_annotations(
    format: AnnotationFormat, source: Storage, shard_samples: int, shuffle: bool, seed: int
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job that writes pictures and annotations of the kept examples of `source`, and what completes it. Raises
    ConfigError."""
    wanted = Wanted(format.name, format.takes, format.captions, format.sources, asdict(format))
    slices = plan_examples(source, shard_samples, seed if shuffle else None, wanted)
    epochs_of(source, {})  # a file of stages that is broken is told now and not at the end
    steps = (Annotate(source.root, format), Join(format))
    return Job(steps=steps, slices=slices, known_slices=known_slices), partial(_finish, format, source)


@dataclass(frozen=True)
class Annotate(Stage):
    """Writes one output shard: its pictures and its records. `origin` is where the examples come from."""

    origin: str = field(metadata={"runtime": True})
    format: AnnotationFormat

    name: ClassVar[str] = "annotate"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("annotations",)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        plan, counts = shard.source(), attempt.counts
        counts.update({"in": len(plan), "kept": 0, "records": 0, "pictures": 0})
        path, taken = attempt.path(_part(shard.id)), set[str]()
        with plain_errors(f"write {path}"), open(path, "wb") as lines:
            for place, example in read_examples(Storage(self.origin), plan):
                talk = talk_of(example, place["kind"], self.format.rules, counts)
                reason = talk if isinstance(talk, str) else self.format.fault(talk)
                if isinstance(talk, str) or reason is not None:
                    counts[f"dropped.{reason}"] += 1
                    continue
                name = f"{shard.id}/{_free_name(example.key, taken)}"
                images = tuple(_put(talk.pictures, name, attempt))
                records = self.format.records(Entry(name, talk, images, example))
                lines.writelines(strict_json(record) + b"\n" for record in records)
                counts.update({"kept": 1, "records": len(records), "pictures": len(images)})


@dataclass(frozen=True)
class Join(Barrier):
    """Joins the records of each source into the one file that the format wants, a line at a time."""

    format: AnnotationFormat

    name: ClassVar[str] = "join"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("annotations",)

    def run(self, shards: Sequence[Shard], attempt: Attempt) -> None:
        there = {shard.id for shard in shards}
        plan = read_plan(attempt.storage)
        for source, _, own in _sources(plan) if plan else ():
            path = attempt.path(self.format.file_of(source))
            lines = _lines(attempt.storage, [shard for shard in own if shard in there])
            with plain_errors(f"write {path}"):
                _write(path, lines, self.format.is_array)


def _part(shard: str) -> str:
    return f"annotations/{shard}.jsonl"


def _free_name(key: str, taken: set[str]) -> str:
    """A file's name for a key that no other of the shard has, also where large and small letters are one."""
    name, number = safe_name(key), 0
    while (found := f"{name}-{number}" if number else name).lower() in taken:
        number += 1
    taken.add(found.lower())
    return found


def _put(pictures: Sequence[Shown], name: str, attempt: Attempt) -> Iterator[str]:
    """Write the pictures of one example; their names."""
    for number, picture in enumerate(pictures):
        end = f".{number}" if len(pictures) > 1 else ""
        file = f"images/{name}{end}.{picture.extension}"
        attempt.write_bytes(file, picture.data)
        yield file


def _sources(plan: SlicePlan) -> Iterator[tuple[str, str, list[str]]]:
    """Name, kind and output shards of each source, in the plan's order."""
    shards = iter(piece.shard for piece in plan.slices)
    for own in plan.identity["sources"]:
        yield own["name"], own["kind"], [next(shards) for _ in range(own["shards"])]


def _lines(storage: Storage, shards: Sequence[str]) -> Iterator[bytes]:
    """The records of these shards, without line ends."""
    for shard in shards:
        with plain_errors(f"read {_part(shard)}"), storage.open(_part(shard)) as part:
            for line in part:
                yield line.rstrip(b"\n")


def _write(path: Path, lines: Iterator[bytes], is_array: bool) -> None:
    with open(path, "wb") as target:
        between = b"[\n" if is_array else b""
        for line in lines:
            target.write(between + line)
            between = b",\n" if is_array else b"\n"
        if is_array:
            target.write((between if between == b"[\n" else b"\n") + b"]\n")
        elif between:
            target.write(b"\n")


def _finish(format: AnnotationFormat, source: Storage, target: Storage) -> dict[str, Any]:
    """Write what needs all shards, and `export.json`; answers what was written."""
    plan = read_plan(target)
    wanted = {piece.shard for piece in plan.slices} if plan else set()
    counts = _counts(target, wanted)
    joined = [
        Joined(name, kind, format.file_of(name), sum(counts[shard]["records"] for shard in own if shard in counts))
        for name, kind, own in (_sources(plan) if plan else ())
    ]
    left = [own for own in joined if own.records]
    epochs, unsaid = epochs_of(source, {own.source: own.records for own in left})
    format.finish(target, left, epochs)
    told = _told(plan, counts)
    files = {own.source: {"kind": own.kind, "file": own.file, "records": own.records} for own in joined}
    settings = plan.settings if plan else {}
    stages = {"stages": epochs, "stages_not_by_sample": unsaid, **lacking(source, {own.source for own in left})}
    summary = {**told, "sources": files, **stages, "settings": settings, "per_shard": dict(sorted(counts.items()))}
    target.write(SUMMARY, json.dumps(summary, indent=1).encode())
    return told


def _counts(target: Storage, wanted: Collection[str]) -> dict[str, dict[str, int]]:
    """The counts of each output shard; one commit is in memory at a time, for it lists all its files."""
    log, found = CommitLog(target), dict[str, dict[str, int]]()
    for name in sorted(target.files(f"commits/{Annotate.name}")):
        commit = log.read(name)
        if commit.shard in wanted:
            found[commit.shard] = dict(commit.counts)
    return found


def _told(plan: SlicePlan | None, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    total: Counter[str] = Counter()
    for own in counts.values():
        total.update(own)
    identity = plan.identity if plan else {}
    return {
        "shards": len(counts),
        "examples": total["kept"],
        "records": total["records"],
        "pictures": total["pictures"],
        "examples_left_out": counts_of(total, "dropped."),
        "slots_without_picture": counts_of(total, "missing."),
        "pictures_left_out": counts_of(total, "left_out."),
        "pictures_reencoded": total["reencoded"],
        ESCAPED: total[ESCAPED],
        **({WITHOUT_TEXT: identity[WITHOUT_TEXT]} if WITHOUT_TEXT in identity else {}),
        "shards_without_selection": len(identity.get("undecided", ())),
    }
