"""vLLM as an engine, with a plain double of its module (`vllm_double`)."""

import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import tiny_vlm
import torch
from vllm_double import Answer, Double, EngineDeadError, Output, VLLMClientError

from curate.errors import ConfigError, StageError
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Generated, Sampling, seeds_of
from curate.models.open_captioner import captioner_digest as any_digest
from curate.models.vllm_captioner import VllmCaptioner, captioner_digest, open_captioner, require_captioner
from curate.models.vllm_engine import GPU_SHARE, vllm_module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.write(tmp_path_factory.mktemp("llava"), "llava")


def settings(folder: Path, **changes: Any) -> CaptionerSettings:
    return CaptionerSettings(**({"weights": str(folder), "engine": "vllm", "precision": "fp32"} | changes))


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (20 + row, 30, 3), dtype=np.uint8) for row in range(count)]


def captions(model: VllmCaptioner, views: Sequence[np.ndarray], n: int, sampling: Sampling) -> list[list[Generated]]:
    return model.generate(views, n, sampling, seeds_of([str(crc32(v.tobytes())) for v in views], 0))


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_where_vllm_is_missing_it_says_how_to_get_it(folder: Path) -> None:
    for asked in (require_captioner, open_captioner):
        with pytest.raises(ConfigError, match=r"pip install vllm.* engine = \"own\""):
            asked(settings(folder))
    with pytest.raises(ConfigError, match="pip install vllm"):
        vllm_module()


def test_what_the_engine_is_opened_with(folder: Path) -> None:
    double = Double()
    model = VllmCaptioner(settings(folder), double)
    assert model.name == folder.name
    (options,) = double.opened
    assert options == {
        "model": str(folder),
        "dtype": "float32",
        "trust_remote_code": False,
        "load_format": "safetensors",
        "seed": 0,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "mm_processor_cache_gb": 0,
        "max_model_len": -1,
        "gpu_memory_utilization": GPU_SHARE,
    }


def test_what_is_asked(folder: Path) -> None:
    """The model's own chat template with the picture in its place, the start not a second time, no progress bar."""
    double, (view,) = Double(), pictures(1)
    captions(VllmCaptioner(settings(folder), double), [view], 1, settings(folder).sampling)
    ((request, _),) = double.asked
    assert request["prompt"].startswith("<s>user : <image> Describe this image in one sentence.")
    assert request["prompt"].endswith("assistant : ")
    assert (np.asarray(request["multi_modal_data"]["image"]) == view).all()
    assert double.calls == [{"use_tqdm": False, "tokenization_kwargs": {"add_special_tokens": False}}]
    prompted = settings(folder, prompt="What is shown ?").sampling
    captions(VllmCaptioner(settings(folder), double), [view], 1, prompted)
    assert " What is shown ? " in double.asked[1][0]["prompt"]


def test_vllm_puts_the_picture_before_paligemmas_words(tmp_path: Path) -> None:
    double = Double()
    own = settings(tiny_vlm.write(tmp_path, "paligemma"))
    captions(VllmCaptioner(own, double), pictures(1), 1, own.sampling)
    assert double.asked[0][0]["prompt"] == "caption en"
    assert double.calls[0]["tokenization_kwargs"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"temperature": 1.0, "top_p": 0.9, "top_k": 0, "repetition_penalty": 1.1}),
        ({"top_k": 50, "temperature": 2.0}, {"temperature": 2.0, "top_p": 0.9, "top_k": 50}),
        ({"method": "top_k", "top_k": 7}, {"top_p": 1.0, "top_k": 7}),
        ({"method": "greedy", "top_k": 7, "temperature": 5.0}, {"temperature": 0.0, "top_p": 1.0, "top_k": 0}),
        ({"min_tokens": 3, "max_tokens": 9}, {"min_tokens": 3, "max_tokens": 9, "logprobs": 0}),
    ],
)
def test_how_it_is_drawn(folder: Path, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    double = Double()
    captions(VllmCaptioner(settings(folder), double), pictures(1), 1, settings(folder, **changes).sampling)
    told = vars(double.asked[0][1])
    assert {name: told[name] for name in expected} == expected


def test_vllm_takes_the_first_gpu_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.models.vllm_captioner.computes", lambda precision, where: torch.bfloat16)
    for index, double in ((0, Double()), (1, Double())):
        monkeypatch.setattr("curate.models.vllm_captioner.device", lambda wanted, i=index: torch.device("cuda", i))
        if index:
            with pytest.raises(ConfigError, match="let Ray run the workers"):
                VllmCaptioner(settings(folder), double)
        else:
            VllmCaptioner(settings(folder), double)
    assert double.opened == []


def test_captions_of_several_pictures(folder: Path) -> None:
    own = settings(folder, max_tokens=8, min_tokens=2)
    found = captions(VllmCaptioner(own, Double()), pictures(30), 3, own.sampling)
    assert [len(some) for some in found] == [3] * 30
    every = [one for some in found for one in some]
    assert {one.finish for one in every} == {"stop", "length"}
    for one in every:
        assert one.tokens == len(one.text.split()) == (8 if one.finish == "length" else one.tokens)
        assert one.log_probability == -(one.tokens + (one.finish == "stop"))
        assert one.text == one.text.strip()
    assert len({one.text for one in every}) > 80


def test_captions_do_not_depend_on_what_is_beside_them(folder: Path) -> None:
    own, views = settings(folder), pictures(20)
    model = VllmCaptioner(own, Double())
    whole = captions(model, views, 2, own.sampling)
    for cuts in ([1], [7, 8, 19], range(1, 20)):
        parts = np.split(np.arange(20), cuts)
        assert [c for part in parts for c in captions(model, [views[i] for i in part], 2, own.sampling)] == whole
    order = np.random.default_rng(1).permutation(20)
    assert captions(model, [views[i] for i in order], 2, own.sampling) == [whole[i] for i in order]
    assert [some[:2] for some in captions(model, views, 5, own.sampling)] == whole
    assert model.generate([], 2, own.sampling, []) == []


@pytest.mark.parametrize("seed", [0, 1, 2**62 - 1, 2**62, 2**63, 2**64 - 1])
def test_every_seed_is_one_that_vllm_takes(folder: Path, seed: int) -> None:
    double = Double()
    VllmCaptioner(settings(folder), double).generate(pictures(1), 200, Sampling(), [seed])
    assert double.asked[0][1].seed == seed % 2**62


def test_outputs_in_any_order_and_without_probability(folder: Path) -> None:
    def spoil(answers: list[Answer]) -> list[Answer]:
        for answer in answers:
            answer.outputs.reverse()
            answer.outputs[0].cumulative_logprob = None
        return answers

    own, views = settings(folder), pictures(4)
    found = captions(VllmCaptioner(own, Double(spoil)), views, 3, own.sampling)
    whole = captions(VllmCaptioner(own, Double()), views, 3, own.sampling)
    assert [[one.text for one in some] for some in found] == [[one.text for one in some] for some in whole]
    assert [[math.isnan(one.log_probability) for one in some] for some in found] == [[False, False, True]] * 4


def without_last(answers: list[Answer]) -> list[Answer]:
    answers[-1].outputs.pop()
    return answers


def ended(reason: str | None) -> Callable[[list[Answer]], list[Answer]]:
    def spoil(answers: list[Answer]) -> list[Answer]:
        answers[0].outputs[0].finish_reason = reason
        return answers

    return spoil


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_last, "gave 1 captions of a picture, and 2 were asked for"),
        (ended(None), "finish_reason None"),
        (ended("abort"), "finish_reason 'abort'"),
        (ended("error"), "finish_reason 'error'"),
        (ended("repetition"), "finish_reason 'repetition'"),
        (lambda answers: answers[1:], "gave 2 answers to 3 requests"),
        (lambda answers: [*answers, answers[0]], "gave 4 answers to 3 requests"),
    ],
)
def test_answers_that_are_not_whole_have_the_shard_tried_again(folder: Path, spoil: Any, words: str) -> None:
    own = settings(folder)
    with pytest.raises(StageError, match=words):
        captions(VllmCaptioner(own, Double(spoil)), pictures(3), 2, own.sampling)


@pytest.mark.parametrize("error", [EngineDeadError("EngineCore encountered an issue"), RuntimeError("cancelled")])
def test_an_engine_that_dies_is_opened_anew(folder: Path, error: Exception) -> None:
    own, views, double = settings(folder), pictures(3), Double()
    model = VllmCaptioner(own, double)
    whole = captions(model, views, 2, own.sampling)
    double.fails.append(error)
    with pytest.raises(StageError, match=str(error)):
        captions(model, views, 2, own.sampling)
    assert len(double.opened) == 1
    assert captions(model, views, 2, own.sampling) == whole
    assert len(double.opened) == 2


def test_after_answers_of_others_the_engine_is_opened_anew(folder: Path) -> None:
    own, views, double = settings(folder), pictures(3), Double(lambda answers: answers * 2)
    model = VllmCaptioner(own, double)
    with pytest.raises(StageError):
        captions(model, views, 1, own.sampling)
    double.spoil = lambda answers: answers
    assert len(captions(model, views, 1, own.sampling)) == 3
    assert len(double.opened) == 2


@pytest.mark.parametrize("kind", [VLLMClientError, ValueError])
def test_a_prompt_that_is_too_long_is_refused_and_the_engine_goes_on(folder: Path, kind: type[Exception]) -> None:
    """A ValueError: the scorer then asks for each picture alone, and the others have their captions."""
    own, views, double = settings(folder), pictures(3), Double()
    model = VllmCaptioner(own, double)
    double.fails.append(kind("The decoder prompt (length 9000) is longer than the maximum model length of 4096. Make"))
    with pytest.raises(ValueError, match="longer than the maximum model length"):
        captions(model, views, 1, own.sampling)
    assert len(captions(model, views, 1, own.sampling)) == 3
    assert len(double.opened) == 1


def test_a_request_that_was_ignored_is_no_caption(folder: Path) -> None:
    def spoil(answers: list[Answer]) -> list[Answer]:
        answers[0].outputs = [Output(0, "", [], 0.0, "length")]
        return answers

    own = settings(folder)
    with pytest.raises(ValueError, match="more tokens than the model takes"):
        captions(VllmCaptioner(own, Double(spoil)), pictures(2), 1, own.sampling)


def test_a_caption_of_no_words_is_one(folder: Path) -> None:
    def spoil(answers: list[Answer]) -> list[Answer]:
        answers[0].outputs = [Output(0, "", [3], -0.5, "stop")]
        return answers

    own = settings(folder)
    assert captions(VllmCaptioner(own, Double(spoil)), pictures(1), 1, own.sampling) == [
        [Generated("", -0.5, 0, "stop")]
    ]


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (ValueError("Model architectures ['Foo'] are not supported for now."), ConfigError, "are not supported"),
        (VLLMClientError("no such thing"), ConfigError, "name another model"),
        (ValueError("Free memory on device is less than desired GPU memory utilization"), StageError, "Free memory"),
        (RuntimeError("Engine core initialization failed"), StageError, "initialization failed"),
    ],
)
def test_an_engine_that_does_not_open(folder: Path, error: Exception, raised: type[Exception], words: str) -> None:
    with pytest.raises(raised, match=words):
        VllmCaptioner(settings(folder), Double(refuses=[error]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "beam"}, "beam"),
        ({"stop_probability": 0.18}, "stop_probability"),
        ({"temperature": 2.01}, "up to 2"),
        ({"boxes": True}, "boxes"),
        ({"device": "cpu"}, 'write "auto"'),
        ({"architecture": "coca_ViT-L-14"}, "open_clip"),
    ],
)
def test_what_is_not_asked_of_vllm(folder: Path, changes: dict[str, Any], words: str) -> None:
    own = settings(folder, **changes)
    with pytest.raises(ConfigError, match=words):
        require_captioner(own)
    with pytest.raises(ConfigError, match=words):
        VllmCaptioner(own, Double())


@pytest.mark.parametrize(
    ("n", "sampling"),
    [
        (1, Sampling("beam")),
        (1, Sampling(stop_probability=0.5)),
        (1, Sampling(temperature=3.0)),
        (2, Sampling("greedy")),
        (0, Sampling()),
    ],
)
def test_samplings_that_it_cannot_do(folder: Path, n: int, sampling: Sampling) -> None:
    with pytest.raises(ValueError, match=r"beam|stop_prob|temperature|captions"):
        VllmCaptioner(settings(folder), Double()).generate(pictures(1), n, sampling, [1])


def test_a_folder_that_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no model"):
        captioner_digest(settings(tmp_path))
    with pytest.raises(ConfigError, match="is no folder here"):
        captioner_digest(settings(tmp_path / "nothing"))


def test_the_digest_is_that_of_the_folder(folder: Path) -> None:
    digest = captioner_digest(settings(folder))
    assert digest == captioner_digest(settings(folder, prompt="What is shown ?"))
    assert digest == any_digest(settings(folder))
    assert digest != any_digest(settings(folder, engine="own"))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((40, 30), (40, 30)),
        ((1024, 1024), (1024, 1024)),
        ((1025, 1024), (1024, 1023)),
        ((3000, 2000), (1254, 836)),
        ((8, 1), (8, 1)),
        ((9, 1), (8, 1)),
        ((1, 5000), (1, 8)),
    ],
)
def test_pictures_are_bounded(folder: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Width and height."""
    view = VllmCaptioner(settings(folder), Double()).prepare(np.full((size[1], size[0], 3), 77, np.uint8))
    assert (view.shape[1], view.shape[0]) == expected
    assert (view == 77).all()
