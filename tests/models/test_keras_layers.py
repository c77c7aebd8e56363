"""Keras layers do in torch what their definition says, in channels-last order, and unknown ones are refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ConfigError
from curate.models.keras_layers import classify, model_parts, read_layers_model, squashed

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared/data/models/nsfwjs_mobilenet/models/mobilenet_v2"
CONV = {"strides": [1, 1], "dilation_rate": [1, 1], "padding": "valid", "activation": "linear", "use_bias": False}


def layer(kind, name, *takes, **config):
    return {"class_name": kind, "config": {"name": name, **config}, "inbound_nodes": [[[t, 0, 0, {}] for t in takes]]}


def write(folder, shape, layers, weights, codes=None):
    """A layers model; `codes` are the whole numbers, scale and min of quantised weights."""
    given = {
        "class_name": "InputLayer",
        "config": {"batch_input_shape": [None, *shape], "name": "in"},
        "inbound_nodes": [],
    }
    described, data = [], b""
    for name, values in weights.items():
        described.append({"name": name, "shape": list(values.shape), "dtype": "float32"})
        data += values.astype("<f4").tobytes()
    for name, (values, scale, least) in (codes or {}).items():
        coding = {"dtype": values.dtype.name, "scale": scale, "min": least}
        described.append({"name": name, "shape": list(values.shape), "dtype": "float32", "quantization": coding})
        data += values.tobytes()
    config = {"layers": [given, *layers], "output_layers": [[layers[-1]["config"]["name"], 0, 0]]}
    told = {
        "modelTopology": {"model_config": {"class_name": "Model", "config": config}},
        "weightsManifest": [{"paths": ["a.bin", "b.bin"], "weights": described}],
    }
    (folder / "model.json").write_text(json.dumps(told))
    (folder / "a.bin").write_bytes(data[: len(data) // 2])
    (folder / "b.bin").write_bytes(data[len(data) // 2 :])
    return folder


def run(folder, pixels):
    """Channels-last in, a list of numbers for each picture out."""
    return read_layers_model(folder)(torch.tensor(pixels.transpose(0, 3, 1, 2))).numpy()


def convolved(pixels, kernel, strides, dilation, padding):
    """The sum over the window, by the definition of TensorFlow: float64, one output at a time."""
    (_, height, width, _), (rows, columns, _, outputs) = pixels.shape, kernel.shape
    if padding == "same":
        out = [math.ceil(side / stride) for side, stride in zip((height, width), strides, strict=True)]
        total = [
            max((count - 1) * stride + (size - 1) * step + 1 - side, 0)
            for count, stride, size, step, side in zip(
                out, strides, (rows, columns), dilation, (height, width), strict=True
            )
        ]
        pixels = np.pad(pixels, [(0, 0), *((t // 2, t - t // 2) for t in total), (0, 0)])
    else:
        out = [
            (side - (size - 1) * step - 1) // stride + 1
            for side, size, step, stride in zip((height, width), (rows, columns), dilation, strides, strict=True)
        ]
    answer = np.zeros((len(pixels), *out, outputs))
    for y in range(out[0]):
        for x in range(out[1]):
            top, left = y * strides[0], x * strides[1]
            window = pixels[
                :, top : top + rows * dilation[0] : dilation[0], left : left + columns * dilation[1] : dilation[1]
            ]
            answer[:, y, x] = np.einsum("nijc,ijco->no", window[:, :rows, :columns], kernel)
    return answer


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("size", "strides", "dilation"),
    [
        ([3, 3], [1, 1], [1, 1]),
        ([3, 3], [2, 2], [1, 1]),
        ([2, 3], [1, 2], [1, 1]),
        ([1, 2], [2, 1], [1, 1]),
        ([3, 2], [1, 1], [2, 1]),
        ([2, 3], [1, 1], [1, 3]),
    ],
)
def test_convolutions_equal_the_definition(tmp_path, size, strides, dilation, padding, deep):
    height, width, channels, random = 8, 9, 3, np.random.default_rng(sum(size))
    kernel = random.normal(size=(*size, channels, 2)).astype(np.float32)
    bias = random.normal(size=channels * 2 if deep else 2).astype(np.float32)
    pixels = random.normal(size=(2, height, width, channels)).astype(np.float32)
    config = CONV | {"strides": strides, "dilation_rate": dilation, "padding": padding, "use_bias": True}
    config |= {"activation": "relu", "data_format": "channels_last"}
    if deep:
        full = np.zeros((*size, channels, channels * 2))
        for channel in range(channels):
            full[:, :, channel, 2 * channel : 2 * channel + 2] = kernel[:, :, channel]
    else:
        full = kernel.astype(float)
    kind, name = ("DepthwiseConv2D", "depthwise_kernel") if deep else ("Conv2D", "kernel")
    layers = [layer(kind, "c", "in", **config), layer("Flatten", "f", "c")]
    folder = write(tmp_path, (height, width, channels), layers, {f"c/{name}": kernel, "c/bias": bias})
    expected = np.maximum(convolved(pixels.astype(float), full, strides, dilation, padding) + bias, 0)
    assert run(folder, pixels) == pytest.approx(expected.reshape(2, -1), abs=1e-4)


def test_the_other_layers_in_one_network(tmp_path):
    random = np.random.default_rng(0)
    mean, variance, gamma, beta = (random.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4))
    kernel = random.normal(size=(2 * 2 * 3, 4)).astype(np.float32)
    layers = [
        layer("ZeroPadding2D", "pad", "in", padding=[[1, 0], [0, 2]], data_format="channels_last"),
        layer("BatchNormalization", "bn", "pad", axis=-1, epsilon=0.5, center=True, scale=True),
        layer("ReLU", "r", "bn", max_value=1.5, negative_slope=0.0, threshold=0.0),
        layer("Add", "sum", "r", "pad"),
        layer("AveragePooling2D", "pool", "sum", pool_size=[2, 3], strides=[2, 3], padding="valid"),
        layer("Flatten", "flat", "pool", data_format="channels_last"),
        layer("Dropout", "drop", "flat", rate=0.5),
        layer("Dense", "out", "drop", activation="softmax", use_bias=False),
    ]
    names = {"bn/moving_mean": mean, "bn/moving_variance": variance, "bn/gamma": gamma, "bn/beta": beta}
    folder = write(tmp_path, (3, 4, 3), layers, names | {"out/kernel": kernel})
    pixels = random.normal(size=(2, 3, 4, 3)).astype(np.float32)
    padded = np.pad(pixels.astype(float), [(0, 0), (1, 0), (0, 2), (0, 0)])
    values = padded + np.clip((padded - mean) / np.sqrt(variance + 0.5) * gamma + beta, 0, 1.5)
    pooled = values.reshape(2, 2, 2, 2, 3, 3).mean(axis=(2, 4)).reshape(2, -1)
    logits = np.exp(pooled @ kernel)
    model = read_layers_model(folder)
    assert (model.shape, model.width) == ((3, 4, 3), 4)
    assert run(folder, pixels) == pytest.approx(logits / logits.sum(axis=1, keepdims=True), abs=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_quantised_weights_are_whole_numbers_times_scale_plus_min(tmp_path, kind):
    codes = np.array([[0, 2, np.iinfo(kind).max]]).astype(kind).T
    layers = [layer("Flatten", "f", "in"), layer("Dense", "d", "f", activation="linear", use_bias=False)]
    folder = write(tmp_path, (1, 1, 3), layers, {}, {"d/kernel": (codes, 0.25, -1.0)})
    pixels = np.eye(3, dtype=np.float32).reshape(3, 1, 1, 3)
    assert run(folder, pixels)[:, 0].tolist() == [-1, -0.5, np.iinfo(kind).max / 4 - 1]
    assert model_parts(folder) == ("model.json", "a.bin", "b.bin")


def small(folder, **changes):
    """A network of a convolution, a normalisation and a list of two numbers, with one thing changed."""
    layers = [
        layer("Conv2D", "c", "in", **CONV),
        layer("BatchNormalization", "bn", "c", axis=-1, epsilon=0.1, center=False, scale=False),
        layer("Flatten", "f", "bn"),
    ]
    ones = np.ones(2, np.float32)
    weights = {"c/kernel": np.ones((1, 1, 3, 2), np.float32), "bn/moving_mean": ones, "bn/moving_variance": ones}
    place, change = changes.get("at", (0, {}))
    layers[place]["config"] |= change
    layers[place] |= changes.get("layer", {})
    weights |= changes.get("weights", {})
    return write(folder, changes.get("shape", (1, 1, 3)), layers, {n: w for n, w in weights.items() if w is not None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer": {"class_name": "Lambda"}}, "has a layer Lambda, which is not known here; known: Conv2D"),
        ({"layer": {"inbound_nodes": [[["f", 0, 0, {}]]]}}, "layer c takes f, and not all of that comes before it"),
        ({"layer": {"inbound_nodes": []}}, "no layers model that can be read: IndexError"),
        ({"at": (0, {"name": "in"})}, "layer in takes in"),
        ({"at": (0, {"activation": "swish"})}, "activation = 'swish'; known"),
        ({"at": (0, {"padding": "causal"})}, "padding = 'causal'"),
        ({"at": (0, {"data_format": "channels_first"})}, "data_format = 'channels_first'"),
        ({"at": (0, {"strides": [0, 1]})}, "are no strides"),
        ({"at": (1, {"axis": 1})}, "axis = 1"),
        ({"at": (0, {"use_bias": True})}, "layer c lacks 'bias'"),
        ({"weights": {"c/kernel": None}}, "layer c lacks 'kernel'"),
        ({"weights": {"c/bias": np.ones(2)}}, "layer c has also weights bias"),
        ({"weights": {"z/kernel": np.ones(2)}}, "weights of no layer: z"),
        ({"weights": {"c/kernel": np.full((1, 1, 3, 2), np.nan)}}, "c/kernel has values that are not finite"),
        ({"weights": {"c/kernel": np.ones((1, 1, 4, 2))}}, "no layers model that can be read: RuntimeError"),
        ({"weights": {"bn/moving_mean": np.ones(5)}}, "no layers model that can be read: RuntimeError"),
        ({"shape": (1, 100_000, 3)}, r"takes \(1, 100000, 3\), not pictures"),
        ({"shape": (3,)}, r"takes \(3,\), not pictures"),
        ({"layer": {"class_name": "Dense"}, "weights": {"c/kernel": np.ones((3, 2))}}, "Flatten comes first"),
        ({"layer": {"class_name": "Dense"}}, "RuntimeError"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        read_layers_model(small(tmp_path, **changes))
    assert read_layers_model(small(tmp_path)).width == 2


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda told: told["weightsManifest"][0].update(paths=["../a.bin"]), "names weights outside its folder"),
        (lambda told: told["weightsManifest"][0].update(paths=[7]), "names weights outside its folder"),
        (lambda told: told.pop("weightsManifest"), "has no manifest of weights"),
        (lambda told: told.pop("modelTopology"), "has no modelTopology"),
        (lambda told: told["weightsManifest"][0]["weights"].pop(), "bytes of weights, and the manifest describes"),
        (lambda told: told["weightsManifest"][0]["weights"][0].update(shape=[1 << 40]), "is not there as float32"),
        (lambda told: told["weightsManifest"][0]["weights"][0].update(shape=[-1, -6]), "is not there as float32"),
        (lambda told: told["weightsManifest"][0]["weights"][0].update(dtype="int32"), "is not there as float32"),
        (
            lambda told: told["modelTopology"]["model_config"]["config"].update(output_layers=[["c", 0, 0]]),
            "only output",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path, edit, words):
    told = json.loads((small(tmp_path) / "model.json").read_text())
    edit(told)
    (tmp_path / "model.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=words):
        read_layers_model(tmp_path)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 30))
@settings(deadline=None)
def test_squashing_keeps_corners_and_is_linear_between(height, width, side):
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = squashed(pixels, side)
    assert small.shape == (side, side, 3)
    for y in (0, -1):
        for x in (0, -1):
            assert small[y, x].tolist() == pixels[y, x].tolist()
    rows, columns = (np.linspace(0, length - 1, side) for length in (height, width))
    across = np.stack([[np.interp(columns, np.arange(width), row[:, c]) for row in pixels] for c in range(3)], axis=-1)
    exact = np.stack(
        [[np.interp(rows, np.arange(height), across[:, x, c]) for x in range(side)] for c in range(3)], axis=-1
    ).transpose(1, 0, 2)
    assert np.abs(small - exact).max() < 0.51


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the model of shared/data is not here")
def test_mobilenet_equals_keras_on_a_pattern():
    """The numbers are those of Keras 2.15 with the same weights on the same picture."""
    y, x, c = np.indices((224, 224, 3))
    pattern = ((np.sin(y / 20) + np.cos(x / 70 + 2 * c)) * 63 + 127).astype(np.uint8)
    (found,) = classify(str(WEIGHTS), "any", [pattern])
    assert found == pytest.approx([0.5982001, 0.0389797, 0.3352607, 0.0233530, 0.0042064], abs=1e-4)
