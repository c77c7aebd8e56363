"""The columns of the data set that `bench.million` writes, drawn in the shapes that web crawls have."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.fetch.status import FetchStatus

__all__ = ["families_of"]

HOSTS = 200_000
WORDS = 8_000
BEGAN = 1_760_000_000.0
"""Unix time of the first fetch."""
REPEATED = ("characters", "words")
FAILED = (
    FetchStatus.NOT_FOUND,
    FetchStatus.TIMEOUT,
    FetchStatus.CLIENT_ERROR,
    FetchStatus.SERVER_ERROR,
    FetchStatus.ROBOTS_DISALLOWED,
    FetchStatus.NOT_AN_IMAGE,
    FetchStatus.DNS_ERROR,
    FetchStatus.IMAGE_TRUNCATED,
)
FAILED_SHARE = (0.45, 0.15, 0.12, 0.08, 0.08, 0.06, 0.04, 0.02)
HTTP = {"success": 200, "not_found": 404, "client_error": 403, "server_error": 503, "not_an_image": 200}
LICENCES = (None, "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "all rights reserved")
LANGUAGES = ("en", "de", "fr", "es", "ru", "ja", "zh", "pt", "nl", "tr")
FORMATS = (("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp"), ("GIF", "image/gif"))

Dice = np.random.Generator


def families_of(keys: pa.Array, dice: Dice) -> dict[str, pa.Table]:
    """Column files of the rows with these keys, by family; those but the sample table, which is "", lack the keys."""
    n = len(keys)
    status = np.full(n, "success", object)
    lost = dice.random(n) < 1 / 8
    status[lost] = dice.choice([str(one) for one in FAILED], lost.sum(), p=FAILED_SHARE)
    urls, captions, words = _urls(n, dice), *_captions(n, dice)
    sides = [np.clip(dice.lognormal(6.2, 0.7, n), 20, 12_000).astype(np.int32) for _ in range(2)]
    scale = np.minimum(1, 256 / np.maximum(*sides))
    small = [np.maximum(1, np.round(side * scale)).astype(np.int32) for side in sides]
    failed_as = np.where(status == "not_an_image", "failed_to_resize", "failed_to_download")
    told = pa.array(status, pa.string())
    sample = {
        "url": urls,
        "caption": captions,
        "license": pa.array(dice.choice(np.array(LICENCES, object), n, p=[0.7, 0.1, 0.08, 0.05, 0.07]), pa.string()),
        "nsfw_probability": _some(dice.beta(0.3, 6.0, n), lost),
        "aesthetic_score": _some(np.clip(dice.normal(5.0, 0.9, n), 0, 10), lost),
        "key": keys,
        "status": pa.array(np.where(lost, failed_as, "success"), pa.string()),
        "error_message": pc.if_else(pa.array(lost), told, None),
        "width": pa.array(small[0], mask=lost),
        "height": pa.array(small[1], mask=lost),
        "original_width": pa.array(sides[0], mask=lost),
        "original_height": pa.array(sides[1], mask=lost),
        "exif": pa.array(np.where(lost, None, "{}"), pa.string()),
        "sha256": pc.if_else(pa.array(lost), None, _digests(n, dice)),
    }
    chars = pc.utf8_length(captions).cast(pa.int32())
    return {
        "": pa.table(sample),
        "fetch": _fetch(told, lost, urls, dice),
        "fetch_log": _log(n, dice),
        "clip": pa.table({"clip_similarity": _some(np.clip(dice.normal(0.27, 0.06, n), -1, 1), lost)}),
        "single_color": pa.table({"dominant_color_ratio": _some(dice.beta(1.2, 5.0, n), lost)}),
        "blur": pa.table({"laplacian_variance": _some(dice.lognormal(6.0, 1.6, n), lost)}),
        "caption_words": pa.table({"caption_words": words, "caption_words_fasttext": words}),
        "caption_chars": pa.table({"caption_chars": chars}),
        "caption_alphabetic": pa.table({"caption_letters_ratio": _some(dice.beta(30, 1.5, n))}),
        "caption_repetition": pa.table({f"repeated_{of}_ratio": _some(dice.beta(0.5, 9, n)) for of in REPEATED}),
        "language": _language(n, dice),
    }


def _digests(n: int, dice: Dice) -> pa.Array:
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)[dice.integers(0, 16, (n, 64), dtype=np.uint8)]
    return pa.StringArray.from_buffers(
        n, pa.py_buffer(np.arange(0, 64 * n + 1, 64, dtype=np.int32)), pa.py_buffer(digits)
    )


def _some(values: npt.NDArray[np.float64], missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(values.astype(np.float32), mask=missing)


def _fetch(told: pa.Array, lost: npt.NDArray[np.bool_], urls: pa.Array, dice: Dice) -> pa.Table:
    n = len(told)
    kind = dice.choice(len(FORMATS), n, p=[0.8, 0.12, 0.06, 0.02])
    names, types = (np.array([one[place] for one in FORMATS], object)[kind] for place in (0, 1))
    http = pa.array([HTTP.get(one) for one in told.to_pylist()], pa.int16())
    return pa.table(
        {
            "fetch_status": told,
            "fetch_detail": pa.nulls(n, pa.string()),
            "http_status": http,
            "final_url": pc.if_else(pa.array(lost), None, urls),
            "content_type": pa.array(np.where(lost, None, types), pa.string()),
            "original_bytes": pa.array(dice.lognormal(11.2, 1.1, n).astype(np.int64), mask=lost),
            "image_format": pa.array(np.where(lost, None, names), pa.string()),
            "frames": pa.array(np.ones(n, np.int32), mask=lost),
            "animated": pa.array(np.zeros(n, bool), mask=lost),
            "orientation": pa.array(np.ones(n, np.int8), mask=lost),
            "opt_out": pa.nulls(n, pa.string()),
            "robots": pa.array(np.full(n, "no_robots", object), pa.string()),
            "redirects": pa.array((dice.random(n) < 0.1).astype(np.int16)),
        }
    )


def _log(n: int, dice: Dice) -> pa.Table:
    began = BEGAN + dice.uniform(0, 600, n)
    seconds = pa.array(dice.lognormal(-1.5, 0.8, n).astype(np.float32))
    return pa.table({"attempts": pa.array(np.ones(n, np.int16)), "started": began, "seconds": seconds})


def _language(n: int, dice: Dice) -> pa.Table:
    share = np.array([0.6, 0.08, 0.07, 0.07, 0.05, 0.04, 0.03, 0.03, 0.02, 0.01])
    found = pa.array(np.array(LANGUAGES, object)[dice.choice(len(LANGUAGES), n, p=share)], pa.string())
    sure = _some(1 - dice.beta(0.4, 6.0, n))
    model = pa.array(np.full(n, "drawn", object), pa.string())
    return pa.table({"language": found, "language_probability": sure, "language_model": model})


def _urls(n: int, dice: Dice) -> pa.Array:
    """Hosts by Zipf's law: the first has some 8 % of all rows, most have a few."""
    hosts = 1 + dice.zipf(1.2, n) % HOSTS
    name = pc.binary_join_element_wise("https://img", pa.array(hosts).cast(pa.string()), ".example.org", "")
    path = pa.array(dice.integers(0, 1 << 48, n)).cast(pa.string())
    return pc.binary_join_element_wise(name, "media", "photos", pc.binary_join_element_wise(path, "jpg", "."), "/")


def _captions(n: int, dice: Dice) -> tuple[pa.Array, pa.Array]:
    """Texts of words by Zipf's law, lognormal lengths (median 9); one in 200 is missing. And their numbers of words."""
    lengths = np.clip(np.round(dice.lognormal(2.2, 0.8, n)), 1, 200).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    drawn = dice.zipf(1.3, offsets[-1]) % WORDS
    lists = pa.ListArray.from_arrays(pa.array(offsets), _vocabulary().take(pa.array(drawn)))
    missing = dice.random(n) < 1 / 200
    return pc.if_else(pa.array(missing), None, pc.binary_join(lists, " ")), pa.array(lengths, mask=missing)


@cache
def _vocabulary() -> pa.Array:
    letters, random = "eeeetttaaaooinnsshrrdlucmfwygpbvk", Random(3)
    return pa.array(["".join(random.choices(letters, k=random.randint(2, 9))) for _ in range(WORDS)])
