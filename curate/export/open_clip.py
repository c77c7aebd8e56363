"""Tars for open_clip's training, and the flags to run it with.

    00000.tar                     KEY.jpg KEY.json KEY.txt; each of one source
    sizes.json                    {"00000.tar": 10000, ...}
    open_clip_flags.txt           every source as it is
    open_clip_flags.STAGE.txt     of a hand-over with stages: sources by their weights or repeats
    open_clip_flags_json.txt      where pairs have several texts: which of them is read, and how likely
    README.md                     how to use them

`xargs -a open_clip_flags.txt python -m open_clip_train.main --model ViT-B-32` runs one: xargs takes the quotes off and
leaves the braces to open_clip. What its loader would pass over without a word (no `.txt`; a picture that is no JPEG,
PNG or WebP) is left out, or made a JPEG, so that the number of samples is the one that an epoch has. It draws shards
with replacement by `--train-data-upsampling-factors`; a factor here is a source's weight for each of its samples, and
so its share of the draws is its weight.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from json import dumps
from typing import Any, ClassVar

from curate.export._documents import open_tar
from curate.export._interleave import readable
from curate.export._mixture import Share, sampled
from curate.export._write_examples import (
    ExampleFormat,
    ExampleWriter,
    Made,
    Output,
    export_examples,
    ready,
    strict_members,
)
from curate.handover.layout import Example
from curate.manifest import Attempt
from curate.plan import Job
from curate.sample import Picture, Sample
from curate.storage import Storage
from curate.tar import TarWriter

__all__ = ["OpenClip", "export"]

READ = ("jpg", "png", "webp")
MICRO = 1_000_000
ORIGIN = "caption_micro_weight:"
"""Counts, by origin, the weights of texts in millionths."""
PIPES = {"s3://": "pipe:aws s3 cp {} -", "gs://": "pipe:gcloud storage cat {}"}
"""How open_clip's reader is told of what lies in a bucket."""

README = """Pairs for open_clip. Each file of flags tells `open_clip_train.main` where the data is; the rest is yours:

    xargs -a open_clip_flags.txt python -m open_clip_train.main --model ViT-B-32 --batch-size 256 --workers 4

- There are {shards} shards with {samples} samples, so `--workers` times the number of processes is {shards} at most:
  it refuses more. Fewer samples per shard (`curate export --shard-samples`) make more shards.
- open_clip_torch 3.3 wants webdataset 0.2.86 or older; with webdataset 1.0 it stops with `KeyError: 'fname'`.
- `open_clip_flags_json.txt`, where it is there, is for versions with `--json-text-key`: add its flags to the others,
  and the texts of the `.json` are drawn instead of the one in `.txt`. So with a stage that weighs its texts.
- The paths are those where this was written. `export.json` says what was left out.
"""


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of OpenClip. Raises ConfigError."""
    return export_examples(OpenClip, source, shard_samples, seed if shuffle else None, options)


@dataclass(frozen=True)
class OpenClip(ExampleFormat):
    """Pairs, of several sources too."""

    name: ClassVar[str] = "open_clip"
    takes: ClassVar[tuple[str, ...]] = ("pairs",)

    @contextmanager
    def writer(self, output: Output, attempt: Attempt) -> Iterator[ExampleWriter]:
        with open_tar(attempt, f"{output.shard}.tar") as tar:
            yield _Writer(tar, attempt.counts)

    def finish(self, source: Storage, target: Storage, made: Sequence[Made]) -> dict[str, Any]:
        filled = [own for own in made if own.counts["kept"]]
        sizes = {f"{own.output.shard}.tar": own.counts["kept"] for own in filled}
        samples = sum(sizes.values())
        flags = {"": [*_data([_tars(target, filled)]), "--train-num-samples", str(samples)]}
        stages, told = sampled(source, filled)
        for stage, shares in stages.items():
            flags[f".{stage}"] = _mixed(target, filled, shares)
        keys = _likely(filled)
        if len(keys) > 1:
            flags["_json"] = _texts(keys)
        for name, own in flags.items():
            target.write(f"open_clip_flags{name}.txt", f"{shlex.join(own)}\n".encode())
        target.write("sizes.json", dumps(sizes, indent=1).encode())
        target.write("README.md", README.format(shards=len(sizes), samples=samples).encode())
        return told


def _mixed(target: Storage, made: Sequence[Made], shares: Sequence[Share]) -> list[str]:
    """The flags of a stage."""
    by_source = {share.source: [own for own in made if own.output.source == share.source] for share in shares}
    samples = {name: sum(own.counts["kept"] for own in owns) for name, owns in by_source.items()}
    factors = [share.weight / samples[share.source] if share.weight else share.repeat for share in shares]
    least = min((factor for factor in factors if factor), default=1.0)
    told = "::".join(f"{factor / least:.6g}" for factor in factors)
    data = _data([_tars(target, by_source[share.source]) for share in shares])
    drawn = ["--dataset-resampled", "--train-data-upsampling-factors", told]
    texts = [share.captions for share in shares]
    spoken = _texts(texts[0]) if texts[0] and all(own == texts[0] for own in texts) else []
    return [*data, *drawn, "--train-num-samples", str(sum(samples.values())), *spoken]


def _data(tars: Sequence[str]) -> list[str]:
    return ["--dataset-type", "webdataset", "--train-data", "::".join(tars)]


def _tars(target: Storage, made: Sequence[Made]) -> str:
    """These tars in braces: runs of neighbours as ranges."""
    numbers = [(place, own.output.shard) for place, own in enumerate(made)]
    runs = [[name for _, name in run] for _, run in groupby(numbers, key=lambda pair: int(pair[1]) - pair[0])]
    names = [run[0] if len(run) == 1 else f"{{{run[0]}..{run[-1]}}}" for run in runs]
    path = f"{target.root}/{names[0] if len(names) == 1 else '{' + ','.join(names) + '}'}.tar"
    pipe = next((pipe for scheme, pipe in PIPES.items() if path.startswith(scheme)), "{}")
    return pipe.format(path)


def _likely(made: Sequence[Made]) -> dict[str, float]:
    """The mean weight of the texts of each origin, over all samples."""
    total: Counter[str] = Counter()
    for own in made:
        total.update({name: count for name, count in own.counts.items() if name.startswith(ORIGIN)})
    whole = sum(total.values())
    return {name.removeprefix(ORIGIN): count / whole for name, count in total.most_common()}


def _texts(likely: Mapping[str, float]) -> list[str]:
    """Keys of the `.json`, by how likely each is; the first text where a sample has none of them."""
    keys = [name if name.startswith(("caption", "web_caption")) else f"caption_{name}" for name in likely]
    chances = dict(zip(keys, likely.values(), strict=True))
    chances.setdefault("caption", 0)
    return ["--json-text-key", ";".join(chances), "--json-text-key-probs", *(f"{p:.4g}" for p in chances.values())]


@dataclass
class _Writer:
    tar: TarWriter
    counts: Counter[str]

    def add(self, example: Example) -> str | None:
        example, reason = ready(example, "pairs", _readable, self.counts)
        if reason is not None or not isinstance(example, Sample):
            return reason
        own = dict(_by_origin(example.columns))
        self.counts.update({f"{ORIGIN}{origin}": round(weight * MICRO) for origin, (_, weight) in own.items()})
        named = {f"caption_{origin}": text for origin, (text, _) in own.items()}
        columns = {**example.columns, **named, "caption": example.caption}
        for name, data in strict_members(replace(example, columns=columns), "pairs"):
            self.tar.add(f"{example.key}.{name}", data)
        return None


def _readable(picture: Picture) -> Picture:
    return readable(picture, READ)


def _by_origin(columns: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, float]]]:
    """Of each origin its first text, and the weight of all its texts; nothing where the lists are not a view's."""
    lists = [columns.get(name) for name in ("captions", "caption_origins", "caption_weights")]
    texts, origins, weights = (own if isinstance(own, list) else [] for own in lists)
    if not len(texts) == len(origins) == len(weights):
        return
    found: dict[str, tuple[str, float]] = {}
    for text, origin, weight in zip(texts, origins, weights, strict=True):
        if isinstance(text, str) and isinstance(origin, str) and isinstance(weight, int | float):
            first, before = found.get(origin, (text, 0.0))
            found[origin] = (first, before + weight)
    yield from found.items()
