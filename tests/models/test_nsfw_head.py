"""LAION's NSFW heads equal TensorFlow's own answers, category by category; other networks are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from saved_model_files import write_saved_model

from curate.errors import ConfigError
from curate.models.nsfw_head import nsfw_head
from curate.models.saved_model import read_saved_model

HEADS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "models" / "clip_nsfw_heads"
TABLES = ({"0.500000": 1, "-0.125000": 2, "nan": 9},)


def inputs(model):
    """Embeddings around what the head was trained on, in float16; four with known categories, two without."""
    mean, variance = (model.variables[f"layer_with_weights-1/{what}"].astype(float) for what in ("mean", "variance"))
    place, number = np.arange(6)[:, None], np.arange(len(mean))[None]
    rows = mean + np.sqrt(variance) * 1.3 * np.sin(0.37 * place * place + 1.7 * number)
    encoding = model.config["config"]["layers"][1]["config"]["encoding"]
    columns = [column for column, kind in enumerate(encoding) if kind == "int"]
    for column, words in zip(columns, map(list, model.tables), strict=True):
        rows[:4, column] = [float(words[97 * row % len(words)]) for row in range(4)]
        rows[4:, column] = 0.1234
    return rows.astype(np.float16).astype(np.float32)


@pytest.mark.skipif(not HEADS.is_dir(), reason="the heads of shared/data are not here")
@pytest.mark.parametrize(
    ("name", "tensorflow"),
    [
        ("clip_autokeras_nsfw_b32", [0.1681192, 0.06889549, 0.376761, 0.9970178, 0.7869438, 0.993472]),
        ("clip_autokeras_binary_nsfw", [0.1261441, 0.2187969, 0.8318824, 0.8985891, 0.120948, 0.9440051]),
    ],
)
def test_equals_tensorflow(name, tensorflow):
    """The numbers are those of the SavedModel run by TensorFlow 2.15.1 on the same inputs."""
    path = HEADS / f"{name}.zip"
    head, rows = nsfw_head(path), inputs(read_saved_model(path))
    assert np.abs(head(rows) - tensorflow).max() < 1e-5
    assert np.abs(head(rows[:4] + np.float32(1e-5)) - tensorflow[:4]).max() > 1e-3, "the categories matter"


@pytest.mark.skipif(not HEADS.is_dir(), reason="the heads of shared/data are not here")
def test_without_the_lookup_a_head_equals_the_copy_in_pytorch(tmp_path):
    model = read_saved_model(HEADS / "clip_autokeras_nsfw_b32.zip")
    tensors = {f"norm.{what}": model.variables[f"layer_with_weights-1/{what}"] for what in ("mean", "variance")}
    for number in (1, 2, 3):
        tensors[f"linear_{number}.weight"] = model.variables[f"layer_with_weights-{number + 1}/kernel"].T
        tensors[f"linear_{number}.bias"] = model.variables[f"layer_with_weights-{number + 1}/bias"]
    rows = inputs(model)
    values = torch.from_numpy(rows)
    named = {name: torch.tensor(value) for name, value in tensors.items()}
    values = (values - named["norm.mean"]) / named["norm.variance"].sqrt()
    for number in (1, 2, 3):
        values = torch.nn.functional.linear(values, named[f"linear_{number}.weight"], named[f"linear_{number}.bias"])
        values = values.relu() if number < 3 else values.sigmoid()
    torch.save(named, tmp_path / "head.pth")
    assert np.abs(nsfw_head(tmp_path / "head.pth")(rows) - values[:, 0].numpy()).max() < 1e-6
    del named["linear_2.bias"]
    torch.save(named, tmp_path / "head.pth")
    with pytest.raises(ConfigError, match=r"lacks linear_2\.bias"):
        nsfw_head(tmp_path / "head.pth")
    torch.save(named | {"norm.mean": torch.zeros(3), "linear_2.bias": torch.zeros(32)}, tmp_path / "head.pth")
    with pytest.raises(ConfigError, match="are not of the 512 inputs"):
        nsfw_head(tmp_path / "head.pth")


def layer(kind, name, before, **config):
    return {
        "class_name": kind,
        "config": {"name": name, **config},
        "name": name,
        "inbound_nodes": [[[before, 0, 0, {}]]],
    }


def network():
    """Three numbers, the second of them a category, to one probability."""
    shape = {"class_name": "__tuple__", "items": [None, 3]}
    return [
        {"class_name": "InputLayer", "config": {"batch_input_shape": shape}, "name": "in", "inbound_nodes": []},
        layer("Custom>MultiCategoryEncoding", "enc", "in", encoding=["none", "int", "none"]),
        layer("Normalization", "norm", "enc", axis={"class_name": "__tuple__", "items": [-1]}),
        layer("Dense", "d1", "norm", activation="relu", use_bias=True),
        layer("Dropout", "drop", "d1", rate=0.5),
        layer("Dense", "d2", "drop", activation="linear", use_bias=False),
        layer("ReLU", "r", "d2", max_value=None, negative_slope=0.0, threshold=0.0),
        layer("Activation", "out", "r", activation="sigmoid"),
    ]


VARIABLES = {
    "layer_with_weights-1/mean": np.array([0, 1, 0], "<f4"),
    "layer_with_weights-1/variance": np.array([1, 4, 0], "<f4"),
    "layer_with_weights-2/kernel": np.eye(3, dtype="<f4"),
    "layer_with_weights-2/bias": np.array([0, 0, 1], "<f4"),
    "layer_with_weights-3/kernel": np.array([[1], [10], [0]], "<f4"),
}


def test_each_step_of_a_small_network(tmp_path):
    head = nsfw_head(write_saved_model(tmp_path, {"config": {"layers": network()}}, VARIABLES, TABLES))
    assert head.length == 3
    rows = np.array([[2, 0.5, 0], [2, -0.125, 0], [2, 7, 0], [-2, 0.5000004, 0], [-2, 0.500001, 0]], np.float32)
    logits = np.array([2 + 0, 2 + 5, 2 + 0, 0, 0])
    assert head(rows) == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


@pytest.mark.parametrize(
    ("place", "change", "words"),
    [
        (3, {"class_name": "LSTM"}, "a layer LSTM, which is not known here; known: .*Dense"),
        (3, {"inbound_nodes": [[["in", 0, 0, {}]]]}, "layer 'd1' does not follow 'norm'"),
        (3, {"inbound_nodes": [[["norm", 0, 0, {}], ["enc", 0, 0, {}]]]}, "a head is a chain"),
        (3, {"config": {"activation": "tanh", "use_bias": True}}, "activation 'tanh'; known: linear, relu, sigmoid"),
        (2, {"config": {"axis": [0]}}, "normalises along"),
        (6, {"config": {"max_value": 6, "negative_slope": 0, "threshold": 0}}, "ReLU with a bound"),
        (1, {"config": {"encoding": ["int", "int", "none"]}}, "encodes 2 columns by 1 lookups"),
        (1, {"config": {"encoding": ["none", "int", "one-hot"]}}, "one-hot"),
        (1, {"config": {"encoding": ["int"]}}, "encodes 1 columns of 3"),
        (0, {"config": {"batch_input_shape": [None, 10**12]}}, "takes 1000000000000 numbers"),
        (7, {"class_name": "Dropout"}, "does not end in one probability"),
        (5, {"class_name": "Dropout"}, "has variables of no layer: layer_with_weights-3/kernel"),
        (3, {"config": {}}, "KeyError 'use_bias'"),
        (3, {"config": 7}, "TypeError"),
    ],
)
def test_another_network_is_refused_by_name(tmp_path, place, change, words):
    layers = network()
    layers[place] |= change
    with pytest.raises(ConfigError, match=words):
        nsfw_head(write_saved_model(tmp_path, {"config": {"layers": layers}}, VARIABLES, TABLES))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("layer_with_weights-1/mean", None, "lacks layer_with_weights-1/mean"),
        ("layer_with_weights-2/bias", np.full(3, np.inf, "<f4"), "layer_with_weights-2/bias has values that are not"),
        ("layer_with_weights-9/kernel", np.zeros(1, "<f4"), "has variables of no layer: layer_with_weights-9/kernel"),
        ("layer_with_weights-3/kernel", np.zeros((2, 1), "<f4"), "no head that can be read: ValueError"),
        ("layer_with_weights-3/kernel", np.zeros(3, "<f4"), r"layer_with_weights-3/kernel has the shape \(3,\)"),
        ("layer_with_weights-2/bias", np.zeros(1, "<f4"), r"layer_with_weights-2/bias has the shape \(1,\)"),
        ("layer_with_weights-1/mean", np.zeros(1, "<f4"), r"layer_with_weights-1/mean has the shape \(1,\)"),
    ],
)
def test_missing_extra_and_odd_variables_are_refused(tmp_path, name, value, words):
    variables = {key: values for key, values in (VARIABLES | {name: value}).items() if values is not None}
    with pytest.raises(ConfigError, match=words):
        nsfw_head(write_saved_model(tmp_path, {"config": {"layers": network()}}, variables, TABLES))
