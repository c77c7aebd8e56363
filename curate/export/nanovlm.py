"""Parquet for nanoVLM, in the columns of FineVision: pictures, pairs of question and answer, and their ratings.

    images                  list of pictures
    texts                   list of {user, assistant}
    source                  where the example is from
    NAME_ratings            list of int, one for each of `texts`, 1 to 5; null where the source has none. NAME is
    NAME_min                relevance, image_correspondence, visual_dependency or formatting, and the least of them

The trainer puts the pictures, all of them, before the first question and passes over the turns that are rated below
its bounds (huggingface/nanoVLM, data/datasets.py; Wiedmann et al. 2025, "FineVision"). So a conversation that shows a
picture later on is left out, as a page with several texts is: there, a picture would move to a place where it was not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from curate.export._parquet import LIST_OF_PICTURES, PICTURES, TableFormat, plain, with_features
from curate.export._talk import Shown, Talk
from curate.export._write_examples import TalkFormat, export_examples
from curate.handover.layout import Example
from curate.plan import Job
from curate.storage import Storage

__all__ = ["NanoVlm", "export"]

RATED = ("relevance", "image_correspondence", "visual_dependency", "formatting")
MARKS = (*TalkFormat.marks, "<|image|>", "<|global_image|>")
"""The last two are tokens of its tokenizer."""
UNRATED = "ratings_not_one_per_answer"
"""Counts lists of ratings that are not written."""
KINDS = ("pairs", "chat", "interleaved")

_TEXT = pa.struct({"user": pa.string(), "assistant": pa.string()})
_TEXTS = {"feature": {"user": plain(), "assistant": plain()}, "_type": "List"}
_RATINGS = {"feature": plain("int64"), "_type": "List"}
SCHEMA = with_features(
    {
        "images": (PICTURES, LIST_OF_PICTURES),
        "texts": (pa.list_(_TEXT), _TEXTS),
        "source": (pa.string(), plain()),
        **{f"{name}_ratings": (pa.list_(pa.int64()), _RATINGS) for name in RATED},
        **{f"{name}_min": (pa.int64(), plain("int64")) for name in RATED},
    }
)
CARD = """Examples for nanoVLM, in the columns of FineVision; a configuration for each source. `export.json` says what
was left out.
"""


def export(
    source: Storage, shard_samples: int = 10_000, shuffle: bool = True, seed: int = 0, **options: Any
) -> tuple[Job, Callable[[Storage], dict[str, Any]]]:
    """The job, and what completes it; `options` are the fields of NanoVlm. Raises ConfigError."""
    return export_examples(NanoVlm, source, shard_samples, seed if shuffle else None, options)


@dataclass(frozen=True)
class NanoVlm(TableFormat):
    """Questions and answers, with the pictures before the first."""

    name: ClassVar[str] = "nanovlm"
    marks: ClassVar[tuple[str, ...]] = MARKS
    takes: ClassVar[tuple[str, ...]] = KINDS
    schema: ClassVar[pa.Schema] = SCHEMA
    card: ClassVar[str] = CARD

    def cells(self, talk: Talk, example: Example, counts: Counter[str]) -> tuple[dict[str, Any], int] | str:
        if len(talk.turns) < 2:
            return "no_question"
        if any(isinstance(part, Shown) for turn in talk.turns[1:] for part in turn.parts):
            return "picture_in_a_later_turn"
        texts = _texts(talk)
        chars = sum(len(text["user"]) + len(text["assistant"]) for text in texts)
        return {"texts": texts, **_ratings(example, len(texts), counts)}, chars


def _texts(talk: Talk) -> list[dict[str, str]]:
    """Question and answer of each two turns, without the places of pictures."""
    said = ["\n".join(part for part in turn.parts if isinstance(part, str)) for turn in talk.turns]
    return [{"user": asked, "assistant": told} for asked, told in zip(said[::2], said[1::2], strict=True)]


def _ratings(example: Example, answers: int, counts: Counter[str]) -> dict[str, Any]:
    """The ratings that the source has, where there is one for each answer."""
    found: dict[str, Any] = {}
    for name in RATED:
        own = example.columns.get(f"{name}_ratings")
        if own is None:
            continue
        if isinstance(own, list) and len(own) == answers and all(_is_rating(value) for value in own):
            found[f"{name}_ratings"] = own
            found[f"{name}_min"] = min((value for value in own if value is not None), default=None)
        else:
            counts[UNRATED] += 1
    return found


def _is_rating(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31)
