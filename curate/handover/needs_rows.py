"""A plan of stages in tables that a newcomer can read: what the file says, what is there, what it comes to.

Each table has a sentence that says what it shows. The same rows are the JSON, whose values are numbers; words are for
people, and stand only where a number would need explaining.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.handover.layout import Kind
from curate.handover.needs import KindNeed, StageNeed, batch_of
from curate.handover.needs_there import TOKENS_PER_WORD, TrainingSet
from curate.handover.resolution import Resolution
from curate.handover.stages import Lora, Stages, TrainingStage

__all__ = ["KIND_WORDS", "explained", "missing", "needs_tables"]

KIND_WORDS: dict[Kind, str] = {
    "pairs": "pictures, each with a text",
    "interleaved": "pages: text and pictures in order",
    "chat": "conversations: questions and answers",
    "text": "text without pictures",
}
MANY_PASSES = 40
"""Most that a recipe here reads its data is 32 times (CLIP)."""
OBJECTIVE_WORDS = {
    "contrastive": "tell which text belongs to which picture",
    "itm": "tell whether a text fits a picture",
    "lm": "write the text of a picture",
    "lm_interleaved": "write the text of pages",
    "sft": "answer",
    "prefix_lm": "write the rest of a text",
    "masked_text": "fill in words",
    "masked_image": "fill in patches",
    "image_lm": "write pictures as tokens",
}


def needs_tables(stages: Stages, needs: Sequence[StageNeed], sets: Sequence[TrainingSet]) -> dict[str, Any]:
    """The plan as JSON-like values: `stages`, `needs`, `missing`, and where data was named `tokens` and `length`."""
    plan: dict[str, Any] = {"stages": [_stage_row(stage) for stage in stages.stages]}
    rows = [_need_row(need, kind, bool(sets)) for need in needs for kind in need.kinds]
    plan["needs"] = rows
    if sets:
        plan["missing"] = [line for need in needs for line in missing(need)]
        tokens = [_token_row(need, kind) for need in needs for kind in need.fed]
        plan |= {"tokens": tokens} if tokens else {}
    plan["length"] = [_length_row(need) for need in needs]
    unpublished = [_unpublished(stage) for stage in stages.stages if stage.unpublished]
    return plan | ({"not_published": unpublished} if unpublished else {})


def explained(stages: Stages, sets: Sequence[TrainingSet]) -> dict[str, str]:
    """A sentence for each table, by the table's name."""
    family = f"{stages.family}: {stages.about}. " if stages.family else ""
    source = f" Published in {', '.join(stages.source)}." if stages.source else ""
    counted = sorted({one.tokenizer for one in sets})
    text = " and ".join(
        f"counted by the tokenizer {t}" if t else f"estimated, {TOKENS_PER_WORD} a word" for t in counted
    )
    ours = ", ".join(one.storage.root for one in sets)
    return {
        "stages": f"{family}The stages of training, one after the other: `learns` is what "
        f"changes in each, `batch` what a step reads, `length` how long the file says it is.{source}",
        "needs": f"What each stage reads, and how much of it is in {ours}: `recipe` is how many examples the published "
        "training had (empty where that is not told), `yours` how many are there; `sources` are the recipe's names."
        if sets
        else "What each stage reads; name data sets or hand-overs behind the file to see what you have of it.",
        "missing": "What is missing or does not fit, and where to get it.",
        "tokens": "One pass over your data. A model reads tokens: pieces of words, and pieces of pictures, as many as "
        f"follow from their width and height. Text is {text}. `smaller` pictures are enlarged, so they have less "
        "detail than the stage could see; `cut` examples are longer than a row and lose their end; `passes` says how "
        "often each comes up in the stage, by the weights of the mixture.",
        "length": "How long it is: a step reads one batch, a pass reads all of your data once. `recipe_steps` are on "
        "the recipe's own data; empty is what the file says too little for."
        + ("" if sets else " Your data is not known yet."),
        "not_published": "What the recipe does not say, or what could not be confirmed: choose it yourself.",
    }


def missing(need: StageNeed) -> list[str]:
    """A line for each kind that a stage lacks, has too little of or that does not fit it, and one where it would read
    all too often."""
    lines = []
    there = {kind.kind for kind in need.fed}
    for kind in need.kinds:
        wanted = "" if kind.wanted is None else f"{kind.wanted:,} "
        if not kind.examples:
            stops = "" if there else ", and cannot run without"
            lines.append(
                f"{need.stage.name} needs {wanted}{_noun(kind.kind)} ({kind.kind}){stops}: {_advice(kind.kind)}"
            )
        elif kind.wanted and kind.examples < kind.wanted:
            of = f"{kind.examples:,} of {kind.wanted:,} {_noun(kind.kind)} ({kind.kind})"
            lines.append(f"{need.stage.name} has {of}: it runs, and learns less than the recipe's model did")
        lines += _unfit(need.stage, kind)
    passes = need.length().passes
    if passes and passes > MANY_PASSES:
        lines.append(f"{need.stage.name} would read your data {passes:,.0f} times: give it fewer steps, or more data")
    return lines


def _unfit(stage: TrainingStage, kind: KindNeed) -> list[str]:
    """A line for what is there and cannot be seen or read as the stage would."""
    pictures, examples, noun = f"of {kind.pictures:,} pictures ({kind.kind})", kind.examples, _noun(kind.kind)
    told = {
        f"sees {kind.smaller:,} {pictures} enlarged, {_picture_words(stage.resolution)}: they have less detail than it "
        "could use; where they come from may have larger ones ([image] size_px of their config)": kind.smaller
        and 2 * kind.smaller > kind.pictures,
        f"refuses {kind.refused:,} {pictures}, which are too long and thin for it": kind.refused,
        f"cuts {kind.cut:,} of {examples:,} {noun} ({kind.kind}) short, at {stage.sequence_tokens:,} tokens: give it "
        "longer rows (sequence_tokens), or shorter texts": kind.cut,
        f"leaves out {kind.unsuited:,} {noun} ({kind.kind}) that have fewer pictures than min_images or more than "
        "max_images of its sources": kind.unsuited,
    }
    return [f"{stage.name} {line}" for line, there in told.items() if there]


def _noun(kind: Kind) -> str:
    return {"pairs": "captioned pictures", "interleaved": "pages", "chat": "conversations", "text": "texts"}[kind]


def _advice(kind: Kind) -> str:
    """How to come by a kind that is not there."""
    return {
        "pairs": "make pairs of web pictures and their texts (configs/pairs.toml), caption pictures anew "
        "(docs/captions.md), or carry yours with a hand-over",
        "interleaved": "make pages of web archives (docs/documents.md), or carry yours with a hand-over",
        "chat": "have a language model write conversations from your captions (docs/instructions.md), or carry yours "
        'with a hand-over: [sources.NAME] kind = "chat"',
        "text": 'carry yours with a hand-over: [sources.NAME] kind = "text"',
    }[kind]


def _stage_row(stage: TrainingStage) -> dict[str, Any]:
    tasks = "; ".join(OBJECTIVE_WORDS[objective] for objective in stage.objectives)
    row = {"stage": stage.name, "task": tasks, "learns": _learns(stage), "pictures": _picture_words(stage.resolution)}
    rates = {"learning_rate": stage.learning_rate or None}
    return row | rates | {"batch": batch_of(stage) or None, "length": _told(stage)}


def _learns(stage: TrainingStage) -> str:
    """The parts that a stage changes, in words."""
    parts = {**vars(stage.trainable), **stage.trainable_by_module}
    told = []
    for name, value in parts.items():
        words = name.replace("_", " ")
        if isinstance(value, Lora):
            told.append(f"{words} (adapters)")
        elif value.startswith("last_"):
            told.append(f"{words} (last {value.removeprefix('last_')} layers)")
        elif value not in ("none", ""):
            told.append(words)
    return ", ".join(told) or "nothing"


def _picture_words(resolution: Resolution) -> str:
    """What becomes of a picture, in a few words."""
    size = f"{resolution.size} px"
    if resolution.policy == "tile":
        most = {"anyres": "grids", "longest_side": f"{resolution.max_side} px", "quarters": "4 and the whole"}
        told = most.get(resolution.tiling, f"up to {resolution.max_tiles}")
        return f"tiles of {size} ({told})"
    if resolution.policy == "native":
        bound = resolution.max_side and f"up to {resolution.max_side} px"
        return f"own shape, {bound or 'within a number of pixels'}"
    words = {"fixed": "squeezed to", "pad": "padded to", "shortest": "cropped to"}
    return f"{words[resolution.policy]} {size}"


def _told(stage: TrainingStage) -> str | None:
    """How long the file says that a stage is."""
    for name, unit in (("steps", "steps"), ("epochs", "passes"), ("samples", "examples"), ("tokens", "tokens")):
        value = getattr(stage, name)
        if value:
            words = f"{int(value):,}" if value == int(value) else f"{value:g}"
            return f"{words} {'pass' if words == '1' and unit == 'passes' else unit}"
    return None


def _need_row(need: StageNeed, kind: KindNeed, asked: bool) -> dict[str, Any]:
    row = {"stage": need.stage.name, "kind": kind.kind, "what": KIND_WORDS[kind.kind], "recipe": kind.wanted}
    if asked:
        state = "no" if not kind.examples else "yes" if kind.examples >= (kind.wanted or 0) else "in part"
        row |= {"yours": kind.examples, "fed": state}
    return row | {"sources": list(kind.names)}


def _token_row(need: StageNeed, kind: KindNeed) -> dict[str, Any]:
    pictures = kind.pictures
    row = {"stage": need.stage.name, "kind": kind.kind, "examples": kind.examples, "text_tokens": kind.text_tokens}
    row |= {"pictures": pictures, "image_tokens": kind.image_tokens, "tokens": kind.tokens}
    row["tokens_a_picture"] = round(kind.image_tokens / pictures) if pictures else None
    row |= {"smaller": kind.smaller, "cut": kind.cut, "passes": need.passes(kind)}
    seldom = {"refused": kind.refused, "unsuited": kind.unsuited, "unknown_size": kind.unknown}
    return row | {name: value for name, value in seldom.items() if value}


def _length_row(need: StageNeed) -> dict[str, Any]:
    length = need.length()
    row: dict[str, Any] = {"stage": need.stage.name, "recipe_steps": length.recipe_steps}
    if need.fed:
        row |= {"your_steps": length.steps, "your_passes": length.passes, "your_tokens": length.tokens}
    return row


def _unpublished(stage: TrainingStage) -> dict[str, Any]:
    return {"stage": stage.name, "what": list(stage.unpublished)}
