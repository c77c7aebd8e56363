"""How to read a hand-over, in a card: with Hugging Face's datasets, webdataset, open_clip, and our own loader.

DIR stands for the folder, wherever it lies; names in the lines are those of this hand-over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from curate.handover.card_facts import Facts

__all__ = ["braced", "reading_section"]

MOST_NAMES = 20


def reading_section(facts: Facts) -> Iterator[str]:
    """What is in the tars, and a few lines for each reader."""
    if not facts.sources:
        return
    kinds = {facts.manifest.sources[name].kind for name in facts.sources}
    first, own = next(iter(facts.sources.items()))
    yield from ("DIR is this folder. Each shard is a plain tar with tables beside it, of examples of one source.", "")
    yield from (*(f"- {words}" for kind, words in MEMBERS.items() if kind in kinds), *TABLES, "")
    yield from ("With Hugging Face's datasets, a config for each source:", "")
    yield from ("    from datasets import load_dataset", f'    load_dataset(DIR, "{first}", split="train")', "")
    yield from ("With webdataset:", "", "    import webdataset")
    yield from (f'    webdataset.WebDataset(DIR + "/{braced(own.shards)}", shardshuffle=False)', "")
    pairs = [own for name, own in facts.sources.items() if facts.manifest.sources[name].kind == "pairs"]
    if pairs:
        tars = "::".join(f"DIR/{braced(own.shards)}" for own in pairs)
        samples = sum(own.contents["samples"] for own in pairs)
        yield from ("With open_clip (pairs; its version 3.3 wants webdataset 0.2.86 or older):", "")
        yield "    python -m open_clip_train.main --model ViT-B-32 --dataset-type webdataset \\"
        yield from (f"        --train-data '{tars}' --train-num-samples {samples}", "")
    plan = facts.manifest.stages
    if plan is not None:
        yield from ("With the loader of curate-vl, which mixes sources as a stage says and resumes exactly:", "")
        yield from ("    from pathlib import Path", "    from curate.handover.stages import read_stages")
        yield "    from curate.train.data import Loader, open_handover"
        yield f'    stage = read_stages(Path(DIR) / "{plan.file}").stages[0]'
        yield from ("    batches = Loader(open_handover(DIR), stage, seed=0, batch=256)", "")


MEMBERS = {
    "pairs": "pairs: `KEY.jpg` (or png, webp, ...), `KEY.txt` with the first caption, `KEY.json` with all of them",
    "interleaved": "interleaved: `KEY.json` with `texts` and `images` in reading order, pictures as `KEY.1.jpg`",
    "chat": "chat: `KEY.json` with `messages` of text and pictures, pictures as `KEY.0.jpg`",
    "text": "text: `KEY.json` with `text`",
}
TABLES = (
    "- `00000.parquet`: a row an example: `key`, `source`, `kind`, `widths`, `heights`, `chars`, what else is known",
    "- `00000.tokens.parquet`: tokens of each example; `00000.index.parquet`: where each file lies in the tar",
)


def braced(shards: Sequence[str]) -> str:
    """The tars of shards as braces expand: `{00000..00011}.tar`; of more than 20 that do not follow one another the
    first alone."""
    if len(shards) == 1:
        return f"{shards[0]}.tar"
    numbers = [int(name) for name in shards if name.isascii() and name.isdigit()]
    follow = numbers == list(range(numbers[0], numbers[0] + len(shards))) if len(numbers) == len(shards) else False
    if follow and len({len(name) for name in shards}) == 1:
        return f"{{{shards[0]}..{shards[-1]}}}.tar"
    return f"{{{','.join(shards)}}}.tar" if len(shards) <= MOST_NAMES else f"{shards[0]}.tar"
