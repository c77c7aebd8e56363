"""Documents of short paragraphs."""

import pytest

from filters.paragraph_lengths import ParagraphLengths


def test_paragraphs_stand_between_empty_lines(scored):
    texts = ["a b\nc\n\nd", "\n\na\n\n\n\n--\n\nb b", "", "\n\n", None, "x"]
    assert scored(ParagraphLengths(), texts=texts) == [[3, 2, 0, 0, None, 1], [2, 1.5, 0, 0, None, 1]]


@pytest.mark.parametrize(
    ("longest", "mean", "reason"),
    [(34, 11.9, "paragraphs_too_short"), (35, 1.0, None), (34, 12.0, None), (None, None, None)],
)
def test_omnicorpus_drops_what_is_short_in_both(reasons, longest, mean, reason):
    rule = ParagraphLengths()
    assert reasons(rule, longest_paragraph_words=[longest], mean_paragraph_words=[mean]) == [reason]
