"""Which steps a config's filters ask for, in which order, and what does not go together."""

import numpy as np
import pytest

from curate.config import build_filters
from curate.errors import ConfigError
from curate.filter import Scorer
from curate.imported import Import
from curate.models.scorers import model_steps
from curate.models.settings import build_models
from curate.plan import check
from curate.rank import Rank
from curate.score import Score
from curate.signals import signal_steps
from curate.stage import Barrier
from filters.neg_clip_loss import CompareInBatches
from pipelines.image_text_pairs import image_text_pairs

BEST = {"fraction": 0.3}
LEFT = {"fraction": 0.3, "among": "earlier"}


def steps(filters, models=None, given=()):
    models = {"clip": {"device": "cpu"}} if models is None else models
    return signal_steps(build_filters(filters), build_models(models), set(given))


def labels(filters, models=None, given=()):
    return [step.label for step in steps(filters, models, given)]


@pytest.fixture
def targets(tmp_path):
    path = tmp_path / "targets.npy"
    np.save(path, np.eye(96, dtype=np.float16))
    return {"targets": str(path)}


def test_nothing_is_asked_for_nothing():
    assert labels({}, {}) == []
    assert labels({}) == ["score_clip"], "a model of the config runs, whether a filter reads it or not"


def test_what_is_read_stands_behind_what_writes_it(targets):
    filters = {"norm_sim": {**targets, **LEFT}, "neg_clip_loss": BEST, "clip_similarity": BEST, "blur": {}}
    found = steps(filters, {"b32": {"device": "cpu"}, "clip": {"device": "cpu"}})
    written = {"image", "caption", "url", "sha256", "key"}
    for step in found:
        assert set(step.reads) <= written, step.label
        written |= set(step.writes)
    assert {c for rule in build_filters(filters).values() for c in rule.columns} <= written
    kinds = [isinstance(step, Barrier) for step in found]
    assert kinds == sorted(kinds), "steps over all shards come last"
    assert [step.label for step in found[:3]] == ["score_b32", "score_clip", "score_blur"], "and pixels first, together"


def test_one_npz_for_all_models_that_ask_behind_them():
    models = {"l14": {"npz": True}, "x": {}, "b32": {"npz": True}}
    found = steps({}, models)
    assert [step.label for step in found] == ["score_l14", "score_x", "score_b32", "npz_embeddings"]
    assert found[-1] == steps({}, dict(reversed(models.items())))[-1]


def test_the_order_does_not_depend_on_that_of_the_config(targets):
    filters = {"norm_sim": {**targets, **BEST}, "neg_clip_loss": BEST, "clip_similarity": BEST}
    assert set(labels(filters)) == set(labels(dict(reversed(filters.items()))))


def test_one_step_for_all_that_ask_for_it():
    filters = {"clip_similarity": BEST, "clip_similarity-b": {"count": 5}, "clip_similarity-c": {"min": 0.1}}
    assert labels(filters) == ["score_clip", "rank_clip_similarity"]
    both = labels({"clip_similarity": BEST, "clip_similarity-left": LEFT})
    assert both == ["score_clip", "rank_clip_similarity", "rank_clip_similarity_left"]


def test_earlier_filters_are_those_before_it():
    filters = {"blur": {}, "clip_similarity": LEFT, "caption_words": {"min": 3}}
    rank = steps(filters)[-1]
    assert isinstance(rank, Rank)
    assert [name for name, _ in rank.rules] == ["blur"]
    first = steps({"clip_similarity": LEFT})[-1]
    assert first.rules == ()
    assert set(build_filters({"clip_similarity": LEFT})["clip_similarity"].columns) <= {*first.writes, *first.reads}


def test_ranks_among_those_that_a_rank_left(targets):
    found = labels({"neg_clip_loss": BEST, "norm_sim": {**targets, **LEFT}})
    assert found.index("rank_clip_neg_clip_loss") < found.index("rank_norm_sim_left")


@pytest.mark.parametrize(
    ("filters", "models", "words"),
    [
        (
            {"neg_clip_loss": BEST, "neg_clip_loss-warm": {**BEST, "temperature": 0.07}},
            None,
            r"^\[filters.neg_clip_loss\] and \[filters.neg_clip_loss-warm\] ask for 'neg_clip_loss_clip' in two ways, "
            "and one column cannot hold both; give both filters the same settings$",
        ),
        (
            {"caption_words": {"min": 1}, "clip_similarity": LEFT, "blur": {}, "clip_similarity-b": LEFT},
            None,
            "ask for 'rank_clip_similarity_left' in two ways.*only one of them can say among = \"earlier\"",
        ),
        (
            {
                "language": {"languages": ["en"], "model": "py3langid"},
                "language-b": {"languages": ["en"], "model": "cld3"},
            },
            None,
            r"\[filters.language\] and \[filters.language-b\] ask for 'score_language' in two ways",
        ),
        ({"blur": {}}, {"blur": {}}, r"\[models.blur\] and \[filters.blur\] ask for.*give the model another name"),
        ({}, {"select": {}}, r"\[models.select\] would write a file that is another's; give the model another name"),
        ({}, {"jpg": {}}, r"\[models.jpg\] would write"),
        (
            {"clip_similarity": BEST},
            {},
            r"^\[filters.clip_similarity\] model = 'clip': the config has no \[models.clip",
        ),
        (
            {"clip_similarity-b": {"min": 0, "model": "l14"}},
            None,
            r"^\[filters.clip_similarity-b\] model = 'l14'.*: clip$",
        ),
        ({"match_probability": BEST}, {"matcher": {}}, "is of kind 'clip', and this needs kind = 'matcher'"),
        ({"clip_similarity": BEST}, {"clip": {"kind": "matcher"}}, "is of kind 'matcher'"),
        (
            {"image_cluster": {"targets": "t.npy"}},
            {"clip": {}, "image_cluster": {}},
            r"^\[models.image_cluster\] and \[filters.image_cluster\] would both write 00000.image_cluster.parquet; "
            "give the model another name$",
        ),
        (
            {"neg_clip_loss": BEST},
            {"clip": {}, "neg_clip_loss_clip": {}},
            r"\[models.neg_clip_loss_clip\] and \[filters.neg_clip_loss\] would both write 00000.neg_clip_loss_clip",
        ),
    ],
)
def test_what_does_not_go_together(filters, models, words):
    with pytest.raises(ConfigError, match=words):
        steps(filters, models)


@pytest.mark.parametrize(
    ("filters", "given", "left"),
    [
        ({"clip_similarity": {"min": 0.3}}, ["clip_similarity"], []),
        ({"clip_similarity": BEST}, ["clip_similarity"], ["rank_clip_similarity"]),
        ({"clip_similarity": LEFT}, ["clip_similarity"], ["rank_clip_similarity_left"]),
        ({"neg_clip_loss": BEST}, ["clip_neg_clip_loss", "url"], ["rank_clip_neg_clip_loss"]),
        ({"norm_sim": {**BEST, "targets": "none.npy"}}, ["norm_sim"], ["rank_norm_sim"]),
        ({"match_probability": {"min": 0.5}}, ["matcher_probability"], []),
        ({"blur": {}, "caption_frequency": {}}, ["laplacian_variance", "caption_count"], []),
    ],
)
def test_what_the_source_has_is_not_computed(filters, given, left):
    assert labels(filters, {}, given) == left
    with_label = {f"{name}-x": settings for name, settings in filters.items()}
    assert labels(with_label, {}, given) == left


def test_files_that_are_named_are_imported_though_the_source_has_such_a_column(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"uid": ["0" * 32], "hype": [0.5]}), tmp_path / "scores.parquet")
    found = steps({"imported": {"path": str(tmp_path), "column": "hype", **BEST}}, {}, ["hype", "uid"])
    assert [type(step) for step in found] == [Import, Rank]


def test_scorers_of_pixels_share_a_gpu():
    on_gpu = steps({"blur": {}, "caption_words": {"min": 1}}, {"clip": {}})
    assert {step.label: step.resources.gpus for step in on_gpu} == {
        "score_clip": 1,
        "score_blur": 1,
        "score_caption_words": 0,
    }
    on_cpu = steps({"blur": {}, "caption_words": {"min": 1}})
    assert {step.resources.gpus for step in on_cpu} == {0}


def test_steps_are_what_filters_and_models_say():
    found = steps({"neg_clip_loss": {"min": -0.1, "batch": 8}})
    models = [step for name, s in build_models({"clip": {"device": "cpu"}}).items() for step in model_steps(name, s)]
    assert found == [*models, CompareInBatches(batch=8)]
    assert all(isinstance(step.scorer, Scorer) for step in found if isinstance(step, Score))


def checked(filters, **source):
    source = {"kind": "url_table", "path": "urls.parquet", **source}
    job = image_text_pairs({"pipeline": "image_text_pairs", "source": source, "filters": filters})
    check(job)
    return [step.label for step in job.steps]


def test_the_best_by_a_column_of_a_source_without_captions():
    filters = {"imported": {"column": "hype", **LEFT}}
    assert checked(filters, columns=["hype"]) == ["fetch", "rank_hype_left", "select"]


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"url_duplicate": {}, "pair_duplicate": {}}, "filter 'url_duplicate' asks for it, and has no place here"),
        ({"pair_duplicate": {}, "url_duplicate": {}}, "filter 'url_duplicate' asks for it"),
        ({"text_words": {}}, "'score_text_words' reads column 'text', .*; filter 'text_words' asks for it"),
        ({"imported": {"column": "hypes", "min": 1}}, "'hypes', which nothing before it writes; did you mean 'hype'"),
    ],
)
def test_a_filter_whose_column_nobody_has_is_named(filters, words):
    with pytest.raises(ConfigError, match=words):
        checked(filters, columns=["hype"], caption_column="caption")
