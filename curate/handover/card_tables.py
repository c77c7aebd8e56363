"""The numbers of a card as tables: the funnel of each source, histograms, captions by who wrote them, scores.

All of them stand in the manifest; nothing is counted here. Bars are of letters, so that a card needs no picture beside
it and reads the same on a hub, in a terminal and in a mail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curate.handover.card_facts import Facts
from curate.handover.card_words import amount, code, escaped, table

__all__ = ["captions_section", "funnel_section", "scores_section", "sizes_section"]

MOST_REASONS = 12
MOST_SOURCES = 8
"""With a column each in a histogram; more of them are told together."""
BAR = 16
"""Letters of the longest bar."""
TITLES = {"width_px": "width (px)", "height_px": "height (px)", "aspect": "width by height"}


def funnel_section(facts: Facts) -> Iterator[str]:
    """For each source the steps that decided on its data set, and what was dropped there, by reason."""
    for name, source in facts.manifest.sources.items():
        yield from (f"### {code(name)}", "")
        rows = [
            (code(line["stage"]), amount(line["in"]), amount(line["kept"]), _reasons(line["dropped"]))
            for line in (source.lineage or {}).get("funnel", ())
        ]
        own = facts.sources.get(name)
        handed = own.contents["samples"] if own else 0
        left_out = sum(source.left_out.values())
        rows.append(("**packed here**", amount(handed + left_out), amount(handed), _reasons(source.left_out)))
        if source.lineage is None:
            yield from ("How these files were made is not told in them.", "")
        elif source.settings.get("kept_only") is False:
            yield from ("What these steps dropped is handed over too, where the example is there.", "")
        yield from table(("step", "in", "kept", "dropped"), rows)


def _reasons(dropped: Mapping[str, int]) -> str:
    found = sorted(((n, reason) for reason, n in dropped.items() if n), key=lambda own: (-own[0], own[1]))
    words = [f"{code(reason)} {amount(n)}" for n, reason in found[:MOST_REASONS]]
    rest = sum(n for n, _ in found[MOST_REASONS:])
    return ", ".join([*words, *([f"{len(found) - MOST_REASONS} other reasons {amount(rest)}"] if rest else [])]) or "-"


def sizes_section(facts: Facts) -> Iterator[str]:
    """Histograms of widths, heights and aspect ratios of the pictures, with a column for each source."""
    pictured = {name: own.contents for name, own in facts.sources.items() if own.contents.get("images")}
    for kind, title in TITLES.items():
        columns = {code(name): own[kind] for name, own in pictured.items() if own.get(kind)}
        yield from _histogram(title, facts.bins.get(kind, ()), columns)


def captions_section(facts: Facts) -> Iterator[str]:
    """Who wrote the texts of pairs, with which model, who judged them, which rule chose, and their words."""
    rows = [_caption(facts, own) for own in facts.manifest.columns]
    if rows:
        yield from table(("source", "text", "written by", "model and decoding", "judged by", "texts"), rows, 1)
    for view in facts.manifest.views:
        told = ", ".join(f"{name} {value}" for name, value in view.get("parameters", {}).items())
        rule = " ".join([view["rule"], *([f"({view['rule_source']})"] if view.get("rule_source") else [])])
        parts = [f"Texts of {code(view['source'])} were chosen by the view {code(view['view'])}: {escaped(rule)}"]
        yield from (": ".join([*parts, *([escaped(told)] if told else [])]) + _yield(view.get("yield")), "")
    bins, words = facts.bins.get("words", ()), dict[str, list[int]]()
    for own in facts.sources.values():
        for origin, contents in own.contents.get("captions", {}).items():
            counts = contents.get("words", [])
            if len(counts) == len(bins):
                before = words.get(code(origin), [0] * len(bins))
                words[code(origin)] = [x + y for x, y in zip(before, counts, strict=True)]
    yield from _histogram("words of a caption", bins, words)


def _caption(facts: Facts, column: Mapping[str, Any]) -> Sequence[str]:
    about = column.get("about", {})
    told = [f"{about[name]}" for name in ("model", "model_revision", "model_precision", "endpoint") if about.get(name)]
    decoding = [f"{name} {about[name]}" for name in ("decoding", "seed") if about.get(name)]
    judges = [
        f"{code(own['column'])}" + (f" ({escaped(own['model'])})" if own.get("model") else "")
        for own in column.get("scores", ())
    ]
    contents = facts.sources[column["source"]].contents if column["source"] in facts.sources else {}
    texts = contents.get("captions", {}).get(column["name"], {}).get("texts", 0)
    return (
        code(column["source"]),
        code(column["name"]),
        WRITERS[column["origin"]],
        escaped("; ".join([*told, *decoding])) or "-",
        ", ".join(judges) or "-",
        amount(texts),
    )


WRITERS = {
    "web": "the web page",
    "captioner": "a captioner",
    "llm_fusion": "a language model, from other texts",
    "human": "people",
    "unknown": "not told",
}


def _yield(found: Mapping[str, Any] | None) -> str:
    if not found or not isinstance(found.get("rows"), int):
        return "."
    told = [f"{amount(n)} {escaped(name.replace('_', ' '))}" for name, n in found.items() if isinstance(n, int)]
    return f". Of its data set: {', '.join(told)}."


def scores_section(facts: Facts) -> Iterator[str]:
    """The range of each column of scores, and of what texts of each origin were judged by."""
    rows = []
    for name, own in facts.sources.items():
        judged = {f"texts of {o}": c["score"] for o, c in own.contents.get("captions", {}).items() if "score" in c}
        for column, found in {**own.contents.get("scores", {}), **judged}.items():
            values = [amount(found[entry]) for entry in ("values", "min", "max")]
            rows.append((code(name), code(column), *values))
    if rows:
        yield from table(("source", "score", "values", "least", "most"), rows, 3)


def _histogram(title: str, bins: Sequence[float], columns: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """A row a bin, between the first and the last one that has anything."""
    columns = {name: counts for name, counts in columns.items() if len(counts) == len(bins) and any(counts)}
    if not columns:
        return
    both = [sum(own) for own in zip(*columns.values(), strict=True)]
    filled = [place for place, n in enumerate(both) if n]
    shown = list(columns.values()) if 1 < len(columns) <= MOST_SOURCES else []
    heads = list(columns) if shown else []
    rows = []
    for place in range(filled[0], filled[-1] + 1):
        bar = "█" * max(round(BAR * both[place] / max(both)), both[place] > 0)
        share = f"{100 * both[place] / sum(both):.1f} %"
        numbers = [amount(own[place]) for own in shown]
        rows.append((_bin(bins, place), bar, *numbers, amount(both[place]), share))
    yield from table((title, "", *heads, "all", "share"), rows, len(heads) + 2)


def _bin(bins: Sequence[float], place: int) -> str:
    low = bins[place]
    if place + 1 == len(bins):
        return f"{low:,} and more"
    if all(float(edge).is_integer() for edge in bins):
        return f"{low:,}" if bins[place + 1] - low == 1 else f"{low:,} to {bins[place + 1] - 1:,}"
    return f"{low:g} to {bins[place + 1]:g}"
