"""Hypotheses about one operation of PyTorch's: what JAX may have computed in its place."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from parity.align.replay import Guess, Replay

EPSILONS = (0.0, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
LEFT_OUT = "nothing (it is left out)"
Function = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS: dict[str, Function] = {
    "exact GELU": F.gelu,
    "GELU by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "GELU by a sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "SiLU": F.silu,
    "ReLU": F.relu,
    "ReLU squared": lambda x: F.relu(x) ** 2,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard swish": F.hardswish,
    "hard sigmoid": F.hardsigmoid,
    "softplus": F.softplus,
    "ReLU6": F.relu6,
    "leaky ReLU with slope 0.01": F.leaky_relu,
    "leaky ReLU with slope 0.2": lambda x: F.leaky_relu(x, 0.2),
    "ELU": F.elu,
    "SELU": F.selu,
    LEFT_OUT: lambda x: x,
}
SLOPES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5)
IS = {
    "gelu": "exact GELU",
    "silu": "SiLU",
    "relu": "ReLU",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "elu": "ELU",
    "softplus": "softplus",
    "mish": "mish",
    "hardswish": "hard swish",
    "hardsigmoid": "hard sigmoid",
    "hardtanh": "ReLU6",
}
REDUCTIONS: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "the mean": lambda x, a: x.mean(a),
    "the sum": lambda x, a: x.sum(a),
    "the maximum": lambda x, a: x.amax(a),
    "the minimum": lambda x, a: x.amin(a),
    "the first": lambda x, a: x.select(a, 0),
    "the last": lambda x, a: x.select(a, -1),
}
REDUCES = {"mean": "the mean", "sum": "the sum", "amax": "the maximum", "max": "the maximum", "amin": "the minimum"}


def activations(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield other activations, softmax along other axes, and gates inverted."""
    op = replay.op(number)
    base = op.name.rstrip("_")
    out = op.outputs[0]
    if base in IS or base == "leaky_relu":
        x = replay.args(op)[0]
        name, trap = IS.get(base, "leaky ReLU"), ""
        if base == "gelu":
            name, trap = "GELU by tanh" if "tanh" in op.keywords.values() else name, " (trap 12)"
        if base == "leaky_relu":
            slope = float(op.settings[1]) if len(op.settings) > 1 else 0.01
            for other in SLOPES:
                yield Guess(f"leaky ReLU with slope {other:g} instead of {slope:g}", {out: F.leaky_relu(x, other)})
        for other, function in ACTIVATIONS.items():
            words = f"{other} instead of {name}{trap if 'GELU' in other else ''}"
            yield Guess(words, {out: function(x)}, op.inputs[0] if other == LEFT_OUT else None)
        if base == "sigmoid":
            yield Guess("the gate is inverted: 1 - z instead of z", {out: 1 - replay.tensor(out)})
    if "softmax" in op.name:
        x, axis = replay.args(op)[:2]
        log = "log" in op.name
        own, other = (torch.log_softmax, torch.softmax) if log else (torch.softmax, torch.log_softmax)
        for k in range(x.ndim):
            yield Guess(f"softmax over axis {k} instead of {axis % x.ndim}", {out: own(x, k)})
        words = "softmax instead of its logarithm" if log else "the logarithm of softmax instead of softmax"
        yield Guess(words, {out: other(x, axis)})


def norms(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield norms with another epsilon, other groups, other axes, or without a part."""
    op = replay.op(number)
    out, args = op.outputs[0], replay.args(op)
    if op.name == "native_layer_norm":
        x, shape, weight, bias, eps = args[:5]
        axes = tuple(range(x.ndim - len(shape), x.ndim))
        normed = lambda axes, e, **how: _normed(x, axes, weight, bias, e, **how)  # noqa: E731
        yield from (Guess(_epsilon(e, eps), {out: normed(axes, e)}) for e in EPSILONS if e != eps)
        yield Guess("normalised by the root mean square, without the mean", {out: normed(axes, eps, mean=False)})
        yield Guess("the unbiased variance instead of the biased one", {out: normed(axes, eps, correction=1)})
        yield Guess("the epsilon is outside of the square root", {out: normed(axes, eps, outside=True)})
        for count in range(1, x.ndim + 1):
            for other in itertools.combinations(range(x.ndim), count):
                if other != axes:
                    yield Guess(f"normalised over axes {list(other)} instead of axis {list(axes)}",
                                {out: normed(other, eps)})  # fmt: skip
        yield Guess("the norm's weight and bias are left out", {out: _normed(x, axes, None, None, eps)})
    if op.name == "native_batch_norm" and not args[5]:
        yield from _batch_norms(out, args)
    if op.name == "native_group_norm":
        x, weight, bias, _, channels, _, groups, eps = args[:8]
        for e in EPSILONS:
            if e != eps:
                yield Guess(_epsilon(e, eps), {out: F.group_norm(x, groups, weight, bias, e)})
        for count in range(1, channels + 1):
            if channels % count == 0 and count != groups:
                yield Guess(f"{count} groups instead of {groups}", {out: F.group_norm(x, count, weight, bias, eps)})
    if op.name.rstrip("_") == "add" and len(op.inputs) == 1 and isinstance(args[1], float) and 0 < args[1] < 0.02:
        for e in EPSILONS:
            if e != args[1]:
                yield Guess(_epsilon(e, args[1]), {out: args[0] + e})


def _batch_norms(out: int, args: list[Any]) -> Iterator[Guess]:
    """Yield a BatchNorm in evaluation mode with another epsilon, statistics of the batch, or without a part."""
    x, weight, bias, mean, variance, _, _, eps = args[:8]

    def normed(eps: float, variance: torch.Tensor, weight: Any, bias: Any) -> dict[int, torch.Tensor]:
        return {out: F.batch_norm(x, mean, variance, weight, bias, eps=eps)}

    yield from (Guess(_epsilon(e, eps), normed(e, variance, weight, bias)) for e in EPSILONS if e != eps)
    batch = F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    yield Guess("the batch's statistics instead of the running ones", {out: batch})
    yield Guess("the epsilon is outside of the square root", normed(0.0, (variance.sqrt() + eps) ** 2, weight, bias))
    if weight is not None:
        yield Guess("the norm's weight is left out", normed(eps, variance, None, bias))
        yield Guess("the norm's bias is left out", normed(eps, variance, weight, None))
        yield Guess("the norm's weight and bias are left out", normed(eps, variance, None, None))


def _epsilon(other: float, eps: float) -> str:
    return f"epsilon {other:g} instead of {eps:g} (trap 2)"


def _normed(x, axes, weight, bias, eps, *, mean=True, correction=0, outside=False) -> torch.Tensor:
    centred = x - x.mean(axes, keepdim=True) if mean else x
    variance = x.var(axes, keepdim=True, correction=correction) if mean else (x * x).mean(axes, keepdim=True)
    scaled = centred / (torch.sqrt(variance) + eps if outside else torch.sqrt(variance + eps))
    return (scaled * (1 if weight is None else weight)) + (0 if bias is None else bias)


def reductions(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield other reductions, over other axes; other tokens than the one that is taken."""
    op = replay.op(number)
    base, out = op.name, op.outputs[0]
    if base not in ("mean", "sum", "amax", "amin", "max", "select", "var", "std") or not op.inputs:
        return
    args = replay.args(op)
    x, done = args[0], replay.tensor(out)
    if base in ("var", "std"):
        both = {"var": torch.var, "std": torch.std}[base]
        axes = args[1] if len(args) > 1 else None
        keep = done.ndim == x.ndim
        for correction, words in ((0, "the biased variance (n)"), (1, "the unbiased variance (n - 1)")):
            yield Guess(f"{words} instead of the other", {out: both(x, axes, correction=correction, keepdim=keep)})
        return
    axes = args[1] if len(args) > 1 else None
    axes = [axes] if isinstance(axes, int) else list(axes if axes is not None else range(x.ndim))
    own = REDUCES.get(base, "")
    if base == "select":
        index = args[2]
        own = "the first" if index == 0 else "the last" if index in (-1, x.shape[axes[0]] - 1) else f"number {index}"
    for name, function in REDUCTIONS.items():
        y = x
        for axis in sorted((a % x.ndim for a in axes), reverse=True):
            y = function(y, axis)
        if name != own:
            yield Guess(f"{name} instead of {own} along axis {axes} (another token or step)"
                        if "first" in name + own or "last" in name + own
                        else f"{name} instead of {own} over axis {axes}", {out: y.reshape(done.shape)})  # fmt: skip
    if own in REDUCTIONS:
        for axis in range(x.ndim):
            if [axis] != [a % x.ndim for a in axes]:
                y = REDUCTIONS[own](x, axis)
                keep = y.unsqueeze(axis) if done.ndim == x.ndim else y
                yield Guess(f"{own} over axis {axis} instead of axis {axes}", {out: keep})


def orders(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield operands in another order: of a concatenation, of a product."""
    op = replay.op(number)
    args = replay.args(op)
    if op.name in ("cat", "stack"):
        function = getattr(torch, op.name)
        parts, axis = list(args[0]), args[1] if len(args) > 1 else 0
        for order in itertools.islice(itertools.permutations(range(len(parts))), 1, 24):
            turned = function([parts[i] for i in order], axis)
            yield Guess("concatenated in another order", {op.outputs[0]: turned})
    if op.name in ("mm", "addmm", "bmm", "matmul"):
        *_, a, b = args[:3] if op.name == "addmm" else args[:2]
        bias = args[0] if op.name == "addmm" else 0
        if b.shape[-1] == b.shape[-2]:
            yield Guess("the matrix is transposed", {op.outputs[0]: a @ b.mT + bias})
        if op.name == "addmm":
            yield Guess("the bias is left out", {op.outputs[0]: a @ b})
        last = replay.source(op.inputs[-1])
        own = replay.trace.values[last]
        if own.keys and not own.data:
            yield from _other_weights(replay, op.outputs[0], a, b, bias, own.keys)


def _other_weights(replay: Replay, out: int, a, b, bias, own) -> Iterator[Guess]:
    for value in replay.trace.values:
        if value.maker is not None or not value.keys or value.keys == own or value.array.ndim != 2:
            continue
        w = torch.from_numpy(value.array)
        name, mine = ", ".join(value.keys), ", ".join(own)
        for turned in (w, w.mT):
            if turned.shape == b.shape:
                words = f"the weight {name} instead of {mine}: as if they were tied"
                yield Guess(words, {out: a @ turned + bias})


def tables(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield rows of a table, or a range of positions, moved by one."""
    op = replay.op(number)
    if op.name in ("embedding", "index", "index_select", "gather") and len(op.inputs) > 1:
        at = op.inputs[-1]
        if replay.data(at) or replay.trace.values[at].array.dtype.kind != "i":
            return
        indices, rows = replay.tensor(at), len(replay.tensor(op.inputs[0]))
        for step in (1, -1):
            moved = {at: (indices + step).clamp(0, rows - 1)}
            yield Guess(f"positions are off by one ({step:+d})", {op.outputs[0]: replay.run(op, moved)[0]})
        yield Guess("positions are in the opposite order",
                    {op.outputs[0]: replay.run(op, {at: indices.max() - indices + indices.min()})[0]})  # fmt: skip
    if op.name == "slice" and not any(replay.data(n) for n in op.inputs) and len(op.settings) >= 4:
        x, axis, start, end = replay.args(op)[:4]
        for step in (1, -1):
            if start + step >= 0 and end + step <= x.size(axis):
                moved = x.narrow(axis, start + step, end - start)
                yield Guess(f"positions are off by one ({step:+d})", {op.outputs[0]: moved})
