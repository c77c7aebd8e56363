"""Which pictures must not be mirrored: words for sides and for writing in many languages, and what columns tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ShardError
from curate.handover.flips import FLIP_REASONS, SIDES, WRITING, count_refusals, flip_refusals

SIDE, WRITTEN, FOUND, BOXES = FLIP_REASONS
NOTHING = pa.table({"a": pa.array([0])})

CAPTIONS: list[tuple[str, str, str | None]] = [
    ("en", "A dog left of a cat.", SIDE),
    ("en", "The LEFT-hand glove", SIDE),
    ("en", "a man on the right", SIDE),
    ("en", "turning counter-clockwise", SIDE),
    ("en", "the rightmost house", SIDE),
    ("en", "leftovers on a bright plate, upright", None),
    ("de", "Links ein Baum", SIDE),
    ("de", "das rechte Auge", SIDE),
    ("de", "ein Rechteck und ein Richter", None),
    ("nl", "de linkerhand", SIDE),
    ("fr", "Un chien à gauche d'un chat", SIDE),
    ("fr", "à DROITE", SIDE),
    ("es", "a la izquierda", SIDE),
    ("es", "la mano derecha", SIDE),
    ("es", "el sol sobre el mar", None),
    ("it", "a sinistra", SIDE),
    ("it", "la mano destra", SIDE),
    ("pt", "do lado esquerdo", SIDE),
    ("pt", "à direita", SIDE),
    ("ca", "a l'esquerra", SIDE),
    ("ro", "în stânga", SIDE),
    ("no", "til venstre", SIDE),
    ("no", "på HØYRE side", SIDE),
    ("da", "til højre", SIDE),
    ("sv", "till vänster", SIDE),
    ("sv", "den högra handen", SIDE),
    ("fi", "vasemmalla puolella", SIDE),
    ("fi", "oikealla", SIDE),
    ("pl", "po lewej stronie", SIDE),
    ("pl", "z prawej", SIDE),
    ("pl", "prawie pusty pokój", None),
    ("cs", "vlevo dole", SIDE),
    ("hu", "balra", SIDE),
    ("hu", "bal oldalon", SIDE),
    ("tr", "solda bir ağaç", SIDE),
    ("tr", "sağ tarafta", SIDE),
    ("ru", "слева стоит дом", SIDE),
    ("ru", "СПРАВА от дерева", SIDE),
    ("ru", "в левой руке", SIDE),
    ("ru", "правда и слава", None),
    ("uk", "ліворуч від хати", SIDE),
    ("bg", "вдясно", SIDE),
    ("el", "στα αριστερά", SIDE),
    ("id", "di sebelah kiri", SIDE),
    ("vi", "ở bên trái", SIDE),
    ("vi", "trái cây trên bàn", None),
    ("zh", "左边是一只狗", SIDE),
    ("zh", "右側", SIDE),
    ("ja", "ひだりの犬", SIDE),
    ("ko", "왼쪽에 있는 개", SIDE),
    ("ko", "오른손", SIDE),
    ("ar", "كلب على اليسار يسار القطة", SIDE),
    ("fa", "سمت چپ", SIDE),
    ("he", "מצד שמאל", SIDE),
    ("hi", "बाईं ओर एक कुत्ता", SIDE),
    ("bn", "ডান দিকে", SIDE),
    ("th", "ทางซ้าย", SIDE),
    ("en", "A stop sign at a corner", WRITTEN),
    ("en", "a shirt that reads hello", WRITTEN),
    ("en", 'a cake with "happy birthday"', WRITTEN),
    ("en", "a cake with “happy birthday”", WRITTEN),
    ("en", "the clock on the tower", WRITTEN),
    ("en", "dark granite texture, designed by a resigned man", None),
    ("en", "a dog's ball isn't here", None),
    ("en", "two dogs and 3 cats", None),
    ("de", "ein Straßenschild", WRITTEN),
    ("de", "die Überschrift", WRITTEN),
    ("fr", "un panneau rouge", WRITTEN),
    ("es", "un letrero azul", WRITTEN),
    ("it", "un cartello", WRITTEN),
    ("pt", "uma placa", WRITTEN),
    ("pl", "napis na ścianie", WRITTEN),
    ("sv", "en skylt", WRITTEN),
    ("no", "et skilt", WRITTEN),
    ("ru", "надпись на стене", WRITTEN),
    ("nl", "een opschrift", WRITTEN),
    ("id", "tulisan di dinding", WRITTEN),
    ("tr", "bir tabela", WRITTEN),
    ("zh", "墙上写着", WRITTEN),
    ("ja", "看板がある", WRITTEN),
    ("ko", "간판", WRITTEN),
    ("ar", "لافتة حمراء", WRITTEN),
    ("en", "a sign on the left", SIDE),
    ("en", "a brown dog runs along the beach", None),
    ("en", "", None),
]


@pytest.mark.parametrize(("language", "caption", "reason"), CAPTIONS, ids=range(len(CAPTIONS)))
def test_captions(language: str, caption: str, reason: str | None) -> None:
    assert flip_refusals(pa.array([caption]), NOTHING).to_pylist() == [reason], (language, caption)


def test_every_language_that_is_listed_has_an_example() -> None:
    shown = {reason: {language for language, _, own in CAPTIONS if own == reason} for reason in FLIP_REASONS}
    assert shown[SIDE] >= SIDES.keys()
    assert shown[WRITTEN] >= WRITING.keys()


def test_all_of_a_pictures_texts_count_and_are_its_own() -> None:
    texts = pa.array([["a dog", None, "a dog on the left"], None, [], ["a cat"], ["a sign", "a cat"], [None]])
    columns = pa.table({"a": range(6)})
    assert flip_refusals(texts, columns).to_pylist() == [SIDE, None, None, None, WRITTEN, None]
    chunked = pa.chunked_array([texts.slice(0, 1), texts.slice(1)])
    assert flip_refusals(chunked, columns).to_pylist() == [SIDE, None, None, None, WRITTEN, None]


COLUMNS: list[tuple[dict[str, Any], str | None]] = [
    ({"text_area_ratio": [0.01]}, None),
    ({"text_area_ratio": [0.0101]}, FOUND),
    ({"text_area_ratio": [None]}, None),
    ({"text_area_ratio": [float("nan")]}, FOUND),
    ({"text_ratio": pa.array([0.5], pa.float32())}, FOUND),
    ({"ocr_text": ["STOP"]}, FOUND),
    ({"ocr_text": ["  "]}, None),
    ({"ocr": pa.array([None], pa.string())}, None),
    ({"ocr": [["STOP"]]}, FOUND),
    ({"ocr": pa.array([[]], pa.list_(pa.string()))}, None),
    ({"blip_phrases": [[[{"words": "a cat", "box": [0.0]}]]]}, BOXES),
    ({"blip_phrases": pa.array([None], pa.list_(pa.string()))}, None),
    ({"boxes": [[[0.1]]]}, BOXES),
    ({"objects": [{"a": 1}]}, BOXES),
    ({"other": [[1]]}, None),
    ({"text_area_ratio": [0.9], "boxes": [[[0.1]]]}, FOUND),
]


@pytest.mark.parametrize(("columns", "reason"), COLUMNS, ids=range(len(COLUMNS)))
def test_what_columns_tell(columns: Any, reason: str | None) -> None:
    assert flip_refusals(pa.array(["a dog"]), pa.table(columns)).to_pylist() == [reason]


def test_the_bound_of_writing_is_included() -> None:
    columns = pa.table({"text_area_ratio": [0.2, 0.21]})
    assert flip_refusals(pa.array(["a dog", None]), columns, 0.2).to_pylist() == [None, FOUND]
    with pytest.raises(ValueError, match="max_text_ratio"):
        flip_refusals(pa.array(["a dog"]), NOTHING, 1.5)


def test_refusals_are_counted() -> None:
    refusals = flip_refusals(pa.array(["left", "right", "a sign", "a dog"]), pa.table({"a": range(4)}))
    assert count_refusals(refusals) == {"in": 4, f"flip_refused.{SIDE}": 2, f"flip_refused.{WRITTEN}": 1}


def test_texts_that_are_no_utf8_and_columns_that_are_no_texts() -> None:
    raw = pa.array([b"left \xff", b"\xff\xfe", None], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    assert flip_refusals(broken, pa.table({"a": range(3)})).to_pylist() == [SIDE, None, None]
    assert len(flip_refusals(pa.array([], pa.string()), pa.table({"a": []}))) == 0
    with pytest.raises(ShardError, match="int64"):
        flip_refusals(pa.array([1]), NOTHING)


def test_order_does_not_matter() -> None:
    texts = pa.array([caption for _, caption, _ in CAPTIONS])
    columns = pa.table({"a": range(len(texts))})
    order = np.random.default_rng(0).permutation(len(texts))
    mixed = flip_refusals(texts.take(pa.array(order)), columns)
    assert mixed.to_pylist() == [CAPTIONS[place][2] for place in order]
