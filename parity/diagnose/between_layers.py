"""What lies between two layers: the few steps without weights that turn one's output into the other's input.

They leave no trace in either framework, so they are found again by search: all short sequences of activation, pooling
and flattening are tried, by PyTorch's own functions, until one gives the very numbers. What PyTorch does and what Flax
does then stand side by side.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations, islice, product
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from parity.diagnose.one_layer import SAME, same
from parity.sides.calls import CallName, channels_first, channels_last

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda x: x,
    "ReLU": functional.relu,
    "exact GELU": functional.gelu,
    "tanh GELU": lambda x: functional.gelu(x, approximate="tanh"),
    "SiLU": functional.silu,
    "leaky ReLU 0.01": functional.leaky_relu,
    "leaky ReLU 0.1": lambda x: functional.leaky_relu(x, 0.1),
    "leaky ReLU 0.2": lambda x: functional.leaky_relu(x, 0.2),
    "ELU": functional.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "ReLU6": functional.relu6,
    "softplus": functional.softplus,
    "hard swish": functional.hardswish,
    "Mish": functional.mish,
    "log softmax": lambda x: functional.log_softmax(x, 1),
    "softmax": lambda x: functional.softmax(x, 1),
}
WINDOWS = (
    (2, 2, 0),
    (3, 2, 0),
    (3, 2, 1),
    (2, 1, 0),
    (3, 1, 1),
    (3, 3, 0),
    (4, 4, 0),
    (2, 2, 1),
)  # size, stride, padding
FLATTENS = ("", "flatten (C, ...)", "flatten (..., C)", "flatten (..., C) with height and width swapped")
MOST_PADDING = 8
LATEST = 8  # so many layers back the search looks


class Steps(NamedTuple):
    """How a tensor was made."""

    source: str
    activation: str = ""
    pool: str = ""
    pad: str = ""
    flat: str = ""
    pool_first: bool = False

    def __str__(self) -> str:
        first, second = (self.pool, self.activation) if self.pool_first else (self.activation, self.pool)
        return ", ".join([self.source, *(step for step in (first, second, self.pad, self.flat) if step)])


def explain(sources: dict[str, np.ndarray], target: np.ndarray) -> Steps | None:
    """Return the shortest way to `target` from what went before, or None if the search finds none.

    Args:
        sources: tensors by name, channels last, in the order in which they were made.
        target: what is to be explained, channels last.
    """
    with one_thread():
        return _explained(sources, target)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: for small tensors, several wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _explained(sources: dict[str, np.ndarray], target: np.ndarray) -> Steps | None:
    recent = _different(sources)
    single = (steps for name, x in reversed(recent.items()) for steps in _from(name, x, target))
    sums = (
        steps
        for count in (2, 3)
        for names in combinations(recent, count)
        if len({recent[name].shape for name in names}) == 1
        for steps in _from(" + ".join(names), np.sum([recent[name] for name in names], axis=0), target)
    )
    return next(single, None) or next(sums, None) or joined(sources, target)


def _different(sources: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the latest tensors; of a block's and its last layer's, which are the same, only one."""
    recent: dict[str, np.ndarray] = {}
    for name, array in reversed(sources.items()):
        if not any(other.shape == array.shape and np.array_equal(other, array) for other in recent.values()):
            recent[name] = array
        if len(recent) == LATEST:
            break
    return dict(reversed(recent.items()))


def compare_steps(reference: Steps | None, found: Steps | None) -> str:
    """Say how two ways differ, with the trap that makes them differ if it is a known one."""
    if reference is None or found is None or reference == found:
        return ""
    trap = _trap(reference, found)
    return f"PyTorch: {reference}; Flax: {found}{f' (trap {trap})' if trap else ''}"


def _trap(a: Steps, b: Steps) -> str:
    if a.source != b.source:
        return "10"
    if a.flat != b.flat:
        return "8"
    if a.activation != b.activation:
        return "12" if {a.activation, b.activation} == {"exact GELU", "tanh GELU"} else "10"
    if a.pad != b.pad:
        return "5"
    if not (a.pool and b.pool) and a.pool != b.pool:  # computed on one side alone, or never used
        return "10"
    if a.pool != b.pool:
        return "7" if "average" in a.pool and "average" in b.pool else "6"
    return "10"


def _from(name: str, source: np.ndarray, target: np.ndarray) -> Iterator[Steps]:
    """Yield the ways from one tensor to another, short ones first."""
    if len(source) != len(target) or not (np.isfinite(target).all() and np.isfinite(source).all()):
        return
    x, first = (torch.from_numpy(np.array(channels_first(a), np.float64)) for a in (source, source[:1]))
    one = target[:1]
    largest, slack = int(np.abs(one).argmax()) if one.size else 0, 2 * SAME * float(np.linalg.norm(one)) + 1e-300
    pooled_sum = " + " in name and source.shape != target.shape
    for pool, pooled in _pools(first) if pooled_sum or " + " not in name else [("", first)]:
        for pad, amounts in _pads(pooled, target):
            for flat in FLATTENS:
                if _flat_shape(_pad(pooled, amounts), flat) != target.shape[1:]:
                    continue
                for activation, pool_first in product(ACTIVATIONS, (False, True) if pool else (False,)):
                    steps = Steps(name, activation, pool, pad, flat, pool_first and bool(activation))
                    # One number is enough to see that it is not this one, or else one example.
                    found = _taken(steps, first, amounts)
                    if one.size and not abs(found.flat[largest] - one.flat[largest]) <= slack:
                        continue
                    if same(one, found) and same(target, _taken(steps, x, amounts)):
                        yield steps


def _taken(steps: Steps, x: torch.Tensor, pad: tuple[int, int]) -> np.ndarray:
    activation, pool = ACTIVATIONS[steps.activation], _POOLS[steps.pool]
    x = activation(pool(x)) if steps.pool_first else pool(activation(x))
    return _flattened(_pad(x, pad), steps.flat)


def _pads(x: torch.Tensor, target: np.ndarray) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the ways to pad all sides alike to the target's size."""
    more = {theirs - ours for ours, theirs in zip(x.shape[2:], target.shape[1:-1], strict=False)}
    size = more.pop() if len(more) == 1 and x.ndim == target.ndim > 2 else 0
    if size <= 0:
        yield "", (0, 0)
    for before in range(size + 1) if 0 < size <= MOST_PADDING else ():
        yield f"zeros {(before, size - before)}", (before, size - before)


def _pad(x: torch.Tensor, amounts: tuple[int, int], value: float = 0.0) -> torch.Tensor:
    return functional.pad(x, [*amounts] * (x.ndim - 2), value=value) if any(amounts) else x


def _pools(x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    for name, pool in _POOLS.items():
        try:
            if not name or x.ndim > 2:
                yield name, pool(x)
        except RuntimeError:  # a window that does not fit
            continue


def _at(kind: str, x: torch.Tensor, *window: int, **options: bool) -> torch.Tensor:
    return getattr(functional, f"{kind}_pool{x.ndim - 2}d")(x, *window, **options)


def _window_pools(size: int, stride: int, pad: int) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    words = f"pool {size}, stride {stride}" + (f", padding {pad}" if pad else "")
    window, sides, below = (size, stride, pad), (pad, pad), -torch.inf
    pools: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        f"max-{words}": lambda x: _at("max", x, *window),
        f"average {words}": lambda x: _at("avg", x, *window),
        f"max-{words}, ceil mode": lambda x: _at("max", x, *window, ceil_mode=True),
        f"max-pool {size}, stride {stride}, padding (0, 1)": lambda x: _at(
            "max", _pad(x, (0, 1), below), size, stride
        ),
        f"average pool {size}, stride {stride}, padding (0, 1)": lambda x: _at("avg", _pad(x, (0, 1)), size, stride),
    }
    if pad:
        pools[f"max-{words} with zeros"] = lambda x: _at("max", _pad(x, sides), size, stride)
        pools[f"average {words} not counted"] = lambda x: _at("avg", x, *window, count_include_pad=False)
    return pools


_POOLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda x: x,
    "mean over all positions": lambda x: x.flatten(2).mean(2),
    "maximum over all positions": lambda x: x.flatten(2).amax(2),
    "sum over all positions": lambda x: x.flatten(2).sum(2),
}
for _window in WINDOWS:
    _POOLS |= _window_pools(*_window)


def _flat_shape(x: torch.Tensor, flat: str) -> tuple[int, ...]:
    """Return the shape of each example."""
    return (x[0].numel(),) if flat else tuple(x.movedim(1, -1).shape[1:])


def _flattened(x: torch.Tensor, flat: str) -> np.ndarray:
    if flat == FLATTENS[1]:
        return x.flatten(1).numpy()
    last = channels_last(x.numpy())
    if flat == FLATTENS[3]:
        last = np.swapaxes(last, 1, -2)
    return last.reshape(len(last), -1) if flat else last


def joined(sources: Mapping[str, np.ndarray], target: np.ndarray) -> Steps | None:
    """Explain a concatenation along the channels, its parts as they are or through a ReLU."""
    parts: list[str] = []
    start = 0
    while start < target.shape[-1]:
        part = next(islice(_parts(sources, target, start), 1), None)
        if part is None:
            return None
        parts.append(part[0])
        start += part[1]
    return Steps(f"[{', '.join(parts)}]") if len(parts) > 1 else None


def _parts(sources: Mapping[str, np.ndarray], target: np.ndarray, start: int) -> Iterator[tuple[str, int]]:
    for name, source in sources.items():
        width = source.shape[-1]
        if source.shape[:-1] == target.shape[:-1] and start + width <= target.shape[-1]:
            chunk = target[..., start : start + width]
            for words, values in ((name, source), (f"ReLU {name}", np.maximum(source, 0))):
                if same(values, chunk):
                    yield words, width


def order_of_calls(reference: Sequence[str], found: Sequence[str]) -> str:
    """Say where Flax calls its layers in another order."""
    common = [name for name in reference if name in set(found)]
    others = [name for name in found if name in set(reference)]
    for ours, theirs in zip(common, others, strict=False):
        if ours != theirs:
            return f"Flax calls {CallName(theirs).layer} where PyTorch calls {CallName(ours).layer}"
    return ""
