"""Every label a row of the toy web can carry: its share, how its fetch should end, and which filters may drop it.

One line per label, because this table is the truth that everything else is measured against. `must` names filters that
ought to drop the row under their default settings, and counts for recall; `may` names filters that are right if they
do, and counts for precision only (an icon is small, and may be of one colour besides). Filters, not reasons, are
named: a reason may be renamed or split without touching the truth. Odd but harmless rows (a rotated photograph, a
redirect) are `benign`: losing them is an error, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from curate.fetch.status import FetchStatus

__all__ = ["CLEAN", "DEFECTS", "NEAR_COPIES", "Defect", "shares"]

CLEAN = "clean"
"""The label of a row with nothing wrong and nothing odd; its share is what the others leave over."""


@dataclass(frozen=True)
class Defect:
    """Truth about one label.

    `fetch` are the statuses with which a fetch may rightly end, the usual one first. `scene` is False where no
    picture of the scene can arrive.
    """

    share: float
    kind: Literal["clean", "benign", "bad"] = "bad"
    fetch: tuple[FetchStatus, ...] = (FetchStatus.SUCCESS,)
    must: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    scene: bool = True


def _bad(share: float, must: str = "", may: str = "", scene: bool = True, early: FetchStatus | None = None) -> Defect:
    """A row that arrives and should not be kept. `early` is how a strict fetch may already have refused it."""
    fetch = (FetchStatus.SUCCESS,) if early is None else (FetchStatus.SUCCESS, early)
    others = may if early is None else f"{may} fetch_status"
    return Defect(share, "bad", fetch, frozenset(must.split()), frozenset(others.split()), scene)


def _words(share: float, must: str = "", may: str = "") -> Defect:
    """A row whose caption says nothing of the picture, so that a model that compares them is right to say so."""
    return _bad(share, must, f"{may} clip_similarity match_probability")


def _lost(share: float, *fetch: FetchStatus, must: str = "", scene: bool = True) -> Defect:
    """A row that never becomes a picture."""
    return Defect(share, "bad", fetch, frozenset(f"{must} fetch_status".split()), frozenset(), scene)


def _benign(share: float) -> Defect:
    return Defect(share, "benign")


NEAR_COPIES = ("near_reencoded", "near_resized", "near_cropped", "near_mirrored", "near_bordered")

DEFECTS: Mapping[str, Defect] = {
    CLEAN: Defect(1.0, "clean"),
    # the words
    "other_scene": _bad(0.03, "clip_similarity match_probability"),
    "wrong_attribute": _bad(0.03, "match_probability", "clip_similarity"),
    "boilerplate": _words(0.02, "caption_blocklist", "caption_words language"),
    "file_name": _words(0.02, "caption_blocklist", "caption_words caption_chars caption_alphabetic language"),
    "url_caption": _words(0.01, "caption_blocklist", "caption_words caption_alphabetic language"),
    "repetition": _words(0.015, "caption_repetition", "language caption_words caption_chars"),
    "symbols": _words(0.015, "caption_alphabetic", "language caption_words caption_chars caption_blocklist"),
    "too_short": _words(0.015, "caption_words caption_chars", "language caption_alphabetic caption_blocklist"),
    "too_long": _words(0.01, "", "caption_words caption_chars caption_repetition"),
    "other_language": _words(0.05, "language", "caption_words"),
    # the picture
    "icon": _bad(
        0.02, "image_size", "single_color blur clip_similarity match_probability", early=FetchStatus.IMAGE_TOO_SMALL
    ),
    "banner": _bad(
        0.02, "aspect_ratio", "image_size clip_similarity match_probability", early=FetchStatus.ASPECT_RATIO_TOO_LARGE
    ),
    "single_color": _bad(0.02, "single_color", "blur clip_similarity match_probability", scene=False),
    "blurred": _bad(0.02, "blur", "clip_similarity match_probability"),
    "text_in_picture": _bad(0.02, "", "text_in_image clip_similarity match_probability"),
    "watermark": _bad(0.02, "", "text_in_image clip_similarity match_probability"),
    "animated": _bad(0.01, "animated", "clip_similarity match_probability"),
    # copies
    "exact_copy": _bad(0.03),
    **{name: _bad(0.008) for name in NEAR_COPIES},
    # odd, and fine
    "orientation": _benign(0.04),
    "cmyk": _benign(0.01),
    "palette": _benign(0.01),
    "sixteen_bit": _benign(0.008),
    "redirect": _benign(0.015),
    "rate_limited_once": _benign(0.008),
    "server_error_once": _benign(0.008),
    "other_agent_opted_out": _benign(0.008),
    # bytes that are no picture
    "broken": _lost(0.01, FetchStatus.IMAGE_BROKEN),
    "truncated": _lost(0.01, FetchStatus.IMAGE_TRUNCATED),
    "html_as_image": _lost(0.01, FetchStatus.NOT_AN_IMAGE, scene=False),
    "bomb": _lost(0.005, FetchStatus.IMAGE_TOO_LARGE, scene=False),
    # the server
    "not_found": _lost(0.015, FetchStatus.NOT_FOUND),
    "gone": _lost(0.008, FetchStatus.GONE),
    "server_error": _lost(0.008, FetchStatus.SERVER_ERROR),
    "redirect_loop": _lost(0.005, FetchStatus.BAD_REDIRECT),
    "redirect_private": _lost(0.005, FetchStatus.ADDRESS_REFUSED),
    "trickle": _lost(0.005, FetchStatus.TOO_SLOW, FetchStatus.TIMEOUT),
    "endless": _lost(0.005, FetchStatus.TOO_MANY_BYTES),
    "closed": _lost(0.008, FetchStatus.CONNECTION_LOST),
    # no means no
    "robots_forbidden": _lost(0.015, FetchStatus.ROBOTS_DISALLOWED),
    "robots_unreachable": _lost(0.005, FetchStatus.ROBOTS_UNREACHABLE),
    "opted_out": _lost(0.01, FetchStatus.OPTED_OUT, must="opt_out"),
    "tdm_reserved": _lost(0.008, FetchStatus.OPTED_OUT, must="opt_out"),
    "blocked_host": _bad(0.015, "url_host"),
}


def shares(overrides: Mapping[str, float]) -> dict[str, float]:
    """Share per label, all of DEFECTS, adding up to 1; CLEAN takes what is left.

    Raises ValueError for an unknown label, a share outside 0 to 1, or shares that leave nothing for CLEAN.
    """
    unknown = sorted(set(overrides) - set(DEFECTS) | set(overrides) & {CLEAN})
    if unknown:
        raise ValueError(
            f"shares: no label {unknown[0]!r} to set; labels are {', '.join(n for n in DEFECTS if n != CLEAN)}"
        )
    found = {name: overrides.get(name, defect.share) for name, defect in DEFECTS.items() if name != CLEAN}
    wrong = [name for name, share in found.items() if not 0 <= share <= 1]
    if wrong:
        raise ValueError(f"shares: {wrong[0]} = {found[wrong[0]]} must be from 0 to 1")
    left = 1 - sum(found.values())
    if left <= 0:
        raise ValueError(f"shares: they add up to {1 - left:.3f} and leave nothing for {CLEAN!r} rows; lower some")
    return {CLEAN: left, **found}
