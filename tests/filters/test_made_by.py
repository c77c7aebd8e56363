"""Every score that a model makes says which: by one fingerprint of its own files and of what is below it."""

from pathlib import Path

import pytest

from curate.models.heads import made_on_top
from filters import sieve
from filters.aesthetic import ScoreAesthetic
from filters.faces import FindFaces
from filters.nsfw import ScoreNsfw
from filters.nsfw_picture import ScoreNsfwPicture
from filters.sieve import CompareCaptions
from filters.text_in_image import FindText
from filters.watermark import ScoreWatermark

BELOW = {"model": "ViT-L-14 openai", "model_precision": "bf16", "model_fingerprint": "aa"}
ON_EMBEDDINGS = {"aesthetic": ScoreAesthetic, "nsfw": ScoreNsfw}
ON_PIXELS = {"faces": FindFaces, "watermark": ScoreWatermark}


def mark(told):
    found = told["model_fingerprint"]
    assert len(found) == 16
    return found


@pytest.mark.parametrize("name", ON_EMBEDDINGS)
def test_a_score_of_embeddings_tells_the_model_below_and_its_own_file(tmp_path, name):
    path = tmp_path / "file.npy"
    path.write_bytes(b"one")
    scorer = ON_EMBEDDINGS[name](str(path))
    (column,) = scorer.reads
    told = scorer.made_from({column: BELOW})
    assert {(key, told[key]) for key in ("model", "model_precision")} <= BELOW.items()
    assert scorer.made_from({column: dict(BELOW)}) == told
    marks = [mark(told), mark(scorer.made_from({column: {**BELOW, "model_fingerprint": "bb"}}))]
    marks += [mark(scorer.provenance()), mark(scorer.made_from({column: {}}))]
    assert marks[2] == marks[3]
    path.write_bytes(b"other")
    marks[3] = mark(scorer.made_from({column: BELOW}))
    assert len(set(marks)) == 4


@pytest.mark.parametrize("name", ON_PIXELS)
def test_a_score_of_pixels_tells_its_file(tmp_path, name):
    path = tmp_path / "file.onnx"
    path.write_bytes(b"one")
    before = ON_PIXELS[name](str(path)).provenance()
    assert ON_PIXELS[name](str(path)).provenance() == before
    path.write_bytes(b"other")
    assert mark(ON_PIXELS[name](str(path)).provenance()) != mark(before)


def test_how_sure_a_detector_must_be_is_part_of_what_it_finds(tmp_path):
    path = tmp_path / "file.onnx"
    path.write_bytes(b"one")
    assert mark(FindFaces(str(path)).provenance()) != mark(FindFaces(str(path), min_score=0.5).provenance())


def test_the_network_of_nsfwjs_and_the_detector_of_text(tmp_path):
    (tmp_path / "model.json").write_text('{"modelTopology": {}, "weightsManifest": [{"paths": ["w"]}]}')
    marks = set()
    for weights in (b"one", b"other"):
        Path(tmp_path / "w").write_bytes(weights)
        marks.add(mark(ScoreNsfwPicture(str(tmp_path)).provenance()))
    assert len(marks | {mark(FindText().provenance())}) == 3


def test_captions_by_two_captioners_are_not_compared_as_one(monkeypatch):
    monkeypatch.setattr(sieve, "text_encoder_fingerprint", lambda encoder: f"{encoder}@double")
    scorer = CompareCaptions("x")
    by = [{"caption": {}, "synthetic_captions": {"model_fingerprint": captioner}} for captioner in "ab"]
    marks = {mark(scorer.made_from(told)) for told in by}
    assert len(marks | {mark(scorer.provenance()), mark(CompareCaptions("y").provenance())}) == 4


def test_what_is_below_stays_and_what_is_on_top_is_added():
    found = made_on_top(BELOW, ["head", 1], {"head": "h.pth"})
    assert found == {**BELOW, "head": "h.pth", "model_fingerprint": mark(found)}
    assert mark(made_on_top({}, ["head", 1], {})) != mark(made_on_top({}, ["head", 2], {}))
