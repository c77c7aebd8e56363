"""How well models tell wrong captions from right ones on the toy web, on the very pictures that it serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from curate.fetch.image import ImageSettings, decode, process
from curate.models.captioner import Sampling
from curate.models.toy import ToyCaptioner, ToyClip, ToyMatcher, normalized, prepare, tokenize, trimmed
from curate.models.toy_captioner import caption_tokens, log_likelihood
from curate.models.toy_captioning import ToyCaptioning
from curate.toyweb.caption import parse
from curate.toyweb.defects import CLEAN, DEFECTS
from curate.toyweb.picture import encode_row
from curate.toyweb.plan import Plan
from curate.toyweb.scene import Scene

__all__ = [
    "EVALUATION_SEED",
    "Pairs",
    "auc",
    "draw_pairs",
    "evaluate",
    "exact_ratio",
    "greedy_captions",
    "likelihoods",
    "probabilities",
    "similarities",
]

EVALUATION_SEED = 4_004
"""Seed of the toy web that a training's report is about."""
WRONG = {"other_scene": 0.30, "wrong_attribute": 0.15}
"""Share of each kind of wrong caption."""
STORED = ImageSettings(size_px=256, resize_mode="keep_ratio_largest", resize_only_if_bigger=True)
"""How the pipeline stores pictures: `configs/demo.toml`."""
ROWS_AT_A_TIME = 256
GREEDY = Sampling("greedy", min_tokens=0, repetition_penalty=1.0)
"""Toy captions say a colour twice where both groups have it, so nothing is held against repetition."""


@dataclass(frozen=True)
class Pairs:
    """Rows of a toy web: `views`, prepared pictures, uint8 (n, 32, 32, 3); `captions`; `labels`, str (n,); `scenes`:
    what the pictures show."""

    views: npt.NDArray[np.uint8]
    captions: list[str]
    labels: npt.NDArray[np.str_]
    scenes: Sequence[Scene] = ()


def draw_pairs(seed: int, rows: int) -> Pairs:
    """The first rows of the toy web of a seed in which 30 % of captions are of another scene, 15 % wrong in one
    attribute, and nothing else is amiss. Each picture is encoded, fetched, stored and decoded as in a run: 4 ms."""
    plan = Plan(seed, {label: WRONG.get(label, 0.0) for label in DEFECTS if label != CLEAN})
    wanted = list(plan.rows(0, rows))
    views = []
    for row in wanted:
        pixels = decode(process(encode_row(plan, row), STORED).data)
        if pixels is None:
            raise ValueError(f"row {row.number} of toy web {seed} cannot be decoded")
        views.append(prepare(pixels))
    labels = np.array([row.defect for row in wanted])
    return Pairs(np.stack(views), [row.caption for row in wanted], labels, [row.scene for row in wanted])


def similarities(clip: ToyClip, pairs: Pairs) -> npt.NDArray[np.float32]:
    """The cosine of each picture and its caption, float32 (n,)."""
    found = []
    with torch.inference_mode():
        for images, tokens in _parts(pairs):
            found.append(torch.cosine_similarity(clip.encode_image(images), clip.encode_text(tokens)).numpy())
    return np.concatenate(found)


def probabilities(matcher: ToyMatcher, pairs: Pairs) -> npt.NDArray[np.float32]:
    """The matcher's probability that each caption describes its picture, float32 (n,)."""
    with torch.inference_mode():
        return np.concatenate([torch.sigmoid(matcher.match(*part)).numpy() for part in _parts(pairs)])


def likelihoods(
    captioner: ToyCaptioner, views: npt.NDArray[np.uint8], captions: Sequence[str]
) -> npt.NDArray[np.float32]:
    """The captioner's log-probability of each picture's caption, float32 (n,)."""
    tokens, found = caption_tokens(captions), []
    with torch.inference_mode():
        for start in range(0, len(views), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            pictures = captioner.picture(normalized(views[rows]))
            found.append(log_likelihood(captioner, pictures, tokens[rows]).numpy())
    return np.concatenate(found)


def greedy_captions(captioner: ToyCaptioner, views: npt.NDArray[np.uint8]) -> list[str]:
    """What the captioner says of prepared pictures, uint8 (n, 32, 32, 3), by the likeliest word each time."""
    worker = ToyCaptioning(captioner, "toy captioner", wanted="cpu")
    return [own[0].text for own in worker.generate(list(views), 1, GREEDY, [0] * len(views))]


def exact_ratio(captions: Sequence[str], scenes: Sequence[Scene]) -> float:
    """The share of captions that say exactly what their scene is: `curate.toyweb.caption.parse` gives it back."""
    return sum(parse(text) == scene for text, scene in zip(captions, scenes, strict=True)) / len(captions)


def evaluate(
    clip: ToyClip, matcher: ToyMatcher, pairs: Pairs, captioner: ToyCaptioner | None = None
) -> list[dict[str, Any]]:
    """Per model and kind of wrong caption: the AUC of right captions against these, and how many of each there are."""
    scores = {"toy clip": similarities(clip, pairs), "toy matcher": probabilities(matcher, pairs)}
    if captioner is not None:
        scores["toy captioner"] = likelihoods(captioner, pairs.views, pairs.captions)
    return [
        {
            "model": model,
            "wrong_caption": label,
            "auc": auc(score[pairs.labels == CLEAN], score[pairs.labels == label]),
            "right": int((pairs.labels == CLEAN).sum()),
            "wrong": int((pairs.labels == label).sum()),
        }
        for model, score in scores.items()
        for label in WRONG
    ]


def auc(right: npt.NDArray[np.floating[Any]], wrong: npt.NDArray[np.floating[Any]]) -> float:
    """The chance that a score in `right` (n,) is above one in `wrong` (m,), a tie counting half: Mann-Whitney's U by
    ranks, over n m. Raises ValueError where either is empty or a score is not a number."""
    if not len(right) or not len(wrong):
        raise ValueError(f"an AUC compares two sets; there are {len(right)} and {len(wrong)} scores")
    scores = np.concatenate([right, wrong]).astype(np.float64)
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks = (last - (count - 1) / 2)[place]
    n, m = len(right), len(wrong)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def _parts(pairs: Pairs) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    tokens = trimmed(tokenize(pairs.captions))
    for start in range(0, len(pairs.views), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        yield normalized(pairs.views[rows]), tokens[rows]
