"""The detector equals timm's network on the same weights, and takes a file only if all of it fits."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from curate.errors import ConfigError
from curate.models.watermark import PREPROCESS, require_weights, watermark_network, watermark_probabilities


@pytest.fixture(scope="module")
def tensors():
    """Random weights, and statistics of the normalisations other than 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = watermark_network().state_dict()
        for name, tensor in state.items():
            if name.endswith("running_mean"):
                tensor.uniform_(-0.2, 0.2)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    return state


@pytest.fixture(scope="module")
def weights(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("watermark") / "w.pt"
    torch.save(tensors, path)
    return path


def timm_answer(tensors, pictures):
    """The probabilities by timm's layers and torchvision-like preprocessing, one picture at a time."""
    import timm

    trunk = timm.create_model("efficientnet_b3", pretrained=False, num_classes=0).eval()
    trunk.load_state_dict({n: t for n, t in tensors.items() if not n.startswith("classifier")})
    answers = []
    for picture in pictures:
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


def test_equals_timm_and_does_not_depend_on_the_batch(tensors, weights):
    random = np.random.default_rng(5)
    pictures = [random.integers(0, 256, shape, dtype=np.uint8) for shape in ((300, 200, 3), (40, 70, 3), (1, 9, 3))]
    views = [PREPROCESS(picture) for picture in pictures]
    found = watermark_probabilities(str(weights), "a", views)
    assert found.dtype == np.float32
    assert found == pytest.approx(timm_answer(tensors, pictures), abs=1e-5)
    many = watermark_probabilities(str(weights), "a", [views[0]] * 16 + views)
    assert many[16:] == pytest.approx(found, abs=1e-6)
    assert watermark_probabilities(str(weights), "a", []).shape == (0,)


def test_safetensors_are_taken_too_and_a_new_digest_is_a_new_network(tensors, weights, tmp_path):
    path = tmp_path / "w.safetensors"
    turned = tensors | {f"classifier.5.{part}": tensors[f"classifier.5.{part}"].flip(0) for part in ("weight", "bias")}
    save_file({name: tensor.contiguous() for name, tensor in turned.items()}, path)
    require_weights(str(path))
    view = [PREPROCESS(np.full((9, 9, 3), 90, np.uint8))]
    (here,), (there,) = watermark_probabilities(str(weights), "a", view), watermark_probabilities(str(path), "b", view)
    assert here + there == pytest.approx(1, abs=1e-5)
    assert abs(here - there) > 1e-4


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
