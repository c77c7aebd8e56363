"""The page that a hand-over is published with: a dataset card in Hugging Face's form, and Croissant beside it.

    README.md        https://huggingface.co/docs/hub/datasets-cards
    croissant.json   http://mlcommons.org/croissant/1.0

Both say what `manifest.json` says, to people and to programs: sources and licences, what was dropped and why, sizes,
who wrote the captions, what is not known. The same manifest and tables give the same bytes: there is no clock, and no
name of the folder. A card of 40,000 shards is as long as one of four, for patterns of names stand for names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date

from curate.errors import ConfigError
from curate.handover.card_facts import Facts, read_facts
from curate.handover.card_front import MOST_PICTURES, front_matter, pictures_of_source
from curate.handover.card_reading import reading_section
from curate.handover.card_tables import captions_section, funnel_section, scores_section, sizes_section
from curate.handover.card_words import amount, cleaned, code, escaped, table
from curate.handover.croissant import croissant_bytes
from curate.handover.manifest import MANIFEST
from curate.registry import nearest
from curate.storage import Storage

__all__ = ["CARD", "CROISSANT", "Publication", "publication", "write_card"]

CARD = "README.md"
CROISSANT = "croissant.json"
OURS = "<!-- `curate export --to card` writes this file anew as long as this line is in it. -->"
MOST_BYTES = 1 << 20
"""Of a README.md that is looked at."""
ADDRESS = re.compile(r"https?://[0-9A-Za-z._~:/?#@!$&'()*+,;=%-]+")
KINDS = {
    "pairs": "pairs of a picture and its captions",
    "interleaved": "pages of text and pictures in reading order",
    "chat": "conversations",
    "text": "texts",
}


@dataclass(frozen=True)
class Publication:
    """What no manifest knows. `name` of the data set, `creator` who stands for it, `url` where it is to be found,
    `published` YYYY-MM-DD, `version` 1.2.3; what is "" is left out."""

    name: str = ""
    creator: str = ""
    url: str = ""
    published: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        if self.published:
            try:
                date.fromisoformat(self.published)
            except ValueError:
                raise ConfigError(f"published={self.published} is no date; write YYYY-MM-DD") from None
        if self.version and not re.fullmatch(r"\d{1,9}\.\d{1,9}\.\d{1,9}", self.version):
            raise ConfigError(f"version={self.version} is not of the form 1.2.3")
        if self.url and not ADDRESS.fullmatch(self.url):
            raise ConfigError(f"url={self.url} is no address; write https://...")

    def title(self, facts: Facts) -> str:
        """The name, or one by what the hand-over holds."""
        return cleaned(self.name) or f"Hand-over {facts.manifest.dataset_id}"


def publication(entries: list[str]) -> Publication:
    """The entries `KEY=VALUE` of a command line. Raises ConfigError for another key, or one without a value."""
    found: dict[str, str] = {}
    known = [own.name for own in fields(Publication)]
    for entry in entries:
        name, sign, value = entry.partition("=")
        if name not in known or not sign:
            raise ConfigError(f"--describe {entry}: write KEY=VALUE; {nearest(name, known)}")
        found[name] = value.strip()
    return Publication(**found)


def write_card(source: Storage, target: Storage, words: Publication) -> Mapping[str, int]:
    """Write both files of the hand-over in `source` into `target`, which may be the same folder; answers their bytes.
    Raises ShardError where there is no hand-over, or one of its tables cannot be read, ConfigError where a README.md
    lies there that somebody else wrote."""
    facts = read_facts(source)
    if target.exists(CARD) and OURS.encode() not in target.read_range(CARD, 0, min(target.size(CARD), MOST_BYTES)):
        raise ConfigError(f"{target.path(CARD)} is somebody's own; move it, or choose another --out")
    digest = hashlib.sha256(source.read(MANIFEST)).hexdigest()
    written = {CARD: _card(facts, words), CROISSANT: croissant_bytes(facts, words, digest)}
    for name, data in written.items():
        target.write(name, data)
    return {name: len(data) for name, data in written.items()}


def _card(facts: Facts, words: Publication) -> bytes:
    """README.md, in UTF-8."""
    title = words.title(facts)
    lines = [*front_matter(facts, title), "", OURS, "", f"# {escaped(title, 100)}", ""]
    sections = {
        "": _summary(facts, words),
        "How to read it": reading_section(facts),
        "Sources and licences": _sources(facts),
        "What was dropped, and why": funnel_section(facts),
        "Captions": captions_section(facts),
        "Sizes of the pictures": sizes_section(facts),
        "Scores": scores_section(facts),
        "Training stages": _stages(facts),
        "Evaluations that were kept out": _decontamination(facts),
        "What to know before using it": _warnings(facts),
        "How it was made": _made(facts),
    }
    for head, section in sections.items():
        own = list(section)
        if own:
            lines += [*([f"## {head}", "", *INTRODUCTIONS.get(head, ())] if head else []), *own]
    return ("\n".join(lines).rstrip("\n") + "\n").encode("utf-8", "replace")


INTRODUCTIONS = {
    "What was dropped, and why": (
        "The steps that decided, in their order. A step counts what it drops once, by the first reason, and counts "
        "again what steps before it had dropped, so the last one has all reasons. Steps with `parts` in their name "
        "count texts and pictures of pages, `fetch_images` pictures; the others count whole examples.",
        "",
    ),
    "Sizes of the pictures": ("Pictures that are there, by the headers of their files.", ""),
}


def _summary(facts: Facts, words: Publication) -> Iterator[str]:
    sums: dict[str, int] = {}
    for name, own in facts.sources.items():
        kind = facts.manifest.sources[name].kind
        sums[kind] = sums.get(kind, 0) + own.contents["samples"]
    told = [f"{amount(n)} {KINDS[kind]}" for kind, n in sums.items()] or ["no example"]
    yield from (f"{', '.join(told)}, ready for the training of vision-language models.", "")
    tokenizers = list(facts.manifest.tokenizers)
    counted = [f"tokens ({escaped(tokenizer)})" for tokenizer in tokenizers]
    head = ("source", "kind", "examples", "pictures", "bytes of tars", "shards", *counted)
    rows = []
    for name, own in facts.sources.items():
        contents = own.contents
        numbers = [contents["samples"], contents["images"], contents.get("bytes", 0), contents["shards"]]
        numbers += [contents.get("text_tokens", {}).get(tokenizer, 0) for tokenizer in tokenizers]
        rows.append((code(name), facts.manifest.sources[name].kind, *map(amount, numbers)))
    yield from table(head, rows, len(head) - 2)
    about = [f"Made by {escaped(words.creator)}." if words.creator else "", f"See <{words.url}>." if words.url else ""]
    if any(about):
        yield from (" ".join(filter(None, about)), "")
    many = [name for name, own in facts.sources.items() if _without_pictures(facts, name)]
    if many:
        told_names = ", ".join(map(code, many))
        yield from (
            f"Pictures of {told_names} lie at more than {MOST_PICTURES} places in an example: "
            "`datasets` reads the texts alone, the other readers all of it.",
            "",
        )


def _without_pictures(facts: Facts, name: str) -> bool:
    own = facts.sources[name]
    return bool(own.contents["images"]) and not pictures_of_source(facts.manifest.sources[name].kind, own)


def _sources(facts: Facts) -> Iterator[str]:
    rows = []
    for name, source in facts.manifest.sources.items():
        parent = (source.lineage or {}).get("dataset_id")
        read = escaped(source.path) + (f" (hand-over {code(parent)})" if parent else "")
        rows.append((code(name), escaped(source.licence) or "**not told**", read, escaped(source.about) or "-"))
    yield from table(("source", "licence", "read from", "about"), rows)
    if facts.manifest.licence_policy:
        yield from (f"Licences that were let in: {escaped(facts.manifest.licence_policy)}.", "")
    opted = facts.manifest.opt_out_date
    yield from (f"Opt-outs were honoured up to {opted}." if opted else "Which opt-outs were honoured is not told.", "")


def _stages(facts: Facts) -> Iterator[str]:
    stages = facts.manifest.stages
    if stages is not None:
        names = ", then ".join(code(name) for name in stages.names)
        yield f"`{stages.file}` describes a training on this data: {names}."
        yield from (f"`curate plan {stages.file}` explains it.", "")


def _decontamination(facts: Facts) -> Iterator[str]:
    rows = [
        (
            code(own["source"]) if own.get("source") else "all",
            escaped(own["sets"]) or "-",
            code(own["method"]),
            amount(sum(own.get("dropped", {}).values())),
        )
        for own in facts.manifest.decontamination
    ]
    if rows:
        yield from table(("source", "evaluations", "compared by", "dropped"), rows, 1)


def _warnings(facts: Facts) -> Iterator[str]:
    found = [f"- {escaped(words)}" for words in facts.manifest.warnings]
    if found:
        yield from (*found, "")


def _made(facts: Facts) -> Iterator[str]:
    by = facts.manifest.created_by
    names = ("package", "version", "commit", "config_digest")
    told = [f"{name.replace('_', ' ')} {code(by[name])}" for name in names if by.get(name)]
    yield from (f"Data set {code(facts.manifest.dataset_id)}" + (f", by {', '.join(told)}" if told else "") + ".", "")
    yield f"`{MANIFEST}` has the config, the steps and models of every source, and the digest of every file."
    yield from ("To check them:", "", "    curate export --verify DIR", "")
