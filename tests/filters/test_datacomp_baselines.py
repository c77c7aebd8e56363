"""DataComp's baselines against their published rules written out: the same uid arrays, bit for bit, in any packing."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_shards import Given, ScoredBy, pack, pairs, run_steps

from curate.config import build_filters, read_toml
from curate.select import Select
from curate.signals import signal_steps
from curate.subset import UID, Subset
from filters.clip_similarity import ClipSimilarity

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
L14, B32 = np.float32(0.243), np.float32(0.28)


def around(bound: np.float32) -> list[np.float32]:
    return [np.nextafter(bound, np.float32(0)), bound, np.nextafter(bound, np.float32(1))]


def uids(rows: pa.Table, keep: Any) -> bytes:
    """The uids of these rows as DataComp saves them."""
    kept = [uid for uid, k in zip(rows["uid"].to_pylist(), keep, strict=True) if k]
    return np.sort(np.array([(int(uid[:16], 16), int(uid[16:32], 16)) for uid in kept], UID)).tobytes()


def threshold(scores: np.ndarray, fraction: float) -> float:
    """DataComp's: the value at place int(n * f) of the whole pool, the largest first."""
    return -np.sort(-scores)[int(len(scores) * fraction)]


def ours(folder: Path, rows: pa.Table, filters: dict[str, dict], packing: Any = None) -> bytes:
    """subset.npy of a job with these filters, whose columns are there already."""
    sizes, order = packing or ([len(rows) // 3, 0, len(rows) - len(rows) // 3], range(len(rows))[::-1])
    pack(folder / "in", rows, sizes, order)
    columns = tuple(name for name in rows.column_names if name not in ("url", "caption", "sha256", "uid"))
    rules = build_filters(filters)
    steps = [Given(str(folder / "in")), ScoredBy(str(folder / "in"), columns) if columns else None]
    steps += [*signal_steps(rules, {}, {*columns}), Select(tuple(rules.items())), Subset("uid")]
    run_steps(folder / "out", len(sizes), [step for step in steps if step])
    found = np.load(folder / "out" / "subset.npy")
    assert found.dtype == UID
    return found.tobytes()


def preset(name: str, **changes: dict) -> dict[str, dict]:
    """The filters of a preset, some settings changed."""
    filters = read_toml(CONFIGS / f"{name}.toml").get("filters", {})
    return {rule: {**settings, **changes.get(rule, {})} for rule, settings in filters.items()}


def pool(count: int, seed: int = 0) -> pa.Table:
    """Rows with scores as DataComp's parquet has them: steps of float16, so with ties; and what other rules read."""
    random = np.random.default_rng(seed)
    return pairs(
        count,
        l14_similarity=pa.array(random.normal(0.21, 0.05, count).astype(np.float16).astype(np.float32)),
        b32_similarity=pa.array(random.normal(0.25, 0.05, count).astype(np.float16).astype(np.float32)),
        language=pa.array(random.choice(["en", "en", "de", "und", None], count).tolist(), pa.string()),
        caption_words_fasttext=pa.array(random.integers(0, 4, count), pa.int32()),
        caption_chars=pa.array(random.integers(3, 9, count), pa.int32()),
        caption_synset=pa.array(random.choice([None, "n02084071"], count).tolist(), pa.string()),
        image_cluster_targeted=pa.array(random.random(count) < 0.5),
    )


def columns(rows: pa.Table) -> dict[str, np.ndarray]:
    return {name: np.array(rows[name].to_pylist(), object) for name in rows.column_names}


@pytest.mark.parametrize("fraction", [0.0, 1e-6, 0.1, 0.3, 1 / 3, 0.5, 0.999])
def test_clip_score_by_fraction(tmp_path, fraction):
    rows = pool(160).select(["url", "caption", "sha256", "uid", "l14_similarity"])
    scores = rows["l14_similarity"].to_numpy()
    expected = uids(rows, scores >= threshold(scores, fraction))
    filters = preset("datacomp_clip_l14", clip_similarity={"fraction": fraction})
    assert ours(tmp_path, rows, filters) == expected
    assert len(expected) // 16 >= int(160 * fraction) + 1


def test_clip_score_in_any_packing_and_with_repeated_uids(tmp_path):
    rows = pool(60).select(["url", "caption", "sha256", "uid", "l14_similarity"])
    rows = pa.concat_tables([rows, rows.slice(0, 20)])
    scores = rows["l14_similarity"].to_numpy()
    expected = uids(rows, scores >= threshold(scores, 0.3))
    back = list(range(80))[::-1]
    for number, packing in enumerate((([80], range(80)), ([1, 0, 70, 9], back), ([9] * 8 + [8], back))):
        assert ours(tmp_path / str(number), rows, preset("datacomp_clip_l14"), packing) == expected
    assert len(set(np.frombuffer(expected, UID).tolist())) < len(expected) // 16


def test_clip_score_at_a_fraction_of_one_keeps_all_where_theirs_fails(tmp_path):
    rows = pool(20)
    with pytest.raises(IndexError):
        threshold(rows["l14_similarity"].to_numpy(), 1.0)
    filters = preset("datacomp_clip_l14", clip_similarity={"fraction": 1.0})
    assert ours(tmp_path, rows, filters) == uids(rows, [True] * 20)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_clip_score_by_threshold(tmp_path, kind):
    narrow = kind.to_pandas_dtype()
    values = np.array([0, -0.3, 1, *around(L14), *(around(B32))], narrow)
    values = np.concatenate([values, [np.nextafter(narrow(0.243), narrow(0)), np.nextafter(narrow(0.243), narrow(1))]])
    rows = pairs(len(values), l14_similarity=pa.array(values, kind))
    expected = uids(rows, values >= 0.243)
    assert 0 < len(expected) // 16 < len(values)
    assert ours(tmp_path, rows, {"clip_similarity": {"model": "l14", "min": 0.243}}) == expected


@pytest.mark.parametrize("count", [1, 10, 30_000])
def test_one_more_than_the_share_and_its_ties(tmp_path, count):
    """Measured there: 10 scores and .3 keep 4; of scores with the steps of float16 there are ties at the threshold."""
    random = np.random.default_rng(1)
    scores = random.normal(0.21, 0.05, count) if count < 100 else random.normal(0.21, 0.05, count).astype(np.float16)
    rows = pairs(count, l14_similarity=pa.array(scores.astype(np.float32)))
    found = ours(tmp_path, rows, preset("datacomp_clip_l14"), ([count // 2, count - count // 2], range(count)))
    assert found == uids(rows, scores.astype(np.float32) >= threshold(scores.astype(np.float32), 0.3))
    more = len(found) // 16 - int(count * 0.3)
    assert more == 1 if count < 100 else more > 1


@given(st.lists(st.one_of(st.none(), st.just(np.nan), st.floats(-1, 1, width=16)), max_size=15), st.floats(0, 0.99))
@settings(deadline=None, max_examples=6)
def test_rows_without_a_score_are_no_part_of_the_pool(tmp_path_factory, values, fraction):
    """DataComp's metadata has none; its sort would count them, and cut at not-a-number once they are many."""
    rows = pairs(len(values), l14_similarity=pa.array(values, pa.float32(), from_pandas=False))
    scores = np.array([np.nan if v is None else v for v in values], np.float32)
    known = scores[~np.isnan(scores)]
    expected = uids(rows, scores >= threshold(known, fraction) if len(known) else [False] * len(values))
    filters = preset("datacomp_clip_l14", clip_similarity={"fraction": fraction})
    assert ours(tmp_path_factory.mktemp("pool"), rows, filters) == expected


def test_laion2b_at_every_boundary(tmp_path):
    """CLD3's language is en, whether reliable or not, and the similarity at least .28."""
    scores = [*around(B32), None, np.float32(np.nan), 1, -1]
    cells = list(product(["en", "de", "und", "", "EN", "en-Latn", None], scores))
    rows = pairs(
        len(cells),
        language=pa.array([language for language, _ in cells], pa.string()),
        b32_similarity=pa.array([score for _, score in cells], pa.float32(), from_pandas=False),
    )
    expected = uids(rows, [language == "en" and score is not None and score >= B32 for language, score in cells])
    assert len(expected) // 16 == 3
    assert ours(tmp_path, rows, preset("datacomp_laion2b")) == expected


def test_text_based(tmp_path):
    rows = pool(80)
    c = columns(rows)
    expected = uids(rows, (c["language"] == "en") & (c["caption_synset"] != np.array(None)))
    assert 0 < len(expected) // 16 < 80
    assert ours(tmp_path, rows, preset("datacomp_text")) == expected


def caption_filter(c: dict[str, np.ndarray]) -> np.ndarray:
    """That of image_based, not that of basic: more than 1 of fastText's words, more than 5 code points, en."""
    return (c["caption_words_fasttext"] > 1) & (c["caption_chars"] > 5) & (c["language"] == "en")


def test_image_based(tmp_path):
    rows = pool(120)
    c = columns(rows)
    expected = uids(rows, caption_filter(c) & (c["image_cluster_targeted"] == np.array(True)))
    assert 0 < len(expected) // 16 < 120
    assert ours(tmp_path, rows, preset("datacomp_image")) == expected


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.8])
def test_the_intersection_takes_its_threshold_of_the_whole_pool(tmp_path, fraction):
    """Not the best 30 % of what the other conditions leave."""
    rows = pool(200, 2)
    c = columns(rows)
    others = caption_filter(c) & (c["image_cluster_targeted"] == np.array(True))
    scores = rows["l14_similarity"].to_numpy() + np.float32(0.1) * others.astype(np.float32)
    rows = rows.set_column(rows.schema.get_field_index("l14_similarity"), "l14_similarity", pa.array(scores))
    expected = uids(rows, others & (scores >= threshold(scores, fraction)))
    found = preset("datacomp_image_clip", clip_similarity={"fraction": fraction})
    assert ours(tmp_path / "a", rows, found) == expected
    assert ours(tmp_path / "b", rows, dict(reversed(found.items()))) == expected
    of_the_rest = uids(rows, others & (scores >= threshold(scores[others.astype(bool)], fraction)))
    assert len(expected) > len(of_the_rest) > 0


def test_no_filter(tmp_path):
    rows = pool(30)
    assert ours(tmp_path, rows, preset("datacomp_no_filter")) == uids(rows, [True] * 30)


def test_an_empty_pool(tmp_path):
    assert ours(tmp_path, pool(0), preset("datacomp_image_clip"), ([0, 0], [])) == b""


def test_the_presets_are_the_published_rules():
    rules = {name: build_filters(preset(f"datacomp_{name}")) for name in ("clip_l14", "laion2b", "image_clip", "image")}
    assert rules["clip_l14"] == {"clip_similarity": ClipSimilarity(fraction=0.3, ties="datacomp", model="l14")}
    assert rules["laion2b"]["clip_similarity"] == ClipSimilarity(min=0.28, model="b32")
    assert rules["laion2b"]["language"].model == "cld3"
    assert rules["image_clip"].items() >= rules["image"].items()
    assert rules["image_clip"]["clip_similarity"] == rules["clip_l14"]["clip_similarity"]
    assert rules["image"]["caption_words"].columns == ("caption_words_fasttext",)
    for name in ("laion400m", "laion2b_en"):
        settings = preset(name)["clip_similarity"]
        assert settings == {"model": "b32", "min": {"laion400m": 0.3, "laion2b_en": 0.28}[name]}
