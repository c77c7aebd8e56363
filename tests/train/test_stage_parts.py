"""What a stage trains and what it leaves alone, adapters, and parts that begin as if they were not there."""

import json

import pytest
import torch
from handover_sets import page, pair
from stage_tables import ALL, Bench, source, stage, stages
from tiny_language_model import save_causal

from curate.errors import ConfigError, StageError
from curate.handover.stages import Lora
from curate.sample import Document, Text
from curate.train.stages.freeze import frozen_digests, prepare_parts, require_frozen
from curate.train.stages.lora import Adapted, adapt, merge
from curate.train.stages.masks import self_mask
from curate.train.stages.projector import Perceiver


def bench_of(trainable=ALL, tokenizer="toy", **model):
    table = stage("a", [source("pairs"), source("docs"), source("plain")], trainable=trainable)
    return Bench(stages(table, tokenizer=tokenizer, **model))


def prepared(trainable, **model):
    bench = bench_of(trainable, **model)
    return bench, prepare_parts(bench.model, bench.stage, 0)


def step(bench, rate=1e-2):
    learned = [tensor for tensor in bench.model.parameters() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(learned, rate)
    bench.objectives().gradient(0, [bench.unit([pair(1)], [page(2, 1, 2)])])
    optimizer.step()


def test_gated_layers_begin_as_the_language_model_alone():
    bench = bench_of(fusion="cross_attention", projector="perceiver", latents=4)
    assert len(bench.model.cross) == 2
    unit = bench.unit([page(1, 2, 2)])
    before = bench.logits(unit)
    with torch.no_grad():
        hidden = bench.model.language_model.embed(unit.rows.tokens)
        shown = (unit.rows.pictures >= 0)[..., None]
        visible = self_mask(unit.rows.documents, unit.rows.pictures, unit.rows.rules)
        hidden = torch.where(shown, bench.model.tag, hidden)
        alone = bench.model.logits(bench.model.language_model.read(hidden, unit.rows.positions, visible))
        assert torch.equal(before, alone)
        bench.model.cross[0].gate.fill_(0.1)
    assert not torch.equal(bench.logits(unit), alone)


def test_gated_layers_stand_before_every_nth_block():
    bench = bench_of(fusion="cross_attention", layers=5, cross_every=2)
    assert len(bench.model.cross) == 3
    with torch.no_grad():
        bench.model.cross[2].gate.fill_(0.1)
    changed = bench.logits(bench.unit([page(1, 1, 2)]))
    with torch.no_grad():
        bench.model.cross[2].gate.zero_()
    assert not torch.equal(changed, bench.logits(bench.unit([page(1, 1, 2)])))


def test_a_resampler_gives_as_many_tokens_as_it_has_latents_whatever_it_looks_at():
    resampler = Perceiver(8, 3, 16)
    for tokens in (1, 7):
        assert resampler(torch.randn(2, tokens, 8)).shape == (2, 3, 16)


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_begins_as_nothing_and_is_added_to_the_weight(dora):
    bench = bench_of()
    unit = bench.unit([page(1, 1, 2)], [pair(2)])
    before = bench.logits(unit)
    adapt(bench.model.language_model, Lora(4, 8.0, ("query", "mlp"), dora), "language_model", 0)
    adapters = [part for part in bench.model.modules() if isinstance(part, Adapted)]
    assert len(adapters) == 6
    assert torch.allclose(bench.logits(unit), before, atol=1e-5)
    with torch.no_grad():
        for adapter in adapters:
            adapter.up.normal_(std=0.05)
    changed = bench.logits(unit)
    assert not torch.allclose(changed, before, atol=1e-2)
    assert merge(bench.model) == 6
    assert torch.allclose(bench.logits(unit), changed, atol=1e-5)
    assert list(bench.model.state_dict()) == list(bench_of().model.state_dict())


def test_an_adapter_adds_alpha_by_rank_times_both_of_its_matrices():
    layers = torch.nn.Sequential(torch.nn.Linear(3, 2))
    adapt(layers, Lora(2, 6.0), "projector", 0)
    x = torch.randn(5, 3)
    with torch.no_grad():
        layers[0].up.normal_()
        expected = layers[0].base(x) + 3.0 * x @ layers[0].down.T @ layers[0].up.T
        assert torch.allclose(layers(x), expected, atol=1e-5)
        own = Lora(2, 6.0, dora=True)
        layers = torch.nn.Sequential(torch.nn.Linear(3, 2))
        adapt(layers, own, "projector", 0)
        layers[0].up.normal_()
        layers[0].lengths.copy_(torch.tensor([2.0, 5.0]))
        merge(layers)
        assert torch.allclose(layers[0].weight.norm(dim=1), torch.tensor([2.0, 5.0]), atol=1e-5)


def test_patterns_that_name_no_layer_are_told():
    with pytest.raises(ConfigError, match="has q_proj in it"):
        prepared({"language_model": {"rank": 2, "patterns": ["q_proj"]}})


@pytest.mark.parametrize(
    ("trainable", "learned"),
    [
        ({"projector": "full"}, {"projector"}),
        ({"vision": "full", "projector": "none"}, {"vision"}),
        ({"projector": "none", "language_model": "full"}, {"language_model", "embeddings"}),
        ({"projector": "none", "language_model": "full", "embeddings": "none"}, {"language_model"}),
        ({"projector": "none", "embeddings": "full"}, {"embeddings"}),
        (
            {"projector": {"rank": 2}, "vision": "last_1", "language_model": {"rank": 2}},
            {"projector", "vision", "language_model"},
        ),
    ],
)
def test_what_a_stage_trains_moves_and_the_rest_keeps_its_bytes(trainable, learned):
    bench, frozen = prepared(trainable)
    assert {part for part, count in frozen.trainable.items() if count} == learned
    assert sum(frozen.total.values()) == sum(tensor.numel() for tensor in bench.model.parameters())
    for module in bench.model.modules():
        slopes = [tensor.requires_grad for tensor in module.parameters()]
        assert module.training == any(slopes) or not slopes
    before = {name: tensor.clone() for name, tensor in bench.model.state_dict().items()}
    digests = frozen_digests(bench.model)
    step(bench)
    require_frozen(bench.model, digests, "a")
    moved = {name for name, tensor in bench.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert not moved & set(digests)
    assert {frozen.parts[name] for name in moved} <= learned


def test_the_last_layers_are_the_last():
    bench, _ = prepared({"vision": "last_1", "projector": "none"})
    learned = {name for name, tensor in bench.model.named_parameters() if tensor.requires_grad}
    assert learned
    assert all(name.startswith(("vision.tower.layers.1.", "vision.tower.norm.")) for name in learned)


@pytest.mark.parametrize(
    ("trainable", "words"),
    [
        ({"projector": "none"}, "trains nothing"),
        ({"vision": "last_3"}, "last_3.*it has 2 layers"),
        ({"projector": "last_1"}, "trainable.projector"),
        ({"embeddings": "last_1"}, "trainable.embeddings"),
    ],
)
def test_what_cannot_be_trained_is_told(trainable, words):
    with pytest.raises(ConfigError, match=words):
        prepared(trainable)


def test_a_frozen_tensor_that_changed_stops_the_stage():
    bench, _ = prepared({"projector": "full"})
    before = frozen_digests(bench.model)
    with torch.no_grad():
        bench.model.vision.tower.norm.bias[3] += 1e-7
    with pytest.raises(StageError, match=r"changed 1 tensors.*vision\.tower\.norm\.bias"):
        require_frozen(bench.model, before, "a")


def test_a_language_model_of_a_folder_reads_as_transformers_does_and_packs_without_leaks(tmp_path):
    """Either way of fusion, a Llama of two layers."""
    folder = save_causal(tmp_path)
    for fusion in ("prefix", "cross_attention"):
        bench = bench_of(tokenizer="", language_model=str(folder), fusion=fusion)
        words = Document("d", (Text("w1 w2 w3"),))
        unit = bench.unit([words])
        inner = bench.model.language_model.inner
        with torch.no_grad():
            theirs = inner(input_ids=unit.rows.tokens).logits
        assert torch.allclose(bench.logits(unit), theirs, atol=1e-4)
        packed = bench.unit([Document("e", (Text("w7 w8"),)), words])
        own = bench.logits(packed)[0][packed.rows.documents[0] == 1]
        assert torch.allclose(own, theirs[0], atol=1e-4)
        assert bench.model.parts()["language_model.inner.model.embed_tokens.weight"] == "embeddings"


def test_towers_of_open_clip(tmp_path):
    import open_clip
    from safetensors.torch import save_file

    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    theirs = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False).eval()
    save_file(dict(theirs.state_dict()), tmp_path / "open_clip_model.safetensors")
    table = stage("a", [source("pairs")], objectives={"contrastive": 1.0, "lm": 1.0})
    parts = {"vision": "open_clip", "vision_weights": str(tmp_path), "text_tower": "open_clip", "projector": "linear"}
    bench = Bench(stages(table, **parts))
    unit = bench.unit([pair(1)], [pair(2)])
    views = unit.views.permute(0, 3, 1, 2).float() / 255
    mean, std = bench.model.vision.mean, bench.model.vision.std
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(["picture number 1", "picture number 2"])
    assert torch.equal(unit.texts, tokens)
    with torch.no_grad():
        seen, vectors = bench.model.look(unit.views)
        assert seen.shape == (2, 4, 96)
        assert torch.allclose(vectors, theirs.encode_image((views - mean) / std), atol=1e-5)
        assert torch.allclose(bench.model.text_tower(tokens), theirs.encode_text(tokens), atol=1e-5)
    prepare_parts(bench.model, bench.stage, 0)
    assert set(bench.objectives().gradient(0, [unit])) == {"contrastive", "lm"}


def test_a_tower_of_open_clip_without_weights_is_drawn_by_the_seed(tmp_path):
    import open_clip

    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    (tmp_path / "tiny-of-stages.json").write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path)
    parts = {"vision": "open_clip", "architecture": "tiny-of-stages"}
    one, other = (bench_of(**parts).model.vision.state_dict() for _ in range(2))
    assert {tuple(tensor.shape) for tensor in one.values()} >= {(32, 3, 16, 16)}
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ConfigError, match="cannot build 'no-such'"):
        bench_of(vision="open_clip", architecture="no-such")
