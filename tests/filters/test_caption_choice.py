"""Rows of which a view keeps no text, or too few."""

from typing import Any

import pyarrow as pa
import pytest

from curate.config import build_filters
from curate.errors import ConfigError, ShardError
from filters.caption_choice import CaptionChoice

NONE, FEW = "no_text_kept", "too_few_texts_kept"
TEXTS: list[Any] = [None, [], ["a"], ["a", "b"], ["a", "b", "c"]]


def reasons(rule: CaptionChoice) -> list[str | None]:
    table = pa.table({rule.columns[0]: pa.array(TEXTS, pa.list_(pa.string()))})
    found: list[str | None] = rule.judge(table).to_pylist()
    assert rule.judge(pa.concat_tables([table.slice(0, 2), table.slice(2)])).to_pylist() == found
    assert rule.judge(table.slice(0, 0)).to_pylist() == []
    return found


def test_the_least_number_is_included() -> None:
    assert reasons(CaptionChoice()) == [NONE, NONE, None, None, None]
    assert reasons(CaptionChoice(min_texts=2)) == [NONE, NONE, FEW, None, None]
    assert reasons(CaptionChoice(min_texts=3)) == [NONE, NONE, FEW, FEW, None]


def test_the_column_is_that_of_the_view() -> None:
    assert CaptionChoice().columns == CaptionChoice.reads == ("capfilt_texts",)
    assert CaptionChoice("blip2").columns == ("blip2_texts",)
    assert CaptionChoice().scorers({}) == ()
    assert reasons(CaptionChoice("blip2")) == reasons(CaptionChoice())


def test_a_column_that_no_view_wrote_is_told() -> None:
    table = pa.table({"ocr_texts": ["a"]})
    with pytest.raises(ShardError, match="ocr_texts is a column of string, and no view's"):
        CaptionChoice("ocr").judge(table)


@pytest.mark.parametrize(
    ("table", "words"), [({"min_texts": 0}, "min_texts = 0 is out of range"), ({"view": "a b"}, "a b")]
)
def test_settings_that_cannot_be(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[filters.caption_choice\] .*{words}"):
        build_filters({"caption_choice": table})
