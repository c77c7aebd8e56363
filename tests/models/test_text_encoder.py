"""A sentence encoder against transformers asked one text at a time, and what it refuses to load."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from text_encoder_files import parts, write_encoder

import curate.models.text_encoder
from curate.errors import ConfigError
from curate.models.text_encoder import SentenceEncoder, open_text_encoder, text_encoder_fingerprint

TEXTS = [
    "a dog",
    "",
    "a dog on the mat",
    "A DOG",
    "a dog",
    "the red cat sits on the red mat of the dog",
    "a cat " * 40,
    "\n\t ",
    "犬 🐕",
    "x",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder"), most_tokens=32)


@pytest.fixture(scope="module")
def encoder(folder):
    return SentenceEncoder(folder, "name")


def published(text, most_tokens=32):
    """The mean of the last layer over the tokens, of unit length, without any padding."""
    import torch

    model, tokenizer = parts()
    tokens = tokenizer(text, truncation=True, max_length=most_tokens, return_tensors="pt")
    with torch.inference_mode():
        mean = model(tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state[0].mean(0)
    return (mean / mean.norm()).numpy()


def test_equals_transformers_asked_one_by_one(encoder):
    rows = encoder.embed(TEXTS)
    assert (rows.dtype, rows.shape) == (np.float32, (len(TEXTS), 16))
    np.testing.assert_allclose(rows, np.stack([published(text) for text in TEXTS]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert (rows[0] == rows[4]).all()
    assert np.abs(rows[0] - rows[2]).max() > 0.01


@pytest.mark.parametrize("together", [1, 7, 40, 100_000])
def test_the_size_of_batches_does_not_count(encoder, monkeypatch, together):
    whole = encoder.embed(TEXTS)
    monkeypatch.setattr(encoder, "_together", together)
    np.testing.assert_allclose(encoder.embed(TEXTS[::-1]), whole[::-1], atol=1e-6)


def test_a_text_is_encoded_once_and_texts_of_like_length_together(encoder, monkeypatch):
    batches = []

    def batch(tokens):
        batches.append([len(t) for t in tokens])
        return np.ones((len(tokens), 16), np.float32)

    monkeypatch.setattr(encoder, "_batch", batch)
    monkeypatch.setattr(encoder, "_together", 12)
    encoder.embed(["a dog", "a cat sits", "a dog", "the", "a dog", "mat on mat"])
    assert batches == [[5, 5], [4, 3]]


@pytest.mark.parametrize("words", ["CUDA out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED"])
def test_without_memory_the_batch_is_halved(encoder, monkeypatch, words):
    whole, plain, sizes = encoder.embed(TEXTS), encoder._batch, []

    def batch(tokens):
        sizes.append(len(tokens))
        if len(tokens) > 3:
            raise RuntimeError(words)
        return plain(tokens)

    monkeypatch.setattr(encoder, "_batch", batch)
    monkeypatch.setattr(encoder, "_together", 1_000)
    np.testing.assert_allclose(encoder.embed(TEXTS), whole, atol=1e-6)
    assert sizes[0] > 3
    monkeypatch.setattr(encoder, "_batch", lambda tokens: batch([*tokens] * 4))
    with pytest.raises(RuntimeError, match=words):
        encoder.embed(["a dog"])


def test_another_error_is_not_taken_for_memory(encoder, monkeypatch):
    def batch(tokens):
        raise RuntimeError("index out of range")

    monkeypatch.setattr(encoder, "_batch", batch)
    with pytest.raises(RuntimeError, match="index out of range"):
        encoder.embed(TEXTS)
    assert encoder._together == curate.models.text_encoder.TOKENS_TOGETHER


def test_no_texts(encoder):
    assert encoder.embed([]).shape == (0, 16)


def test_a_hundred_thousand_characters_are_cut_to_the_first_tokens(encoder):
    long, cut = encoder.embed(["a dog " * 17_000, "a dog " * 15])
    np.testing.assert_allclose(long, cut, atol=1e-6)


@pytest.mark.parametrize(("said", "most"), [(8, 8), (None, 64)])
def test_how_many_tokens_are_read(tmp_path, said, most):
    encoder = SentenceEncoder(write_encoder(tmp_path, said), "name")
    np.testing.assert_allclose(encoder.embed(["a dog " * 99])[0], published("a dog " * 99, most), atol=1e-6)


def test_the_fingerprint_is_of_what_is_in_the_files(tmp_path, folder):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    first = text_encoder_fingerprint(str(folder))
    assert text_encoder_fingerprint(str(copy)) == first == open_text_encoder(str(folder)).fingerprint
    for number, name in enumerate(("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json")):
        other = Path(shutil.copytree(folder, tmp_path / str(number)))
        (other / name).write_bytes((other / name).read_bytes() + b" ")
        assert text_encoder_fingerprint(str(other)) != first, name
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    text_encoder_fingerprint.cache_clear()
    assert text_encoder_fingerprint(str(copy)) != first


def refused(folder, words):
    with pytest.raises(ConfigError, match=words):
        open_text_encoder(str(folder))


def test_a_pickle_is_not_loaded(tmp_path):
    write_encoder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    refused(tmp_path, r"needs config.json and model.safetensors.*a pickle \(.bin\) are not loaded")


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    write_encoder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["model_type"]
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    refused(tmp_path, "no sentence encoder that transformers can load")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_model_are_refused(tmp_path):
    write_encoder(tmp_path / "deep", num_hidden_layers=3)
    write_encoder(tmp_path / "flat")
    (tmp_path / "flat" / "model.safetensors").rename(tmp_path / "deep" / "model.safetensors")
    refused(
        tmp_path / "deep", r"not those of its config.json: \d+ missing, 0 of another shape, such as encoder.layer.2"
    )


def test_weights_of_another_shape_are_refused(tmp_path):
    write_encoder(tmp_path / "wide", intermediate_size=48)
    write_encoder(tmp_path / "narrow")
    (tmp_path / "narrow" / "model.safetensors").rename(tmp_path / "wide" / "model.safetensors")
    refused(tmp_path / "wide", r"0 missing, \d+ of another shape, such as encoder.layer.0.intermediate.dense.bias")


def test_a_model_that_wants_more_than_a_text_is_refused(tmp_path):
    from transformers import T5Config, T5Model

    write_encoder(tmp_path)
    T5Model(T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(tmp_path)
    refused(tmp_path, "does not encode a text by itself")


def test_another_pooling_is_refused(tmp_path):
    write_encoder(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    refused(tmp_path, "asks for pooling_mode_cls_token; only the mean is known")


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_broken_settings_are_refused(tmp_path, content):
    write_encoder(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text(content, "latin-1")
    refused(tmp_path, r"sentence_bert_config.json (cannot be read|is no JSON object)")


def test_a_broken_file_of_weights_is_refused(tmp_path):
    write_encoder(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, "no sentence encoder that transformers can load")


@pytest.mark.parametrize("spec", ["", "nowhere", "/no/such/folder", "./x", "../x", "a/b/c"])
def test_what_is_no_folder_and_no_id_is_refused(spec):
    with pytest.raises(ConfigError, match="is no folder here, and no id of the hub"):
        open_text_encoder(spec)


def test_an_id_is_looked_up_by_the_hubs_client(monkeypatch, folder):
    import huggingface_hub

    asked = []

    def snapshot_download(spec, allow_patterns):
        asked.append((spec, allow_patterns))
        if spec == "people/gone":
            raise OSError("offline")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert text_encoder_fingerprint("people/model") == text_encoder_fingerprint(str(folder))
    assert asked[0][0] == "people/model"
    assert not [pattern for pattern in asked[0][1] if pattern.endswith((".bin", ".py", "*"))]
    with pytest.raises(ConfigError, match="'people/gone' cannot be downloaded: offline; fetch it by hand"):
        text_encoder_fingerprint("people/gone")


def test_loading_is_quiet(folder, capfd):
    SentenceEncoder(folder, "name")
    assert capfd.readouterr() == ("", "")
