"""Who sees whom in a row of several documents with pictures: the masks of the LLaVA way and of the Flamingo way.

A token sees what is before it in its own document, and nothing of another: a pack of documents is computed as if each
stood alone. Of pictures it sees all that came before (LLaVA, Idefics), or the last one alone (Flamingo), or, where a
page's text stands before its picture, the next one (Flamingo's p_next). What is not seen has weight 0 exactly, so
changing it changes no bit of what does not see it; a mask that only covers padding fails that test.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ALL_PREVIOUS", "LAST_IMAGE", "NEXT_IMAGE", "cross_mask", "last_picture", "next_picture", "self_mask"]

ALL_PREVIOUS, LAST_IMAGE, NEXT_IMAGE = 0, 1, 2
"""Which pictures a token sees."""
NONE = -1


def last_picture(pictures: Tensor, documents: Tensor) -> Tensor:
    """The number of the last picture at or before each place, in its document; -1 where there is none.

    Both int64 (n, l): `pictures` the number in the row of the picture that a place belongs to, -1 for text; numbers
    rise along a row. `documents` the number of a place's document, -1 for padding.
    """
    last = pictures.cummax(dim=1).values
    return torch.where(_owner(last, pictures, documents) == documents, last, NONE)


def next_picture(pictures: Tensor, documents: Tensor) -> Tensor:
    """The number of the first picture behind each place, in its document, or of the picture that it belongs to; -1
    where there is none."""
    most = torch.iinfo(pictures.dtype).max
    rest = torch.where(pictures < 0, most, pictures).flip(1).cummin(dim=1).values.flip(1)
    found = torch.where(rest == most, NONE, rest)
    return torch.where(_owner(found, pictures, documents) == documents, found, NONE)


def self_mask(documents: Tensor, pictures: Tensor, rules: Tensor) -> Tensor:
    """bool (n, l, l): which places (last) each place sees. `rules` int64 (n, l): ALL_PREVIOUS or LAST_IMAGE, which
    says of pictures among the words which are seen; words are always seen. Padding sees itself, so that nothing is
    divided by zero."""
    length = documents.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    same = documents[:, :, None] == documents[:, None]
    own = pictures[:, None] == last_picture(pictures, documents)[:, :, None]
    picture_seen = own | (rules == ALL_PREVIOUS)[:, :, None]
    return earlier & same & (picture_seen | (pictures < 0)[:, None])


def cross_mask(documents: Tensor, pictures: Tensor, rules: Tensor, count: int) -> Tensor:
    """bool (n, l, count): which of the row's pictures, 0 to `count` - 1, each place looks at."""
    last, behind = last_picture(pictures, documents), next_picture(pictures, documents)
    numbers = torch.arange(count, device=documents.device)
    one = torch.where(rules == NEXT_IMAGE, behind, last)
    exactly = numbers == one[:, :, None]
    owners = _owner(numbers.expand(len(documents), -1), pictures, documents)
    before = (numbers <= last[:, :, None]) & (owners[:, None] == documents[:, :, None])
    return torch.where((rules == ALL_PREVIOUS)[:, :, None], before, exactly)


def _owner(numbers: Tensor, pictures: Tensor, documents: Tensor) -> Tensor:
    """The document of each picture of these numbers, int64 as `numbers` (n, ...); -2 for those that are nowhere."""
    size = max(int(pictures.max()) if pictures.numel() else 0, int(numbers.max()) if numbers.numel() else 0, 0) + 2
    table = torch.full((len(pictures), size), -2, dtype=torch.int64, device=pictures.device)
    table.scatter_(1, pictures + 1, documents)
    table[:, 0] = -2
    return table.gather(1, numbers + 1)
