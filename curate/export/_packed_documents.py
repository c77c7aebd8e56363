"""The pages of a hand-over, for the formats of documents: what a data set says of a page, as far as it is there.

A hand-over keeps texts, pictures and where they came from (`image_urls`), and nothing of a picture's alt text, title or
embedding: formats that place pictures by similarity go by the order of the page. A picture without a URL is called
`sha256:HEX` after its bytes, since some formats know a picture by nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from curate.export._examples import Wanted, plan_examples, read_examples
from curate.fetch.members import strict_json
from curate.sample import Document, Part, Picture
from curate.shard import Slice
from curate.storage import Storage

__all__ = ["packed_documents", "plan_packed"]

KIND = "interleaved"
URLS = "image_urls"
FACTS = {"warc_filename": "source_file", "warc_record_offset": "source_offset", "warc_record_length": "source_length"}
"""Names of a hand-over's page, and of a data set's."""


def plan_packed(
    source: Storage, shard_samples: int, seed: int | None, format: str, options: Mapping[str, Any]
) -> Callable[[Storage], Iterator[Slice]]:
    """What cuts the interleaved sources of a hand-over into output shards; `options` are the format's, and `sources` of
    them names those that leave. Raises ConfigError, also what is called."""
    wanted = Wanted(format, (KIND,), sources=options.get("sources", ""), options=options)
    return plan_examples(source, shard_samples, seed, wanted)


def packed_documents(origin: Storage, plan: pa.Table) -> Iterator[Document]:
    """The pages of a slice in its order. Raises ShardError where the hand-over has changed."""
    for _, example in read_examples(origin, plan):
        if isinstance(example, Document):
            known = json.loads(strict_json(example.columns))
            facts = {ours: known.get(theirs) for theirs, ours in FACTS.items()}
            parts = tuple(_named(example.parts, known.get(URLS)))
            yield replace(example, parts=parts, columns={**known, **facts, "url_repeats": False})


def _named(parts: Sequence[Part], urls: object) -> Iterator[Part]:
    """The parts: texts without half characters, and pictures with their URLs where there is one for each part."""
    known = urls if isinstance(urls, list) and len(urls) == len(parts) else [None] * len(parts)
    for part, url in zip(parts, known, strict=True):
        if isinstance(part, Picture):
            own = url if isinstance(url, str) else ""
            yield replace(part, url=own or _name(part.image))
        else:
            yield replace(part, text=part.text.encode("utf-8", "replace").decode())


def _name(image: bytes | None) -> str:
    return f"sha256:{hashlib.sha256(image).hexdigest()}" if image is not None else ""
