"""Aesthetic heads give what their published weights say, and a file that is not one is refused."""

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from curate.errors import ConfigError
from curate.models.embeddings import embedding_column
from curate.models.heads import Head, aesthetic_head, scores_of

MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "models"
LINEAR = MODELS / "aesthetic_linear_heads"
MLP = MODELS / "aesthetic_mlp_heads" / "sac+logos+ava1-l14-linearMSE.pth"
ORACLE = MODELS / "clip_embeddings_oracle" / "tests" / "test_clip_inference" / "test_embeddings"
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="the models of shared/data are not here")


class ArraysOnly(pickle.Unpickler):
    """Unpickles dictionaries of numpy arrays and nothing else."""

    def find_class(self, module, name):
        allowed = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def oracle():
    """Embeddings by ViT-B/32 of seven pictures, float16 (7, 512)."""
    parts = []
    for path in sorted(ORACLE.glob("*.pkl")):
        with open(path, "rb") as file:
            parts.append(ArraysOnly(file).load()["image_embs"])
    return np.concatenate(parts)


def ratings(name):
    """The mean embeddings of pictures that people rated 0, 1, ... 9."""
    return np.concatenate([np.load(LINEAR / f"{name}_embeddings" / f"rating{rating}.npy") for rating in range(10)])


@needs_models
def test_the_seven_pictures_get_the_scores_of_the_formula():
    rows = oracle()
    assert rows.shape == (7, 512)
    path = LINEAR / "sa_0_4_vit_b_32_linear.pth"
    weights = torch.load(path, map_location="cpu", weights_only=True)
    expected = rows.astype(np.float64) @ weights["weight"].double().numpy()[0] + weights["bias"].item()
    scores = scores_of(aesthetic_head(path), embedding_column(rows, np.ones(7, bool)), "clip_image_embedding")
    assert scores.type == pa.float32()
    assert np.abs(np.array(scores.to_pylist()) - expected).max() < 1e-4
    assert expected.round(3).tolist() == [4.009, 6.73, 5.169, 3.237, 6.01, 5.663, 5.889]


@needs_models
@pytest.mark.parametrize("name", ["vit_b_32", "vit_l_14"])
def test_linear_scores_rise_with_the_rating(name):
    scores = aesthetic_head(LINEAR / f"sa_0_4_{name}_linear.pth")(ratings(name))
    assert (np.diff(scores) > 0.5).all()


@needs_models
def test_the_folded_layers_equal_the_layers_and_rise_with_the_rating():
    tensors = torch.load(MLP, map_location="cpu", weights_only=True)
    rows = ratings("vit_l_14")
    expected = rows.astype(np.float64)
    for number in (0, 2, 4, 6, 7):
        expected = expected @ tensors[f"layers.{number}.weight"].double().numpy().T
        expected += tensors[f"layers.{number}.bias"].double().numpy()
    scores = aesthetic_head(MLP)(rows)
    assert np.abs(scores - expected[:, 0]).max() < 1e-4
    assert (np.diff(scores) > 0.1).all()


def linear(length=4, outputs=1):
    return {
        "weight": torch.arange(length * outputs).reshape(outputs, length).float(),
        "bias": torch.full((outputs,), 0.5),
    }


def layers(*sizes):
    names = dict(zip((0, 2, 4, 6, 7), pairwise(sizes), strict=True))
    return {f"layers.{n}.weight": torch.ones(out, in_) for n, (in_, out) in names.items()} | {
        f"layers.{n}.bias": torch.zeros(out) for n, (_, out) in names.items()
    }


def test_both_kinds_of_file_and_both_kinds_of_head(tmp_path):
    save_file(linear(), tmp_path / "a.safetensors")
    torch.save(linear(), tmp_path / "a.pth")
    torch.save(layers(4, 3, 2, 2, 2, 1), tmp_path / "b.pth")
    rows = np.eye(4, dtype=np.float32)
    assert aesthetic_head(tmp_path / "a.safetensors")(rows).tolist() == [0.5, 1.5, 2.5, 3.5]
    assert aesthetic_head(tmp_path / "a.pth")(rows).tolist() == [0.5, 1.5, 2.5, 3.5]
    assert aesthetic_head(tmp_path / "b.pth")(rows).tolist() == [24] * 4


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"weight": torch.zeros(1, 4)}, "lacks bias"),
        (linear() | {"more": torch.zeros(1)}, "has also more"),
        (linear(outputs=2), "2 outputs, and a head has one"),
        (linear() | {"bias": torch.zeros(2)}, r"weight \(1, 4\) and bias \(2,\) do not fit"),
        (linear() | {"weight": torch.zeros(4)}, "do not fit"),
        (linear() | {"weight": torch.ones(1, 4, dtype=torch.int8)}, "weight is of torch.int8, and a head has floats"),
        (linear() | {"weight": torch.full((1, 4), float("nan"))}, "weight has values that are not finite"),
        (layers(4, 3, 2, 2, 2, 1) | {"layers.4.weight": torch.zeros(2, 3)}, "layers.4.weight .* do not fit"),
        ({k: v for k, v in layers(4, 3, 2, 2, 2, 1).items() if k != "layers.7.bias"}, "lacks layers.7.bias"),
        ({"something": torch.zeros(1)}, "lacks layers.0.bias, .* and has also something"),
        (linear() | {"evil": Evil()}, "refused: .* pickle with more than weights"),
        ([], "no named tensors"),
    ],
)
def test_what_is_no_head_is_refused(tmp_path, capsys, tensors, words):
    torch.save(tensors, tmp_path / "head.pth")
    with pytest.raises(ConfigError, match=words):
        aesthetic_head(tmp_path / "head.pth")
    assert "code ran" not in capsys.readouterr().out


def test_a_missing_or_damaged_file_is_refused(tmp_path):
    (tmp_path / "head.safetensors").write_bytes(b"\xff" * 100)
    for name in ("head.safetensors", "none.pth"):
        with pytest.raises(ConfigError, match=name):
            aesthetic_head(tmp_path / name)


def test_a_score_does_not_depend_on_who_stands_beside_it(tmp_path):
    random = np.random.default_rng(7)
    torch.save(
        {"weight": torch.tensor(random.normal(size=(1, 768))).float(), "bias": torch.zeros(1)}, tmp_path / "h.pth"
    )
    head, rows = aesthetic_head(tmp_path / "h.pth"), random.normal(size=(300, 768)).astype(np.float32)
    together = head(rows)
    assert [head(rows[n : n + 1])[0] for n in range(300)] == together.tolist()
    assert head(rows[17:290])[:200].tolist() == together[17:217].tolist()


def test_rows_without_an_embedding_or_a_finite_number_are_null():
    head = Head("head.pth", 2, (lambda rows: rows[:, :1] * np.float32(1e38),))
    rows = np.array([[1, 0], [np.nan, 0], [0, np.inf], [2, 0], [60_000, 0]], np.float16)
    column = embedding_column(rows, np.array([True, True, True, False, True]))
    assert scores_of(head, column, "clip_image_embedding").to_pylist() == [np.float32(1e38), None, None, None, None]
    assert scores_of(head, pa.nulls(2, column.type), "clip_image_embedding").to_pylist() == [None, None]
    assert scores_of(head, column.slice(0, 0), "clip_image_embedding").to_pylist() == []


def test_embeddings_of_another_model_are_an_error_with_both_lengths():
    head = Head("sa_0_4_vit_l_14_linear.pth", 768, ())
    with pytest.raises(
        ConfigError, match=r"sa_0_4_vit_l_14_linear.pth .* 768 numbers, and b32_image_embedding has 512"
    ):
        scores_of(head, pa.nulls(1, pa.list_(pa.float16(), 512)), "b32_image_embedding")
