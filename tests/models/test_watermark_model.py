"""The detector equals timm's network on the same weights, and takes a file only if all of it fits."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import curate.models.watermark
from curate.errors import ConfigError
from curate.models.watermark import PREPROCESS, require_weights, watermark_network, watermark_probabilities


def pictures(seed):
    """Noise of three sizes, dark and light."""
    random = np.random.default_rng(seed)
    sizes = [(300, 200, 3), (40, 70, 3), (1, 9, 3)]
    return [random.integers(0, most, size, dtype=np.uint8) for most, size in zip((256, 90, 200), sizes, strict=True)]


@pytest.fixture(scope="module")
def tensors():
    """Random weights, with statistics of pictures in the normalisations, so that one picture is told from another."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = watermark_network().train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        views = np.stack([PREPROCESS(picture) for picture in pictures(1)]).transpose(0, 3, 1, 2)
        with torch.no_grad():
            network(torch.tensor(views, dtype=torch.float32) / 100 - 1)
    state = network.state_dict()
    state["classifier.0.weight"].mul_(5)
    return state


@pytest.fixture(scope="module")
def weights(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("watermark") / "w.pt"
    torch.save(tensors, path)
    return path


def timm_answer(tensors, shown):
    """The probabilities by timm's layers and torchvision-like preprocessing, one picture at a time."""
    import timm

    trunk = timm.create_model("efficientnet_b3", pretrained=False, num_classes=0).eval()
    trunk.load_state_dict({n: t for n, t in tensors.items() if not n.startswith("classifier")})
    answers = []
    for picture in shown:
        small = np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.BILINEAR), np.float32) / 255
        normal = (small - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with torch.no_grad():
            values = trunk(torch.tensor(normal.transpose(2, 0, 1)[None], dtype=torch.float32)).double().numpy()[0]
        for number in (0, 3, 5):
            layer = (tensors[f"classifier.{number}.{part}"].double().numpy() for part in ("weight", "bias"))
            weight, bias = layer
            values = weight @ values + bias
            values = np.maximum(values, 0) if number < 5 else np.exp(values - values.max())
        answers.append(values[0] / values.sum())
    return answers


def test_equals_timm_and_does_not_depend_on_the_batch(tensors, weights, monkeypatch):
    views = [PREPROCESS(picture) for picture in pictures(5)]
    found = watermark_probabilities(str(weights), "a", views)
    assert found.dtype == np.float32
    assert found == pytest.approx(timm_answer(tensors, pictures(5)), abs=1e-5)
    assert np.ptp(found) > 0.01, "else the comparison says little"
    monkeypatch.setattr(curate.models.watermark, "AT_A_TIME", 2)
    assert watermark_probabilities(str(weights), "a", views) == pytest.approx(found, abs=1e-6)
    assert watermark_probabilities(str(weights), "a", []).shape == (0,)


def test_safetensors_of_half_precision_are_taken_too_and_a_new_digest_is_a_new_network(tensors, weights, tmp_path):
    path = tmp_path / "w.safetensors"
    counters = {name: tensor for name, tensor in tensors.items() if not tensor.ndim}
    turned = tensors | {f"classifier.5.{part}": tensors[f"classifier.5.{part}"].flip(0) for part in ("weight", "bias")}
    save_file({name: tensor.contiguous().half() for name, tensor in turned.items() if tensor.ndim} | counters, path)
    require_weights(str(path))
    view = [PREPROCESS(np.full((9, 9, 3), 90, np.uint8))]
    (here,), (there,) = watermark_probabilities(str(weights), "a", view), watermark_probabilities(str(path), "b", view)
    assert here + there == pytest.approx(1, abs=5e-3)
    assert abs(here - there) > 2e-2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("classifier.5.bias"), r"lacks classifier\.5\.bias \(1 tensors\)"),
        (lambda t: t.update(more=torch.zeros(1)), r"has also more \(1 tensors\)"),
        (lambda t: t.update({"classifier.5.bias": torch.zeros(3)}), r"has in another shape classifier\.5\.bias"),
        (
            lambda t: t.update({"classifier.5.bias": torch.tensor([0, torch.inf])}),
            r"has not finite classifier\.5\.bias",
        ),
        (lambda t: t.update({"classifier.5.bias": torch.zeros(2).char()}), r"has of another kind classifier\.5\.bias"),
        (lambda t: t.update(evil=print), "pickle with more than weights"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tensors, tmp_path, change, words):
    changed = dict(tensors)
    change(changed)
    torch.save(changed, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=words):
        require_weights(str(tmp_path / "w.pt"))
    with pytest.raises(ConfigError, match=words):
        watermark_probabilities(str(tmp_path / "w.pt"), words, [PREPROCESS(np.zeros((9, 9, 3), np.uint8))])
