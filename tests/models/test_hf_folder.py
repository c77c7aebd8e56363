"""Folders of transformers: what is loaded, what is refused and in which words, and that no code of theirs runs."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_blip import write_blip

from curate.errors import ConfigError
from curate.models.hf_config import MOST_LAYERS, MOST_TABLES
from curate.models.hf_folder import (
    KNOCK_S,
    folder_digest,
    load_config,
    load_image_processor,
    load_model,
    load_processor,
    load_tokenizer,
    model_folder,
    require_model_files,
)

CLASS = "BlipForImageTextRetrieval"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_blip(tmp_path_factory.mktemp("blip") / "itm")


@pytest.fixture
def folder(made, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(made, tmp_path / "model")


def require(path: Path, **options) -> None:
    require_model_files(path, ("blip",), CLASS, **options)


def write_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def shard(folder: Path) -> list[str]:
    """Put the tensors into two files with an index, as save_pretrained does with large ones."""
    tensors = load_file(folder / "model.safetensors")
    names, where = sorted(tensors), {}
    for number in range(2):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        where |= dict.fromkeys(names[number::2], file)
        save_file({name: tensors[name] for name in names[number::2]}, folder / file, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return sorted(set(where.values()))


def test_a_whole_folder_is_loaded(made, capfd):
    require(made)
    model = load_model(made, CLASS)
    assert type(model).__name__ == CLASS
    assert not model.training
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    tensors = load_file(made / "model.safetensors")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.state_dict().items())
    assert load_config(made).model_type == "blip"
    assert load_tokenizer(made)("a dog")["input_ids"][0] == 2
    assert load_image_processor(made).size["height"] == 32
    assert type(load_image_processor(made)).__name__.endswith("Pil")
    processor = load_processor(made)
    assert type(processor.image_processor).__name__.endswith("Pil")
    assert capfd.readouterr() == ("", ""), "no bars, no warnings"


def test_another_type_and_attention_may_be_asked_for(made):
    model = load_model(made, CLASS, dtype=torch.bfloat16, attention="eager")
    assert {tensor.dtype for tensor in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"


def test_files_in_parts_are_one_model(made, folder):
    shard(folder)
    require(folder)
    ours, whole = (load_model(path, CLASS).state_dict() for path in (folder, made))
    assert all(torch.equal(ours[name], tensor) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("itm_head.bias"), r"lacks 1 tensors \(itm_head.bias\)"),
        (lambda tensors: tensors.update(odd=torch.zeros(2)), r"has 1 tensors \(odd\) besides"),
        (
            lambda tensors: tensors.update({"itm_head.bias": torch.zeros(3)}),
            r"has 1 tensors \(itm_head.bias\) of another",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_their_headers(folder, change, words):
    change_tensors(folder, change)
    for call in (lambda: require(folder), lambda: load_model(folder, CLASS)):
        with pytest.raises(ConfigError, match=words):
            call()


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_numbers_that_are_no_real_ones_are_refused(folder, kind):
    """transformers converts them without a word."""
    change_tensors(folder, lambda tensors: tensors.update({"itm_head.bias": tensors["itm_head.bias"].to(kind)}))
    for call in (lambda: require(folder), lambda: load_model(folder, CLASS)):
        with pytest.raises(ConfigError, match=r"has 1 tensors \(itm_head.bias\) of whole or 8-bit numbers"):
            call()


def test_real_numbers_of_any_size_and_whole_ones_where_they_belong_are_taken(folder):
    def change(tensors):
        for name, kind in zip(sorted(tensors), [torch.float64, torch.float16, torch.bfloat16] * 99, strict=False):
            tensors[name] = tensors[name].to(kind)
        tensors["text_encoder.embeddings.position_ids"] = torch.arange(64)[None]

    change_tensors(folder, change)
    require(folder, may_have=("*.position_ids",))
    model = load_model(folder, CLASS, may_have=("*.position_ids",))
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_a_config_that_names_no_class_is_told_so(folder):
    write_json(folder / "config.json", architectures=5)
    change_tensors(folder, lambda tensors: tensors.pop("itm_head.bias"))
    with pytest.raises(ConfigError, match="its config names no class"):
        require(folder)


def test_what_may_lack_and_may_be_besides_is_named_by_patterns(folder):
    def change(tensors):
        tensors["queue.odd"] = torch.arange(64)[None]
        del tensors["vision_proj.weight"]

    change_tensors(folder, change)
    spared = {"may_have": ("queue.*",), "may_lack": ("vision_proj.*",)}
    require(folder, **spared)
    assert load_model(folder, CLASS, **spared)
    for one in spared:
        with pytest.raises(ConfigError, match="not those of"):
            require(folder, **{one: spared[one]})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found(folder, value):
    def change(tensors):
        tensors["itm_head.weight"][1, 3] = value

    change_tensors(folder, change)
    require(folder)
    with pytest.raises(ConfigError, match=r"broken: 1 tensors \(itm_head.weight\) with values that are not finite"):
        load_model(folder, CLASS)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors and no model.safetensors.index.json"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "weights in a pickle are not read"),
        (lambda f: os.truncate(f / "model.safetensors", 5_000), "model.safetensors is damaged"),
        (lambda f: os.truncate(f / "model.safetensors", 0), "model.safetensors is damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "model.safetensors is damaged"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text("[1]"), "is no JSON object"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text('{"a":' + "[" * 200 + "]" * 200 + "}"), "nested more than"),
        (lambda f: (f / "config.json").write_text('{"a":[' + "[]," * MOST_TABLES + "1]}"), "more than 100,000 tables"),
        (lambda f: (f / "preprocessor_config.json").write_text('{"image_mean": [NaN]}'), "NaN stands where a number"),
        (lambda f: ((f / "config.json").unlink(), os.mkfifo(f / "config.json")), "config.json cannot be read: it is a"),
        (lambda f: (f / "config.json").write_text("{}"), "does not say its model_type"),
        (lambda f: write_json(f / "config.json", model_type="clip"), "type 'clip'; one of blip is needed"),
        (lambda f: write_json(f / "config.json", text_config={"hidden_size": "wide"}), "no settings of a model"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no vocabulary"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "an adapter of another model"),
        (lambda f: (f / "shard-00001-model-00001-of-00002.safetensors").touch(), "a distributed training"),
    ],
)
def test_what_is_missing_or_broken_is_told(folder, spoil, words):
    spoil(folder)
    with pytest.raises(ConfigError, match=words):
        require(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f, names: (f / names[1]).unlink(), "lacks 1 of 2 files of its index, such as model-00002"),
        (lambda f, names: os.truncate(f / names[0], 3_000), "model-00001-of-00002.safetensors is damaged"),
        (lambda f, names: shutil.copy(f / names[0], f / names[1]), r"lacks \d+ tensors .* that its index names"),
        (lambda f, names: point(f, "../other.safetensors"), "names ../other.safetensors"),
        (lambda f, names: point(f, "weights.bin"), "names weights.bin"),
        (lambda f, names: write_json(f / "model.safetensors.index.json", weight_map=[]), "has no weight_map"),
        (lambda f, names: write_json(f / "model.safetensors.index.json", weight_map={}), "names no file"),
    ],
)
def test_parts_that_are_missing_or_broken_are_told(folder, spoil, words):
    spoil(folder, shard(folder))
    with pytest.raises(ConfigError, match=words):
        require(folder)


def point(folder: Path, name: str) -> None:
    path = folder / "model.safetensors.index.json"
    told = json.loads(path.read_text())
    write_json(path, weight_map=told["weight_map"] | {"itm_head.bias": name})


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}, "is quantised"),
        ("config.json", {"text_config": {"quantization_config": {"bits": 4}}}, "is quantised"),
        ("config.json", {"transformers_weights": "other.safetensors"}, "names another file"),
        ("config.json", {"fusion_config": {"patch_embeddings": True}}, "put together anew"),
        ("config.json", {"attn_implementation": "some/kernel"}, "attn_implementation = 'some/kernel'; remove it"),
        ("config.json", {"vision_config": {"_attn_implementation": "flash_attention_2"}}, "flash_attention_2.; remove"),
        ("config.json", {"vision_config": {"use_pretrained_backbone": True}}, "names a second model"),
        ("config.json", {"text_config": {"num_hidden_layers": MOST_LAYERS + 1}}, "num_hidden_layers = 2001, more than"),
        ("config.json", {"vision_config": {"depths": [2, MOST_LAYERS + 1]}}, r"depths = \[2, 2001\], more than"),
        ("config.json", {"text_config": {"num_local_experts": 10**6}}, "num_local_experts = 1000000, more than"),
        ("processor_config.json", {"audio_tokenizer": {"audio_tokenizer_name_or_path": "a/b"}}, "names a second model"),
    ],
)
def test_settings_that_ask_for_more_than_the_folder_are_refused(folder, file, change, words):
    if not (folder / file).is_file():
        (folder / file).write_text("{}")
    write_json(folder / file, **change)
    for call in (lambda: require(folder), lambda: load_model(folder, CLASS), lambda: load_processor(folder)):
        with pytest.raises(ConfigError, match=words):
            call()


def test_plain_attention_and_as_many_layers_as_may_be_are_not(folder):
    write_json(folder / "config.json", attn_implementation="eager", depths=[MOST_LAYERS], projection_layers=MOST_LAYERS)
    write_json(folder / "config.json", time_step_limit=[0.0, float("inf")], layer_types=["full"], tables=[[]] * 1_000)
    require(folder)


@pytest.mark.parametrize("change", [{"vocab_size": 10**7}, {"max_position_embeddings": 10**12}, {"hidden_size": 10**6}])
def test_a_config_that_asks_for_terabytes_takes_no_memory(folder, change):
    told = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", text_config=told["text_config"] | change)
    with pytest.raises(ConfigError, match=r"do not go together|is no BlipForImageTextRetrieval"):
        require(folder)


@pytest.mark.parametrize(
    ("model_type", "words"),
    [("moondream1", "type 'moondream1', which brings code of its own, which is never run"), ("blip", "itm_head.bias")],
)
def test_code_in_a_folder_is_never_run(folder, model_type, words):
    """Neither that of a config nor that of a model, a tokenizer or a processor; of a type that transformers knows its
    own classes are taken, and then the tensors have to fit."""
    (folder / "own.py").write_text(f"raise SystemExit(open({str(folder / 'ran')!r}, 'w'))")
    names = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoProcessor", "AutoImageProcessor")
    auto = {"auto_map": dict.fromkeys(names, "own.Own")}
    for file in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        write_json(folder / file, **auto)
    write_json(folder / "config.json", model_type=model_type)
    change_tensors(folder, lambda tensors: tensors.pop("itm_head.bias"))
    with pytest.raises(ConfigError, match=words):
        load_model(folder, CLASS)
    for load in (load_tokenizer, load_image_processor, load_processor):
        with contextlib.suppress(ConfigError):
            load(folder)
    assert not (folder / "ran").exists()


def test_a_type_that_nobody_knows_is_told(folder):
    write_json(folder / "config.json", model_type="nonesuch")
    with pytest.raises(ConfigError, match="type 'nonesuch', which is not known to transformers"):
        load_config(folder)


def test_memory_that_ran_out_is_not_taken_for_a_broken_folder(made, monkeypatch):
    from transformers import BlipForImageTextRetrieval

    def full(*args, **options):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("curate.models.hf_folder.require_model_files", lambda *own, **options: None)
    monkeypatch.setattr(BlipForImageTextRetrieval, "from_pretrained", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        load_model(made, CLASS)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        load_tokenizer(made)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("config.json", True),
        ("tokenizer.json", True),
        ("preprocessor_config.json", True),
        ("model.safetensors", True),
        ("generation_config.json", True),
        ("chat_template.jinja", True),
        ("merges.txt", True),
        ("README.md", False),
        ("pytorch_model.bin", False),
        ("flax_model.msgpack", False),
        ("other.safetensors", False),
    ],
)
def test_the_digest_is_of_what_transformers_may_read(made, folder, name, counts):
    before = folder_digest(folder)
    assert before == folder_digest(made), "wherever it lies"
    path = folder / name
    path.write_bytes((path.read_bytes() if path.is_file() else b"") + b" ")
    os.utime(path, ns=(1, 1))
    assert (folder_digest(folder) != before) == counts


def test_a_name_alone_is_no_digest(folder, tmp_path):
    """But in the hub's own cache."""
    shutil.move(folder / "model.safetensors", tmp_path / ("ab" * 32))
    (folder / "model.safetensors").symlink_to(tmp_path / ("ab" * 32))
    before = folder_digest(folder)
    with open(tmp_path / ("ab" * 32), "ab") as file:
        file.write(b" ")
    assert folder_digest(folder) != before


def test_the_digest_is_of_every_part(folder):
    names = shard(folder)
    seen = {folder_digest(folder)}
    for name in names:
        with open(folder / name, "ab") as file:
            file.write(b" ")
        seen.add(folder_digest(folder))
    assert len(seen) == 3


def test_a_file_is_digested_once(folder, monkeypatch):
    before = folder_digest(folder)
    monkeypatch.setattr("curate.models.model_files.file_digest", lambda path: pytest.fail(f"{path} is read again"))
    assert folder_digest(folder) == before


def test_a_local_folder_is_taken_as_it_is(folder, monkeypatch):
    assert model_folder(str(folder)) == folder
    with pytest.raises(ConfigError, match="revision = 'main' is for an id of the hub"):
        model_folder(str(folder), "main")
    monkeypatch.chdir(folder.parent)
    assert model_folder("model") == Path("model")


@pytest.mark.parametrize("weights", ["", "model", "/no/such/folder", "../up", "a/b/c", "a/..", "./a", "a b/c", "a/b\n"])
def test_what_is_neither_a_folder_nor_an_id_is_told(weights):
    with pytest.raises(ConfigError, match="is no folder here, and no id of the hub"):
        model_folder(weights)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> list[str]:
    """An empty cache, and a network that is not there; what is asked of it."""
    import huggingface_hub

    asked: list[str] = []

    class Nowhere:
        def head(self, url, **options):
            assert options == {"timeout": KNOCK_S}
            asked.append(str(url))
            raise OSError("[Errno -2] Name or service not known\nand more")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "get_session", Nowhere)
    return asked


def cached(made: Path, tmp_path: Path, without: str = "") -> Path:
    """The model in the cache of the hub's client, its large files named by their digests."""
    own = tmp_path / "hub" / f"models--owner--{tmp_path.name}"
    snapshot = own / "snapshots" / COMMIT
    for place in (own / "blobs", own / "refs", snapshot):
        place.mkdir(parents=True)
    (own / "refs" / "main").write_text(COMMIT)
    for file in made.iterdir():
        blob = own / "blobs" / (f"{'ab' * 32}" if file.suffix == ".safetensors" else file.name)
        if file.name != without:
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(blob)
    return snapshot


def test_without_a_network_a_model_of_the_hub_is_told_at_once(hub, tmp_path):
    with pytest.raises(ConfigError, match=r"cannot download the model 'owner/nil': \[Errno -2\] Name .*; fetch it by"):
        model_folder("owner/nil")
    assert hub == ["https://huggingface.co"], "and not 12 times"
    with pytest.raises(ConfigError, match="'owner/nil' at revision 'abc'"):
        model_folder("owner/nil", "abc")


def test_where_the_hub_is_said_to_be_away_nobody_knocks(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="cannot download the model 'owner/away'"):
        model_folder("owner/away")
    assert hub == []


def test_a_model_in_the_cache_asks_nobody(hub, made, tmp_path):
    snapshot = cached(made, tmp_path)
    name = f"owner/{tmp_path.name}"
    assert model_folder(name) == model_folder(name, COMMIT) == snapshot
    assert hub == []
    require(snapshot)
    before = folder_digest(snapshot)
    (snapshot / "model.safetensors").resolve().write_bytes(b"the name is the digest")
    assert folder_digest(snapshot) == before


@pytest.mark.parametrize("without", ["config.json", "model.safetensors"])
def test_a_download_that_was_broken_off_is_gone_on_with(hub, made, tmp_path, without):
    cached(made, tmp_path, without)
    with pytest.raises(ConfigError, match="cannot download"):
        model_folder(f"owner/{tmp_path.name}")
    assert len(hub) == 1


def test_a_model_in_the_cache_that_is_refused_is_not_asked_for_again(hub, made, tmp_path):
    snapshot = cached(made, tmp_path)
    write_json(snapshot / "config.json", quantization_config={"bits": 4})
    assert model_folder(f"owner/{tmp_path.name}") == snapshot
    assert hub == []
    with pytest.raises(ConfigError, match="is quantised"):
        require(snapshot)


def test_of_the_hub_no_pickles_and_no_code_are_fetched(hub, monkeypatch, tmp_path):
    import huggingface_hub

    def snapshot(name, local_files_only=False, **options):
        if local_files_only:
            raise OSError("not there")
        asked.append((name, options))
        return str(tmp_path)

    asked: list[tuple[str, dict]] = []
    monkeypatch.setattr("curate.models.hf_folder.knock", lambda: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    for _ in range(2):
        assert model_folder("owner/fetched", "v2") == tmp_path
    ((name, options),) = asked
    assert (name, options["revision"]) == ("owner/fetched", "v2")
    assert set(options["allow_patterns"]) == {"*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"}
