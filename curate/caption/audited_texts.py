"""The texts of an audit: for each right one a wrong one that is hard to tell from it, and how alike two texts are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["agreement", "wrong_texts"]

Shares = npt.NDArray[np.float64]


def wrong_texts(texts: Sequence[str], pictures: Sequence[int]) -> list[str]:
    """For each text that of another picture which shares most of its words with it (Jaccard) and is not the same text.

    Words in any order: "a dog and a cat" is no wrong text for "a cat and a dog". Where there is no other, the text
    itself. n texts are compared with one another: 512 take 0.1 CPU seconds.
    """
    bags = [frozenset(_words(text)) for text in texts]
    answer = []
    for own, bag in enumerate(bags):
        others = [
            (len(bag & other) / len(bag | other), -number)
            for number, other in enumerate(bags)
            if pictures[number] != pictures[own] and other != bag
        ]
        answer.append(texts[-max(others)[1]] if others else texts[own])
    return answer


def agreement(texts: Sequence[str], made: Sequence[Sequence[str]]) -> tuple[Shares, Shares]:
    """For each text, float64 of 0 to 1: the share of the made ones that are the same words in the same order, and the
    mean F1 of their words (as often as each stands there)."""
    exact = [[_words(one) == _words(text) for one in own] for text, own in zip(texts, made, strict=True)]
    shared = [[_f1(_words(one), _words(text)) for one in own] for text, own in zip(texts, made, strict=True)]
    return np.array([_mean(own) for own in exact]), np.array([_mean(own) for own in shared])


def _words(text: str) -> list[str]:
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()


def _f1(one: Sequence[str], other: Sequence[str]) -> float:
    common = sum((Counter(one) & Counter(other)).values())
    return 2 * common / (len(one) + len(other)) if common else 0.0


def _mean(values: Sequence[float]) -> float:
    return float(sum(values)) / len(values) if values else 0.0
