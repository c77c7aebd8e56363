"""What each kind of Keras layer does, in torch: the layers of MobileNet and its like, with settings that are checked.

A setting with a value that is not known here is an error, never ignored: a network with one wrong layer still gives
probabilities. Tensors are channels-first; kernels, and the order in which Flatten reads, are those of Keras'
channels-last. What a layer's function closes over are its weights, and it takes them out of the dictionary it is
given, so that the caller can see what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["KINDS", "Function"]

Function = Callable[..., Any]
Settings = Mapping[str, Any]


def _only(settings: Settings, **allowed: Sequence[Any]) -> None:
    """Raise ValueError for a setting with another value than those that are known here."""
    for name, values in allowed.items():
        if name in settings and settings[name] not in values:
            raise ValueError(f"layer {settings['name']} has {name} = {settings[name]!r}; known: {values}")


def _activation(settings: Settings) -> Function:
    import torch

    known: Mapping[str, Function] = {
        "linear": lambda values: values,
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "softmax": lambda values: torch.softmax(values, dim=1),
    }
    _only(settings, activation=tuple(known))
    return known[settings["activation"]]


def _convolution(settings: Settings, weights: dict[str, Any], deep: bool) -> Function:
    """Conv2D, kernel (height, width, in, out), or DepthwiseConv2D, kernel (height, width, in, multiplier)."""
    from torch.nn import functional

    _only(settings, data_format=("channels_last",), padding=("same", "valid"), groups=(1,))
    kernel = weights.pop("depthwise_kernel" if deep else "kernel")
    bias = weights.pop("bias") if settings["use_bias"] else None
    strides, dilation = _two(settings["strides"]), _two(settings["dilation_rate"])
    groups = kernel.shape[2] if deep else 1
    sizes = tuple(kernel.shape[:2])
    kernel = kernel.flatten(2)[:, :, :, None].permute(2, 3, 0, 1) if deep else kernel.permute(3, 2, 0, 1)
    kernel, activation = kernel.contiguous(), _activation(settings)

    def apply(values: Any) -> Any:
        if settings["padding"] == "same":
            values = functional.pad(values, _same(values.shape[2:], sizes, strides, dilation))
        return activation(functional.conv2d(values, kernel, bias, strides, 0, dilation, groups))

    return apply


def _same(shape: Sequence[int], sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """TensorFlow's `same`: as many outputs as strides fit, the odd zero last. Left, right, top, bottom."""
    padding: list[int] = []
    for side, size, stride, step in zip(
        reversed(shape), reversed(sizes), reversed(strides), reversed(dilation), strict=True
    ):
        total = max((-(-side // stride) - 1) * stride + (size - 1) * step + 1 - side, 0)
        padding += [total // 2, total - total // 2]
    return padding


def _two(numbers: Any) -> tuple[int, int]:
    first, second = (int(number) for number in numbers)
    if not (0 < first <= 64 and 0 < second <= 64):
        raise ValueError(f"{numbers} are no strides or sizes")
    return first, second


def _normalisation(settings: Settings, weights: dict[str, Any]) -> Function:
    """BatchNormalization as it is after training: one factor and one summand per channel."""
    _only(settings, axis=(-1, 3, [-1], [3]))
    factor = (weights.pop("moving_variance") + float(settings["epsilon"])).rsqrt()
    if settings["scale"]:
        factor = factor * weights.pop("gamma")
    shift = -weights.pop("moving_mean") * factor
    if settings["center"]:
        shift = shift + weights.pop("beta")

    def apply(values: Any) -> Any:
        shape = (1, -1) + (1,) * (values.ndim - 2)
        return values * factor.view(shape) + shift.view(shape)

    return apply


def _relu(settings: Settings, weights: dict[str, Any]) -> Function:
    import torch

    _only(settings, negative_slope=(0, None), threshold=(0, None))
    most = settings.get("max_value")
    most = None if most is None else float(most)
    return lambda values: torch.clamp(values, 0, most)


def _zeros(settings: Settings, weights: dict[str, Any]) -> Function:
    from torch.nn import functional

    _only(settings, data_format=("channels_last",))
    (top, bottom), (left, right) = settings["padding"]
    if not all(0 <= int(side) <= 64 for side in (top, bottom, left, right)):
        raise ValueError(f"layer {settings['name']} pads by {settings['padding']}")
    return lambda values: functional.pad(values, (left, right, top, bottom))


def _pooling(settings: Settings, weights: dict[str, Any]) -> Function:
    from torch.nn import functional

    _only(settings, data_format=("channels_last",), padding=("valid",))
    sizes, strides = _two(settings["pool_size"]), _two(settings["strides"])
    return lambda values: functional.avg_pool2d(values, sizes, strides)


def _flatten(settings: Settings, weights: dict[str, Any]) -> Function:
    _only(settings, data_format=("channels_last",))
    return lambda values: values.permute(0, 2, 3, 1).flatten(1)


def _dense(settings: Settings, weights: dict[str, Any]) -> Function:
    from torch.nn import functional

    kernel, activation = weights.pop("kernel").t().contiguous(), _activation(settings)
    bias = weights.pop("bias") if settings["use_bias"] else None

    def apply(values: Any) -> Any:
        if values.ndim != 2:
            raise ValueError(
                f"layer {settings['name']} takes {values.ndim - 1} axes, and one is known here; Flatten comes first"
            )
        return activation(functional.linear(values, kernel, bias))

    return apply


def _add(settings: Settings, weights: dict[str, Any]) -> Function:
    def apply(first: Any, *others: Any) -> Any:
        if any(other.shape != first.shape for other in others):
            raise ValueError(f"layer {settings['name']} adds tensors of unlike shapes")
        return sum(others, start=first)

    return apply


KINDS: Mapping[str, Callable[[Settings, dict[str, Any]], Function]] = {
    "Conv2D": lambda settings, weights: _convolution(settings, weights, deep=False),
    "DepthwiseConv2D": lambda settings, weights: _convolution(settings, weights, deep=True),
    "BatchNormalization": _normalisation,
    "ReLU": _relu,
    "ZeroPadding2D": _zeros,
    "Add": _add,
    "AveragePooling2D": _pooling,
    "Flatten": _flatten,
    "Dense": _dense,
    "Dropout": lambda settings, weights: lambda values: values,
}
