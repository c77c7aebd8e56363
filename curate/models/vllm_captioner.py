"""Any model that vLLM runs, as a captioner: `engine = "vllm"`, where that is installed.

Under Ray the actor that runs the scorer holds the engine; here is no word of Ray. The question is put as with the own
engine (`curate.models.vlm_prompts`). Each picture is one request with a seed of its own, from which vLLM makes those of
its captions by counting on, so that one caption more changes none of the others. vLLM puts requests together as they
come, and its kernels round differently by how many: captions depend on their seeds alone up to that. With
VLLM_BATCH_INVARIANT=1 in the environment of the workers it computes each by itself, slower (in beta in 0.33; on GPUs
that its documentation names).

`max_tokens` counts the end too, as with the own engine; the log-probability is the bare model's, end included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, StageError
from curate.filter import Pixels
from curate.manifest import fingerprint
from curate.models.caption_settings import CaptionerSettings
from curate.models.captioner import Finish, Generated, Sampling
from curate.models.decoding import rows_each
from curate.models.device import computes, device, require_device
from curate.models.hf_config import told_config
from curate.models.hf_folder import folder_digest, load_processor, model_folder, require_model_files
from curate.models.vllm_engine import VllmEngine, require_vllm
from curate.models.vlm_prompts import default_prompt, prompt_text

__all__ = ["VllmCaptioner", "captioner_digest", "open_captioner", "require_captioner"]

MOST_PIXELS = 1 << 20
"""A picture is kept with at most so many, 3 MB; Qwen2-VL makes 1,337 tokens of them."""
LONGEST = 8
"""The longer side may be this many times the shorter one; a longer one is squeezed. Models refuse strips."""
MOST_TEMPERATURE = 2.0
SEEDS = 1 << 62
"""Seeds are below, so that a few hundred more are still whole numbers of 64 bits with a sign."""
ENDS: Mapping[Any, Finish] = {"stop": "stop", "length": "length"}
PUTS_PICTURE_FIRST = ("paligemma",)
"""Types of models before whose words vLLM puts the picture by itself."""


def open_captioner(settings: CaptionerSettings) -> VllmCaptioner:
    """The model of these settings, with its engine. Raises ConfigError and StageError."""
    return VllmCaptioner(settings)


def captioner_digest(settings: CaptionerSettings) -> str:
    """Digest of the model's files, and of what it is asked where a config does not say. Raises ConfigError."""
    path = model_folder(settings.weights, settings.revision)
    return fingerprint(["vllm", 1, folder_digest(path), default_prompt(told_config(path)["model_type"])])


def require_captioner(settings: CaptionerSettings) -> None:
    """Raise ConfigError where vLLM is missing, for a folder that is not whole, and for what is not asked of vLLM."""
    _require_settings(settings)
    require_vllm()
    require_device(settings.device)
    path = model_folder(settings.weights, settings.revision)
    require_model_files(path, ())
    _question(path, settings.prompt)


def _require_settings(settings: CaptionerSettings) -> None:
    if settings.device == "cpu":
        raise ConfigError('engine = "vllm" with device = "cpu": vLLM computes where it was built for; write "auto"')
    if settings.architecture:
        raise ConfigError(f'architecture = {settings.architecture!r} is of open_clip; write engine = "own"')
    if settings.boxes:
        raise ConfigError('boxes = true is read by the own engine alone; write engine = "own"')
    try:
        _require_sampling(settings.sampling)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _require_sampling(sampling: Sampling) -> None:
    """Raises ValueError for what vLLM cannot do."""
    if sampling.method == "beam":
        raise ValueError('method = "beam" is not done by vLLM here; draw with "nucleus", or write engine = "own"')
    if sampling.stop_probability < 1:
        raise ValueError('stop_probability is not known to vLLM; leave it out, or write engine = "own"')
    if sampling.method != "greedy" and sampling.temperature > MOST_TEMPERATURE:
        raise ValueError(f"temperature = {sampling.temperature}: vLLM takes up to {MOST_TEMPERATURE}")


def _question(path: Path, prompt: str) -> tuple[str, Mapping[str, Any]]:
    """What is asked about every picture, and how it is to be cut into tokens. Raises ConfigError."""
    model_type = told_config(path)["model_type"]
    if model_type in PUTS_PICTURE_FIRST:
        return prompt or default_prompt(model_type), {}
    return prompt_text(load_processor(path), model_type, prompt)


class VllmCaptioner:
    """A model in vLLM's hands. Not for use from two threads at once, but for `prepare`. `vllm`: the module, or a double
    of it."""

    def __init__(self, settings: CaptionerSettings, vllm: Any = None) -> None:
        _require_settings(settings)
        path = model_folder(settings.weights, settings.revision)
        where = device(settings.device)
        if where.type == "cuda" and where.index:
            raise ConfigError(
                "vLLM takes the first GPU that a process sees, and this worker's is another: with several GPUs let Ray "
                "run the workers, which shows each its own"
            )
        self._path = path
        self._questions: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self.name = path.name if Path(settings.weights).is_dir() else settings.weights
        self._ask(settings.prompt)
        precision = str(computes(settings.precision, where)).removeprefix("torch.")
        self._engine = VllmEngine(path, precision, vllm)

    def prepare(self, pixels: Pixels) -> npt.NDArray[np.uint8]:
        """uint8 (height, width, 3) of at most MOST_PIXELS; the model's own preprocessing is vLLM's."""
        from PIL import Image

        height, width = pixels.shape[:2]
        width, height = min(width, LONGEST * height), min(height, LONGEST * width)
        scale = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
        size = max(1, int(width * scale)), max(1, int(height * scale))
        if size == (pixels.shape[1], pixels.shape[0]):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))

    def generate(
        self, images: Sequence[Any], n: int, sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Generated]]:
        """As `curate.models.captioner.Captioner`. Raises ValueError for a picture or a prompt that the model refuses
        (more tokens than it has places, say), and StageError where the engine failed or left a text unfinished: the
        next call opens it anew."""
        from PIL import Image

        rows_each(sampling, n)
        _require_sampling(sampling)
        if not images:
            return []
        prompt, tokenization = self._ask(sampling.prompt)
        requests = [{"prompt": prompt, "multi_modal_data": {"image": Image.fromarray(view)}} for view in images]
        answers = self._engine.generate(requests, [_drawn(n, sampling, seed) for seed in seeds], tokenization)
        return [_captions(answer, n) for answer in answers]

    def _ask(self, prompt: str) -> tuple[str, Mapping[str, Any]]:
        if prompt not in self._questions:
            self._questions = {prompt: _question(self._path, prompt)}
        return self._questions[prompt]


def _drawn(n: int, sampling: Sampling, seed: int) -> dict[str, Any]:
    """vLLM's SamplingParams. It cuts to `top_k` first and to `top_p` of what is left then, as we do; 0 is no cut, and
    temperature 0 is greedy. `logprobs` 0 tells the chosen token's alone, which is enough for the sum."""
    greedy = sampling.method == "greedy"
    return {
        "n": n,
        "seed": seed % SEEDS,
        "temperature": 0.0 if greedy else sampling.temperature,
        "top_p": sampling.top_p if sampling.method == "nucleus" else 1.0,
        "top_k": 0 if greedy else sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "min_tokens": sampling.min_tokens,
        "max_tokens": sampling.max_tokens,
        "logprobs": 0,
    }


def _captions(answer: Any, n: int) -> list[Generated]:
    """The texts of one picture. Raises StageError for an answer that is not whole."""
    outputs = sorted(answer.outputs, key=lambda one: int(one.index))
    if len(outputs) != n:
        raise StageError(f"vLLM gave {len(outputs)} captions of a picture, and {n} were asked for")
    return [_caption(one) for one in outputs]


def _caption(one: Any) -> Generated:
    if one.finish_reason not in ENDS:
        raise StageError(f"vLLM left a caption unfinished (finish_reason {one.finish_reason!r})")
    finish = ENDS[one.finish_reason]
    count = len(one.token_ids)
    if finish == "length" and not count:
        raise ValueError("vLLM wrote nothing about a picture: picture and prompt are more tokens than the model takes")
    told = one.cumulative_logprob
    tokens = count - (finish == "stop" and count > 0)
    return Generated(one.text.strip(), float("nan") if told is None else float(told), tokens, finish)
