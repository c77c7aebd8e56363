"""Letters of any script, against digits and signs."""

import pytest

from filters.caption_alphabetic import CaptionAlphabetic

CAPTIONS = [
    ("a dog", 1.0),
    ("ab 12", 0.5),
    ("$19.99 - 12x18", 1 / 12),
    ("1234", 0.0),
    ("собака", 1.0),
    ("日本 2019", 2 / 6),
    ("हिन्दी", 1.0),  # vowel signs and virama belong to the script
    ("a\u00a0\u3000b\x85", 1.0),
    ("🐶🐶", 0.0),
    (" \n", None),
    ("", None),
    (None, None),
]


def test_share_of_letters(scored):
    assert scored(CaptionAlphabetic(), captions=[c for c, _ in CAPTIONS])[0] == pytest.approx([r for _, r in CAPTIONS])


@pytest.mark.parametrize(
    ("ratio", "reason"), [(0.5, None), (0.49, "too_few_letters"), (None, None), (float("nan"), "too_few_letters")]
)
def test_the_bound_is_included(reasons, ratio, reason):
    assert reasons(CaptionAlphabetic(min_ratio=0.5), caption_letters_ratio=[ratio]) == [reason]
