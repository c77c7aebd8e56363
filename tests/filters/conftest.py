"""What every filter test does: put values into columns and read the reasons."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from curate.filter import Batch, Filter

TYPES = {
    "url": pa.string(),
    "caption": pa.string(),
    "caption_words": pa.int32(),
    "caption_words_fasttext": pa.int32(),
    "caption_chars": pa.int32(),
    "repeated_characters_ratio": pa.float32(),
    "repeated_words_ratio": pa.float32(),
    "caption_letters_ratio": pa.float32(),
    "caption_nouns": pa.int32(),
    "caption_verbs": pa.int32(),
    "caption_relations": pa.int32(),
    "caption_synset": pa.string(),
    "caption_count": pa.int64(),
    "sieve_similarity": pa.float32(),
    "language": pa.string(),
    "language_probability": pa.float32(),
    "original_width": pa.int32(),
    "original_height": pa.int32(),
    "original_bytes": pa.int64(),
    "dominant_color_ratio": pa.float32(),
    "laplacian_variance": pa.float32(),
    "animated": pa.bool_(),
    "opt_out": pa.string(),
    "text_words": pa.int32(),
    "text_mean_word_chars": pa.float64(),
    "text_chars": pa.int32(),
    "text_symbols": pa.int32(),
    "text_digits": pa.int32(),
    "text_spaces": pa.int32(),
    "text_tokens": pa.int32(),
    "text_punctuation_marks": pa.int32(),
    "text_repeated_characters_ratio": pa.float64(),
    "text_repeated_words_ratio": pa.float64(),
    "text_stop_words_ratio": pa.float64(),
    "text_spam_words_ratio": pa.float64(),
    "text_flagged_words_ratio": pa.float64(),
    "text_common_words_ratio": pa.float64(),
    "text_lines_ended_ratio": pa.float64(),
    "text_perplexity": pa.float64(),
    "text_language": pa.string(),
    "text_language_probability": pa.float32(),
    "longest_paragraph_words": pa.int32(),
    "mean_paragraph_words": pa.float64(),
    "region": pa.string(),
    "region_reason": pa.string(),
    "rendered_width_px": pa.int32(),
    "rendered_height_px": pa.int32(),
    "image_url_count": pa.int64(),
    "paragraph_count": pa.int64(),
    "paragraph_documents": pa.int64(),
    "image_count": pa.int32(),
    "url_duplicate_of": pa.string(),
    "image_set_duplicate_of": pa.string(),
    "document_status": pa.string(),
    "fetch_status": pa.string(),
    "aesthetic_score": pa.float32(),
    "nsfw_probability": pa.float32(),
    "nsfw_hentai_probability": pa.float32(),
    "nsfw_porn_probability": pa.float32(),
    "nsfw_sexy_probability": pa.float32(),
    "watermark_probability": pa.float32(),
    "face_count": pa.int32(),
    "face_area_ratio": pa.float32(),
    "text_area_ratio": pa.float32(),
    "score": pa.float32(),
    "image_cluster_targeted": pa.bool_(),
    "evaluation_overlap_by": pa.string(),
    "hash_list_match": pa.string(),
}
RANKED = ("clip_similarity", "clip_masked_similarity", "matcher_probability", "clip_neg_clip_loss", "norm_sim")
TYPES |= {score: pa.float32() for score in RANKED}
TYPES |= {
    f"{score}{left}_{place}": pa.int64()
    for score in RANKED
    for left in ("", "_left")
    for place in ("rank", "above", "total")
}


@pytest.fixture
def reasons() -> Callable[..., list[str | None]]:
    """`reasons(filter, column=[...])`: the verdict on these rows, judged in one piece and in two chunks alike."""

    def judge(rule: Filter, **values: list[Any]) -> list[str | None]:
        assert set(rule.columns) == set(values)
        table = pa.table({name: pa.array(column, TYPES[name]) for name, column in values.items()})
        found: list[str | None] = rule.judge(table.select(rule.columns)).to_pylist()
        chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)]).select(rule.columns)
        assert rule.judge(chunked).to_pylist() == found
        assert rule.judge(table.slice(0, 0).select(rule.columns)).to_pylist() == []
        assert {r for r in found if r} <= set(rule.reasons)
        return found

    return judge


@pytest.fixture
def scored() -> Callable[..., list[Any]]:
    """`scored(filter, captions=[...])`, `texts=` or `pixels=`: the columns of the filter's own scorer."""

    def score(
        rule: Filter,
        captions: list[str | None] | None = None,
        pixels: list[Any] | None = None,
        texts: list[str | None] | None = None,
    ) -> list[Any]:
        scorer = rule.scorer()
        assert scorer is not None
        assert set(rule.columns) & set(scorer.writes)
        columns = {"key": pa.nulls(len(pixels or ()))}
        if captions is not None or texts is not None:
            columns = {scorer.reads[0]: pa.array(captions if texts is None else texts, pa.string())}
        answer = scorer.score(Batch(pa.table(columns), pixels or ()))
        assert list(answer) == list(scorer.writes)
        assert all(answer[name].type == kind for name, kind in scorer.writes.items())
        return [answer[name].to_pylist() for name in answer]

    return score
