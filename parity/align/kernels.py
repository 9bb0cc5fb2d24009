"""Hypotheses about convolutions and pools: padding, offset, dilation, a flipped kernel."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from parity.align.replay import Guess, Replay

MODES = ("circular", "reflect", "replicate")


def kernels(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield what a convolution or a pool would give with other settings."""
    op = replay.op(number)
    out = op.outputs[0]
    if op.name == "convolution":
        for words, result in _convolutions(replay.args(op)):
            yield Guess(words, {out: result})
    elif "pool" in op.name and "adaptive" not in op.name:
        for words, result in _pools(op.name, replay.args(op)):
            yield Guess(words, {out: result})
    elif op.name == "_weight_norm_interface":
        v, g = replay.args(op)[:2]
        for count in range(1, v.ndim + 1):
            for axes in itertools.combinations(range(v.ndim), count):
                norm = (v * v).sum(axes, keepdim=True).sqrt()
                yield Guess(f"weight norm: the length is over axis {list(axes)}", {out: v * g / norm})


def _convolutions(args: list[Any]) -> Iterator[tuple[str, torch.Tensor]]:
    x, w, bias, stride, padding, dilation, transposed, extra, groups = args[:9]
    run = lambda x, w, padding, dilation: torch.ops.aten.convolution(  # noqa: E731
        x, w, bias, stride, padding, dilation, transposed, extra, groups
    )
    spatial = list(range(2, w.ndim))
    yield "the kernel is flipped", run(x, w.flip(spatial), padding, dilation)
    yield "the bias is left out", torch.ops.aten.convolution(x, w, None, *args[3:])
    if w.shape[-1] == w.shape[-2]:
        yield "the kernel's rows and columns are exchanged", run(x, w.mT, padding, dilation)
    none = [0] * len(spatial)
    if transposed:
        yield from _transposed(args, none)
        return
    reach = [d * (w.shape[a] - 1) for d, a in zip(dilation, spatial, strict=True)]
    own = [p + p for p in padding]
    for other in (1, 2, 3, 4, 8):
        if other != dilation[0]:
            same = other * (w.shape[-1] - 1)
            for total in (own[0], same):
                for low in dict.fromkeys((total // 2, 0, total)):
                    if x.shape[-1] + total <= same:
                        continue
                    padded = F.pad(x, [low, total - low] * len(spatial))
                    yield f"dilation {other} instead of {dilation[0]}", run(padded, w, none, [other] * len(spatial))
    for total in dict.fromkeys((sum(reach[:1]), own[0], own[0] + 1, own[0] - 1, 0, *range(2 * reach[0] + 1))):
        for low in range(max(total, -1) + 1):
            pads = [low, total - low] * len(spatial)
            if pads != [n for p in padding for n in (p, p)]:
                words = f"padding ({low}, {total - low}) instead of ({padding[0]}, {padding[0]}) (trap 4)"
                yield words, run(F.pad(x, pads), w, none, dilation)
    for mode in MODES:
        pads = [n for p in reversed(padding) for n in (p, p)]
        if any(pads) and x.ndim >= 3:
            yield f"{mode} padding instead of zeros", run(F.pad(x, pads, mode=mode), w, none, dilation)


def _transposed(args: list[Any], none: list[int]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a transposed convolution cut at other places."""
    x, w, bias, stride, padding, dilation, _, _, groups = args[:9]
    size = torch.ops.aten.convolution(*args[:9]).shape[2:]
    for flipped in (False, True):
        kernel = w.flip(list(range(2, w.ndim))) if flipped else w
        full = torch.ops.aten.convolution(x, kernel, bias, stride, none, dilation, True, none, groups)
        for low in range(-2, w.shape[-1]):
            if flipped is False and low == padding[0]:
                continue
            result = full
            for axis, length in enumerate(size):
                pads = [0, 0] * (len(size) - axis - 1) + [-low, length - full.shape[axis + 2] + low]
                result = _padded(result, pads, bias)
            words = "the kernel is flipped, " if flipped else ""
            yield f"{words}padding: cut at {low} instead of {padding[0]}", result


def _padded(x: torch.Tensor, pads: list[int], bias: torch.Tensor | None) -> torch.Tensor:
    padded = F.pad(x, pads)
    if bias is None:
        return padded
    one = F.pad(torch.ones_like(x), pads)
    return padded + (1 - one) * bias.reshape(1, -1, *(1 for _ in x.shape[2:]))


def _pools(name: str, args: list[Any]) -> Iterator[tuple[str, torch.Tensor]]:
    x, size = args[:2]
    stride = args[2] if len(args) > 2 and args[2] else size
    padding = args[3] if len(args) > 3 else [0] * len(size)
    average, largest = {1: (F.avg_pool1d, F.max_pool1d), 2: (F.avg_pool2d, F.max_pool2d)}.get(
        len(size), (F.avg_pool3d, F.max_pool3d)
    )
    if name.startswith("avg"):
        yield (
            "the padding is not counted in the mean of a pool",
            average(x, size, stride, padding, count_include_pad=False),
        )
        yield "the padding is counted in the mean of a pool", average(x, size, stride, padding)
        yield "the maximum instead of the mean in a pool", largest(x, size, stride, padding)
    else:
        yield "the mean instead of the maximum in a pool", average(x, size, stride, padding)
    for low in range(size[-1]):
        for high in range(size[-1]):
            pads = [low, high] * len(size)
            words = f"padding ({low}, {high}) instead of ({padding[-1]}, {padding[-1]}) of a pool (trap 6)"
            if name.startswith("avg"):
                yield words, average(F.pad(x, pads), size, stride)
            else:
                yield words, largest(F.pad(x, pads, value=-float("inf")), size, stride)
