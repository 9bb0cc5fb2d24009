"""What a wrong result looks like: hypotheses that are held only if they reproduce the wrong numbers.

Every diagnosis here is an imitation: PyTorch is made to do what a porting trap would do, and if its result is Flax's
to nine digits, that is what Flax does. What nothing reproduces gets no diagnosis, rather than a guess.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from parity.report.compare import relative_error
from parity.sides.calls import Call, channels_first, channels_last

SAME = 1e-9  # float64 results this near are the same: another computation is further away, rounding is not
ROUNDED = 1e-5  # where Flax's module computes in float32 whatever it is given, as some do
CANCELLED = 0.1  # a variance in float32: in float64, which is compared first, it was right
EPSILONS = (1e-3, 1e-5, 1e-6, 1e-8, 1e-12, 0.0)

Imitation = tuple[str, Callable[[], Any]]  # what is said of it, and a tensor (N, C, ...) made in that way


def same(reference: np.ndarray, found: np.ndarray) -> bool:
    """Tell whether two arrays are equal but for rounding."""
    return relative_error(reference, found) <= SAME


@torch.no_grad()
def of_layer(module: nn.Module, call: Call, found: np.ndarray) -> str:
    """Say what a layer does otherwise, given PyTorch's layer, its own call and what Flax returned for its input.

    Args:
        module: PyTorch's layer, in the mode in which it was called.
        call: its input and output, channels last.
        found: what Flax's layer returned for that input.
    """
    if words := narrowed(call.output, found):
        return words
    if _takes_variance(module) and relative_error(call.output, found) <= (
        CANCELLED if call.output.dtype == np.float32 else SAME
    ):
        return "it is right but for rounding: is the variance E[x^2] - E[x]^2, which cancels far from zero (trap 3)?"
    x = torch.from_numpy(np.array(channels_first(call.input)))
    for words, imitation in (*_imitations(module, x, call), *_general(call)):
        try:
            result = imitation()
        except (RuntimeError, ValueError, IndexError):  # shapes that do not fit: not this one
            continue
        if result is not None and same(channels_last(np.asarray(result)), found):
            return words
    return factor(call.output, found)


def _takes_variance(module: nn.Module) -> bool:
    """Tell whether a layer computes a variance: BatchNorm does in training mode."""
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | _InstanceNorm) or (
        isinstance(module, _BatchNorm) and module.training
    )


def narrowed(reference: np.ndarray, found: np.ndarray) -> str:
    """Say whether a result is right in float32, where float64 is asked for."""
    if not _in_float32(found) or _in_float32(reference) or relative_error(reference, found) > ROUNDED:
        return ""
    return "it computes in float32 whatever it is given: nothing finer can be proven before its dtype is left open"


def _in_float32(values: np.ndarray) -> bool:
    return bool(np.array_equal(values.astype(np.float32), values))


def _imitations(module: Any, x: torch.Tensor, call: Call) -> Iterator[Imitation]:
    match module:
        case nn.Linear():
            yield from _of_linear(module, x)
        case _ConvNd():
            yield from _of_conv(module, x)
        case _BatchNorm():
            yield from _of_batch_norm(module, x, call.output)
        case _DropoutNd():
            yield from _of_dropout(module, x, torch.from_numpy(np.array(channels_first(call.output))))
    if isinstance(getattr(module, "eps", None), float) and not isinstance(module, _BatchNorm):
        for eps in EPSILONS:
            words = f"epsilon is {eps:g} where PyTorch has {module.eps:g} (trap 2)"
            yield words, lambda e=eps: _with(module, eps=e)(x) if e != module.eps else None


def _general(call: Call) -> Iterator[Imitation]:
    x, y = (torch.from_numpy(np.array(channels_first(a))) for a in call)
    yield "its input is passed on unchanged", lambda: x
    yield "a ReLU is added", lambda: functional.relu(y)
    yield "its output is zero", lambda: torch.zeros_like(y)


def _of_linear(module: nn.Linear, x: torch.Tensor) -> Iterator[Imitation]:
    weight, bias = module.weight, module.bias
    if weight.shape[0] == weight.shape[1]:
        yield "the square kernel is not transposed (trap 9)", lambda: functional.linear(x, weight.T, bias)
        yield "the square kernel is not transposed, the bias is missing", lambda: functional.linear(x, weight.T)
    if bias is not None:
        yield "the bias is missing", lambda: functional.linear(x, weight)
        yield "the bias is subtracted", lambda: functional.linear(x, weight, -bias)


def _of_conv(module: Any, x: torch.Tensor) -> Iterator[Imitation]:
    weight, bias, dims = module.weight, module.bias, module.weight.ndim - 2
    windows = tuple(range(2, 2 + dims))
    if bias is not None:
        yield "the bias is missing", lambda: _conv(module, x, weight, None)
    yield (
        "the kernel is flipped: a true convolution, not a correlation",
        lambda: _conv(module, x, weight.flip(windows)),
    )
    if dims == 2:
        yield "height and width of the kernel are swapped (trap 9)", lambda: _conv(module, x, weight.transpose(2, 3))
    if weight.shape[0] == weight.shape[1]:
        words = "inputs and outputs of the kernel are swapped (trap 9)"
        yield words, lambda: _conv(module, x, weight.transpose(0, 1))
    for mode in ("reflect", "replicate", "circular"):
        if module.padding_mode != mode:
            yield (
                f"the padding is {mode} where PyTorch's is {module.padding_mode}",
                lambda m=mode: _padded(module, x, m),
            )
    for pads, words in _other_pads(module, x):
        yield words, lambda p=pads: _conv(module, functional.pad(x, p), weight, bias, padding=0)


def _other_pads(module: Any, x: torch.Tensor) -> Iterator[tuple[list[int], str]]:
    """Yield other ways to pad each side of an image that lead to an output of the same shape."""
    dims = x.ndim - 2
    if isinstance(module.padding, str):  # "same": an even kernel has one more at the end
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        own = tuple((total // 2, total - total // 2) for total in totals)
    else:
        own = tuple((p, p) for p in module.padding)
    kernel, stride, length = module.kernel_size[0], module.stride[0], x.shape[-1]
    total = max((-(-length // stride) - 1) * stride + module.dilation[0] * (kernel - 1) + 1 - length, 0)
    same_pads = (total // 2, total - total // 2)
    described = f"PyTorch pads {own[0]}"
    if same_pads != own[0]:
        yield list(same_pads) * dims, f"SAME padding, {same_pads} here, where {described} (trap 4)"
    trap = "5" if kernel % 2 == 0 else "4"
    for before, after in product(range(kernel + 1), repeat=2):
        if (before, after) != own[0]:
            kind = "shifted" if before + after == sum(own[0]) else "other"
            yield [before, after] * dims, f"{kind} padding: {(before, after)} where {described} (trap {trap})"


def _conv(module: Any, x: torch.Tensor, weight: torch.Tensor, bias: Any = ..., padding: Any = None) -> torch.Tensor:
    function = getattr(functional, f"conv{weight.ndim - 2}d")
    bias = module.bias if bias is ... else bias
    padding = module.padding if padding is None else padding
    return function(x, weight, bias, module.stride, padding, module.dilation, module.groups)


def _padded(module: Any, x: torch.Tensor, mode: str) -> torch.Tensor | None:
    if isinstance(module.padding, str) or not any(module.padding):
        return None
    pads = [p for pad in reversed(module.padding) for p in (pad, pad)]
    return _conv(module, functional.pad(x, pads, mode=mode), module.weight, padding=0)


def _of_batch_norm(module: Any, x: torch.Tensor, y: np.ndarray) -> Iterator[Imitation]:
    axes = (0, *range(2, x.ndim))
    kept, batch = (module.running_mean, module.running_var), (x.mean(axes), x.var(axes, correction=0))

    def normal(mean: Any, var: Any, weight: Any = module.weight, bias: Any = module.bias) -> torch.Tensor:
        return functional.batch_norm(x, mean, var, weight, bias, False, 0.0, module.eps)

    # Its mode is read off what it did: a frozen layer is in evaluation mode in a training, too.
    training = same(channels_last(np.asarray(normal(*batch))), y)
    mean, var = batch if training else kept
    if training:
        yield "the running statistics are used in training, too (trap 21)", lambda: normal(*kept)
        yield "it normalises by the unbiased variance (trap 1)", lambda: normal(mean, x.var(axes))
    else:
        yield "the batch's statistics are used in evaluation, too (trap 21)", lambda: normal(*batch)
    if module.affine:
        ones, zeros = torch.ones_like(module.weight), torch.zeros_like(module.bias)
        yield "scale and bias are missing", lambda: normal(mean, var, ones, zeros)
        yield "the scale is missing", lambda: normal(mean, var, ones)
        yield "the bias is missing", lambda: normal(mean, var, module.weight, zeros)
        yield "scale and bias are swapped", lambda: normal(mean, var, module.bias, module.weight)
        yield "the scale is added to one", lambda: normal(mean, var, module.weight + 1)
    for eps in EPSILONS:
        words = f"epsilon is {eps:g} where PyTorch has {module.eps:g} (trap 2)"
        # What is added to the variance, less what `normal` adds by itself.
        yield words, lambda e=eps: normal(mean, var + (e - module.eps)) if e != module.eps else None
        words = f"epsilon, {eps:g}, is outside the square root"
        yield words, lambda e=eps: normal(mean, (torch.sqrt(var) + e) ** 2 - module.eps)


def _of_dropout(module: Any, x: torch.Tensor, y: torch.Tensor) -> Iterator[Imitation]:
    rate, kept = module.p, y != 0
    yield "nothing is dropped in training (trap 20)", lambda: x if module.training else None
    if module.training and 0 < rate < 1:
        yield (
            f"the rate is {1 - rate:g} where PyTorch's is {rate:g}: keep for drop (trap 20)",
            lambda: y * (1 - rate) / rate,
        )
        yield "what is kept is not scaled up by 1 / (1 - rate) (trap 20)", lambda: y * (1 - rate)
        yield "what is dropped is kept (trap 20)", lambda: torch.where(kept, 0, x / (1 - rate))
        yield "what is kept is scaled up by 1 / rate (trap 20)", lambda: y * (1 - rate) / rate
    if not module.training:
        yield "what is kept is scaled down in evaluation (trap 20)", lambda: x * (1 - rate)


def _with(module: Any, **attributes: Any) -> Any:
    module = copy.deepcopy(module)
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def factor(reference: np.ndarray, found: np.ndarray) -> str:
    """Say whether one is a multiple of the other, or the same values elsewhere."""
    if reference.size != found.size or not np.isfinite(found).all():
        return ""
    if (ratio := ratio_of(reference, found)) is not None:
        return f"it is PyTorch's times {ratio:.6g}"
    if same(np.sort(reference, axis=None), np.sort(found, axis=None)):
        return "it holds PyTorch's values in another order"
    return ""


def ratio_of(reference: np.ndarray, found: np.ndarray) -> float | None:
    """Return what the reference is multiplied by to give the other; None if there is no such number but one."""
    if reference.shape != found.shape or not np.isfinite(found).all():
        return None
    scale = float(np.vdot(reference, reference))
    ratio = float(np.vdot(reference, found)) / scale if scale > 0 else 0.0
    return ratio if same(reference * ratio, found) and abs(ratio) > SAME and abs(ratio - 1) > SAME else None


def of_statistics(
    module: Any, call: Call, before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]
) -> str:
    """Say how a norm layer moves its statistics otherwise.

    Args:
        module: PyTorch's layer.
        call: its input in one training step.
        before: running mean and variance.
        after: those that Flax has after the step.
    """
    values = call.input.reshape(-1, call.input.shape[-1]).astype(np.float64)
    mean, biased, n = values.mean(axis=0), values.var(axis=0), len(values)
    moves = (
        (before[0], after[0], mean, ""),
        (before[1], after[1], values.var(axis=0, ddof=1), ""),
        (before[1], after[1], biased, f"the variance is the biased one, off by n/(n-1), n={n} (trap 1)"),
    )
    words = (_statistic_words(module.momentum, *move, near) for near in (SAME, ROUNDED) for move in moves)
    return next((found for found in words if found), "")


def _statistic_words(own: float, old: np.ndarray, new: np.ndarray, batch: np.ndarray, fault: str, near: float) -> str:
    share = _share(old, new, batch, near)
    if share is None or (not fault and abs(share - own) <= near):
        return ""
    if share == 0:
        return "the statistics do not move (trap 21)"
    faults = [fault] if fault else []
    if abs(share - own) > near:
        reading = ": it is the old one's share (trap 2)" if abs(share - (1 - own)) <= near else " (trap 2)"
        faults.append(f"the new value's share is {share:.6g} where PyTorch's is {own:g}{reading}")
    return "; ".join(faults)


def _share(old: np.ndarray, new: np.ndarray, batch: np.ndarray, near: float) -> float | None:
    """Return the m of new = (1 - m) old + m batch, if one fits all channels."""
    step, way = new - old, batch - old
    if not np.isfinite(new).all() or not way.any():
        return None
    share = float(np.vdot(way, step) / np.vdot(way, way))
    return share if relative_error(old + share * way, new) <= near else None


def of_gradients(reference: Sequence[np.ndarray], found: Sequence[np.ndarray], count: int) -> str:
    """Say how gradients differ altogether: `count` examples in the batch."""
    ours, theirs = (np.concatenate([a.ravel() for a in side]) for side in (reference, found))
    if not theirs.any():
        return "there is no gradient: is it stopped?"
    ratio = ratio_of(ours, theirs)
    if ratio is None:
        return ""
    if min(abs(ratio / count - 1), abs(ratio * count - 1)) <= SAME:
        return f"{factor(ours, theirs)}: the batch size, a sum for a mean, or the reverse (trap 18)"
    return factor(ours, theirs)
