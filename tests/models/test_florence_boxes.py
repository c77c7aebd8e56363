"""Answers with boxes as Florence-2 writes them: as transformers reads them, and whatever else comes."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.models.captioner import Phrase
from curate.models.florence_boxes import MOST_BOXES, parse_boxes


def locs(*numbers):
    return "".join(f"<loc_{number}>" for number in numbers)


def words_and_bins(answer):
    return [(one.words, tuple(round(side * 1000 - 0.5) for side in one.box)) for one in parse_boxes(answer)]


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("", []),
        ("a dog on a mat", []),
        (f"a dog{locs(1, 2, 3, 4)}", [("a dog", (1, 2, 3, 4))]),
        (f"</s><s>a dog{locs(0, 0, 999, 999)}</s><pad>", [("a dog", (0, 0, 999, 999))]),
        (f"a dog{locs(1, 2, 3, 4)}a mat{locs(5, 6, 7, 8)}", [("a dog", (1, 2, 3, 4)), ("a mat", (5, 6, 7, 8))]),
        (f"dogs{locs(1, 2, 3, 4, 5, 6, 7, 8)}", [("dogs", (1, 2, 3, 4)), ("dogs", (5, 6, 7, 8))]),
        (f"a\n big   dog {locs(1, 2, 3, 4)}", [("a big dog", (1, 2, 3, 4))]),
        ("a dog <loc_1> <loc_2> <loc_3> <loc_4>", [("a dog", (1, 2, 3, 4))]),
        (f"le café d'été{locs(1, 2, 3, 4)}", [("le café d'été", (1, 2, 3, 4))]),
        (f"a dog{locs(1, 2, 3)}", []),
        (f"a dog{locs(1, 2, 3, 4, 5)}", []),
        (f"a dog{locs(1, 2, 3)}a mat{locs(5, 6, 7, 8)}", [("a mat", (5, 6, 7, 8))]),
        (locs(1, 2, 3, 4), []),
        (f"  {locs(1, 2, 3, 4)}", []),
        (f"a dog{locs(3, 2, 1, 4)}", []),
        (f"a dog{locs(1, 4, 3, 2)}", []),
        (f"a dog{locs(1, 2, 1, 4)}", []),
        (f"a dog{locs(1, 2, 3, 2)}", []),
        (f"a dog{locs(1, 2, 2, 3)}", [("a dog", (1, 2, 2, 3))]),
        (f"dogs{locs(9, 9, 1, 1, 5, 6, 7, 8)}", [("dogs", (5, 6, 7, 8))]),
        (f"a dog{locs(1, 2, 3, 1000)}", []),
        (f"a dog{locs(1, 2, 3, '9' * 5000)}", []),
        (f"a dog{locs(1, 2, 3, -4)}", []),
        ("a dog<loc_><loc_x><loc_1", []),
        (f"{'w' * 300}{locs(1, 2, 3, 4)}", [("w" * 300, (1, 2, 3, 4))]),
        (f"{'w' * 301}{locs(1, 2, 3, 4)}", []),
    ],
)
def test_examples(answer, wanted):
    assert words_and_bins(answer) == wanted


def test_numbers_are_the_middles_of_thousandths():
    assert parse_boxes(f"a dog{locs(0, 250, 500, 999)}") == (Phrase("a dog", (0.0005, 0.2505, 0.5005, 0.9995)),)


@pytest.mark.parametrize("task", ["<OD>", "<CAPTION_TO_PHRASE_GROUNDING>"])
def test_well_formed_answers_are_read_as_transformers_reads_them(task):
    from tiny_vlm import tokenizer
    from transformers.models.florence2.processing_florence2 import Florence2PostProcessor

    kind = {"<OD>": "description_with_bboxes", "<CAPTION_TO_PHRASE_GROUNDING>": "phrase_grounding"}[task]
    answer = f"</s><s>a dog{locs(52, 332, 932, 774)}two cats{locs(1, 2, 30, 40, 5, 6, 70, 80)}</s>"
    sides = (4000, 2000)
    found = Florence2PostProcessor({kind: {}}, tokenizer())(text=answer, image_size=sides, parse_tasks=[kind])[kind]
    boxes = [(one["cat_name"], box) for one in found for box in (one["bbox"] if task != "<OD>" else [one["bbox"]])]
    own = [
        (one.words, [int(side * sides[place % 2] + 1e-6) for place, side in enumerate(one.box)])
        for one in parse_boxes(answer)
    ]
    assert own == boxes


def test_ten_thousand_boxes_are_read_in_part_and_in_time():
    started = time.thread_time()
    assert len(parse_boxes("dogs" + locs(1, 2, 3, 4) * 10_000)) == MOST_BOXES
    assert len(parse_boxes(f"a dog{locs(1, 2, 3, 4)}" * 10_000)) == MOST_BOXES
    for piece in ("<loc_", "<loc_1", "<", ">", " ", "<loc_1> ", "a", "\n", "<s>", "<loc_1><"):
        parse_boxes(piece * 100_000)
    assert time.thread_time() - started < 2


PIECES = st.sampled_from(
    ["a dog", "<loc_", ">", "<loc_1>", "<loc_500>", "<loc_998>", " ", "<s>", "\x00", "é", "<loc_99999>"]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=60).map("".join)))
def test_whatever_comes_every_phrase_is_a_box_with_words(answer):
    for one in parse_boxes(answer):
        left, top, right, bottom = one.box
        assert 0 < left < right < 1
        assert 0 < top < bottom < 1
        assert one.words.strip() == one.words != ""
        assert one.score is None
