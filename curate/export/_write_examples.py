"""Examples of any kind written shard by shard in one consumer's format, and what is told of them at the end.

    _examples.py   which examples leave, in which order
    <format>.py    a `Format`: its settings, what writes one output shard, and the files that need all of them

An output shard has examples of one source. What a format has no form for is left out, and counted by its reason in
`export.json`. For formats that keep the kinds apart, `ready` says what may leave: a pair or a conversation without one
of its pictures says something else than with it, so it stays out whole; a page without one of its pictures is still a
page, so the place alone goes. Formats of conversations have `curate.export._talk` for that.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

from curate.errors import ConfigError
from curate.export._documents import counts_of, with_options
from curate.export._examples import WITHOUT_TEXT, Wanted, plan_examples, read_examples
from curate.export._interleave import settle
from curate.export._names import safe_name
from curate.export._talk import CONTROL, IMAGE
from curate.fetch.members import strict_json
from curate.handover.layout import KINDS, Example, Kind, members_of, pictures_of
from curate.manifest import Attempt, CommitLog
from curate.plan import Job
from curate.sample import Conversation, Document, Part, Picture, Text
from curate.shard import Shard
from curate.slices import known_slices, read_plan
from curate.stage import Runtime, Stage
from curate.storage import Storage

__all__ = [
    "ExampleFormat",
    "ExampleWriter",
    "Made",
    "Output",
    "PackExamples",
    "TalkFormat",
    "export_examples",
    "ready",
    "strict_members",
]

SUMMARY = "export.json"


@dataclass(frozen=True)
class Output:
    """One output shard: its id, and of which source and kind its examples are."""

    shard: str
    source: str
    kind: Kind

    @property
    def folder(self) -> str:
        """A folder for the files of its source."""
        return safe_name(self.source)


@dataclass(frozen=True)
class Made:
    """An output shard that was written, and what was counted: `kept`, `dropped.REASON` and what the writer adds."""

    output: Output
    counts: Mapping[str, int]


class ExampleWriter(Protocol):
    """Writes the examples of one output shard."""

    def add(self, example: Example) -> str | None:
        """Write one example; the reason where it must stay out."""
        ...


@dataclass(frozen=True)
class ExampleFormat(ABC):
    """A consumer's format and its settings. `takes` are the kinds that it has a form for.

    `captions`: the view whose texts leave, of a data set of pairs. `sources`: those of a hand-over that leave, with
    commas between.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = KINDS

    captions: str = ""
    sources: str = ""

    @abstractmethod
    def writer(self, output: Output, attempt: Attempt) -> AbstractContextManager[ExampleWriter]:
        """What writes one output shard; its files are whole when the context ends."""

    @abstractmethod
    def finish(self, source: Storage, target: Storage, made: Sequence[Made]) -> Mapping[str, Any]:
        """Write the files that need all shards; what else is to be told of the export, by name.

        `made` are the shards of `target`, in order; `source` is where they came from.
        """


@dataclass(frozen=True)
class TalkFormat(ExampleFormat):
    """A format whose examples are conversations. `prompt` is what the user says of a picture with a caption:
    "describe", "plain" or a text; `marks` as in `curate.export._talk.Rules`."""

    marks: ClassVar[tuple[str, ...]] = (IMAGE, *CONTROL)

    prompt: str = "describe"

    def __post_init__(self) -> None:
        if not self.prompt.strip() or any(mark in self.prompt for mark in self.marks):
            raise ConfigError(
                f"--prompt {self.prompt!r} must be describe, plain or a text, without {' or '.join(self.marks)}"
            )


F = TypeVar("F", bound=ExampleFormat)


def export_examples(
    format: type[F], source: Storage, shard_samples: int, seed: int | None, options: Mapping[str, Any]
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job that writes the examples of `source` in a format, and what completes it. `options` are the format's
    fields. Raises ConfigError for another."""
    made = with_options(format, options)
    wanted = Wanted(format.name, format.takes, made.captions, made.sources, asdict(made))
    slices = plan_examples(source, shard_samples, seed, wanted)
    job = Job(steps=(PackExamples(source.root, made),), slices=slices, known_slices=known_slices)
    return job, partial(_finish, made, source)


@dataclass(frozen=True)
class PackExamples(Stage):
    """Writes one output shard. `origin` is the data set or hand-over that the examples come from."""

    origin: str = field(metadata={"runtime": True})
    format: ExampleFormat

    name: ClassVar[str] = "pack"

    @property
    def reads(self) -> tuple[str, ...]:
        return ("source",)

    @property
    def writes(self) -> tuple[str, ...]:
        return ("examples",)

    def run(self, shard: Shard, attempt: Attempt, runtime: Runtime) -> None:
        plan, counts = shard.source(), attempt.counts
        counts.update({"in": len(plan), "kept": 0})
        first = plan.slice(0, 1).to_pylist()[0]
        with self.format.writer(Output(shard.id, first["source"], first["kind"]), attempt) as writer:
            for _, example in read_examples(Storage(self.origin), plan):
                reason = writer.add(example)
                counts["kept" if reason is None else f"dropped.{reason}"] += 1


def ready(
    example: Example, kind: str, usable: Callable[[Picture], Picture], counts: Counter[str]
) -> tuple[Example, str | None]:
    """The example as it may leave, and the reason why it may not: `picture_missing`, `no_picture`, `no_text`,
    `no_answer`.

    `usable` makes of a picture what the format takes, without bytes where that cannot be. Pages count as `settle` does.
    """
    if isinstance(example, Document):
        if kind == "interleaved":
            return settle(example, "drop_slot", usable, counts)
        return example, None if any(_said(part) for part in example.parts) else "no_text"
    if isinstance(example, Conversation):
        turns = tuple(replace(t, parts=tuple(_with(p, usable) for p in t.parts)) for t in example.turns)
        example = replace(example, turns=turns)
        if any(picture.image is None for picture in pictures_of(example)):
            return example, "picture_missing"
        answered = any(turn.role == "assistant" and any(_said(p) for p in turn.parts) for turn in turns)
        return example, None if answered else "no_answer"
    if not example.image:
        return example, "picture_missing"
    picture = usable(Picture("", example.image, example.extension, "success"))
    if picture.image is None:
        return example, "picture_missing"
    example = replace(example, image=picture.image, extension=picture.extension)
    return example, None if (example.caption or "").strip() else "no_text"


def strict_members(example: Example, kind: Kind) -> list[tuple[str, bytes]]:
    """As `members_of`, whatever else is known of the example: what JSON cannot hold is as `strict_json` has it."""
    return members_of(replace(example, columns=json.loads(strict_json(example.columns))), kind)


def _with(part: Part, usable: Callable[[Picture], Picture]) -> Part:
    return usable(part) if isinstance(part, Picture) and part.image is not None else part


def _said(part: Part) -> bool:
    return isinstance(part, Text) and bool(part.text.strip())


def _finish(format: ExampleFormat, source: Storage, target: Storage) -> dict[str, Any]:
    """Write what needs all shards, and `export.json`; answers what was written."""
    plan = read_plan(target)
    identity = plan.identity if plan else {"sources": [], "undecided": []}
    of_shard = [(own["name"], own["kind"]) for own in identity["sources"] for _ in range(own["shards"])]
    slices = plan.slices if plan else ()
    outputs = {piece.shard: Output(piece.shard, *own) for piece, own in zip(slices, of_shard, strict=False)}
    counts = {c.shard: dict(c.counts) for c in CommitLog(target).fold([PackExamples.name])}
    made = [Made(output, counts[shard]) for shard, output in outputs.items() if shard in counts]
    told = {**_told(made, identity), **format.finish(source, target, made)}
    per_shard = {own.output.shard: {"source": own.output.source, **own.counts} for own in made}
    settings = plan.settings if plan else {}
    summary = {**told, "settings": settings, "per_shard": per_shard}
    target.write(SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
    return told


def _told(made: Sequence[Made], identity: Mapping[str, Any]) -> dict[str, Any]:
    total: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    for own in made:
        total.update(own.counts)
        by_source[own.output.source] += own.counts["kept"]
    without = {WITHOUT_TEXT: identity[WITHOUT_TEXT]} if WITHOUT_TEXT in identity else {}
    named = ("in", "kept", "slots")
    others = {name: n for name, n in sorted(total.items()) if n and not {".", ":"} & {*name} and name not in named}
    return {
        "shards": len(made),
        "examples": total["kept"],
        "examples_by_source": dict(by_source),
        "examples_left_out": counts_of(total, "dropped."),
        "slots": total["slots"],
        "slots_without_picture": counts_of(total, "missing."),
        "pictures_left_out": counts_of(total, "left_out."),
        "other_counts": others,
        **without,
        "shards_without_selection": len(identity["undecided"]),
    }
