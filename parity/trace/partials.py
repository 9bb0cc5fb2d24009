"""Steps inside of PyTorch's operations that other frameworks compute one by one: before the bias, before the scale.

A weight of the JAX side meets the data in one of them, which is how it is found.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

GATES = (2, 3, 4)  # recurrent layers compute several gates in one product


def partials(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[torch.Tensor]
) -> list[np.ndarray]:
    """Return the steps inside of an operation, as arrays."""
    return _arrays(STEPS.get(name), args, kwargs, outputs)


def parts(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[torch.Tensor]) -> list[np.ndarray]:
    """Return equal parts of a product, as arrays: weights that are one in PyTorch may be several."""
    return _arrays(PARTS.get(name), args, kwargs, outputs)


def _arrays(make: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[torch.Tensor]) -> list[np.ndarray]:
    if make is None:
        return []
    with torch.no_grad():
        return [np.array(step.detach().cpu().numpy()) for step in make(*args, outputs=outputs, **kwargs)]


def _addmm(bias: Any, a: Any, b: Any, *, outputs: Any, **_: Any) -> Iterator[torch.Tensor]:
    yield a @ b


def _addmm_parts(bias: Any, a: Any, b: Any, *, outputs: Any, **_: Any) -> Iterator[torch.Tensor]:
    yield from _chunks(a @ b)
    yield from _chunks(outputs[0])


def _mm_parts(a: Any, b: Any, *, outputs: Any, **_: Any) -> Iterator[torch.Tensor]:
    yield from _chunks(outputs[0])


def _chunks(product: torch.Tensor) -> Iterator[torch.Tensor]:
    for count in GATES:
        if product.shape[-1] % count == 0:
            yield from product.chunk(count, -1)


def _convolution(x: Any, weight: Any, bias: Any, *_args: Any, outputs: Any, **_: Any) -> Iterator[torch.Tensor]:
    if bias is not None:
        yield torch.ops.aten.convolution(x, weight, None, *_args)


def _layer_norm(
    x: Any, shape: Any, weight: Any, bias: Any, eps: Any, *, outputs: Any, **_: Any
) -> Iterator[torch.Tensor]:
    _, mean, rstd = outputs
    yield from _normalised(x, mean, rstd, weight, bias)


def _group_norm(
    x: Any, weight: Any, bias: Any, n: Any, c: Any, hw: Any, groups: Any, eps: Any, *, outputs: Any, **_: Any
) -> Iterator[torch.Tensor]:
    _, mean, rstd = outputs
    shape = (n, c, *(1 for _ in x.shape[2:]))
    mean, rstd = (t.reshape(n, groups, 1).expand(n, groups, c // groups).reshape(shape) for t in (mean, rstd))
    affine = [None if t is None else t.reshape(1, c, *(1 for _ in x.shape[2:])) for t in (weight, bias)]
    yield from (mean, rstd)
    yield from _normalised(x, mean, rstd, *affine)


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, *rest: Any, outputs: Any, **_: Any):
    if mean is None or var is None or (rest and isinstance(rest[0], bool) and rest[0]):
        return
    eps = [number for number in rest if isinstance(number, float)][-1]
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    mean, rstd = mean.reshape(shape), torch.rsqrt(var + eps).reshape(shape)
    affine = [None if t is None else t.reshape(shape) for t in (weight, bias)]
    yield from _normalised(x, mean, rstd, *affine)


def _normalised(x: Any, mean: Any, rstd: Any, weight: Any, bias: Any) -> Iterator[torch.Tensor]:
    """Yield the orders in which people write (x - mean) / std * weight + bias."""
    centred = x - mean
    yield centred
    yield centred * rstd
    yield x * rstd
    if weight is not None:
        yield rstd * weight
        yield centred * weight
        yield centred * rstd * weight
        yield x * rstd * weight


def _rms_norm(x: Any, shape: Any, weight: Any, eps: Any, *, outputs: Any, **_: Any) -> Iterator[torch.Tensor]:
    if len(outputs) > 1:
        yield x * outputs[1]
        if weight is not None:
            yield outputs[1] * weight


def _add(a: Any, b: Any, *, alpha: Any = 1, outputs: Any, **_: Any) -> Iterator[torch.Tensor]:
    if isinstance(b, torch.Tensor) and alpha != 1:
        yield alpha * b


STEPS: dict[str, Callable[..., Iterator[torch.Tensor]]] = {
    "addmm": _addmm,
    "baddbmm": _addmm,
    "convolution": _convolution,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": lambda x, w, b, m, v, mom, eps, **k: _batch_norm(x, w, b, m, v, eps, **k),
    "cudnn_batch_norm": _batch_norm,
    "_fused_rms_norm": _rms_norm,
    "add": _add,
}
PARTS: dict[str, Callable[..., Iterator[torch.Tensor]]] = {
    "addmm": _addmm_parts,
    "baddbmm": _addmm_parts,
    "mm": _mm_parts,
    "bmm": _mm_parts,
}
