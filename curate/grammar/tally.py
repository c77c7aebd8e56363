"""What a parser says of captions, whichever parser it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Tally"]


@dataclass(frozen=True)
class Tally:
    """Counts per caption, each int32 of shape (n,).

    `nouns`: nouns and names. `verbs`: finite verbs, infinitives and participles that say what happens; a form of "be",
    or a helper, is none by itself ("is sitting" has one, "is" has none), nor is a participle that stands for an
    adjective ("baked potatoes"). `relations`: a verb between its subject and an object ("dog chases cat", "he is a
    doctor"), or a preposition between two things ("dog on a mat", "dog sits on a mat"); an attribute is none ("red
    car", "dog's bowl").
    """

    nouns: npt.NDArray[np.int32]
    verbs: npt.NDArray[np.int32]
    relations: npt.NDArray[np.int32]
