"""Pairs and the sources of a hand-over for Megatron-Energon: a data set for each source, and what blends them.

    SOURCE/00000.tar         as a hand-over's tar lies (`curate.handover.layout`), with its `.idx`
    SOURCE/.nv-meta/         see `curate.export._energon_meta`
    metadataset.yaml         all sources, each example once an epoch
    metadataset.STAGE.yaml   of a hand-over with stages: by the weights or repeats of each

Types by kind: pairs are `CaptioningSample` (`.txt`, the first text; `.json` has all), pages `InterleavedSample`, texts
`TextSample`. A conversation has no type of Energon's: where each of a source has one picture, one question and one
answer it is a `VQASample`, else the source is crude: `.json` has `messages`, and a cooker of the user's makes a sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, ClassVar

from curate.export._energon_meta import CRUDE, IndexedSamples, blend, decodable, open_samples, write_meta
from curate.export._interleave import runs
from curate.export._mixture import Share, sampled
from curate.export._write_examples import ExampleFormat, ExampleWriter, Made, Output, ready, strict_members
from curate.handover.layout import Example, Kind
from curate.manifest import Attempt
from curate.sample import Conversation, Document, Picture, Text
from curate.storage import Storage

__all__ = ["INTERLEAVED", "LOADER", "EnergonExamples"]

ONE_QUESTION = "one_question"
"""Counts conversations that are one picture, one question and one answer."""

_TYPE = "sample_type:\n  __module__: megatron.energon\n  __class__: {}\n"
PAIRS = _TYPE.format("CaptioningSample") + "field_map:\n  image: jpg,jpeg,png\n  caption: txt\n"
TEXT = _TYPE.format("TextSample") + "field_map:\n  text: json[text]\n"
_LOADED = "part_filter: sample_loader.py:part_filter\nsample_loader: sample_loader.py:sample_loader\n"
INTERLEAVED = _TYPE.format("InterleavedSample") + _LOADED
VQA = _TYPE.format("VQASample") + _LOADED

LOADER = '''"""Read by Energon: a document's JSON and its pictures as one sequence."""


def part_filter(part: str) -> bool:
    return True


def sample_loader(raw: dict) -> dict:
    document = raw["json"]
    order = zip(document["images"], document["texts"], strict=True)
    return {"__key__": raw["__key__"], "sequence": [text if name is None else raw[name] for name, text in order]}
'''

VQA_LOADER = '''"""Read by Energon: a picture, a question and its answer."""


def part_filter(part: str) -> bool:
    return True


def sample_loader(raw: dict) -> dict:
    asked, told = raw["json"]["messages"]
    [name] = [block["image"] for block in asked["content"] if block["type"] == "image"]
    context = "\\n".join(block["text"] for block in asked["content"] if block["type"] == "text")
    answer = "\\n".join(block["text"] for block in told["content"])
    return {"__key__": raw["__key__"], "image": raw[name], "context": context, "answers": [answer]}
'''


@dataclass(frozen=True)
class EnergonExamples(ExampleFormat):
    """JPEG and PNG leave as they are, other pictures as JPEG."""

    name: ClassVar[str] = "energon"

    @contextmanager
    def writer(self, output: Output, attempt: Attempt) -> Iterator[ExampleWriter]:
        with open_samples(attempt, f"{output.folder}/{output.shard}.tar") as samples:
            yield _Writer(samples, output.kind, attempt.counts)

    def finish(self, source: Storage, target: Storage, made: Sequence[Made]) -> dict[str, Any]:
        shares = []
        for output, own in groupby(made, key=lambda m: replace(m.output, shard="")):
            counts = {m.output.shard: m.counts for m in own}
            kept = {f"{shard}.tar": count["kept"] for shard, count in counts.items()}
            asked = sum(count.get(ONE_QUESTION, 0) for count in counts.values())
            write_meta(target, output.folder, kept, _files(output.kind, asked == sum(kept.values())))
            if any(kept.values()):
                shares.append(Share(output.source, output.folder, output.kind, 0.0, 1.0, "sample"))
        stages, told = sampled(source, made)
        for stage, own_shares in {"": shares, **stages}.items():
            target.write(f"metadataset{stage and '.'}{stage}.yaml", blend(own_shares).encode())
        return told


def _files(kind: str, one_question: bool) -> dict[str, str]:
    """`dataset.yaml` of a kind, and the loader that it names."""
    if kind == "interleaved":
        return {"dataset.yaml": INTERLEAVED, "sample_loader.py": LOADER}
    if kind == "chat":
        return {"dataset.yaml": VQA, "sample_loader.py": VQA_LOADER} if one_question else {"dataset.yaml": CRUDE}
    return {"dataset.yaml": PAIRS if kind == "pairs" else TEXT}


@dataclass
class _Writer:
    samples: IndexedSamples
    kind: Kind
    counts: Counter[str]

    def add(self, example: Example) -> str | None:
        example, reason = ready(example, self.kind, decodable, self.counts)
        if reason is not None:
            return reason
        if isinstance(example, Document):
            parts = tuple(Text(run) if isinstance(run, str) else run for run in runs(example))
            example = replace(example, parts=parts)
        self.counts[ONE_QUESTION] += isinstance(example, Conversation) and _is_one_question(example)
        self.samples.add([(f"{example.key}.{name}", data) for name, data in strict_members(example, self.kind)])
        return None


def _is_one_question(talk: Conversation) -> bool:
    if [turn.role for turn in talk.turns] != ["user", "assistant"]:
        return False
    asked, told = talk.turns
    pictures = sum(isinstance(part, Picture) for part in asked.parts)
    return pictures == 1 and all(isinstance(part, Text) for part in told.parts)
