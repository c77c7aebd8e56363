"""`manifest.json`: the one file that says which shards a hand-over has, what is in them and where they came from.

It is JSON so that any trainer reads it without us, and valid against `manifest.schema.json` beside this file. A line a
shard: 1.3 kB, so 40,000 shards are 52 MB. To check and read such a one takes 21 s of one core and 310 MB, once a
training, in the process that deals out the shards. A reader takes the shards from here and never from a listing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from curate.errors import ShardError
from curate.handover.layout import Kind
from curate.manifest import FileRecord, fingerprint
from curate.storage import Storage

__all__ = [
    "MANIFEST",
    "VERSION",
    "Manifest",
    "ShardEntry",
    "SourceEntry",
    "StagesEntry",
    "as_manifest",
    "check_record",
    "dataset_id",
    "manifest_schema",
    "read_manifest",
    "read_record",
    "require_valid",
]

MANIFEST = "manifest.json"
VERSION = 1
MOST_BYTES = 1 << 30
"""Of a manifest, 800,000 shards; a larger one is not read."""
MOST_CHARS = 200
"""Of what a check says of a wrong value."""


@dataclass(frozen=True)
class ShardEntry:
    """A shard: one tar of `samples` examples of one source and kind, and the tables beside it.

    `sha256` (hex) and `bytes` are the tar's; `files` has all files of the shard, the tar too. Of its `images` a model
    drew `synthetic_images`. `text_tokens` by tokenizer: of all text, of pairs that of the first caption. Histograms
    (`width_px`, `height_px`, `aspect`: width by height) count the pictures that are there, by `Manifest.bins`.
    `captions`: by origin, the number of `texts`, their `words` (a histogram), `text_tokens` and the range of their
    `score`. `scores`: of each column of scores how many `values`, `min` and `max`.
    """

    id: str
    tar: str
    sha256: str
    bytes: int
    source: str
    kind: Kind
    samples: int
    images: int
    text_tokens: Mapping[str, int]
    files: tuple[FileRecord, ...]
    synthetic_images: int = 0
    chars: int = 0
    width_px: tuple[int, ...] = ()
    height_px: tuple[int, ...] = ()
    aspect: tuple[int, ...] = ()
    captions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceEntry:
    """A source of the hand-over: where it was read (`path`, as the config names it), under which `licence` ("" where
    none is told), by which other `settings`; what the `cut` found and how many examples were `left_out`, by reason; its
    `lineage` (None where the parent tells nothing)."""

    kind: Kind
    path: str
    licence: str
    about: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    cut: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    lineage: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StagesEntry:
    """The file with the training stages, its digest (hex) and the stages' `names` in order."""

    file: str
    sha256: str
    bytes: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """A whole manifest. What has a default may be missing in one that somebody wrote by hand.

    `dataset_id`: of the contents alone (`dataset_id`), so it is the same wherever and whenever they are made.
    `tokenizers`, `shards[].text_tokens`: by the config's names. `opt_out_date` YYYY-MM-DD. `bins`: the least value of
    each bin of the histograms; the last one has no end. `columns`, `views`, `decontamination`, `totals`: as JSON, see
    docs/handover_manifest.md.
    """

    dataset_id: str
    created_by: Mapping[str, Any]
    sources: Mapping[str, SourceEntry]
    tokenizers: Mapping[str, Mapping[str, Any]]
    shards: tuple[ShardEntry, ...]
    manifest_version: int = VERSION
    licence_policy: str = ""
    opt_out_date: str | None = None
    decontamination: tuple[Mapping[str, Any], ...] = ()
    columns: tuple[Mapping[str, Any], ...] = ()
    views: tuple[Mapping[str, Any], ...] = ()
    stages: StagesEntry | None = None
    bins: Mapping[str, Sequence[float]] = field(default_factory=dict)
    totals: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def of(self, source: str) -> list[ShardEntry]:
        """The shards of one source, in order."""
        return [shard for shard in self.shards if shard.source == source]


def read_manifest(storage: Storage) -> Manifest:
    """The manifest of the hand-over in `storage`. Raises ShardError where there is none, and where it is not valid: the
    message names the entry."""
    record = read_record(storage)
    require_valid(record, f"{MANIFEST} in {storage.root}")
    return as_manifest(record)


def read_record(storage: Storage) -> dict[str, Any]:
    """The manifest as JSON, unchecked. Raises ShardError where there is none, or no JSON object."""
    place = f"{MANIFEST} in {storage.root}"
    try:
        if storage.size(MANIFEST) > MOST_BYTES:
            raise ShardError(f"{place} is larger than {MOST_BYTES >> 30} GiB, which no hand-over's is")
        record = json.loads(storage.read(MANIFEST), parse_constant=_no_number)
    except FileNotFoundError:
        raise ShardError(f'{storage.root} has no {MANIFEST}; run a config with pipeline = "handover" first') from None
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{place} is not JSON: {error}; run the hand-over again") from None
    if not isinstance(record, dict):
        raise ShardError(f"{place} is no JSON object; run the hand-over again")
    return record


def as_manifest(record: Mapping[str, Any]) -> Manifest:
    """The dataclasses of a record that is valid."""
    stages = record.get("stages")
    entries: dict[str, Any] = {
        **{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()},
        "sources": {name: SourceEntry(**own) for name, own in record["sources"].items()},
        "shards": tuple(_shard(own) for own in record["shards"]),
        "stages": StagesEntry(**{**stages, "names": tuple(stages["names"])}) if stages else None,
    }
    return Manifest(**entries)


def require_valid(record: Mapping[str, Any], place: str) -> None:
    """Raise ShardError for the first entry that is not as the schema says; `place` heads the message."""
    found = check_record(record)
    if found:
        raise ShardError(f"{place}: {found}")


def check_record(record: Mapping[str, Any], part: str = "") -> str:
    """What is wrong with a manifest, or with a `part` of one such as "shard": the entry and why; "" for nothing."""
    import jsonschema  # type: ignore[import-untyped]

    error = jsonschema.exceptions.best_match(_validator(part).iter_errors(record))
    if error is None:
        return ""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    words = error.message if len(error.message) <= MOST_CHARS else f"{error.message[:MOST_CHARS]} ..."
    return f"{place.lstrip('.') or 'the whole'}: {words}"


def manifest_schema() -> dict[str, Any]:
    """The JSON schema of a manifest (draft 2020-12)."""
    text = files("curate.handover").joinpath("manifest.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def dataset_id(shards: Iterable[tuple[str, str, Iterable[FileRecord]]]) -> str:
    """16 hex digits for the contents of a hand-over: for each shard its source, its kind and the digests of its files.
    Stages, paths, clocks, code and lineage are no part of it."""
    parts = [[source, kind, sorted([f.name, f.sha256] for f in own)] for source, kind, own in shards]
    return fingerprint([VERSION, parts])


@cache
def _validator(part: str) -> Any:
    import jsonschema

    schema = manifest_schema()
    whole = schema["$defs"][part] if part else {name: own for name, own in schema.items() if name != "$defs"}
    return jsonschema.Draft202012Validator(_inlined(whole, schema["$defs"]))


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with definitions in place of references to them, which are most of a check's time."""
    if isinstance(schema, list):
        return [_inlined(own, definitions) for own in schema]
    if not isinstance(schema, dict):
        return schema
    own = {name: _inlined(value, definitions) for name, value in schema.items() if name != "$ref"}
    if "$ref" in schema:
        own |= _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return own


def _shard(record: Mapping[str, Any]) -> ShardEntry:
    lists = {name: tuple(record[name]) for name in ("width_px", "height_px", "aspect") if name in record}
    records = tuple(FileRecord(file["name"], file["bytes"], file["sha256"]) for file in record["files"])
    return ShardEntry(**{**record, **lists, "files": records})


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
