"""The networks equal those that torchvision's and timm's own layers make of the same weights; files are taken as
published, as data, and only if all of them fits."""

import argparse

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from curate.config import build_filters
from curate.errors import ConfigError
from curate.filter import Batch
from curate.models import copy_detection
from curate.models.copy_detection import NETWORKS, EmbedPictures
from curate.models.embeddings import embeddings_of
from curate.models.scorers import model_steps
from curate.models.settings import ModelSettings, build_models, require_picture_model

KINDS = ("sscd", "isc")
SMALL = 64
"""The networks take any size; 512 px on a CPU would make the tests wait."""


def pictures(seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, most, size, dtype=np.uint8) for most, size in ((256, (90, 70, 3)), (99, (40, 200, 3)))]


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def tensors(kind):
    """Random weights whose batch norms have seen pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = NETWORKS[kind].build().train()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        scales = torch.tensor([0.1, 0.5, 1, 2]).view(4, 1, 1, 1)
        with torch.no_grad():
            network(torch.randn(4, 3, SMALL, SMALL) * scales + scales.flip(0) - 1)
    state = network.state_dict()
    for name in ("running_mean", "running_var") if kind == "isc" else ():
        state[f"bn.{name}"].fill_(name == "running_var")
    return state


@pytest.fixture
def small(monkeypatch, kind):
    network = NETWORKS[kind]
    preprocess = copy_detection.Preprocess(SMALL, network.preprocess.mean, network.preprocess.std, "bilinear", "squash")
    changed = copy_detection.Network(network.length, preprocess, network.build, network.files)
    monkeypatch.setattr(copy_detection, "NETWORKS", {**NETWORKS, kind: changed})
    copy_detection._loaded.cache_clear()


@pytest.fixture(scope="module")
def weights(kind, tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp(kind) / "w.pt"
    torch.save(tensors, path)
    return path


def scorer(kind, path, **more):
    return EmbedPictures("copies", ModelSettings(kind=kind, weights=str(path), precision="fp32", device="cpu", **more))


def embedded(found, shown):
    batch = Batch(pa.table({"key": pa.nulls(len(shown))}), [None if p is None else found.prepare(p) for p in shown])
    answer = found.score(batch)
    assert {name: column.type for name, column in answer.items()} == found.writes
    return embeddings_of(answer["copies_image_embedding"])


def by_plain_layers(kind, tensors, picture, size):
    """Pillow, torch and the backbones of torchvision and timm, put together by hand, in float64 behind the backbone."""
    import timm
    import torchvision

    image = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if kind == "sscd" else ([0.5] * 3, [0.5] * 3)
    pixels = torch.tensor(((image - mean) / std).transpose(2, 0, 1)[None], dtype=torch.float32)
    own = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items() if name.startswith("backbone.")}
    with torch.no_grad():
        if kind == "sscd":
            trunk = torchvision.models.resnet50(weights=None, num_classes=512)
            trunk.load_state_dict(own)
            places = nn.Sequential(*list(trunk.eval().children())[:-2])(pixels).double()[0].flatten(1)
            pooled = (np.maximum(places.numpy(), 1e-6) ** 3).mean(axis=1) ** (1 / 3)
            values = own["fc.weight"].double().numpy() @ pooled + own["fc.bias"].double().numpy()
        else:
            trunk = timm.create_model("tf_efficientnetv2_m", pretrained=False, features_only=True)
            trunk.load_state_dict(own)
            places = trunk.eval()(pixels)[-1].double()[0].flatten(1)
            values = tensors["fc.weight"].double().numpy() @ np.maximum(places.numpy(), 1e-6).mean(axis=1)
            scale, shift, mean, var = (
                tensors[f"bn.{n}"].double().numpy() for n in ("weight", "bias", "running_mean", "running_var")
            )
            values = (values - mean) / np.sqrt(var + 1e-5) * scale + shift
    return values / np.linalg.norm(values)


def test_as_plain_layers_on_the_same_weights(kind, tensors, weights, small):
    rows, known = embedded(scorer(kind, weights), [pictures()[0], None, pictures()[1]])
    assert known.tolist() == [True, False, True]
    assert rows.shape == (3, {"sscd": 512, "isc": 256}[kind])
    for row, picture in ((0, pictures()[0]), (2, pictures()[1])):
        np.testing.assert_allclose(rows[row], by_plain_layers(kind, tensors, picture, SMALL), atol=4e-4)
    assert rows[0] @ rows[2] < 0.99, "else the comparison says little"
    np.testing.assert_allclose(np.linalg.norm(rows[[0, 2]], axis=1), 1, atol=2e-3)


def test_the_size_and_scale_of_the_authors():
    assert [(n.preprocess.size, n.length) for n in NETWORKS.values()] == [(320, 512), (512, 256)]
    assert {n.preprocess.resize_mode for n in NETWORKS.values()} == {"squash"}
    assert NETWORKS["isc"].preprocess.mean == NETWORKS["isc"].preprocess.std == (0.5, 0.5, 0.5)
    assert NETWORKS["sscd"].preprocess.mean == (0.485, 0.456, 0.406)


FORMS = {
    "in data parallel, as published": lambda t, p: torch.save(
        {
            "arch": "x",
            "args": argparse.Namespace(input_size=512),
            "state_dict": {f"module.{n}": v for n, v in t.items()},
        },
        p,
    ),
    "without counters": lambda t, p: torch.save({n: v for n, v in t.items() if "num_batches" not in n}, p),
    "safetensors": lambda t, p: save_file({n: v.contiguous() for n, v in t.items()}, p),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_in_any_of_its_forms(kind, tensors, weights, tmp_path, small, form):
    if kind == "isc" and form != "in data parallel, as published":
        return  # it is the same code, and 200 MB
    path = tmp_path / ("other.safetensors" if form == "safetensors" else "other.pth.tar")
    FORMS[form](tensors, path)
    other = scorer(kind, path)
    other.require()
    one = embedded(scorer(kind, weights), pictures())[0]
    np.testing.assert_allclose(embedded(other, pictures())[0], one, atol=1e-3)
    assert other.identity() != scorer(kind, weights).identity()


def test_names_without_the_backbone_are_those_of_torchvision(tmp_path):
    network = NETWORKS["sscd"].build()
    torch.save(network.backbone.state_dict(), tmp_path / "plain.pt")
    scorer("sscd", tmp_path / "plain.pt").require()


BAD = {
    "lacks": (lambda t: t.pop(next(iter(t))), r"it lacks backbone\.\S+ \(1 tensors\)"),
    "has more": (lambda t: t.update({"backbone.more": torch.zeros(1)}), r"it has also backbone\.more"),
    "of another shape": (lambda t: t.update({next(iter(t)): torch.zeros(2)}), "has in another shape"),
    "of whole numbers": (lambda t: t.update({next(iter(t)): t[next(iter(t))].int()}), "has of another kind"),
    "not finite": (lambda t: t.update({next(iter(t)): t[next(iter(t))] * torch.nan}), "has not finite"),
    "of code": (lambda t: t.update(evil=print), "is refused: it is damaged, or a pickle with more than weights"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_does_not_fit_is_refused(kind, tensors, tmp_path, name):
    if kind == "isc":
        return  # it is the same code, and 200 MB
    change, words = BAD[name]
    changed = dict(tensors)
    change(changed)
    torch.save(changed, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=words) as error:
        scorer(kind, tmp_path / "w.pt").require()
    assert name == "of code" or str(error.value).endswith(f"; take {NETWORKS[kind].files}")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused_in_plain_words(tmp_path, kind):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "w.torchscript.pt"))
    with pytest.raises(ConfigError, match=r"is TorchScript, and loading it runs the program in it; take"):
        scorer(kind, tmp_path / "w.torchscript.pt").require()


def test_a_file_that_is_not_there(kind, tmp_path):
    with pytest.raises(ConfigError, match=r"weights = .*gone.pt' cannot be read"):
        scorer(kind, tmp_path / "gone.pt").identity()


def test_memory_that_runs_out_halves_the_pieces(weights, kind, small, monkeypatch):
    shown = [pictures(seed)[0] for seed in range(5)]
    whole = embedded(scorer(kind, weights), shown)[0]
    seen = []

    def network(pixels):
        seen.append(len(pixels))
        if len(pixels) > 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return real(pixels)

    real, where, precision = copy_detection._loaded(scorer(kind, weights).settings, "")
    monkeypatch.setattr(copy_detection, "_loaded", lambda *_: (network, where, precision))
    np.testing.assert_allclose(embedded(scorer(kind, weights), shown)[0], whole, atol=1e-3)
    assert seen == [5, 4, 2, 2, 1]


def test_a_number_that_is_not_finite_is_no_embedding(weights, kind, small, monkeypatch):
    rows = np.ones((2, NETWORKS[kind].length), np.float32)
    rows[0, 3] = np.nan
    monkeypatch.setattr(copy_detection, "_embedded", lambda *_: rows)
    assert embedded(scorer(kind, weights), pictures())[1].tolist() == [False, True]


@pytest.mark.parametrize(
    "table", [{}, {"weights": "w.pt", "architecture": "ViT-B-32"}, {"weights": "w.pt", "embeddings": False}]
)
def test_settings_that_make_no_sense(kind, table):
    with pytest.raises(ConfigError, match=f"kind = '{kind}' needs `weights`, the path of a file"):
        build_models({"copies": {"kind": kind, **table}})


def test_a_table_of_a_config_makes_one_step_and_filters_take_its_embeddings(kind, weights, tmp_path):
    models = build_models({"copies": {"kind": kind, "weights": str(weights)}, "words": {}})
    (step,) = model_steps("copies", models["copies"])
    assert (step.label, step.writes, step.reads) == ("score_copies", ("copies_image_embedding",), ("image",))
    assert step.scorer.provenance()["model"] == f"{kind} w.pt"
    assert require_picture_model(models, "words").kind == "clip"
    rule = build_filters({"near_image_duplicate": {"model": "copies"}})["near_image_duplicate"]
    assert [s.name for s in rule.scorers(models)] == ["pdq"]
    with pytest.raises(ConfigError, match="the config has no"):
        require_picture_model(models, "other")
    with pytest.raises(ConfigError, match="needs kind = 'clip'"):
        build_filters({"norm_sim": {"targets": "t", "model": "copies", "min": 0}})["norm_sim"].scorers(models)
