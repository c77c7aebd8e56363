"""Examples and data sets of pairs with real pictures, written by hand; and exports of them."""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from document_sets import jpeg, put_table

from curate.export import exporter
from curate.fetch.members import IndexedTar
from curate.handover.layout import Example, members_of
from curate.run.inline import InlineEngine
from curate.run.scheduler import run_job
from curate.sample import Conversation, Document, Part, Picture, Sample, Text, Turn
from curate.storage import Storage
from curate.tar import TarWriter


def picture(seed: int, extension: str = "jpg", side: int = 24) -> Picture:
    """A picture that decodes."""
    kind = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[extension]
    return Picture("", jpeg(seed, side, kind), extension, "success")


def pair(key: str, seed: int, caption: str | None, extension: str = "jpg", **columns: Any) -> Sample:
    return Sample(key, picture(seed, extension).image or b"", extension, caption, columns)


def talk(key: str, *turns: tuple[str, Sequence[Part | str]], **columns: Any) -> Conversation:
    """A conversation of (role, parts); a string is a text."""
    parts = [(role, tuple(Text(p) if isinstance(p, str) else p for p in own)) for role, own in turns]
    return Conversation(key, tuple(Turn(role, own) for role, own in parts), columns)


def page(key: str, *parts: Part | str, **columns: Any) -> Document:
    return Document(key, tuple(Text(p) if isinstance(p, str) else p for p in parts), columns)


def put_pairs(storage: Storage, shard: str, examples: Sequence[Example]) -> None:
    """One shard of pairs: tar, index and sample table."""
    target = io.BytesIO()
    writer = TarWriter(target)
    tar = IndexedTar(writer)
    for example in examples:
        for extension, data in members_of(example, "pairs"):
            tar.add(example.key, extension, data)
    writer.finish()
    storage.write(f"{shard}.tar", target.getvalue())
    put_table(storage, f"{shard}.index.parquet", tar.index())
    put_table(storage, f"{shard}.parquet", pa.table({"key": pa.array([e.key for e in examples], pa.string())}))


def put_view(storage: Storage, shard: str, keys: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    """The columns of a view called mix, all texts by one captioner."""
    lists = {"mix_texts": pa.array(texts, pa.list_(pa.string()))}
    lists["mix_origins"] = pa.array([["cap"] * len(own) for own in texts], pa.list_(pa.string()))
    for name in ("mix_scores", "mix_weights"):
        lists[name] = pa.array([[0.5] * len(own) for own in texts], pa.list_(pa.float32()))
    put_table(storage, f"{shard}.view_mix.parquet", pa.table({"key": pa.array(keys, pa.string()), **lists}))


def run_export(format: str, source: Storage, target: Storage, **options: Any) -> dict[str, Any]:
    """Run an export to its end; answers what it tells. Two examples a shard where nothing else is said."""
    settings = {"shard_samples": 2, "shuffle": False, "seed": 0, **options}
    job, finish = exporter(format)(source, **settings)
    outcome = run_job(job, target, InlineEngine())
    assert not outcome.failed, outcome.failed
    return finish(target)


def every_kind() -> dict[str, Sequence[Example]]:
    """Sources of a hand-over, with what trainers stumble over: several pictures, late ones, none, quoted marks."""
    late = talk("l", ("user", ["hello"]), ("assistant", ["hi"]), ("user", ["this:", picture(8)]), ("assistant", ["ok"]))
    quotes = talk("q", ("user", [picture(9), "what is <image> for?"]), ("assistant", ["a place</s> in LLaVA"]))
    several = talk("s", ("system", ["be short"]), ("user", [picture(10), picture(11), "both?"]), ("assistant", ["yes"]))
    return {
        "web": [pair(f"p{n}", n, f"words {n} of a <image>", "png" if n == 2 else "jpg") for n in range(4)],
        "chat set": [late, quotes, several, talk("n", ("user", ["no picture"]), ("assistant", ["none"]))],
        "pages": [page("d", "lead", picture(12), "one", picture(13), picture(14), "two")],
    }
