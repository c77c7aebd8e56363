"""vLLM, as far as it is asked here: one engine of this process, opened when it is first needed, and anew when it died.

vLLM is no dependency: it wants a torch of one version. The module comes in at one place, `vllm_module`, or as an
argument, for which tests have a plain double. Written against vLLM 0.33, by its documented names alone.

What it does to pictures (resize, tiles, patches) runs in this process before a request is known to the engine, one
request after the other (vllm#50111). The engine itself is another process and begins with the first request while the
next are made ready, so all pictures of a batch are handed over in one call; older versions made all of them ready
first. Between two batches the GPU has nothing to do for as long as the last texts take: batches should be large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curate.errors import ConfigError, StageError

__all__ = ["VllmEngine", "require_vllm", "vllm_module"]

MISSING = (
    'engine = "vllm" needs vLLM, which is not installed here: `pip install vllm` in the environment of workers with '
    'a GPU (it brings a torch of its own version), or write engine = "own"'
)
GPU_SHARE = 0.8
"""Of the memory of a GPU: the rest is for the models that judge the captions beside it."""


def vllm_module() -> Any:
    """The module. Raises ConfigError where it is not installed, or does not go with what is."""
    require_vllm()
    try:
        return import_module("vllm")
    except Exception as error:
        raise ConfigError(f"vLLM is installed and cannot be imported: {_told(error)}; install it anew") from error


def require_vllm() -> None:
    """Raise ConfigError where vLLM is not installed; it is not imported, which loads CUDA."""
    if find_spec("vllm") is None:
        raise ConfigError(MISSING)


class VllmEngine:
    """The engine of a model in a folder. `precision`: `float32`, `bfloat16` or `float16`.

    Raises ConfigError for a model that vLLM does not know, and StageError for what may go better next time.
    """

    def __init__(self, folder: Path, precision: str, vllm: Any = None) -> None:
        self._vllm = vllm_module() if vllm is None else vllm
        self._options = {
            "model": str(folder),
            "dtype": precision,
            "load_format": "safetensors",
            "trust_remote_code": False,
            "seed": 0,
            "limit_mm_per_prompt": {"image": 1, "video": 0},
            "mm_processor_cache_gb": 0,  # no picture comes twice, and the cache has grown without end (vllm#12973)
            "max_model_len": -1,  # as many tokens as there is memory for, up to what the model has places for
            "gpu_memory_utilization": GPU_SHARE,
        }
        self._engine: Any = None
        self._opened()

    def generate(
        self,
        requests: Sequence[Mapping[str, Any]],
        sampling: Sequence[Mapping[str, Any]],
        tokenization: Mapping[str, Any],
    ) -> list[Any]:
        """vLLM's answer to each request, `{"prompt": ..., "multi_modal_data": {"image": ...}}`, drawn as
        `SamplingParams` says. Raises ValueError where it refuses one, StageError where the engine failed."""
        engine = self._opened()
        try:
            found = engine.generate(
                list(requests),
                [self._vllm.SamplingParams(**own) for own in sampling],
                use_tqdm=False,
                tokenization_kwargs=dict(tokenization) or None,
            )
        except Exception as error:
            if _is_refusal(error):
                raise ValueError(f"vLLM refuses a picture or the prompt: {_told(error)}") from error
            self._engine = None
            raise StageError(f"vLLM's engine failed, and is opened anew: {_told(error)}") from error
        if len(found) != len(requests):
            self._engine = None
            raise StageError(f"vLLM gave {len(found)} answers to {len(requests)} requests; the engine is opened anew")
        return list(found)

    def _opened(self) -> Any:
        if self._engine is None:
            try:
                self._engine = self._vllm.LLM(**self._options)
            except Exception as error:
                told = f"vLLM cannot open {self._options['model']}: {_told(error)}"
                if _is_refusal(error) and "memory" not in str(error).lower():
                    raise ConfigError(f'{told}; name another model, or write engine = "own"') from error
                raise StageError(told) from error
        return self._engine


def _is_refusal(error: Exception) -> bool:
    """Whether vLLM says that what it was given cannot be done: the engine goes on. Newer versions have a class for it,
    which is no ValueError."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, ValueError) or "VLLMClientError" in names


def _told(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
