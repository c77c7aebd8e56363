"""What is wrong with a generated text: examples on both sides of each rule."""

import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.caption.faults import FAULTS, FindFaults, fault_of
from curate.filter import Batch
from curate.models.caption_settings import CaptionerSettings

SOUND = [
    "a man riding a wave on top of a surfboard",
    "two red circles above a blue square",
    "a yellow star on the left and a yellow star on the right",
    "Bora Bora seen from the air",
    "a sign that says no no",
    "a black and white photo of a black and white cat",
    "Arafat shaking hands",
    "I see a dog on the beach.",
    "a picture of a dog",
    "the 50 50 club logo",
    "一只猫坐在沙发上。",
    "a cat <3",
    "www.example.com",
    "I'm lovin it: a hamburger on a tray",
    "a money bag labeled $55,000,000,000",
    "sandals in size 5 - 5.5 of 2,302 and 4,646",
    "a score of 10000000 on a screen",
    "a knife and a flag that reads Clan na Gael. Clan na Gael was an organization",
    "The Draft! The draft will commence",
    "In 1610. In 1610 the town was small.",
    "two words            apart ............ and ______ lines",
    "I can't keep calm, says a shirt",
    "There is no picture in the frame on the wall",
    "I'm afraid of the dark, says a poster",
    "a calendar page [Sep] on a wall",
]
FAULTY = [
    ("", "empty_text"),
    ("  \n ", "empty_text"),
    ("... !", "empty_text"),
    ("dai dai dai", "repetition_loop"),
    ("ray ban ray ban", "repetition_loop"),
    ("a hat on top of a hat on top of a hat", "repetition_loop"),
    ("hahahahahahaha", "repetition_loop"),
    ("猫猫猫猫猫猫", "repetition_loop"),
    ("arafed man in a suit", "artefact"),
    ("there is an araffe that is standing", "artefact"),
    ("a dog [SEP] a cat", "artefact"),
    ("a dog <|im_end|>", "artefact"),
    ("a ##ball game", "artefact"),
    ("a dog </s>", "artefact"),
    ("I'm sorry, but I can't describe this image.", "refusal"),
    ("I’m unable to see the picture", "refusal"),
    ("As an AI language model I have no eyes", "refusal"),
    ("No image was provided.", "refusal"),
    ("Please upload an image first", "refusal"),
    ("Unfortunately, I cannot see the picture.", "refusal"),
    ("I can’t directly view it", "refusal"),
    ("I don't see any image", "refusal"),
    ("I do not have access to pictures", "refusal"),
    ("I'm just an AI and have no eyes", "refusal"),
    ("I'm afraid I have no picture", "refusal"),
    ("There is no image provided.", "refusal"),
    ("I see no picture", "refusal"),
    ("As a language model, words are all I know", "refusal"),
    ("A dog on a beach. A dog on a beach.", "repetition_loop"),
    ("A dog runs. A cat sits! A dog runs. A cat sits!", "repetition_loop"),
    ("Dai. Dai. Dai.", "repetition_loop"),
    ("A dog. A dog. A dog", "repetition_loop"),
    ("a red dog, a red dog", "repetition_loop"),
    ("1 1 1", "repetition_loop"),
]


@pytest.mark.parametrize("text", SOUND)
def test_a_sound_text_has_no_fault(text: str) -> None:
    assert fault_of(text, "stop") is None


@pytest.mark.parametrize(("text", "fault"), FAULTY)
def test_a_faulty_text_has_its_reason(text: str, fault: str) -> None:
    assert fault_of(text, "stop") == fault


@pytest.mark.parametrize(
    ("text", "finish", "fault"),
    [
        ("a man riding a", "length", "truncated"),
        ("a man riding a", "stop", None),
        ("A man rides.", "length", None),
        ("A man rides. He", "length", "truncated"),
        ("a man riding a", None, None),
    ],
)
def test_a_cut_is_told_by_its_end(text: str, finish: str | None, fault: str | None) -> None:
    assert fault_of(text, finish) == fault


@pytest.mark.parametrize(
    ("prompt", "fault"),
    [
        ("Describe this image in one sentence.", "prompt_echo"),
        ("Describe this picture in one sentence.", None),
        ("describe THIS image", None),  # three words are too few to tell
        ("", None),
    ],
)
def test_an_echo_of_the_prompt_is_found(prompt: str, fault: str | None) -> None:
    assert fault_of("Describe this image, in one sentence: a dog on a beach", "stop", prompt) == fault


def test_a_word_three_times_and_a_phrase_twice_are_loops() -> None:
    assert fault_of("a big big dog", "stop") is None
    assert fault_of("a big big big dog", "stop") == "repetition_loop"
    assert fault_of("a red dog and a red dog", "stop") is None
    assert fault_of("a red dog a red dog", "stop") == "repetition_loop"


@given(st.text(max_size=300), st.sampled_from(["stop", "length", None]), st.text(max_size=30))
def test_any_text_has_one_of_the_reasons_or_none(text: str, finish: str | None, prompt: str) -> None:
    assert fault_of(text, finish, prompt) in {None, *FAULTS}


@pytest.mark.parametrize("text", ["ab" * 500_000, "a " * 500_000, "(" * 1_000_000, "abcdefghijklmnop" * 3 * 20_000])
def test_a_huge_text_takes_no_time(text: str) -> None:
    started = time.process_time()
    fault_of(text, "stop", "describe this image in one sentence")
    assert time.process_time() - started < 2


def test_a_loop_at_the_end_of_a_long_text_is_found() -> None:
    sound = " ".join(f"word{number}" for number in range(2_000))
    assert fault_of(sound, "stop") is None
    assert fault_of(f"{sound} of a of a of a", "length") == "repetition_loop"
    assert fault_of(f"of a of a of a {sound}", "stop") == "repetition_loop"


def test_columns_are_aligned_and_nulls_stay() -> None:
    texts = pa.array([["a dog", "", "dai dai dai"], None, [], ["a cut", None]])
    ends = pa.array([["stop", "stop", "stop"], None, [], ["length", None]])
    found = FindFaults("synthetic").score(Batch(pa.table({"synthetic_captions": texts, "synthetic_finish": ends})))
    assert found["synthetic_faults"].to_pylist() == [
        [None, "empty_text", "repetition_loop"],
        None,
        [],
        ["truncated", "empty_text"],
    ]


def test_an_echo_of_a_models_own_prompt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config without a prompt leaves the question to the model's kind; its echo is one all the same."""
    monkeypatch.setattr("curate.caption.faults.asked_prompt", lambda settings: "Describe this image in one sentence.")
    table = pa.table(
        {"synthetic_captions": [["Describe this image in one sentence. A dog."]], "synthetic_finish": [["stop"]]}
    )
    for model, fault in ((CaptionerSettings(weights="x/y"), "prompt_echo"), (None, None)):
        found = FindFaults("synthetic", model=model).score(Batch(table))
        assert found["synthetic_faults"].to_pylist() == [[fault]]
    assert FindFaults("synthetic", model=CaptionerSettings()).identity() == FindFaults("synthetic").identity()
