"""The hand-over in Croissant 1.0 (JSON-LD of MLCommons), which search engines and `mlcroissant` read.

    manifest.json             a FileObject; its digest stands for all the others
    00000.tar 00000.parquet   FileObjects with digest and size
    NAME_tables               a FileSet of the sample tables of a source
    NAME_files                a FileSet of what a record is joined from: pictures of pairs, else `KEY.json`
    NAME_pictures_files       of pages and conversations also the pictures
    NAME                      a RecordSet: a record an example; NAME_pictures: a record a picture

A shard takes 600 bytes. `mlcroissant` holds all of it as a graph: 1,000 shards are read in seconds, many more are not,
so above MOST_SHARDS the tars and their records are left to the manifest, and the tables are described alone.

http://mlcommons.org/croissant/1.0, http://mlcommons.org/croissant/RAI/1.0
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from curate.handover.card_facts import Facts, SourceFacts, shard_globs
from curate.handover.card_licences import spdx_address
from curate.handover.card_words import cleaned
from curate.handover.croissant_fields import pictures_set, record_set
from curate.handover.manifest import MANIFEST, ShardEntry
from curate.shard import IMAGE_EXTENSIONS

if TYPE_CHECKING:
    from curate.handover.card import Publication

__all__ = ["MOST_SHARDS", "croissant_bytes"]

MOST_SHARDS = 1000
TAR, PARQUET, JSON = "application/x-tar", "application/x-parquet", "application/json"
VOCABULARY: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{
        name: f"cr:{name}"
        for name in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
}
"""The names of the standard, as its section on the context has them."""


def croissant_bytes(facts: Facts, words: Publication, manifest_sha256: str) -> bytes:
    """croissant.json, ASCII; no letter of it ends a `<script>` that a page puts it into."""
    whole = len(facts.manifest.shards) <= MOST_SHARDS
    sets = [own for name in facts.sources for own in _record_sets(facts, name, whole)]
    record = {
        "@context": VOCABULARY,
        "@type": "sc:Dataset",
        **_about(facts, words),
        **_responsible(facts),
        "distribution": [_manifest(manifest_sha256), *_distribution(facts, whole)],
        "recordSet": sets,
    }
    text = json.dumps(record, indent=1, allow_nan=False)
    return f"{text}\n".replace("<", "\\u003c").encode("ascii")


def _about(facts: Facts, words: Publication) -> dict[str, Any]:
    manifest, title = facts.manifest, words.title(facts)
    by = manifest.created_by
    tool = " ".join(cleaned(by[name]) for name in ("package", "version") if by.get(name)) or "an unknown program"
    kinds = sorted({manifest.sources[name].kind for name in facts.sources})
    licences = list(dict.fromkeys(_licence(manifest.sources[name].licence) for name in facts.sources))
    languages = sorted({language for own in facts.sources.values() for language in own.languages})
    told = {
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": title,
        "description": f"{facts.samples:,} examples ({', '.join(kinds)}) from {len(facts.sources)} sources, in shards.",
        "license": [licence for licence in licences if licence],
        "citeAs": f"{title}, data set {cleaned(manifest.dataset_id)}, made by {tool}",
        "creator": {"@type": "sc:Organization", "name": cleaned(words.creator)} if words.creator else None,
        "url": words.url,
        "datePublished": words.published,
        "version": words.version,
        "inLanguage": languages,
        "keywords": ["vision-language", *kinds],
    }
    return {name: value for name, value in told.items() if value} | {"isLiveDataset": False}


def _licence(licence: str) -> str:
    return spdx_address(licence) or cleaned(licence)


def _responsible(facts: Facts) -> dict[str, Any]:
    """What the extension for responsible AI asks and the manifest knows."""
    manifest = facts.manifest
    read = "; ".join(f"{name}: {cleaned(own.about or own.path)}" for name, own in manifest.sources.items())
    opted = manifest.opt_out_date
    collection = f"Composed of {read}. " + (
        f"Opt-outs were honoured up to {opted}." if opted else "Which opt-outs were honoured is not told."
    )
    models = {
        cleaned(model["model"])
        for source in manifest.sources.values()
        for model in (source.lineage or {}).get("models", ())
        if model.get("model")
    }
    told = {
        "rai:dataCollection": collection,
        "rai:dataPreprocessingProtocol": list(_steps(facts)),
        "rai:dataAnnotationProtocol": [
            f"{own['source']}: texts {cleaned(own['name'])}, origin {own['origin']}" for own in manifest.columns
        ],
        "rai:machineAnnotationTools": sorted(models),
        "rai:dataLimitations": [cleaned(own) for own in manifest.warnings],
    }
    return {name: value for name, value in told.items() if value}


def _steps(facts: Facts) -> Iterator[str]:
    for name, source in facts.manifest.sources.items():
        for line in (source.lineage or {}).get("funnel", ()):
            dropped = ", ".join(f"{cleaned(reason)} {n}" for reason, n in line["dropped"].items())
            told = f"{name}: {cleaned(line['stage'])} kept {line['kept']} of {line['in']}"
            yield f"{told} ({dropped})" if dropped else told


def _manifest(sha256: str) -> dict[str, Any]:
    words = "What is in each shard, where it comes from, and the digest of every file."
    return {**_file(MANIFEST, JSON, sha256), "description": words}


def _distribution(facts: Facts, whole: bool) -> Iterator[dict[str, Any]]:
    for shard in facts.manifest.shards if whole else ():
        yield _tar(shard, shard.tar)
        yield from _table(shard)
    for name, own in facts.sources.items():
        tables = [f"{glob}.parquet" for glob in shard_globs(own.shards)]
        yield _files(f"{name}_tables", PARQUET, tables, f"The sample tables of {name}.")
        if whole:
            yield from _archived(facts, name, own)


def _archived(facts: Facts, name: str, own: SourceFacts) -> Iterator[dict[str, Any]]:
    """What lies in the tars of a source. For a second FileSet of the same tars they are named once more: `mlcroissant`
    1.1 takes one FileSet of a FileObject and loses the others."""
    shards = facts.manifest.of(name)
    pictures = [f"*.{extension}" for extension in IMAGE_EXTENSIONS]
    pairs = facts.manifest.sources[name].kind == "pairs"
    first = ("image/*", pictures, f"The pictures of {name}.") if pairs else (JSON, ["*.json"], f"The JSON of {name}.")
    yield {**_files(f"{name}_files", *first), "containedIn": [{"@id": shard.tar} for shard in shards]}
    if not pairs and own.contents["images"]:
        again = [_tar(shard, f"{shard.id}_pictures") for shard in shards]
        yield from again
        files = _files(f"{name}_pictures_files", "image/*", pictures, f"The pictures of {name}.")
        yield {**files, "containedIn": [{"@id": tar["@id"]} for tar in again]}


def _tar(shard: ShardEntry, place: str) -> dict[str, Any]:
    return {**_file(shard.tar, TAR, shard.sha256), "@id": place, "contentSize": f"{shard.bytes} B"}


def _table(shard: ShardEntry) -> Iterator[dict[str, Any]]:
    for file in shard.files:
        if file.name == f"{shard.id}.parquet":
            yield {**_file(file.name, PARQUET, file.sha256), "contentSize": f"{file.bytes} B"}


def _file(name: str, form: str, sha256: str) -> dict[str, Any]:
    head = {"@type": "cr:FileObject", "@id": name, "name": name}
    return {**head, "contentUrl": name, "encodingFormat": form, "sha256": sha256}


def _files(name: str, form: str, includes: list[str], description: str) -> dict[str, Any]:
    head = {"@type": "cr:FileSet", "@id": name, "name": name, "description": description}
    return {**head, "encodingFormat": form, "includes": includes}


def _record_sets(facts: Facts, name: str, whole: bool) -> Iterator[dict[str, Any]]:
    own, kind = facts.sources[name], facts.manifest.sources[name].kind
    yield record_set(name, kind, own.schema, whole)
    if whole and kind != "pairs" and own.contents["images"]:
        yield pictures_set(name)
