"""What a difference looks like: hypotheses, each computed from PyTorch's operands, taken if it gives JAX's numbers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from parity.align.frontier import Difference
from parity.align.lockstep import NEAR, Walk
from parity.trace.index import close
from parity.trace.values import Op, Ref

EPSILONS = (0.0, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
AHEAD = 40  # JAX's operations among whose results a hypothesis is looked for
FEW = 4  # numbers that may agree by chance
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exact GELU": F.gelu,
    "GELU by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "GELU by a sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "SiLU": F.silu,
    "ReLU": F.relu,
    "ReLU squared": lambda x: F.relu(x) ** 2,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "ELU": F.elu,
    "leaky ReLU with slope 0.01": F.leaky_relu,
    "leaky ReLU with slope 0.2": lambda x: F.leaky_relu(x, 0.2),
    "leaky ReLU with slope 0.1": lambda x: F.leaky_relu(x, 0.1),
    "nothing": lambda x: x,
}
IS = {"gelu": "exact GELU", "silu": "SiLU", "relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid", "elu": "ELU"}


def explained(walk: Walk, found: Difference) -> str:
    """Return what a difference looks like, "" if no hypothesis gives JAX's numbers."""
    op, trace = walk.trace.ops[found.op], walk.trace
    target = trace.values[op.outputs[0]].array
    near = [c for c in walk.cells[found.cell or 0 :][:AHEAD] if c.data and c.computed is not None and not c.alike]
    results = [np.asarray(c.computed, np.float64) for c in near if np.asarray(c.computed).dtype.kind == "f"]
    sorted_ = [np.sort(r, axis=None) for r in results if r.size == target.size]
    tolerance = NEAR[4] if any(c.bits < 8 for c in near) else 1e-9
    for words, array in _hypotheses(walk, op):
        flat = np.sort(np.asarray(array, np.float64), axis=None)
        if flat.size > FEW and any(flat.size == r.size and close(flat, r, tolerance) for r in sorted_):
            return words
    return _by_values(target, found, walk, results, tolerance)


def _hypotheses(walk: Walk, op: Op) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what JAX may have computed in place of an operation, and the numbers that would give."""
    values = walk.trace.values
    args = [torch.from_numpy(values[a.number].array) if isinstance(a, Ref) else a for a in op.settings]
    try:
        if op.name.rstrip("_") in IS or op.name.startswith("leaky_relu"):
            yield from _activation(op, args)
        if "softmax" in op.name:
            for axis in range(args[0].ndim):
                yield (
                    f"softmax over axis {axis} instead of {args[1] % args[0].ndim}",
                    torch.softmax(args[0], axis).numpy(),
                )
        if op.name == "native_layer_norm":
            yield from _layer_norm(args)
        if op.name == "native_group_norm":
            yield from _group_norm(args)
        if op.name in ("add", "add_") and len(op.inputs) == 1:  # most often an epsilon
            for eps in EPSILONS:
                yield f"{eps:g} is added instead of {args[1]:g} (an epsilon, trap 2)", (args[0] + eps).numpy()
        if op.name in ("add", "add_") and len(op.inputs) == 2:
            yield from _sum(args)
        if op.name == "cat":
            for turned in (list(args[0])[::-1],):
                arrays = [values[r.number].array if isinstance(r, Ref) else r for r in turned]
                yield "concatenated in another order", np.concatenate(arrays, args[1] if len(args) > 1 else 0)
        if op.name in ("masked_fill", "masked_fill_", "where"):
            yield from _mask(op, args)
    except Exception:  # a hypothesis that does not fit the operation
        return


def _activation(op: Op, args: Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
    name = IS.get(op.name.rstrip("_"), "leaky ReLU")
    if op.name == "gelu" and op.keywords.get("approximate") == "tanh":
        name = "GELU by tanh"
    for other, function in ACTIVATIONS.items():
        yield f"{other} instead of {name}", function(args[0]).numpy()


def _layer_norm(args: Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
    x, shape, weight, bias, eps = args[:5]
    for other in EPSILONS:
        yield f"epsilon {other:g} instead of {eps:g} (trap 2)", F.layer_norm(x, shape, weight, bias, other).numpy()
    yield "normalised by the root mean square, without the mean", F.rms_norm(x, shape, weight, eps).numpy()
    spread = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + eps)
    yield "the unbiased variance", (spread * (1 if weight is None else weight) + (0 if bias is None else bias)).numpy()
    yield "without weight and bias", F.layer_norm(x, shape, None, None, eps).numpy()


def _group_norm(args: Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
    x, weight, bias, _, channels, _, groups, eps = args[:8]
    for other in EPSILONS:
        yield f"epsilon {other:g} instead of {eps:g} (trap 2)", F.group_norm(x, groups, weight, bias, other).numpy()
    for count in range(1, channels + 1):
        if channels % count == 0:
            yield f"{count} groups instead of {groups}", F.group_norm(x, count, weight, bias, eps).numpy()


def _sum(args: Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
    a, b = args[0], args[1]
    shape = torch.broadcast_shapes(a.shape, b.shape)
    yield "the second operand of the sum is left out", a.expand(shape).numpy()
    yield "the first operand of the sum is left out", b.expand(shape).numpy()
    yield "subtracted instead of added", (a - b).numpy()
    yield "subtracted instead of added", (b - a).numpy()
    yield "added twice", (a + 2 * b).numpy()


def _mask(op: Op, args: Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
    x, mask = (args[0], args[1]) if op.name.startswith("masked_fill") else (args[1], ~args[0])
    value = args[2]
    yield "the mask is inverted", torch.where(~mask, torch.as_tensor(value, dtype=x.dtype), x).numpy()
    yield "the mask is not applied", x.expand(torch.broadcast_shapes(x.shape, mask.shape)).numpy()


def _by_values(
    target: np.ndarray, found: Difference, walk: Walk, results: Sequence[np.ndarray], tolerance: float
) -> str:
    """Return words for the same numbers in another order, or times a factor."""
    if target.dtype.kind != "f" or target.size <= FEW:
        return ""
    flat = np.sort(target.astype(np.float64), axis=None)
    same = [r for r in results if r.size == flat.size]
    cells = [c for c in walk.cells[found.cell or 0 :][:AHEAD] if c.same and not c.alike]
    if any(
        close(flat, np.sort(np.asarray(c.array, np.float64), axis=None), tolerance)
        for c in cells
        if c.array.size == flat.size
    ):
        return "the same numbers in another order"
    for result in same:
        other = np.sort(result, axis=None)
        if not np.isfinite(other).all() or not np.isfinite(flat).all() or not np.linalg.norm(flat):
            continue
        factor = np.linalg.norm(other) / np.linalg.norm(flat)
        for sign in (1, -1):
            if (
                factor
                and close(np.sort(sign * factor * flat), other, tolerance)
                and abs(sign * factor - 1) > tolerance
            ):
                return f"{_number(sign * factor)} times PyTorch's: a scale is missing or applied twice"
    return ""


def _number(factor: float) -> str:
    """Return a factor, as a root where it is one."""
    for size in range(2, 4097):
        if abs(abs(factor) - size**0.5) < 1e-6 * size**0.5:
            return f"{'-' if factor < 0 else ''}sqrt({size})"
        if abs(abs(factor) - size**-0.5) < 1e-6 * size**-0.5:
            return f"{'-' if factor < 0 else ''}1/sqrt({size})"
    return f"{factor:.6g}"
