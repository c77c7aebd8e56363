"""Where models run: a GPU where there is one, else the CPU, with the same code.

A worker is told which GPU is its own and how many threads (`work_on`); under Ray the cluster hides the other GPUs, so
it is always the first. Two workers with two threads each on two cores are slower than with one each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

from curate.errors import ConfigError
from curate.models.settings import Precision

__all__ = [
    "computed_precision",
    "computes",
    "device",
    "free_memory",
    "on_one_thread",
    "require_device",
    "sent",
    "torch_threads",
    "work_number",
    "work_on",
]

P = ParamSpec("P")
T = TypeVar("T")
_own = {"gpu": 0, "threads": 1, "work": 0}


def work_on(gpu: int, threads: int) -> None:
    """Begin a piece of work (a shard): have models that are loaded from now on in this process use this GPU, or this
    many threads of the CPU."""
    _own.update(gpu=gpu, threads=threads, work=_own["work"] + 1)


def work_number() -> int:
    """Which piece of work of this process it is. What a model keeps from one to the next must not change a result."""
    return _own["work"]


def device(wanted: Literal["auto", "cpu", "cuda"]) -> Any:
    """The torch device. Raises ConfigError when a GPU is demanded and there is none."""
    import torch

    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        torch.set_num_threads(_own["threads"])
        return torch.device("cpu")
    require_device(wanted)
    return torch.device("cuda", min(_own["gpu"], torch.cuda.device_count() - 1))


def require_device(wanted: Literal["auto", "cpu", "cuda"]) -> None:
    """Raise ConfigError when a GPU is demanded and there is none."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            'device = "cuda" and torch sees no GPU here; write device = "auto", which takes one where a worker has it, '
            "or mend the driver"
        )


def computes(precision: Precision, where: Any) -> Any:
    """The torch type to compute in: that of `precision` where the device has it itself, else float32, which is exacter.

    A CPU has bfloat16 from AVX512-BF16 on, and never float16; a GPU has bfloat16 from compute capability 8 on.
    """
    import torch

    if where.type == "cuda":
        with torch.cuda.device(where):
            native = precision != "bf16" or torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = precision == "bf16" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return kinds[precision] if native else torch.float32


def computed_precision(precision: Precision, wanted: Literal["auto", "cpu", "cuda"]) -> Precision:
    """What a model of this precision is computed in on this machine: scores in bf16 and in fp32 differ by up to 2e-3,
    and must not be ranked together. Raises ConfigError as `device`."""
    import torch

    names: dict[Any, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
    return names[computes(precision, device(wanted))]


def sent(values: Any, where: Any) -> Any:
    """A tensor of the host on a device; to a GPU from pinned memory, so that nothing waits for it."""
    return values.pin_memory().to(where, non_blocking=True) if where.type == "cuda" else values


def free_memory(where: Any) -> None:
    """Give back what torch holds of a GPU's memory and does not use."""
    import torch

    if where.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Torch computes on so many threads of the CPU inside, and afterwards on as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_one_thread(call: Callable[P, T]) -> Callable[P, T]:
    """A method that has torch compute on one thread of the CPU while it lasts.

    With two, a product of matrices is cut between them, and the last bits of a row depend on which rows stand beside
    it (BLIP and CoCa in float32): a caption would depend on its neighbours, and on how many workers share the cores.
    Workers, one a core, are what uses them all.
    """

    @wraps(call)
    def alone(*arguments: P.args, **named: P.kwargs) -> T:
        with torch_threads(1):
            return call(*arguments, **named)

    return alone
