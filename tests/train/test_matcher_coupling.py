"""Whether captioner and matcher have weights in common: equal tensors count, a common start, once trained, does not."""

import pytest
import torch
from safetensors.torch import save_file

from curate.errors import ConfigError
from curate.models.caption_settings import CaptionerSettings, MatcherSettings
from curate.train import coupling
from curate.train.coupling import MOST_SHARED, shared_weights, warn_if_coupled


def folder(path, **tensors):
    path.mkdir()
    save_file({name.replace("__", "."): tensor for name, tensor in tensors.items()}, path / "model.safetensors")
    return str(path)


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_equal_tensors_count_by_their_size(tmp_path):
    ours = folder(tmp_path / "c", vision_model__a=random(0, 30), text_decoder__bert__b=random(1, 10), lm=random(2, 99))
    theirs = folder(tmp_path / "m", vision_model__a=random(0, 30), text_encoder__b=random(3, 10), itm=random(4, 99))
    assert shared_weights(ours, theirs) == 0.75
    assert "75% of their common weights are equal" in warn_if_coupled(ours, theirs)


def test_one_number_that_differs_makes_a_tensor_another(tmp_path):
    one = random(0, 30)
    other = one.clone()
    other[3] += 1
    pair = folder(tmp_path / "c", a=one), folder(tmp_path / "m", a=other)
    assert shared_weights(*pair) == 0.0
    assert warn_if_coupled(*pair) is None


def test_numbers_of_places_are_no_weights(tmp_path):
    places = torch.arange(512)
    pair = folder(tmp_path / "c", a=random(0, 9), ids=places), folder(tmp_path / "m", a=random(1, 9), ids=places)
    assert shared_weights(*pair) == 0.0


def test_a_model_in_several_files_is_compared_whole(tmp_path):
    ours, theirs = folder(tmp_path / "c", a=random(0, 9), b=random(1, 9)), tmp_path / "m"
    theirs.mkdir()
    for number, (name, seed) in enumerate((("a", 0), ("b", 2)), 1):
        save_file({name: random(seed, 9)}, theirs / f"model-0000{number}-of-00002.safetensors")
    assert shared_weights(ours, theirs) == 0.5


def test_the_toys_words_are_the_same_rows(tmp_path):
    words = random(0, 46, 4)
    pair = folder(tmp_path / "c", words__weight=words), folder(tmp_path / "m", text__words__weight=words[:44].clone())
    assert shared_weights(*pair) == 1.0


def test_models_with_nothing_in_common_share_nothing(tmp_path):
    assert shared_weights(folder(tmp_path / "c", a=random(0, 3)), folder(tmp_path / "m", b=random(0, 3))) == 0.0
    assert shared_weights(folder(tmp_path / "d", a=random(0, 3)), folder(tmp_path / "n", a=random(0, 4))) == 0.0


@pytest.mark.parametrize(("equal", "told"), [(10, False), (11, True)])
def test_a_tenth_is_the_bound(tmp_path, equal, told):
    ours = folder(tmp_path / "c", a=random(0, equal), b=random(1, 100 - equal))
    theirs = folder(tmp_path / "m", a=random(0, equal), b=random(2, 100 - equal))
    assert shared_weights(ours, theirs) == equal / 100
    assert (warn_if_coupled(ours, theirs) is not None) is told
    assert MOST_SHARED == 0.1


def test_settings_of_a_config_are_compared(tmp_path):
    ours = folder(tmp_path / "c", a=random(0, 9))
    assert "train the matcher apart" in warn_if_coupled(CaptionerSettings(weights=ours), MatcherSettings(weights=ours))
    assert warn_if_coupled(CaptionerSettings(weights="me/one"), MatcherSettings(weights="me/other")) is None
    asked = MatcherSettings(weights="me/one", head="vqa")
    assert "100% of their common weights" in warn_if_coupled(CaptionerSettings(weights="me/one"), asked)


def test_the_toys_that_come_along_are_not_coupled():
    assert warn_if_coupled(CaptionerSettings(), MatcherSettings()) is None


def test_a_folder_without_a_model_and_a_damaged_one_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"has no model\.safetensors"):
        shared_weights(tmp_path / "empty", tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").write_bytes(b"\x08\x00\x00\x00")
    with pytest.raises(ConfigError, match="is damaged"):
        shared_weights(tmp_path / "empty", tmp_path / "empty")
    assert warn_if_coupled(tmp_path / "empty", folder(tmp_path / "m", a=random(0, 3))) is None


def test_of_tensors_that_differ_at_once_no_more_than_a_row_is_read(tmp_path, monkeypatch):
    read = []
    rows = coupling._Stored.rows
    monkeypatch.setattr(coupling._Stored, "rows", lambda own, count: (read.append(count), rows(own, count))[1])
    pair = folder(tmp_path / "c", a=random(0, 50, 4)), folder(tmp_path / "m", a=random(1, 50, 4))
    assert shared_weights(*pair) == 0.0
    assert read == [1, 1]
    one = torch.tensor(3.0)
    assert shared_weights(folder(tmp_path / "d", a=one), folder(tmp_path / "n", a=one.clone())) == 1.0
